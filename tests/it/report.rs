//! `mimbench report`: every number in the page is a record's, and a browser shows it without a word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mimbench::report::{
    AttentionMaps, BesideRecord, CellKey, ComputeRecord, DataRecord, ImageOutcomes, Measured,
    Outcomes, ProtocolRecord, Record, SCHEMA, Selection, SplitRecord, SubjectRecord,
};
use mimbench::spec::Kind;
use mimbench::stats::{Measure, Unit};
use serde_json::{Value, json};

use super::support::{Bench, Run};

const LAYERS: usize = 4;
const HEADS: usize = 3;
const CLASSES: u32 = 5;
const IMAGES: usize = 40;
const NAMES: [&str; CLASSES as usize] = ["ant", "bee", "cat", "dog", "eel"];
const KS: [usize; 4] = [1, 5, 20, 100];

/// A number between 0 and 1 that looks like nothing.
fn number(at: usize) -> f64 {
    ((at as f64 * 12.9898).sin() * 43758.5453).fract().abs()
}

fn split(images: usize, fingerprint: &str) -> SplitRecord {
    SplitRecord {
        images,
        fingerprint: fingerprint.repeat(8),
        skipped: 0,
    }
}

pub fn record(key: &str, name: &str, kind: Kind, measures: Vec<Measured>) -> Record {
    Record {
        schema: SCHEMA,
        cell: CellKey {
            key: key.repeat(8),
            subject: format!("subject of {name}"),
            protocol: format!("{kind}"),
            data: "data".to_owned(),
            seed: 0,
        },
        subject: SubjectRecord {
            name: name.to_owned(),
            path: Some(PathBuf::from("weights.safetensors")),
            card: None,
            blake3: Some(format!("{:08x}", name.len()).repeat(8)),
            dialect: Some("timm".to_owned()),
            architecture: json!({ "width": 192 }),
            choices: json!([]),
            ignored_keys: Vec::new(),
        },
        protocol: ProtocolRecord {
            kind,
            name: kind.name().to_owned(),
            version: 1,
            hash: format!("{:08x}", kind.name().len()).repeat(4),
            text: "[task]\nk = [1, 5]\nnote = \"a < b & c\"\n".to_owned(),
            modified: Vec::new(),
        },
        data: DataRecord {
            root: PathBuf::from("scenes"),
            dataset: None,
            classes: CLASSES as usize,
            limit: None,
            train: (kind == Kind::Knn).then(|| split(200, "0a1b")),
            val: split(IMAGES, "2c3d"),
            stamps: "0".repeat(32),
        },
        input: json!({ "size": 64 }),
        compute: ComputeRecord {
            engine: "candle".to_owned(),
            precision: "f32".to_owned(),
            device: "cpu".to_owned(),
            threads: 2,
            batch: 8,
            stored: "f32".to_owned(),
            decoder: "png 0.18".to_owned(),
            mimbench: "0.1.0".to_owned(),
            numerics: 1,
            created: "2026-01-02T03:04:05Z".to_owned(),
            wall_seconds: 1.5,
            encoded: 240,
            images_per_second: Some(160.0),
            peak_memory: Some(1 << 28),
        },
        selection: Selection::None,
        measures,
        notes: vec!["made up".to_owned()],
        beside: BesideRecord::default(),
        seal: String::new(),
    }
}

/// What the predictions amount to: top-1, top-5 and strict top-5 of every layer and k.
pub fn knn(outcomes: &Outcomes) -> Vec<Measured> {
    let mut measures = Vec::new();
    for (at, prediction) in outcomes.predictions.iter().enumerate() {
        let (layer, k) = (at / KS.len(), KS[at % KS.len()]);
        let right = prediction.top1.iter().zip(&outcomes.labels);
        let top1 = right.filter(|(class, label)| class == label).count();
        let top5 = prediction.top5.iter().filter(|hit| **hit).count();
        for (name, hits) in [("top1", top1), ("top5", top5), ("top5_strict", top5)] {
            measures.push(Measured {
                feature: format!("block {layer} cls norm"),
                layer: Some(layer),
                k: Some(k),
                headline: k == 20,
                ..Measured::of(Measure::from_hits(name, hits as u64, IMAGES as u64).unwrap())
            });
        }
    }
    measures
}

/// Statistics of every layer and head, diagnostics of every layer, CKA of every two.
fn attention(seed: usize) -> Vec<Measured> {
    let mut measures = Vec::new();
    let mut push = |name: &str, unit, scale: f64, layer, other_layer, head| {
        let value = scale * number(seed + measures.len());
        measures.push(Measured {
            feature: match head {
                Some(head) => format!("block {layer} head {head}"),
                None => format!("block {layer}"),
            },
            layer: Some(layer),
            other_layer,
            head,
            class: None,
            k: None,
            headline: head.is_none() && other_layer.is_none(),
            selection: Selection::None,
            learning_rate: None,
            measure: Measure {
                name: name.to_owned(),
                value,
                unit,
                n: IMAGES as u64,
                interval: other_layer.is_none().then_some([0.9 * value, 1.1 * value]),
                confidence: 0.95,
            },
        });
    };
    for layer in 0..LAYERS {
        for (name, unit, scale) in [
            ("nmi", Unit::Unitless, 0.4),
            ("distance", Unit::Pixels, 60.0),
            ("distance_raw", Unit::Pixels, 50.0),
            ("entropy", Unit::Nats, 5.0),
        ] {
            push(name, unit, scale, layer, None, None);
            for head in 0..HEADS {
                push(name, unit, scale, layer, None, Some(head));
            }
        }
        push("rank_me", Unit::Unitless, 100.0, layer, None, None);
        push("uniformity", Unit::Unitless, -3.0, layer, None, None);
        push("alignment", Unit::Unitless, 1.0, layer, None, None);
        for other in layer + 1..LAYERS {
            push("cka", Unit::Unitless, 1.0, layer, Some(other), None);
        }
    }
    measures
}

pub fn outcomes(seed: usize) -> Outcomes {
    let label = |i: usize| i as u32 % CLASSES;
    let predictions = |layer: usize, k: usize| {
        let class = |i: usize| match number(seed + i + layer + k) < 0.3 + 0.1 * layer as f64 {
            true => label(i),
            false => (label(i) + 1 + i as u32 % 2) % CLASSES,
        };
        ImageOutcomes {
            name: format!("block {layer} cls norm/k{k}"),
            top1: (0..IMAGES).map(class).collect(),
            top5: vec![true; IMAGES],
        }
    };
    Outcomes {
        paths: (0..IMAGES)
            .map(|i| format!("val/{}/{i}.png", NAMES[label(i) as usize]))
            .collect(),
        contents: (0..IMAGES).map(|i| [i as u8; 16]).collect(),
        labels: (0..IMAGES).map(label).collect(),
        predictions: (0..LAYERS)
            .flat_map(|layer| KS.map(|k| predictions(layer, k)))
            .collect(),
        values: Vec::new(),
        confusions: Vec::new(),
    }
}

/// A name that is markup wherever it is not escaped.
const HOSTILE: &str = "</script><script>boom()</script>&amp;\"'\u{1b}[31m ViT-B/16, 300 epochs";

fn samples() -> Vec<Record> {
    vec![
        record("0a1b", "MAE ViT-B/16", Kind::Knn, knn(&outcomes(1))),
        record("2c3d", HOSTILE, Kind::Knn, knn(&outcomes(2))),
        record("4e5f", "MAE ViT-B/16", Kind::Attention, attention(3)),
        record("6071", HOSTILE, Kind::Attention, attention(4)),
    ]
}

/// Results with the samples, and the page and the plots made of them.
struct Made {
    bench: Bench,
    records: BTreeMap<String, Record>,
    page: String,
}

impl Made {
    fn new() -> Self {
        let bench = Bench::empty();
        let results = bench.path("results");
        let records = samples();
        for (at, record) in records.iter().enumerate() {
            if record.protocol.kind == Kind::Knn {
                let outcomes = outcomes(at + 1);
                outcomes.write(&results, &record.cell.key).unwrap();
            }
            record.write(&results).unwrap();
        }
        bench.run(&["report", "--plots", "plots"]).ok();
        let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
        let key = |record: Record| (record.cell.key.clone(), record);
        Self {
            bench,
            records: records.into_iter().map(key).collect(),
            page,
        }
    }

    /// Checks one number of the page: its value is the record's to the last bit, and what is shown is
    /// the value rounded.
    fn check(&self, shown: Option<&str>, value: &str, key: &str, measure: &str) {
        let record = &self.records[key];
        let measured = &record.measures[measure.parse::<usize>().unwrap()];
        let value: f64 = value.parse().unwrap();
        assert_eq!(value, measured.measure.value, "{}", measured.feature);
        if let Some(shown) = shown {
            let decimals = shown.split_once('.').map_or(0, |(_, digits)| digits.len());
            assert_eq!(shown, format!("{value:.decimals$}"), "{}", measured.feature);
        }
    }
}

/// The value of an attribute within a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

#[test]
fn every_number_of_the_page_is_its_records() {
    let made = Made::new();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for part in made.page.split("<data ").skip(1) {
        let (tag, rest) = part.split_once('>').unwrap();
        let tag = format!(" {tag}");
        let value = attribute(&tag, "value").unwrap();
        let shown = rest.split('<').next().unwrap();
        match attribute(&tag, "data-record") {
            Some(key) => {
                let measure = attribute(&tag, "data-measure").unwrap();
                made.check(Some(shown), value, key, measure);
            }
            // Published, counted from the predictions, or computed from other numbers of the page.
            None => assert!(attribute(&tag, "data-measure").is_none(), "{tag}"),
        }
    }
    for part in made.page.split("<a ").skip(1) {
        let tag = format!(" {}", part.split_once('>').unwrap().0);
        let Some(key) = attribute(&tag, "data-record") else {
            continue;
        };
        let measure = attribute(&tag, "data-measure").unwrap();
        made.check(None, attribute(&tag, "data-value").unwrap(), key, measure);
        let (key, record) = made.records.get_key_value(key).unwrap();
        let feature = &record.measures[measure.parse::<usize>().unwrap()].feature;
        *seen.entry((key, feature)).or_default() += 1;
    }
    // Every layer and every head of every model is somewhere in a plot.
    let features = |kind| match kind {
        Kind::Knn => LAYERS,
        Kind::Attention => LAYERS * (1 + HEADS),
        Kind::Linear | Kind::LinearCached | Kind::Finetune | Kind::Classify | Kind::Segment => {
            unreachable!("none is made here")
        }
    };
    let kinds = made.records.values().map(|record| record.protocol.kind);
    assert_eq!(seen.len(), kinds.map(features).sum::<usize>());
}

#[test]
fn every_record_tells_where_it_comes_from() {
    let made = Made::new();
    for (key, record) in &made.records {
        let (_, details) = made
            .page
            .split_once(&format!("id=\"record-{key}\""))
            .unwrap_or_else(|| panic!("no record {key}"));
        let details = details.split("</details>").next().unwrap();
        for text in [
            record.subject.blake3.as_deref().unwrap(),
            &record.protocol.hash,
            &record.data.val.fingerprint,
            "k = [1, 5]\nnote = &quot;a &lt; b &amp; c&quot;",
            "candle f32 on cpu",
            "2026-01-02T03:04:05Z",
            "made up",
        ] {
            assert!(details.contains(text), "{text}");
        }
    }
}

#[test]
fn the_page_needs_nothing_and_runs_nothing_of_a_record() {
    let made = Made::new();
    let without_namespaces = made.page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http:", "https:", "src=\"/", "@import", "url("] {
        assert!(!without_namespaces.contains(part), "{part}");
    }
    assert_eq!(made.page.matches("<script>").count(), 1);
    assert!(!made.page.contains('\u{1b}'));
    made.bench.run(&["report", "--out", "again.html"]).ok();
    let again = std::fs::read_to_string(made.bench.path("again.html")).unwrap();
    assert_eq!(again, made.page);
}

#[test]
fn classes_and_confusions_are_counted_from_the_predictions() {
    let made = Made::new();
    let key = samples()[0].cell.key.clone();
    let outcomes = outcomes(1);
    let last = format!("block {} cls norm/k20", LAYERS - 1);
    let predictions = outcomes.predictions.iter().find(|p| p.name == last);
    let predicted = &predictions.unwrap().top1;
    let count = |label: u32, class: u32| {
        let pairs = outcomes.labels.iter().zip(predicted);
        pairs.filter(|&pair| pair == (&label, &class)).count()
    };
    let (_, section) = made.page.split_once("Class by class: <strong>MAE").unwrap();
    let section = section.split("</details>").next().unwrap();
    let per_class = IMAGES / CLASSES as usize;
    let mut confusions = 0;
    for (label, name) in NAMES.iter().enumerate() {
        let row = format!("<td>{name}</td><td class=\"number\">{per_class}</td>");
        let (_, rest) = section.split_once(&row).unwrap();
        let share = 100.0 * count(label as u32, label as u32) as f64 / per_class as f64;
        let value = format!("<data value=\"{share}\" data-outcomes=\"{key}\">");
        let cell = rest.split("</td>").next().unwrap();
        assert!(cell.contains(&value), "{value}: {cell}");
        for (class, other) in NAMES.iter().enumerate() {
            let n = count(label as u32, class as u32);
            let row = format!("<td>{name}</td><td>{other}</td><td class=\"number\">{n}</td>");
            assert_eq!(section.contains(&row), n > 0 && class != label, "{row}");
            confusions += usize::from(n > 0 && class != label);
        }
    }
    assert!(confusions > 3);
}

#[test]
fn what_may_be_compared_is() {
    let made = Made::new();
    let (_, section) = made
        .page
        .split_once("<section id=\"comparisons\">")
        .unwrap();
    let section = section.split("</section>").next().unwrap();
    let right = |seed| {
        let outcomes = outcomes(seed);
        let last = &outcomes.predictions[(LAYERS - 1) * KS.len() + 2];
        assert_eq!(last.name, format!("block {} cls norm/k20", LAYERS - 1));
        let right = last.top1.iter().zip(&outcomes.labels);
        right
            .map(|(class, label)| class == label)
            .collect::<Vec<bool>>()
    };
    let pairs = || right(1).into_iter().zip(right(2));
    let only = |a| pairs().filter(|&pair| pair == (a, !a)).count();
    let [a, b] = [only(true), only(false)];
    assert!(a > 0 && b > 0);
    // The hostile name comes first.
    let cells = format!("<td class=\"number\">{b}</td><td class=\"number\">{a}</td>");
    assert!(section.contains(&cells), "{cells}: {section}");
    assert!(section.contains("McNemar") && section.contains("disagree on most"));
    let winners = section.matches("✓ MAE ViT-B/16").count();
    assert_eq!(winners, a.min(5));
}

#[test]
fn which_of_several_blocks_was_taken_is_said() {
    let said = [
        "top-1 accuracy over k, last block that was read",
        "block 3 cls norm, the last of 4 blocks that were read, k = 20",
        "of several blocks that were read, the last is compared",
    ];
    let made = Made::new();
    for said in said {
        assert!(made.page.contains(said), "{said}");
    }
    // Records of one block have no such choice.
    let bench = Bench::empty();
    let results = bench.path("results");
    for (seed, (key, name)) in [("0a1b", "MAE"), ("2c3d", "dBOT")].into_iter().enumerate() {
        let mut outcomes = outcomes(seed);
        outcomes.predictions.truncate(KS.len());
        let record = record(key, name, Kind::Knn, knn(&outcomes));
        outcomes.write(&results, &record.cell.key).unwrap();
        record.write(&results).unwrap();
    }
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    assert!(page.contains("block 0 cls norm, k = 20") && page.contains("McNemar"));
    assert!(!page.contains("last block") && !page.contains("several blocks"));
}

#[test]
fn what_is_missing_beside_a_record_is_said() {
    let bench = Bench::empty();
    let results = bench.path("results");
    let records = samples();
    for (at, record) in records.iter().enumerate() {
        let key = &record.cell.key;
        outcomes(at).write(&results, key).unwrap();
        if record.protocol.kind == Kind::Attention {
            AttentionMaps::write_all(&[], &results, key).unwrap();
        }
        record.write(&results).unwrap();
        if record.protocol.kind == Kind::Attention {
            std::fs::remove_file(AttentionMaps::path(&results, key)).unwrap();
        }
        if at % 2 == 1 {
            std::fs::remove_file(Outcomes::path(&results, key)).unwrap();
        }
    }
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    let keys = records.iter().map(|record| &record.cell.key);
    let said: Vec<[bool; 3]> = keys
        .map(|key| {
            [
                format!("predictions are missing: records/{key}.outcomes.safetensors"),
                format!("values of every image are missing: records/{key}.outcomes.safetensors"),
                format!("attention maps are missing: records/{key}.maps.safetensors"),
            ]
            .map(|line| page.contains(&line))
        })
        .collect();
    let want = [
        [false, false, false],
        [true, false, false],
        [false, false, true],
        [false, true, true],
    ];
    assert_eq!(said, want);
    assert!(!page.contains("id=\"comparisons\""));
}

#[test]
fn runs_of_one_checkpoint_are_one_side_where_the_seed_alone_differs() {
    let sides = |other: &dyn Fn(&mut Record)| {
        let bench = Bench::empty();
        let results = bench.path("results");
        for (at, (key, name)) in [("0a1b", "MAE"), ("2c3d", "MAE"), ("4e5f", "dBOT")]
            .into_iter()
            .enumerate()
        {
            let mut record = record(key, name, Kind::Knn, knn(&outcomes(at)));
            if at == 1 {
                record.cell.seed = 1;
                other(&mut record);
            }
            outcomes(at).write(&results, &record.cell.key).unwrap();
            record.write(&results).unwrap();
        }
        bench.run(&["report"]).ok();
        let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
        let (_, section) = page.split_once("<section id=\"comparisons\">").unwrap();
        let table = section.split("</tbody>").next().unwrap();
        let rows = table.split("<tr><td>").skip(1);
        let names = rows.map(|row| row.split("</td>").next().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    assert_eq!(sides(&|_| ()), ["MAE", "dBOT"]);
    let differences: [&dyn Fn(&mut Record); 4] = [
        &|record| record.compute.numerics = 2,
        &|record| record.compute.engine = "torch".to_owned(),
        &|record| record.compute.precision = "bf16".to_owned(),
        &|record| record.compute.stored = "f16".to_owned(),
    ];
    for other in differences {
        assert_eq!(sides(other), ["MAE (seed 0)", "MAE (seed 1)", "dBOT"]);
    }
    let again = sides(&|record| {
        record.cell.seed = 0;
        record.compute.numerics = 2;
    });
    assert_eq!(again, ["MAE (numerics 1)", "MAE (numerics 2)", "dBOT"]);
}

#[test]
fn records_of_one_name_are_told_apart() {
    let bench = Bench::empty();
    let results = bench.path("results");
    let mut records = [
        record("0a1b", "MAE", Kind::Attention, attention(1)),
        record("2c3d", "MAE", Kind::Attention, attention(2)),
        record("4e5f", "MAE", Kind::Attention, attention(3)),
    ];
    records[1].cell.seed = 1;
    records[2].subject.blake3 = Some("ab".repeat(32));
    for record in &records {
        record.write(&results).unwrap();
    }
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    for name in [
        "MAE (00000003) (seed 0)",
        "MAE (00000003) (seed 1)",
        "MAE (abababab)",
    ] {
        assert!(page.contains(&format!("<td>{name}</td>")), "{name}");
    }
}

#[test]
fn plots_are_files_of_their_own() {
    let made = Made::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(made.bench.path("plots")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let document = roxmltree::Document::parse(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            document
                .root_element()
                .has_tag_name(("http://www.w3.org/2000/svg", "svg"))
        );
        assert!(
            !text.contains("var(") && !text.contains("href"),
            "{}",
            path.display()
        );
        for node in document
            .descendants()
            .filter(|node| node.has_tag_name("circle"))
        {
            let x: f64 = node.attribute("cx").unwrap().parse().unwrap();
            assert!((0.0..=420.0).contains(&x));
        }
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    for end in [
        "-k",
        "-layers",
        "-distance",
        "-nmi",
        "-heads-1",
        "-heads-2",
        "-cka-1",
        "-cka-2",
    ] {
        assert!(
            names.iter().any(|name| name.ends_with(end)),
            "{end}: {names:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_record_is_said() {
    let bench = Bench::empty();
    let results = bench.path("results");
    let refused = |said: &[&str]| {
        bench.run(&["report"]).refused(said);
        assert!(!bench.path("report.html").exists());
    };
    refused(&["no records in results"]);
    let record = &samples()[0];
    record.write(&results).unwrap();
    let path = Record::path(&results, &record.cell.key);
    let file = path.file_name().unwrap().to_str().unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&[file]);
    std::fs::write(&path, whole.replacen("\"k\": 1,", "\"k\": \"one\",", 1)).unwrap();
    refused(&[file, "measures[0]"]);
    std::fs::write(&path, whole.replace("\"n\": 40", "\"n\": 4000")).unwrap();
    refused(&[file, "changed after it was written"]);
    std::fs::write(&path, whole.replacen("\"schema\": 2", "\"schema\": 1", 1)).unwrap();
    refused(&[file, "schema 1"]);
    std::fs::write(&path, &whole).unwrap();
    let outcomes = Outcomes::path(&results, &record.cell.key);
    std::fs::write(outcomes, "no tensors").unwrap();
    refused(&["outcomes.safetensors is damaged"]);
}

/// The browser, where there is one.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        println!(
            "SKIPPED: no {} on PATH, so that no browser looks at the page",
            names.join(", ")
        );
    }
    found
}

/// Runs in a page that shows the report in a frame of so many pixels (a browser's window cannot be made
/// as narrow as a phone), and writes down what it finds there.
const OBSERVER: &str = r#"
const frame = document.querySelector("iframe");
addEventListener("load", () => {
  const page = frame.contentDocument;
  const numbers = (pick, value) => [...page.querySelectorAll(pick)].map((node) => [
    node.getAttribute(value), node.dataset.record, node.dataset.measure, node.textContent,
  ]);
  const link = page.querySelector("td a[href^='#record-']");
  link.click();
  const root = page.documentElement;
  document.querySelector("pre").textContent = JSON.stringify({
    width: frame.contentWindow.innerWidth,
    wide: root.scrollWidth,
    tables: numbers("data[data-record]", "value"),
    points: numbers("a[data-record]", "data-value"),
    dialog: page.querySelector("dialog[open]")?.textContent ?? "",
    link: link.title,
    theme: getComputedStyle(page.body).colorScheme,
  });
});
"#;

/// What the browser finds in the page at a width, and what it says.
fn look(browser: &Path, made: &Made, width: usize) -> (Value, String) {
    let escaped = made.page.replace('&', "&amp;").replace('"', "&quot;");
    let outer = format!(
        "<!doctype html><meta charset=utf-8><iframe width={width} height=800 style=\"border:0\" \
         srcdoc=\"{escaped}\"></iframe><pre></pre><script>{OBSERVER}</script>"
    );
    let path = made.bench.path(&format!("at-{width}.html"));
    std::fs::write(&path, outer).unwrap();
    let profile = made.bench.path("profile");
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        // The page is our own, and a sandbox cannot be had by root or in a container.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--window-size=1400,1000",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("file://{}", path.display()));
    let run = Run::of(&mut command).ok();
    let (_, found) = run.stdout.rsplit_once("<pre>").unwrap();
    let found = found.split("</pre>").next().unwrap();
    let found = found
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    let said: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    let found = serde_json::from_str(&found)
        .unwrap_or_else(|error| panic!("{error}: {found:?}: {}", run.stderr));
    (found, said.join("\n"))
}

#[test]
fn a_browser_shows_every_number_and_complains_of_nothing() {
    let Some(browser) = browser() else { return };
    let mut made = Made::new();
    for width in [1280, 390] {
        let (found, said) = look(&browser, &made, width);
        assert_eq!(said, "", "the console at {width}");
        assert_eq!(found["width"], width);
        let wide = found["wide"].as_u64().unwrap();
        assert!(wide <= width as u64, "the page is {wide} wide in {width}");
        for (kind, shown) in [("tables", true), ("points", false)] {
            let numbers = found[kind].as_array().unwrap();
            assert!(numbers.len() > 100, "{kind}: {}", numbers.len());
            for number in numbers {
                let [value, key, measure, text] = [0, 1, 2, 3].map(|i| number[i].as_str().unwrap());
                made.check(shown.then_some(text), value, key, measure);
            }
        }
        let dialog = found["dialog"].as_str().unwrap();
        let first = found["link"].as_str().unwrap().lines().next().unwrap();
        assert!(
            dialog.contains(first) && dialog.contains("blake3"),
            "{dialog}"
        );
    }
    // The observation itself: a page that fails is heard.
    made.page = made
        .page
        .replace("\"use strict\";", "\"use strict\"; missing();");
    let (_, said) = look(&browser, &made, 1280);
    assert!(said.contains("missing is not defined"), "{said}");
}
