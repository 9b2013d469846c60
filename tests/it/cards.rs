//! The cards of the repository, and what becomes of one whose weights are absent.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use mimbench::checkpoint::card::Card;
use mimbench::data::{Interpolation, Statistics};

use crate::support::{Bench, tiny};

/// Every card of the repository with its path, in the order of file names.
fn cards() -> Vec<(PathBuf, Card)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|x| x == "toml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), Card::read(&path).unwrap());
    paths.into_iter().map(read).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// `BEiT v2 ViT-B/16 (300 epochs)` is `beit-v2-vit-base-16-300-epochs`.
fn slug(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut slug = Vec::new();
    let mut after_vit = false;
    for word in words {
        slug.push(match word {
            "Ti" if after_vit => "tiny".to_owned(),
            "S" if after_vit => "small".to_owned(),
            "B" if after_vit => "base".to_owned(),
            "L" if after_vit => "large".to_owned(),
            "H" if after_vit => "huge".to_owned(),
            _ => word.to_lowercase(),
        });
        after_vit = word == "ViT";
    }
    slug.join("-")
}

#[test]
fn cards_are_named_after_their_files() {
    let cards = cards();
    assert!(cards.len() >= 53);
    let names: BTreeSet<_> = cards.iter().map(|(_, card)| &card.name).collect();
    assert_eq!(names.len(), cards.len());
    for (path, card) in &cards {
        assert_eq!(slug(&card.name), stem(path), "{}", card.name);
        let weights = card.file.path.to_str().unwrap();
        let extension = weights.strip_prefix(stem(path)).unwrap();
        assert!(
            [".pth", ".pt", ".safetensors"].contains(&extension),
            "{weights}"
        );
        assert!(card.describes(path, &path.with_file_name(weights)));
    }
}

#[test]
fn every_family_that_the_papers_compare_has_a_card() {
    let cards = cards();
    let families = [
        "BEiT",
        "BEiT v2",
        "BootMAE",
        "CAE",
        "CAE v2",
        "CLIP",
        "CMAE",
        "DINO",
        "DINOv2",
        "DMAE",
        "DeiT",
        "FD-CLIP",
        "Hybrid Distillation (MAE+CLIP)",
        "Hybrid Distillation (MAE+DeiT)",
        "MAE",
        "MEDiC",
        "MILAN",
        "MIM-HD",
        "MVP",
        "MaskAlign",
        "MaskDistill",
        "MoCo v3",
        "SdAE",
        "SemMAE",
        "SimMIM",
        "TinyMIM",
        "dBOT",
        "data2vec",
        "iBOT",
    ];
    for family in families {
        let start = format!("{family} ViT-");
        assert!(
            cards.iter().any(|(_, card)| card.name.starts_with(&start)),
            "{family}"
        );
    }
}

#[test]
fn cards_say_what_the_input_is_and_where_the_weights_are() {
    for (path, card) in cards() {
        let said = stem(&path);
        let file = &card.file;
        for address in file.url.iter().chain(&file.page) {
            assert!(address.starts_with("https://"), "{said}: {address}");
            assert!(!address.contains(char::is_whitespace), "{said}: {address}");
        }
        if let Some(hub) = &file.hf {
            let parts: Vec<_> = hub.split('/').collect();
            assert!(parts.len() >= 2, "{said}: {hub}");
            assert!(parts.iter().all(|part| !part.is_empty()), "{said}: {hub}");
        }
        let somewhere = file.url.is_some() || file.page.is_some() || file.hf.is_some();
        assert!(somewhere || card.note.is_some(), "{said} says no reason");
        let input = &card.input;
        assert!(!somewhere || input.mean.is_some(), "{said}");
        assert_eq!(input.mean.is_some(), input.std.is_some(), "{said}");
        assert_eq!(
            input.mean.is_some(),
            input.interpolation.is_some(),
            "{said}"
        );
        for statistic in input.mean.iter().chain(&input.std) {
            assert_eq!(statistic.len(), 3, "{said}");
            assert!(statistic.iter().all(|x| (0.2..0.6).contains(x)), "{said}");
        }
    }
}

#[test]
fn published_numbers_have_a_source_and_none_comes_twice() {
    for (path, card) in cards() {
        let said = stem(&path);
        let numbers = card.published.len() + card.anchors.len();
        assert!(numbers > 0, "{said}");
        let mut seen = BTreeSet::new();
        for published in &card.published {
            assert!(
                (1.0..99.0).contains(&published.value),
                "{said}: {published}"
            );
            let citation = &published.citation;
            let of_a_paper = citation.contains(", table ");
            assert!(of_a_paper || citation.contains('/'), "{said}: {citation}");
            assert!(published.epochs.is_none_or(|n| (100..=1600).contains(&n)));
            assert!(seen.insert(published.to_string()), "{said}: {published}");
        }
        for anchor in &card.anchors {
            assert!(anchor.citation.contains('/'), "{said}");
            let measure = format!("{} {}", anchor.dataset, anchor.measure);
            assert!(seen.insert(measure.clone()), "{said}: {measure}");
        }
    }
}

const IMAGENET: ([f32; 3], [f32; 3]) = Statistics::Imagenet.values();

/// Means and standard deviations by the names of the page; CLIP's are those of openai/CLIP
/// `clip/clip.py`, `_transform`.
const STATISTICS: [(&str, [f32; 3], [f32; 3]); 3] = [
    ("ImageNet", IMAGENET.0, IMAGENET.1),
    ("half", [0.5; 3], [0.5; 3]),
    (
        "CLIP",
        [0.481_454_66, 0.457_827_5, 0.408_210_73],
        [0.268_629_55, 0.261_302_6, 0.275_777_1],
    ),
];

/// `checkpoints/README.md` with the table of the cards as they are.
fn page() -> String {
    let path = folder().join("README.md");
    let page = std::fs::read_to_string(path).unwrap();
    let head = "|---|---|---|---|---|---|---|\n";
    let (before, after) = page.split_once(head).unwrap();
    let after: String = after
        .split_inclusive('\n')
        .skip_while(|line| line.starts_with('|'))
        .collect();
    let mut table = String::new();
    for (path, card) in cards() {
        let feature = card.feature.map_or("", |feature| match feature.norm {
            true => feature.token.name(),
            false => "raw",
        });
        let statistics = card.input.mean.clone().zip(card.input.std.clone());
        let statistics = statistics.map_or("", |said| {
            let known = STATISTICS
                .into_iter()
                .find(|(_, mean, std)| said.0 == mean && said.1 == std);
            known.unwrap().0
        });
        let resize = match (card.input.resize, card.input.interpolation) {
            (Some(side), Some(Interpolation::Bicubic)) => format!("{side} bicubic"),
            (Some(side), Some(Interpolation::Bilinear)) => format!("{side} bilinear"),
            _ => String::new(),
        };
        let links = [("file", &card.file.url), ("page", &card.file.page)];
        let from: Vec<_> = links
            .into_iter()
            .filter_map(|(word, link)| Some(format!("[{word}]({})", link.as_ref()?)))
            .collect();
        let from = if from.is_empty() {
            "nowhere".to_owned()
        } else {
            from.join(", ")
        };
        let file = path.file_name().unwrap().to_str().unwrap();
        writeln!(
            table,
            "| [{file}]({file}) | {} | {feature} | {statistics} | {resize} | {from} | {} |",
            card.name,
            card.published.len() + card.anchors.len()
        )
        .unwrap();
    }
    format!("{before}{head}{table}{after}")
}

#[test]
fn the_page_lists_every_card() {
    let found = std::fs::read_to_string(folder().join("README.md")).unwrap();
    // Compared without printing two whole pages.
    assert!(
        found == page(),
        "checkpoints/README.md: cargo test --test it cards -- --ignored writes its table again"
    );
}

#[test]
#[ignore = "writes the table of checkpoints/README.md"]
fn the_page_is_written() {
    std::fs::write(folder().join("README.md"), page()).unwrap();
}

#[test]
fn absent_weights_are_an_error_that_says_where_to_get_them() {
    let bench = Bench::empty();
    for name in ["mae-vit-base-16.toml", "mvp-vit-base-16.toml"] {
        let card = std::fs::read(folder().join(name)).unwrap();
        bench.write(&format!("cards/{name}"), card);
    }
    let place = bench.path("cards").canonicalize().unwrap();
    let put = |name: &str| place.join(name).to_str().unwrap().to_owned();

    let run = bench.run(&["inspect", "cards/mae-vit-base-16.toml"]);
    let weights = put("mae-vit-base-16.pth");
    run.refused(&[&weights, "cards/mae-vit-base-16.toml"]);
    let url = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth";
    for said in [url, "https://github.com/facebookresearch/mae", &weights] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let knn = bench.run(&["knn", "--ckpt", "cards/mae-vit-base-16.toml", "--data", "d"]);
    knn.refused(&["mae-vit-base-16.pth is not there"]);

    let run = bench.run(&["inspect", "cards/mvp-vit-base-16.toml"]);
    run.refused(&[&put("mvp-vit-base-16.pth")]);
    assert!(run.stderr.contains("knows no address"), "{}", run.stderr);
    assert!(run.stderr.contains("No code or weights"), "{}", run.stderr);
}

#[test]
fn a_card_names_weights_in_another_folder_or_format() {
    let bench = Bench::empty();
    let card = |path: &str| format!("name = \"Elsewhere\"\n[file]\npath = \"{path}\"\n");
    bench.write("cards/deep/er/readme", "");
    bench.model("cards/deep/er/tiny.safetensors", &tiny(), 1);
    let opened = |path: &str| {
        let run = bench.run(&["inspect", "--json", path]).ok();
        serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["error"].is_null()
    };
    bench.write("cards/tiny.toml", card("deep/er/tiny.safetensors"));
    assert!(opened("cards/tiny.toml"));
    bench.write("cards/deep/tiny.toml", card("../deep/er/tiny.safetensors"));
    assert!(opened("cards/deep/tiny.toml"));

    // Beside the weights: the same file in another format, then another file.
    bench.write("cards/deep/er/tiny.toml", card("tiny.pth"));
    assert!(opened("cards/deep/er/tiny.safetensors"));
    bench.write("cards/deep/er/tiny.toml", card("../../tiny.safetensors"));
    let run = bench.run(&["inspect", "cards/deep/er/tiny.safetensors"]);
    run.refused(&["cards/deep/er/tiny.toml", "../../tiny.safetensors"]);
}

#[test]
fn a_card_with_an_impossible_field_is_refused_by_its_name() {
    let bench = Bench::empty();
    bench.model("x.safetensors", &tiny(), 1);
    let card = |file: &str, rest: &str| {
        bench.write("c.toml", format!("name = \"x\"\n[file]\n{file}\n{rest}\n"));
        bench.run(&["inspect", "c.toml"])
    };
    let fine = "path = \"x.safetensors\"";
    card(fine, "").ok();
    let there = bench.path("x.safetensors");
    card(&format!("path = {:?}", there.to_str().unwrap()), "").ok();
    for (file, field) in [
        ("path = \"\"", "[file] path"),
        ("path = \"..\"", "[file] path"),
        ("path = \"c.toml\"", "[file] path"),
        ("path = \"x.safetensors\"\nblake3 = \"12\"", "[file] blake3"),
        (
            "path = \"x.safetensors\"\nblake3 = \"\\n\"",
            "[file] blake3",
        ),
    ] {
        card(file, "").refused(&["c.toml", field]);
    }
    for (rest, field) in [
        ("[model]\nheads = 0", "heads"),
        ("[model]\nheads = 1000000", "[model] heads"),
        ("[model]\nnorm_eps = nan", "[model] norm_eps"),
        ("[model]\nnorm_eps = -1e-6", "[model] norm_eps"),
        ("[model]\nnorm_eps = 1e300", "[model] norm_eps"),
        ("[input]\nresize = 0", "[input] resize"),
        ("[input]\nresize = 65537", "[input] resize"),
        ("[input]\nresize = 9223372036854775807", "[input] resize"),
        ("[input]\nsize = [0, 224]", "[input] size"),
        ("[input]\nmean = [0.5, nan, 0.5]", "[input] mean"),
        ("[input]\nmean = [0.5, inf, 0.5]", "[input] mean"),
        ("[input]\nmean = [0.5, 1e39, 0.5]", "[input] mean"),
        ("[input]\nstd = [0.5, 0.0, 0.5]", "[input] std"),
        ("[input]\nstd = [0.5, -1.0, 0.5]", "[input] std"),
        ("[input]\nstd = [0.5, 1e-45, 0.5]", "[input] std"),
        ("[input]\nstd = [0.5, nan, 0.5]", "[input] std"),
    ] {
        card(fine, rest).refused(&["c.toml", field]);
    }
    // What the parser refuses is one line as well.
    let run = card(fine, "[modle]\nheads = 1");
    run.refused(&["c.toml: line 4: ", "modle"]);
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
    bench.write("c.toml", "#".repeat((1 << 20) + 1));
    let run = bench.run(&["inspect", "c.toml"]);
    run.refused(&["c.toml: it is longer than 1048576 bytes"]);
    bench.write("c.toml", b"name = \"\xff\"");
    bench.run(&["inspect", "c.toml"]).refused(&["c.toml"]);
}

#[test]
#[cfg(unix)]
fn a_card_that_is_a_pipe_or_a_device_is_refused() {
    let bench = Bench::empty();
    let made = std::process::Command::new("mkfifo")
        .arg(bench.path("pipe.toml"))
        .status();
    assert!(made.unwrap().success());
    let run = bench.run(&["inspect", "pipe.toml"]);
    run.refused(&["pipe.toml", "no regular file"]);
    std::os::unix::fs::symlink("/dev/zero", bench.path("zero.toml")).unwrap();
    let run = bench.run(&["inspect", "zero.toml"]);
    run.refused(&["zero.toml", "no regular file"]);
}

#[test]
fn a_card_with_an_impossible_number_or_measure_is_refused() {
    let bench = Bench::empty();
    let published = |measure: &str, value: &str| {
        let text = format!(
            "name = \"x\"\n[file]\npath = \"x.pth\"\n[[published]]\nmeasure = \"{measure}\"\nvalue = {value}\ncitation = \"x/y\"\n"
        );
        bench.write("x.toml", text);
        bench.run(&["inspect", "x.toml"])
    };
    published("knn top1", "739.2").refused(&["x.toml", "739.2", "percent"]);
    published("knn top1", "nan").refused(&["x.toml", "NaN", "percent"]);
    published("knn top3", "73.9").refused(&["x.toml", "line 5", "knn top3", "knn top1"]);
}
