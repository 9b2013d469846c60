//! Sweeps: many points of one pre-training recipe, each with settings of its own.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{PretrainSweep, Setting, SweepError, line_of};

/// Bytes that the name of a point has at most: it is the name of a folder.
const LONGEST_NAME: usize = 120;

/// A sweep: a file (TOML) of grids over a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Its name.
    pub name: String,
    /// The recipe that it was written for, as the command line names it.
    pub base: String,
    /// Its points, grid by grid, the last key of a grid moving first.
    pub points: Vec<SweepPoint>,
}

/// One point of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepPoint {
    /// Its name, which is that of its folder.
    pub name: String,
    /// What it sets, as `--set` does, tables before what lies in them.
    pub settings: Vec<Setting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    name: String,
    base: String,
    grid: Vec<Spanned<Grid>>,
}

/// A cartesian product of settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    /// Names of its points, in which `{key}` stands for the value that a point has there.
    name: Option<String>,
    /// Values of each key.
    #[serde(default)]
    set: BTreeMap<String, Vec<Value>>,
}

/// The value that a point has at each key.
type Chosen<'a> = Vec<(&'a str, &'a Value)>;

impl Sweep {
    /// The sweep of a file, or of a built-in's name where there is no such file.
    ///
    /// # Errors
    /// It is neither, or says what cannot be.
    pub fn named(path: &Path) -> Result<Self, SweepError> {
        let builtin = path.to_str().and_then(PretrainSweep::named);
        match (std::fs::read_to_string(path), builtin) {
            (Ok(text), _) => Self::parse(path, &text),
            (Err(_), Some(sweep)) => Self::parse(path, sweep.text()),
            (Err(source), None) => Err(SweepError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The sweep of `text`, which was read from `path`.
    ///
    /// # Errors
    /// One that names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SweepError> {
        let wrong = |reason: String| SweepError::Parse {
            path: path.to_owned(),
            reason,
        };
        let file: SweepFile =
            toml::from_str(text).map_err(|error| wrong(line_of(&error, text)))?;
        let mut points: Vec<SweepPoint> = Vec::new();
        for grid in &file.grid {
            let before = text.get(..grid.span().start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let at = |reason: String| wrong(format!("line {line}: {reason}"));
            for point in grid.get_ref().points().map_err(at)? {
                let like = |other: &&SweepPoint| {
                    other.name == point.name || other.settings == point.settings
                };
                if let Some(other) = points.iter().find(like) {
                    let reason = match other.name == point.name {
                        true => format!("two points are called {}", point.name),
                        false => format!("{} sets what {} does", point.name, other.name),
                    };
                    return Err(at(reason));
                }
                points.push(point);
            }
        }
        match points.is_empty() {
            true => Err(wrong("it has no [[grid]]".to_owned())),
            false => Ok(Self {
                name: file.name,
                base: file.base,
                points,
            }),
        }
    }

    /// A setting of the command line and one of the sweep that are about the same.
    pub fn clash<'a>(&'a self, settings: &'a [Setting]) -> Option<(&'a Setting, &'a Setting)> {
        let own = self.points.iter().flat_map(|point| &point.settings);
        let mut pairs = own.flat_map(|own| settings.iter().map(move |given| (given, own)));
        pairs.find(|(given, own)| {
            let [given, own] = [given.key(), own.key()];
            let within = |inner: &str, outer: &str| {
                let rest = inner.strip_prefix(outer);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            within(given, own) || within(own, given)
        })
    }
}

impl Grid {
    fn points(&self) -> Result<Vec<SweepPoint>, String> {
        if let Some((key, _)) = self.set.iter().find(|(_, values)| values.is_empty()) {
            return Err(format!("{key} has no value"));
        }
        let mut points: Vec<Chosen<'_>> = vec![Vec::new()];
        for (key, values) in &self.set {
            let longer = points.iter().flat_map(|point| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.push((key.as_str(), value));
                    point
                })
            });
            points = longer.collect();
        }
        points.iter().map(|chosen| self.point(chosen)).collect()
    }

    fn point(&self, chosen: &Chosen<'_>) -> Result<SweepPoint, String> {
        let name = match &self.name {
            Some(pattern) => filled(pattern, chosen)?,
            None => {
                let settings = chosen.iter();
                let settings = settings.map(|(key, value)| format!("{key}={}", plain(value)));
                settings.collect::<Vec<_>>().join(",")
            }
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+=,".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
            return Err(format!(
                "\"{name}\" is to be the name of a folder: at most {LONGEST_NAME} letters, digits and . _ - + = , (name = \"...\" gives another)"
            ));
        }
        if name.starts_with('.') {
            return Err(format!("{name}: a folder of this name would be hidden"));
        }
        let settings = chosen.iter();
        let settings = settings.map(|(key, value)| Setting(format!("{key}={value}")));
        Ok(SweepPoint {
            name,
            settings: settings.collect(),
        })
    }
}

/// A value in a name.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A pattern of names with the values of a point in it.
fn filled(pattern: &str, chosen: &Chosen<'_>) -> Result<String, String> {
    let mut name = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, behind) = after
            .split_once('}')
            .ok_or_else(|| format!("name \"{pattern}\" has a {{ without its }}"))?;
        let value = chosen.iter().find(|(known, _)| *known == key);
        let (_, value) = value.ok_or_else(|| {
            format!("name \"{pattern}\" asks for {key}, which the grid does not set")
        })?;
        name.push_str(before);
        name.push_str(&plain(value));
        rest = behind;
    }
    name.push_str(rest);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Sweep, String> {
        let text = format!("name = \"s\"\nbase = \"mae\"\n{text}");
        Sweep::parse(Path::new("s.toml"), &text).map_err(|error| error.to_string())
    }

    fn names(sweep: &Sweep) -> Vec<&str> {
        sweep.points.iter().map(|point| &*point.name).collect()
    }

    #[test]
    fn a_sweep_is_the_union_of_products() {
        let sweep = parse(
            "[[grid]]\nname = \"r{mask.ratio}-{training.batch}\"\n\
             set.\"mask.ratio\" = [0.5, 0.75]\nset.\"training.batch\" = [64, 128]\n\
             [[grid]]\nset.\"student.encoding\" = [\"dense\"]\n\
             [[grid]]\nname = \"as-is\"\n",
        );
        let sweep = sweep.unwrap();
        let expected = [
            "r0.5-64",
            "r0.5-128",
            "r0.75-64",
            "r0.75-128",
            "student.encoding=dense",
            "as-is",
        ];
        assert_eq!(names(&sweep), expected);
        let settings = |at: usize| {
            let settings = sweep.points[at].settings.iter();
            settings.map(|setting| &*setting.0).collect::<Vec<_>>()
        };
        assert_eq!(settings(1), ["mask.ratio=0.5", "training.batch=128"]);
        assert_eq!(settings(4), ["student.encoding=\"dense\""]);
        assert!(settings(5).is_empty());
    }

    #[test]
    fn tables_are_set_before_what_lies_in_them() {
        let sweep = parse(
            "[[grid]]\nname = \"g{mask.gamma}\"\nset.\"mask.gamma\" = [2.0]\n\
             set.mask = [{ kind = \"evolved\", ratio = 0.5 }]\n",
        );
        let settings = &sweep.unwrap().points[0].settings;
        assert_eq!(settings[0].0, "mask={ kind = \"evolved\", ratio = 0.5 }");
        assert_eq!(settings[1].0, "mask.gamma=2.0");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        for (text, said) in [
            ("", "missing field `grid`"),
            ("grid = []", "no [[grid]]"),
            ("[[grid]]\nsets.a = [1]", "line 4: unknown field `sets`"),
            ("[[grid]]\nset.a = 1", "line 4: invalid type: integer"),
            ("\n[[grid]]\nset.a = []", "line 4: a has no value"),
            ("[[grid]]", "line 3: \"\" is to be the name of a folder"),
            ("[[grid]]\nset.a = [\"x/y\"]", "line 3: \"a=x/y\" is to be"),
            ("[[grid]]\nname = \".x\"", "would be hidden"),
            ("[[grid]]\nname = \"{b}\"\nset.a = [1]", "asks for b"),
            ("[[grid]]\nname = \"{b\"\nset.a = [1]", "without its }"),
            ("[[grid]]\nname = \"x\"\nset.a = [1, 2]", "two points are called x"),
            (
                "[[grid]]\nset.a = [1]\n[[grid]]\nname = \"x\"\nset.a = [1]",
                "line 5: x sets what a=1 does",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn settings_about_the_same_clash() {
        let sweep = parse("[[grid]]\nname = \"x\"\nset.\"mask.ratio\" = [0.5]").unwrap();
        let clashes = |given: &str| sweep.clash(&[Setting(given.to_owned())]).is_some();
        assert!(clashes("mask.ratio=0.4") && clashes("mask={ kind = \"none\" }"));
        assert!(clashes("mask.ratio.x=1"));
        assert!(!clashes("mask.ratios=1") && !clashes("training.epochs=1"));
    }
}
