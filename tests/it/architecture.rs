//! What no module may name, read off the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A source file without comments, string contents and unit tests.
struct Source {
    /// Path below `src/`.
    path: String,
    code: String,
}

impl Source {
    /// Its module of the top level: `vit` for `vit/model.rs`, `plan` for `plan.rs`.
    fn top(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super` lead from here to the crate's root.
    fn depth(&self) -> usize {
        self.path.split('/').count() - usize::from(self.path.ends_with("mod.rs"))
    }

    /// Modules of the top level that it names through `crate::` or a chain of `super::`.
    fn named(&self) -> BTreeSet<String> {
        let root = format!("{}$", "super::".repeat(self.depth()));
        let code = self.code.replace("crate::", "$").replace("super::$", "$");
        let code = code.replace(&root[..root.len() - 1], "$");
        let mut named = BTreeSet::new();
        for path in code.split('$').skip(1) {
            match path.strip_prefix('{') {
                Some(group) => named.extend(heads(group)),
                None => named.extend(word(path)),
            }
        }
        named
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.code
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
    }
}

/// The identifier that `text` begins with.
fn word(text: &str) -> Option<String> {
    let word: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// First segments of the paths in a `{...}` group whose brace has been read.
fn heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                heads.extend(word(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                heads.extend(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

/// Code without comments and without what stands in string literals.
fn strip(text: &str) -> String {
    let mut code = String::new();
    let mut chars = text.chars().peekable();
    let mut last = ' ';
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|&c| c == '\n');
                code.push('\n');
            }
            '"' => {
                // Raw strings of this crate are `r"` or `r#"`.
                let raw = code.ends_with('r') || code.ends_with("r#");
                let hash = code.ends_with('#');
                while let Some(c) = chars.next() {
                    match c {
                        '\\' if !raw => {
                            chars.next();
                        }
                        '"' if !hash || chars.peek() == Some(&'#') => break,
                        _ => {}
                    }
                }
                code.push_str("\"\"");
            }
            // A quote in a character literal opens no string.
            '\'' if matches!(chars.peek(), Some('"')) && last != '\'' => {
                chars.next();
                code.push('\'');
            }
            c => code.push(c),
        }
        last = c;
    }
    code
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                sources.push(Source {
                    path: path.strip_prefix(&root).unwrap().display().to_string(),
                    code: strip(code),
                });
            }
        }
    }
    assert!(sources.len() > 50, "only {} sources", sources.len());
    sources
}

/// Files, among those `of` picks, with a word that `bad` picks.
fn offenders(of: impl Fn(&Source) -> bool, bad: impl Fn(&str) -> bool) -> Vec<String> {
    let sources = sources();
    let picked = sources.iter().filter(|source| of(source));
    picked
        .filter_map(|source| {
            let word = source.words().find(|word| bad(word))?;
            Some(format!("{}: {word}", source.path))
        })
        .collect()
}

const NONE: [String; 0] = [];

#[test]
fn reading_the_sources_works() {
    let source = Source {
        path: "a/b.rs".to_owned(),
        code: strip(
            "use crate::{one::{x, y}, two}; // crate::three\nlet s = \"crate::four\"; \
             crate::five::f(); use super::six; use super::super::seven::z; let q = '\"'; \
             use crate::eight;",
        ),
    };
    let named: Vec<_> = source.named().into_iter().collect();
    assert_eq!(named, ["eight", "five", "one", "seven", "two"]);
    assert_eq!(source.top(), "a");
}

#[test]
fn only_the_engine_folder_names_a_tensor_library() {
    let library = |word: &str| matches!(word, "candle_core" | "candle_nn" | "tch");
    assert_eq!(offenders(|source| source.top() != "engine", library), NONE);
    assert!(!offenders(|source| source.top() == "engine", library).is_empty());
}

#[test]
fn an_engine_is_chosen_in_one_place() {
    let outside = |source: &Source| source.top() != "engine" && source.path != "run/dispatch.rs";
    let sources = sources();
    let named: Vec<_> = sources
        .iter()
        .filter(|source| outside(source) && source.code.contains("engine::candle"))
        .map(|source| &source.path)
        .collect();
    assert!(named.is_empty(), "{named:?}");
}

#[test]
fn plain_data_stays_plain() {
    for source in sources() {
        let forbidden: &[&str] = match source.top() {
            "stats" | "report" | "store" | "metric" => &["engine", "nn", "vit"],
            "data" => &["protocol"],
            _ => continue,
        };
        let named = source.named();
        for module in forbidden {
            assert!(!named.contains(*module), "{} names {module}", source.path);
        }
    }
}

#[test]
fn pre_training_stands_on_networks_and_the_loop() {
    let allowed = [
        "pretrain", "data", "decoders", "engine", "features", "metric", "nn", "train", "vit",
    ];
    for source in sources() {
        if source.top() == "pretrain" {
            let named = source.named();
            let other = named.iter().find(|name| !allowed.contains(&name.as_str()));
            assert!(other.is_none(), "{} names {other:?}", source.path);
        }
    }
}

#[test]
fn protocols_do_not_print() {
    let print = |word: &str| matches!(word, "print" | "println" | "eprint" | "eprintln" | "dbg");
    assert_eq!(offenders(|source| source.top() == "protocol", print), NONE);
}

#[test]
fn only_the_program_reads_arguments_and_environment() {
    let sources = sources();
    let reads = |source: &&Source| {
        let calls = ["env::var", "env::args", "env::{"];
        calls.iter().any(|call| source.code.contains(call))
    };
    let paths: Vec<_> = sources
        .iter()
        .filter(reads)
        .map(|source| source.path.as_str())
        .filter(|path| !matches!(*path, "main.rs" | "commands.rs"))
        .collect();
    assert!(paths.is_empty(), "{paths:?}");
}

/// A way from `module` back to itself, if there is one.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>, way: &mut Vec<String>) -> Option<Vec<String>> {
    let last = way.last()?.clone();
    for next in uses.get(&last).into_iter().flatten() {
        if let Some(start) = way.iter().position(|module| module == next) {
            return Some(way[start..].iter().chain([next]).cloned().collect());
        }
        way.push(next.clone());
        if let Some(found) = circle(uses, way) {
            return Some(found);
        }
        way.pop();
    }
    None
}

#[test]
fn modules_import_each_other_in_no_circle() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        if matches!(source.path.as_str(), "main.rs" | "lib.rs" | "commands.rs") {
            continue;
        }
        let top = source.top().to_owned();
        let mut named = source.named();
        named.remove(&top);
        uses.entry(top).or_default().extend(named);
    }
    assert!(uses["vit"].contains("nn") && uses["run"].contains("plan"));
    for module in uses.keys() {
        if let Some(circle) = circle(&uses, &mut vec![module.clone()]) {
            panic!("circle of imports: {}", circle.join(" -> "));
        }
    }
}
