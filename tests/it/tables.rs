//! The papers' tables: that the files agree with each other and with the program, and what becomes of
//! records in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mimbench::checkpoint::card::{Card, PublishedMeasure};
use mimbench::data::{InputSpec, Interpolation, Resize, Statistics};
use mimbench::report::{
    BesideRecord, Cell, CellKey, ComputeRecord, DataRecord, KeptWeights, Mark, Measured,
    PRETRAINING_SCHEMA, PretrainingRecord, ProtocolRecord, Record, SCHEMA, Selection, Source,
    SplitRecord, SubjectRecord, Table, paper_table, published_page,
};
use mimbench::spec::{
    CardKey, ColumnDefinition, Content, FinetunePreset, Kind, LinearPreset, PaperFolders,
    PaperTable, Papers, Place, Protocol, PublishedRow, SegmentPreset, Setting,
};
use mimbench::stats::{CONFIDENCE, Measure, Unit};
use serde_json::Value;

use crate::support::{Bench, tiny};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn papers() -> Papers {
    Papers::builtin().unwrap()
}

/// Stems of a folder's files with this extension.
fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|x| x == extension));
    paths
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn id(table: &PaperTable) -> &str {
    &table.definition.id
}

#[test]
fn the_program_holds_every_table_and_every_card() {
    let papers = papers();
    let ids: BTreeSet<_> = papers
        .tables
        .iter()
        .map(|table| id(table).to_owned())
        .collect();
    assert_eq!(ids, stems("protocols/tables", "toml"));
    assert_eq!(ids, stems("results/published", "csv"));
    let numbered = |paper: &'static str, numbers: &'static [u32]| {
        numbers
            .iter()
            .map(move |number| format!("{paper}-{number}"))
    };
    let wanted: BTreeSet<_> = numbered("medic", &[1, 2, 3, 4, 5, 6, 12, 13])
        .chain(numbered("maskalign", &[1, 2, 3, 4, 5, 6, 7]))
        .chain(numbered("hybrid-distillation", &[1, 2, 3, 4, 5, 6, 7, 8]))
        .chain(numbered("mim-hd", &[1, 3, 4, 5]))
        .chain(["mim-hd-figure-6".to_owned()])
        .collect();
    assert_eq!(ids, wanted);
    // From the folders, and with no card but those that the program knows.
    let folder = |path: &str| Some(Path::new(ROOT).join(path));
    let read = Papers::read(&PaperFolders {
        tables: folder("protocols/tables"),
        published: folder("results/published"),
        cards: None,
    });
    let read = read.unwrap();
    assert_eq!(read.tables, papers.tables);
    assert_eq!(read.conflicts, papers.conflicts);
    let order: Vec<_> = papers.tables.iter().map(id).collect();
    assert_eq!(order[..3], ["medic-1", "medic-2", "medic-3"]);
    assert_eq!(order[order.len() - 1], "mim-hd-figure-6");
}

/// A definition that names each card of the repository is only read where the program knows them all.
#[test]
fn every_card_may_be_named() {
    let bench = Bench::empty();
    for card in stems("checkpoints", "toml") {
        bench.write(
            "t/medic-9.toml",
            format!("id = \"medic-9\"\npaper = \"medic\"\ntable = \"9\"\ntitle = \"t\"\n[[columns]]\nname = \"x\"\nkind = \"text\"\n[[rows]]\nrow = 1\ncheckpoint = \"{card}\"\n"),
        );
        bench.write("p/medic-9.csv", format!("{HEADER}medic,9,1,a,x,b,,,,c\n"));
        let folders = PaperFolders {
            tables: Some(bench.path("t")),
            published: Some(bench.path("p")),
            cards: None,
        };
        assert!(Papers::read(&folders).is_ok(), "{card}");
    }
}

#[test]
fn the_page_of_published_values_is_up_to_date() {
    let path = Path::new(ROOT).join("results/published/README.md");
    let found = std::fs::read_to_string(path).unwrap();
    let page = published_page(&papers()).unwrap();
    assert!(
        found == page,
        "mimbench table --write makes results/published/README.md again"
    );
}

/// What a card's measure is in a table: protocol, dataset and measure of the column, or a word of its
/// name where nothing measures it.
fn is_column(measure: PublishedMeasure, table: &PaperTable, column: usize) -> bool {
    use PublishedMeasure::{
        Ade20kMiou, CarsFinetuneTop1, Cifar100FinetuneTop1, CocoBoxAp, CocoMaskAp, FinetuneTop1,
        ImagenetteKnnTop1, ImagenetteKnnTop5, ImagewoofKnnTop1, ImagewoofKnnTop5,
        Inaturalist19FinetuneTop1, KnnTop1, LinearTop1,
    };
    let column = &table.definition.columns[column];
    let wanted = match measure {
        KnnTop1 => ["knn", "imagenet-1k", "top1"],
        ImagenetteKnnTop1 => ["knn", "imagenette", "top1"],
        ImagenetteKnnTop5 => ["knn", "imagenette", "top5"],
        ImagewoofKnnTop1 => ["knn", "imagewoof", "top1"],
        ImagewoofKnnTop5 => ["knn", "imagewoof", "top5"],
        LinearTop1 => ["linear", "imagenet-1k", "top1"],
        FinetuneTop1 => ["finetune", "imagenet-1k", "top1"],
        Cifar100FinetuneTop1 => ["finetune", "cifar-100", "top1"],
        CarsFinetuneTop1 => ["finetune", "cars", "top1"],
        Inaturalist19FinetuneTop1 => ["finetune", "inat-2019", "top1"],
        Ade20kMiou => ["segment", "ade20k", "miou"],
        CocoBoxAp => return column.name.ends_with("AP box"),
        CocoMaskAp => return column.name.ends_with("AP mask"),
    };
    column.measured.as_ref().is_some_and(|measured| {
        let found = [
            measured.protocol.name(),
            measured.dataset.name(),
            &measured.measure,
        ];
        found == wanted
    })
}

#[test]
fn cards_and_tables_have_the_same_numbers() {
    let papers = papers();
    let mut compared = 0;
    let mut elsewhere = BTreeSet::new();
    for stem in stems("checkpoints", "toml") {
        let path = Path::new(ROOT)
            .join("checkpoints")
            .join(format!("{stem}.toml"));
        for published in Card::read(&path).unwrap().published {
            let said = format!("{stem}: {published}");
            let tables = papers.tables.iter();
            let of_table: Vec<_> = tables
                .filter(|table| table.rows[0].cells[0].citation == published.citation)
                .collect();
            let Some(table) = of_table.first() else {
                elsewhere.insert(published.citation);
                continue;
            };
            // In the card's row, under what measures it or what nothing does (dense encoding, say); of a
            // checkpoint that is no row of the table (a teacher, say), anywhere.
            let listed =
                (table.definition.rows.iter()).any(|row| row.checkpoint.as_ref() == Some(&stem));
            let holds = |row: &PublishedRow| {
                let cells = row.cells.iter().enumerate();
                cells.into_iter().any(|(column, cell)| {
                    let definition = &table.definition.columns[column];
                    let box_or_mask = definition.name.contains(" AP ");
                    let unmeasured = definition.measured.is_none() && !box_or_mask;
                    let fits = is_column(published.measure, table, column) || unmeasured;
                    let number = matches!(cell.content, Content::Number { value, .. } if value == published.value);
                    number && (fits || !listed)
                })
            };
            let mut rows = table.rows.iter();
            let found = rows.any(|row| {
                let card = table.definition.card(row.number);
                holds(row) && (!listed || card.is_some_and(|card| card.stem == stem))
            });
            assert!(found, "{said}");
            compared += 1;
        }
    }
    assert!(
        compared >= 190,
        "only {compared} numbers of cards are in tables"
    );
    // What remains is of repositories.
    for citation in elsewhere {
        assert!(citation.contains('/'), "{citation} is no table here");
    }
}

/// One claim of each row that is a checkpoint, by what it says: the cells of one card and measure.
type Same<'a> = BTreeMap<(String, String), Vec<(&'a str, usize, &'a str, f64, usize, Option<f64>)>>;

#[test]
fn values_that_contradict_each_other_are_listed() {
    let papers = papers();
    let mut same: Same<'_> = BTreeMap::new();
    for table in &papers.tables {
        let columns = &table.definition.columns;
        let epochs = columns.iter().position(|column| {
            let name = column.name.to_lowercase();
            name.contains("epochs") && !name.contains("best")
        });
        for row in &table.rows {
            let Some(card) = table.definition.card(row.number) else {
                continue;
            };
            let epochs = epochs.and_then(|column| match row.cells[column].content {
                Content::Number { value, .. } => Some(value),
                Content::Text(_) | Content::Missing(_) => None,
            });
            for (cell, column) in row.cells.iter().zip(columns) {
                let measure = match &column.measured {
                    Some(measured) => format!("{measured:?}"),
                    None if column.name.ends_with("AP box") => "box".to_owned(),
                    None if column.name.ends_with("AP mask") => "mask".to_owned(),
                    None => continue,
                };
                if let Content::Number { value, printed } = &cell.content {
                    let decimals = printed
                        .split_once('.')
                        .map_or(0, |(_, digits)| digits.len());
                    same.entry((card.stem.clone(), measure)).or_default().push((
                        id(table),
                        row.number,
                        &column.name,
                        *value,
                        decimals,
                        epochs,
                    ));
                }
            }
        }
    }
    let mut contradictions = 0;
    for ((card, _), cells) in same {
        for (at, a) in cells.iter().enumerate() {
            for b in &cells[at + 1..] {
                // Within what rounding to the fewer decimals explains.
                let rounding = 0.5 * 10f64.powi(-(a.4.min(b.4) as i32)) + 1e-9;
                let other_epochs = a.5.is_some() && b.5.is_some() && a.5 != b.5;
                if (a.3 - b.3).abs() <= rounding || other_epochs {
                    continue;
                }
                contradictions += 1;
                let listed = papers.conflicts.iter().any(|conflict| {
                    conflict.concerns(a.0, a.1, a.2) && conflict.concerns(b.0, b.1, b.2)
                });
                assert!(listed, "{card}: {a:?} and {b:?} are in no conflict");
            }
        }
    }
    assert!(contradictions >= 12, "{contradictions}");
}

#[test]
fn the_conflicts_that_were_known_beforehand_are_listed() {
    let papers = papers();
    let claims = |values: &[&str]| {
        papers.conflicts.iter().any(|conflict| {
            values.iter().all(|value| {
                let mut claims = conflict.claims.iter();
                conflict.what.contains(value) || claims.any(|claim| claim.value.contains(value))
            })
        })
    };
    for values in [
        &["72.3", "75.7"][..],
        &["9.53", "ViT-B", "ViT-L"],
        &["26", "25"],
        &["80.12", "83.2"],
        &["83.3", "83.6", "83.9"],
        &["47.7", "50.2"],
    ] {
        assert!(claims(values), "{values:?}");
    }
    for conflict in &papers.conflicts {
        let values: BTreeSet<_> = conflict.claims.iter().map(|claim| &claim.value).collect();
        let prose = |claim: &mimbench::spec::Claim| matches!(claim.place, Place::Source(_));
        let some_prose = conflict.claims.iter().any(prose);
        assert!(values.len() > 1 || some_prose, "{}", conflict.what);
    }
}

#[test]
fn sources_are_papers_and_nothing_is_left_unsaid() {
    for table in &papers().tables {
        let paper = table.definition.paper.name();
        for row in &table.rows {
            for cell in &row.cells {
                assert!(
                    cell.citation.starts_with(paper),
                    "{}: {}",
                    id(table),
                    cell.citation
                );
                if let Content::Number { value, printed } = &cell.content {
                    assert_eq!(printed.parse::<f64>().unwrap(), *value);
                }
            }
        }
        let measured = table
            .definition
            .columns
            .iter()
            .filter(|c| c.measured.is_some());
        for column in measured {
            assert!(
                column.decimals.is_some() && column.better.is_some(),
                "{}",
                id(table)
            );
        }
    }
}

const HEADER: &str = "paper,table,row,label,column,value,missing,marks,note,citation\n";

/// A card of the repository, or one that says its name alone.
fn card_key(stem: &str) -> CardKey {
    let path = format!("{ROOT}/checkpoints/{stem}.toml");
    let text = std::fs::read_to_string(path).unwrap_or_else(|_| format!("name = \"{stem}\""));
    CardKey::of(stem, &text).unwrap()
}

/// A kNN record of top-1 and top-5 at k = 20 on all of ImageNet-1K.
fn record(card: Option<&str>, name: &str, settings: &[&str], seed: u64, hits: u64) -> Record {
    let set: Vec<_> = settings
        .iter()
        .map(|&text| Setting(text.to_owned()))
        .collect();
    let protocol = Protocol::builtin(Kind::Knn, &set).unwrap();
    let hash = |text: String| blake3::hash(text.as_bytes()).to_hex().to_string();
    let input = InputSpec {
        height: 224,
        width: 224,
        channels: 3,
        resize: Resize::Shorter(256),
        interpolation: Interpolation::Bicubic,
        mean: Statistics::Imagenet.values().0.to_vec(),
        std: Statistics::Imagenet.values().1.to_vec(),
    };
    let measured = |measure: &str, hits, k| Measured {
        feature: "block 11 cls norm".to_owned(),
        layer: Some(11),
        k: Some(k),
        headline: k == 20,
        ..Measured::of(Measure::from_hits(measure, hits, 50_000).unwrap())
    };
    let record = Record {
        schema: SCHEMA,
        cell: CellKey {
            key: hash(format!("{name} {settings:?} {seed} {hits}")),
            subject: hash(name.to_owned()),
            protocol: protocol.hash.clone(),
            data: hash("imagenet".to_owned()),
            seed,
        },
        subject: SubjectRecord {
            name: name.to_owned(),
            path: None,
            card: card.map(card_key),
            blake3: Some(hash(format!("weights of {name}"))),
            dialect: None,
            architecture: serde_json::json!({ "depth": 12 }),
            choices: Value::Null,
            ignored_keys: Vec::new(),
        },
        protocol: ProtocolRecord {
            kind: Kind::Knn,
            name: protocol.name.clone(),
            version: protocol.version,
            hash: protocol.hash.clone(),
            text: protocol.text.clone(),
            modified: protocol.modified.clone(),
        },
        data: DataRecord {
            root: "data/imagenet".into(),
            dataset: Some("imagenet-1k".to_owned()),
            classes: 1000,
            limit: None,
            train: Some(SplitRecord::default()),
            val: SplitRecord::default(),
            stamps: String::new(),
        },
        input: serde_json::to_value(&input).unwrap(),
        compute: ComputeRecord {
            engine: "candle".to_owned(),
            precision: "f32".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
            batch: 32,
            stored: "f32".to_owned(),
            decoder: String::new(),
            mimbench: "0.1.0".to_owned(),
            numerics: 1,
            created: "2026-01-01T00:00:00Z".to_owned(),
            wall_seconds: 1.0,
            encoded: 0,
            images_per_second: None,
            peak_memory: None,
        },
        selection: Selection::None,
        measures: vec![
            measured("top1", hits / 2, 10),
            measured("top1", hits, 20),
            measured("top5", hits + 100, 20),
        ],
        notes: Vec::new(),
        beside: BesideRecord::default(),
        seal: String::new(),
    };
    record.sealed()
}

/// MAE as it was published, to within noise.
fn mae() -> Record {
    record(Some("mae-vit-base-16"), "MAE ViT-B/16", &[], 0, 4770)
}

fn joined(id: &str, records: &[Record]) -> Table {
    joined_with(id, records, &[])
}

fn joined_with(id: &str, records: &[Record], runs: &[PretrainingRecord]) -> Table {
    let papers = papers();
    paper_table(papers.table(id).unwrap(), records, runs, &papers.conflicts)
}

/// Cells of a column, from top to bottom.
fn column<'a>(table: &'a Table, name: &str) -> Vec<&'a Cell> {
    let place = table.columns.iter().position(|column| column.name == name);
    let place = place.unwrap_or_else(|| panic!("{name} in {:?}", table.columns));
    table.rows.iter().map(|row| &row[place]).collect()
}

/// The rows whose label begins so.
fn rows(table: &Table, label: &str) -> Vec<usize> {
    let labels = column(table, "row").into_iter().enumerate();
    let begins = |cell: &Cell| matches!(cell, Cell::Text(text) if text.starts_with(label));
    labels
        .filter(|(_, cell)| begins(cell))
        .map(|(row, _)| row)
        .collect()
}

fn note<'a>(table: &'a Table, words: &str) -> &'a str {
    let mut notes = table.footnotes.iter().filter(|note| note.contains(words));
    let found = notes.next();
    found.unwrap_or_else(|| panic!("{words} in {:#?}", table.footnotes))
}

fn marks(cell: &Cell) -> &[Mark] {
    match cell {
        Cell::Value { marks, .. } => marks,
        other => panic!("{other:?}"),
    }
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Value { value, .. } => *value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_without_records_is_what_was_published() {
    let table = joined("medic-1", &[]);
    assert_eq!(table.rows.len(), 8);
    assert_eq!(
        table.columns.len(),
        1 + papers().table("medic-1").unwrap().definition.columns.len()
    );
    note(&table, "nothing measured: ");
    let top1 = column(&table, "ImageNet-1K top-1");
    assert_eq!(number(top1[0]), 9.53);
    assert!(marks(top1[7]).contains(&Mark::Selected));
    let cited = Source::Paper {
        citation: "MEDiC, table 1".to_owned(),
    };
    assert!(matches!(top1[0], Cell::Value { source: Some(source), .. } if *source == cited));
}

#[test]
fn a_measured_value_stands_beside_the_published_one() {
    let record = mae();
    let table = joined("medic-1", std::slice::from_ref(&record));
    assert_eq!(table.rows.len(), 8);
    let measured = column(&table, "ImageNet-1K top-1 measured");
    let Cell::Value {
        value,
        interval: Some(interval),
        decimals: 2,
        marks,
        source: Some(Source::Record { key, measure: 1 }),
    } = measured[0]
    else {
        panic!("{:?}", measured[0]);
    };
    assert_eq!(
        (*value, marks.as_slice(), key),
        (9.54, &[][..], &record.cell.key)
    );
    assert_eq!(Some(*interval), record.measures[1].measure.interval);
    let difference = number(column(&table, "ImageNet-1K top-1 difference")[0]);
    assert!((difference - 0.01).abs() < 1e-9, "{difference}");
    let noise = Cell::Text("yes (in the interval)".to_owned());
    assert_eq!(column(&table, "ImageNet-1K top-1 within noise")[0], &noise);
    assert!(matches!(measured[1], Cell::Missing(_)));
    assert!(
        !table
            .columns
            .iter()
            .any(|column| column.name == "Imagenette top-1 measured")
    );
    note(&table, "knn version 1");
    assert!(!table.footnotes.iter().any(|note| note.contains('§')));

    let far = super::tables::record(Some("mae-vit-base-16"), "MAE ViT-B/16", &[], 0, 6000);
    let table = joined("medic-1", &[far]);
    let noise = column(&table, "ImageNet-1K top-1 within noise");
    assert!(matches!(noise[0], Cell::Text(text) if text == "no (outside the interval)"));
}

/// `hits` of 100 images.
fn of_hundred(seed: u64, hits: u64) -> Record {
    let mut record = record(Some("mae-vit-base-16"), "MAE ViT-B/16", &[], seed, hits);
    record.data.dataset = Some("imagenette".to_owned());
    for measured in &mut record.measures {
        measured.measure = Measure::from_hits(&measured.measure.name, hits, 100).unwrap();
    }
    record
}

#[test]
fn what_lies_in_the_interval_is_within_noise() {
    // Wilson's interval of 95 of 100 is [88.82, 97.85]: 89.35 is in it, more than half its length
    // below the value.
    let table = joined("medic-1", &[of_hundred(0, 95)]);
    let measured = column(&table, "Imagenette top-5 measured")[0];
    assert!(
        matches!(measured, Cell::Value { interval: Some([low, _]), .. } if (low - 88.82).abs() < 0.01)
    );
    assert_eq!(number(column(&table, "Imagenette top-5")[0]), 89.35);
    let noise = |table: &Table| column(table, "Imagenette top-5 within noise")[0].clone();
    assert_eq!(
        noise(&table),
        Cell::Text("yes (in the interval)".to_owned())
    );
    // No interval goes beyond 100 %.
    let seeds = [of_hundred(0, 96), of_hundred(1, 100), of_hundred(2, 98)];
    let table = joined("medic-1", &seeds);
    let measured = column(&table, "Imagenette top-5 measured")[0];
    assert!(
        matches!(measured, Cell::Value { interval: Some([low, 100.0]), .. } if *low > 89.35),
        "{measured:?}"
    );
    assert!(matches!(noise(&table), Cell::Text(text) if text.starts_with("no (±")));
}

#[test]
fn a_protocol_that_differs_from_the_papers_is_marked_with_its_settings() {
    let other = record(
        Some("mae-vit-base-16"),
        "MAE ViT-B/16",
        &["task.temperature=0.1", "task.vote=majority"],
        0,
        4770,
    );
    let table = joined("medic-1", &[other]);
    let measured = column(&table, "ImageNet-1K top-1 measured");
    assert_eq!(marks(measured[0]), [Mark::Modified, Mark::Differs]);
    let note = note(&table, "§");
    for words in [
        "MAE (ImageNet-1K top-1): ",
        "task.temperature is 0.1, the paper's is 0.07",
        "task.vote is majority, the paper's is dino",
    ] {
        assert!(note.contains(words), "{note}");
    }

    // What `card` led to counts, and so do settings of which the paper says nothing.
    let mut card = mae();
    card.measures[1].feature = "block 11 mean_patch raw".to_owned();
    card.input["mean"] = serde_json::json!([0.5, 0.5, 0.5]);
    let table = joined("medic-1", &[card]);
    let note = self::note(&table, "§");
    for words in [
        "input.normalise is card, the paper's is imagenet",
        "task.feature is card, the paper's is cls",
        "task.norm is card, the paper's is norm",
    ] {
        assert!(note.contains(words), "{note}");
    }
    let index = record(Some("mae-vit-base-16"), "x", &["task.search=hnsw"], 0, 4770);
    let table = joined("medic-1", &[index]);
    self::note(&table, "task.search is hnsw, the usual is exact");

    // The last block is the last block, among others or alone; another one is not.
    let all = |layer| {
        let mut record = record(Some("mae-vit-base-16"), "x", &["task.layers=all"], 0, 4770);
        record.measures[1].layer = Some(layer);
        joined("medic-1", &[record])
    };
    assert!(
        !all(11)
            .footnotes
            .iter()
            .any(|note| note.contains("task.layers"))
    );
    self::note(&all(10), "task.layers is all, the paper's is last");
}

#[test]
fn a_setting_that_leads_to_the_checkpoints_own_is_no_difference() {
    let own = |mean: &str| {
        let settings = [
            "input.normalise=imagenet",
            "task.feature=cls",
            "task.norm=norm",
        ];
        let mut record = record(Some("mae-vit-base-16"), "MAE ViT-B/16", &settings, 0, 4770);
        let choice = |field: &str, value: &str| serde_json::json!({ "field": field, "value": value, "from": "card" });
        record.subject.choices = serde_json::json!([
            choice("mean", mean),
            choice("std", "[0.229,0.224,0.225]"),
            choice("feature", "cls norm"),
        ]);
        let column = ColumnDefinition {
            paper_settings: BTreeMap::new(),
            ..papers().table("medic-1").unwrap().definition.columns[6].clone()
        };
        let mut table = papers().table("medic-1").unwrap().clone();
        table.definition.columns[6] = column;
        paper_table(&table, &[record], &[], &[])
    };
    let same = own("[0.485,0.456,0.406]");
    let measured = column(&same, "ImageNet-1K top-1 measured");
    assert_eq!(marks(measured[0]), [Mark::Modified]);
    let other = own("[0.5,0.5,0.5]");
    note(&other, "input.normalise is imagenet, the usual is card");
    assert!(!other.footnotes.iter().any(|note| note.contains("task.")));
}

#[test]
fn a_coarser_precision_is_told() {
    let precision = |name: &str| {
        let mut record = mae();
        record.compute.precision = name.to_owned();
        joined("medic-1", &[record])
    };
    note(&precision("bf16"), "computed in bf16");
    assert!(!precision("f64").footnotes.iter().any(|n| n.contains('§')));
}

#[test]
fn images_that_are_not_all_there_are_told() {
    let mut part = mae();
    part.data.dataset = None;
    part.data.root = "data/imagenet-1k".into();
    part.data.limit = Some(100);
    let table = joined("medic-1", &[part.clone()]);
    let note = self::note(&table, "§");
    assert!(
        note.contains("data/imagenet-1k is not known to be all of imagenet-1k"),
        "{note}"
    );
    assert!(note.contains("--limit 100 images a split"), "{note}");
    // Under another name the images are not ImageNet's, and the table says that it leaves them out.
    part.data.root = "data/photos".into();
    let table = joined("medic-1", &[part]);
    assert_eq!(table.rows.len(), 8);
    self::note(
        &table,
        "not in this table: 1 records on other images (data/photos)",
    );
}

#[test]
fn records_are_rows_by_their_card_and_no_record_is_dropped() {
    let records = [
        // Called like a row, but no card says that it is.
        record(None, "MAE", &[], 0, 4770),
        record(Some("dino-vit-base-16"), "DINO ViT-B/16", &[], 0, 38_000),
        record(Some("my-own"), "Mine", &[], 0, 100),
    ];
    let table = joined("medic-1", &records);
    assert_eq!(table.rows.len(), 11);
    let measured = column(&table, "ImageNet-1K top-1 measured");
    assert!(
        measured[..8]
            .iter()
            .all(|cell| matches!(cell, Cell::Missing(_)))
    );
    let names: Vec<_> = column(&table, "row")[8..].to_vec();
    let names: Vec<_> = names
        .into_iter()
        .map(|cell| match cell {
            Cell::Text(text) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    // The paper has a row of the second's name.
    let weights = &records[0].subject.blake3.as_ref().unwrap()[..8];
    let mae = format!("MAE (weights {weights})");
    assert_eq!(names, ["DINO ViT-B/16", &mae, "Mine"]);
    let not_published = Cell::Missing("not in the paper".to_owned());
    assert_eq!(column(&table, "ImageNet-1K top-1")[8], &not_published);
    assert_eq!(column(&table, "Backbone")[8], &not_published);
    assert_eq!(
        column(&table, "ImageNet-1K top-1 difference")[8],
        &not_published
    );
    assert_eq!(number(measured[8]), 76.0);
}

#[test]
fn a_card_is_a_rows_by_what_it_says() {
    let mut own = record(Some("mae-vit-base-16"), "my own net", &[], 0, 4770);
    let text = "name = \"my own net\"\n[file]\npath = \"mae-vit-base-16.pth\"\n";
    own.subject.card = Some(CardKey::of("mae-vit-base-16", text).unwrap());
    let table = joined("medic-1", &[own]);
    let measured = column(&table, "ImageNet-1K top-1 measured");
    assert_eq!(measured.len(), 9);
    assert!(matches!(measured[0], Cell::Missing(_)));
    assert_eq!(number(measured[8]), 9.54);
    let name = Cell::Text("my own net".to_owned());
    assert_eq!(table.rows[8][0], name);

    // The repository's card, with the weights elsewhere.
    let home = format!("{ROOT}/checkpoints/mae-vit-base-16.toml");
    let text = std::fs::read_to_string(home).unwrap();
    let text = text.replace("path = \"mae", "path = \"../weights/mae");
    assert!(text.contains("../weights"));
    let mut edited = mae();
    edited.subject.card = Some(CardKey::of("mae-vit-base-16", &text).unwrap());
    let weights = edited.subject.blake3.clone().unwrap();
    let table = joined("medic-1", &[edited]);
    assert_eq!(table.rows.len(), 8);
    assert_eq!(
        number(column(&table, "ImageNet-1K top-1 measured")[0]),
        9.54
    );
    // Whatever the weights are, they are named.
    let words = format!("measured of MAE ViT-B/16, weights {}", &weights[..8]);
    assert!(note(&table, &words).starts_with("MAE (ImageNet-1K top-1): "));
}

/// The program's own record, under the repository's card and then under another one of the same name.
#[test]
fn a_record_says_which_card_its_checkpoint_has() {
    let bench = Bench::empty();
    bench.dataset("imagenette", (8, 4), 8, 150);
    bench.model("mae-vit-base-16.safetensors", &tiny(), 1);
    let home = format!("{ROOT}/checkpoints/mae-vit-base-16.toml");
    let card = std::fs::read_to_string(home).unwrap();
    let label = |card: &str| {
        bench.write("mae-vit-base-16.toml", card);
        let args = ["knn", "--threads", "1", "--data", "imagenette"];
        let ckpt = ["--ckpt", "mae-vit-base-16.safetensors"];
        bench.run(&[&args[..], &ckpt].concat()).ok();
        let run = bench.run(&["table", "medic-1", "--format", "csv"]);
        let run = run.ok();
        let mut lines = run.stdout.lines();
        let mut column = lines.next().unwrap().split(',');
        let at = column.position(|name| name.starts_with("Imagenette top-1 measured"));
        let measured = lines.find(|line| {
            let cell = line.split(',').nth(at.unwrap());
            cell.is_some_and(|cell| cell.parse::<f64>().is_ok())
        });
        measured.unwrap().split(',').next().unwrap().to_owned()
    };
    assert_eq!(label(&card), "MAE");
    let own = card.replacen("MAE ViT-B/16", "my own net", 1);
    assert_eq!(label(&own), "my own net");
}

#[test]
fn seeds_become_one_value_with_their_spread() {
    let seeds = [4700, 4800, 4900].into_iter().zip(0..);
    let records: Vec<_> = seeds
        .map(|(hits, seed)| record(Some("mae-vit-base-16"), "MAE ViT-B/16", &[], seed, hits))
        .collect();
    let table = joined("medic-1", &records);
    assert_eq!(table.rows.len(), 8);
    let measured = column(&table, "ImageNet-1K top-1 measured")[0];
    let Cell::Value {
        value,
        interval: Some([low, high]),
        source: None,
        ..
    } = measured
    else {
        panic!("{measured:?}");
    };
    assert!((value - 9.6).abs() < 1e-9);
    // Wider than the images alone leave it.
    assert!((high - low) / 2.0 > 0.27 && low < value && value < high);
    // Every record of the mean is named.
    let [a, b, c] = [0, 1, 2].map(|seed: usize| &records[seed].cell.key[..8]);
    note(
        &table,
        &format!(
            "mean of seeds 0 (record {a}), 1 (record {b}), 2 (record {c}), standard deviation 0.200"
        ),
    );
}

#[test]
fn protocols_are_never_mixed_without_a_word() {
    let records = [
        mae(),
        record(
            Some("mae-vit-base-16"),
            "MAE ViT-B/16",
            &["task.temperature=0.1"],
            0,
            5000,
        ),
        record(Some("medic-vit-base-16"), "MEDiC ViT-B/16", &[], 0, 36_960),
        record(
            Some("beit-vit-base-16"),
            "BEiT ViT-B/16",
            &["task.temperature=0.2"],
            0,
            900,
        ),
    ];
    let table = joined("medic-1", &records);
    let top1 = column(&table, "ImageNet-1K top-1 measured");
    let mae = rows(&table, "MAE");
    assert_eq!(mae, [0, 1]);
    assert_eq!(marks(top1[0]), []);
    assert_eq!(marks(top1[1]), [Mark::Modified, Mark::Differs, Mark::Mixed]);
    let beit = rows(&table, "BEiT");
    assert!(beit.len() == 1 && marks(top1[beit[0]]).contains(&Mark::Mixed));
    // Each hash that is not the column's own is named, and so is the column's.
    for record in &records {
        let hash = &record.protocol.hash[..8];
        note(&table, hash);
    }
    let mixed = note(&table, &records[3].protocol.hash[..8]);
    assert!(mixed.starts_with("¶ BEiT (ImageNet-1K top-1): "), "{mixed}");
    // The published value stands in both rows of MAE's.
    assert_eq!(number(column(&table, "ImageNet-1K top-1")[1]), 9.53);
}

/// A record on another dataset than ImageNet-1K.
fn on(dataset: &str, settings: &[&str]) -> Record {
    let card = Some("mae-vit-base-16");
    let mut record = record(card, "MAE ViT-B/16", settings, 0, 30_000);
    record.data.dataset = Some(dataset.to_owned());
    record.data.root = format!("data/{dataset}").into();
    record.cell.data = dataset.to_owned();
    record
}

#[test]
fn a_row_holds_one_protocol() {
    let layers = ["task.layers=all"];
    let records = [
        on("imagenette", &[]),
        on("imagenette", &layers),
        on("imagewoof", &layers),
    ];
    let hash = |record: &Record| record.protocol.hash[..8].to_owned();
    let table = joined("medic-1", &records);
    let rows = rows(&table, "MAE");
    assert_eq!(rows.len(), 2);
    let label = format!("MAE (protocol {})", hash(&records[0]));
    assert_eq!(table.rows[rows[1]][0], Cell::Text(label));
    let nette = column(&table, "Imagenette top-1 measured");
    let woof = column(&table, "Imagewoof top-1 measured");
    // The protocol that most was measured under, in all columns.
    assert_eq!(marks(nette[0]), [Mark::Modified]);
    assert_eq!(marks(woof[0]), [Mark::Modified]);
    assert_eq!(marks(nette[1]), [Mark::Mixed]);
    let elsewhere = Cell::Missing("measured in another row".to_owned());
    assert_eq!(woof[1], &elsewhere);
    let mixed = format!("({}), not {}", hash(&records[0]), hash(&records[1]));
    note(&table, &mixed);
    let other = column(&table, "Imagewoof top-1 measured")[2];
    assert_eq!(other, &Cell::Missing("not measured".to_owned()));
}

#[test]
fn protocols_that_differ_by_their_dataset_share_a_row() {
    let records = ["imagenette", "imagewoof"]
        .map(|dataset| on(dataset, &[&format!("data.dataset={dataset}")]));
    assert_ne!(records[0].protocol.hash, records[1].protocol.hash);
    let table = joined("medic-1", &records);
    assert_eq!(rows(&table, "MAE").len(), 1);
    for name in ["Imagenette top-1 measured", "Imagewoof top-1 measured"] {
        assert_eq!(marks(column(&table, name)[0]), [Mark::Modified]);
    }
    for record in &records {
        note(&table, &record.protocol.hash[..8]);
    }
}

#[test]
fn records_that_differ_otherwise_are_rows_of_their_own() {
    let mut again = mae();
    again.compute.engine = "torch".to_owned();
    let mut f16 = mae();
    f16.compute.stored = "f16".to_owned();
    let mut weights = mae();
    weights.cell.subject = "other".to_owned();
    let same_seed = mae();
    let table = joined("medic-1", &[mae(), again, f16, weights, same_seed]);
    let rows = rows(&table, "MAE");
    assert_eq!(rows.len(), 5);
    let labels: BTreeSet<_> = rows
        .iter()
        .map(|&row| format!("{:?}", table.rows[row][0]))
        .collect();
    assert_eq!(labels.len(), 5, "{labels:?}");
    assert_eq!(table.check(), Ok(()));
}

#[test]
fn a_record_without_the_number_says_so() {
    let mut record = mae();
    record.measures.retain(|measured| measured.k != Some(20));
    let table = joined("medic-1", &[record]);
    let missing = Cell::Missing("the record has no top1 at k = 20".to_owned());
    assert_eq!(column(&table, "ImageNet-1K top-1 measured")[0], &missing);
}

#[test]
fn every_format_of_every_table_is_rendered() {
    let bench = Bench::empty();
    mae().write(&bench.path("results")).unwrap();
    for format in ["terminal", "markdown", "latex", "csv", "json", "html"] {
        let run = bench.run(&["table", "medic-1", "--format", format]).ok();
        assert!(
            run.stdout.contains("73.92") && run.stdout.contains("9.54"),
            "{format}"
        );
        assert!(run.stderr.is_empty());
        bench.run(&["table", "--format", format]).ok();
        let run = bench
            .run(&["table", "--conflicts", "--format", format])
            .ok();
        // Markdown escapes what might begin a list.
        let text = run.stdout.replace('\\', "");
        assert!(text.contains("75.7") && text.contains("80.12"), "{format}");
    }
    let list = bench.run(&["table"]).ok().stdout;
    for table in &papers().tables {
        assert!(list.contains(&format!(" {} ", id(table))), "{}", id(table));
        bench.run(&["table", id(table)]).ok();
    }
}

#[test]
fn tables_that_records_fill_are_written_beside_them() {
    let bench = Bench::empty();
    let results = bench.path("results");
    let papers = papers();
    let none = mimbench::run::table::regenerate(&papers, &results).unwrap();
    assert!(none.is_empty());
    mae().write(&results).unwrap();
    let written = mimbench::run::table::regenerate(&papers, &results).unwrap();
    let stems: Vec<_> = written
        .iter()
        .map(|path| path.file_stem().unwrap())
        .collect();
    let fits = |table: &&PaperTable| {
        let columns = table.definition.columns.iter();
        let mut measured = columns.filter_map(|column| column.measured.as_ref());
        measured.any(|measured| {
            (measured.protocol.name(), measured.dataset.name()) == ("knn", "imagenet-1k")
        })
    };
    let wanted: Vec<_> = papers.tables.iter().filter(fits).map(id).collect();
    assert_eq!(stems, wanted);
    let text = std::fs::read_to_string(results.join("tables/medic-1.md")).unwrap();
    assert!(text.contains("9.54"), "{text}");
}

#[test]
fn an_unknown_table_is_refused_with_the_nearest() {
    let bench = Bench::empty();
    let run = bench.run(&["table", "medic1"]);
    run.refused(&["no table is called medic1", "mim-hd-figure-6"]);
    assert!(
        run.stderr.contains("the nearest id is medic-1\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_damaged_record_stops_the_table() {
    let bench = Bench::empty();
    mae().write(&bench.path("results")).unwrap();
    bench.write("results/records/other.json", "{\"schema\": 1}");
    bench
        .run(&["table", "medic-1"])
        .refused(&["results/records/other.json", "schema 1"]);
}

/// The repository's own tables in a bench, `t/` and `p/`, one text of a file replaced.
fn changed(file: &str, from: &str, to: &str) -> Bench {
    let bench = Bench::empty();
    for (home, folder, extension) in [
        ("protocols/tables", "t", "toml"),
        ("results/published", "p", "csv"),
        ("results/published/conflicts", "p/conflicts", "toml"),
    ] {
        for stem in stems(home, extension) {
            let name = format!("{stem}.{extension}");
            let text = std::fs::read_to_string(Path::new(ROOT).join(home).join(&name)).unwrap();
            let path = format!("{folder}/{name}");
            if path == file {
                assert!(text.contains(from), "{from}");
                bench.write(&path, text.replacen(from, to, 1));
            } else {
                bench.write(&path, text);
            }
        }
    }
    bench
}

#[test]
fn damaged_tables_are_refused_by_file_and_field() {
    for (file, from, to, said) in [
        (
            "p/medic-1.csv",
            ",\"MEDiC, table 1\"",
            ",",
            &["p/medic-1.csv: line 2", "citation"][..],
        ),
        (
            "p/medic-1.csv",
            "medic,1,1,",
            "medix,1,1,",
            &["p/medic-1.csv: line 2", "paper", "medix"],
        ),
        (
            "p/medic-1.csv",
            "54.75",
            "54,75",
            &["p/medic-1.csv: line 4", "11 fields"],
        ),
        (
            "p/medic-1.csv",
            "54.75",
            "54.75%",
            &["p/medic-1.csv: line 4", "value", "54.75%"],
        ),
        (
            "p/medic-12.csv",
            "selected",
            "chosen",
            &["p/medic-12.csv: line", "marks", "chosen"],
        ),
        (
            "t/medic-1.toml",
            "name = \"Epochs\"",
            "name = \"Epoch\"",
            &["p/medic-1.csv: line 3", "\"Epochs\""],
        ),
        (
            "t/medic-1.toml",
            "row = 8",
            "row = 80",
            &["p/medic-1.csv", "row 80"],
        ),
        (
            "t/medic-1.toml",
            "mae-vit-base-16",
            "mae-vit-base",
            &["t/medic-1.toml", "rows: row 1", "mae-vit-base"],
        ),
        (
            "p/conflicts/medic.toml",
            "value = \"72.3\"",
            "value = \"72.4\"",
            &["p/conflicts/medic.toml", "72.3, not 72.4"],
        ),
    ] {
        let bench = changed(file, from, to);
        let run = bench.run(&["table", "--tables", "t", "--published", "p"]);
        run.refused(said);
    }
    let bench = changed("", "", "");
    bench
        .run(&["table", "--tables", "t", "--published", "p"])
        .ok();
    std::fs::remove_file(bench.path("p/medic-3.csv")).unwrap();
    let run = bench.run(&["table", "--tables", "t", "--published", "p"]);
    run.refused(&["t/medic-3.toml belongs to no medic-3.csv"]);
    std::fs::remove_file(bench.path("t/medic-3.toml")).unwrap();
    std::fs::remove_file(bench.path("t/medic-5.toml")).unwrap();
    let run = bench.run(&["table", "--tables", "t", "--published", "p"]);
    run.refused(&["p/medic-5.csv belongs to no medic-5.toml"]);
    bench
        .run(&["table", "--tables", "nowhere"])
        .refused(&["nowhere"]);
}

#[test]
fn a_stale_page_is_told_and_written_again() {
    let bench = changed("", "", "");
    let folders = ["--tables", "t", "--published", "p", "--cards", "t"];
    let table = |what: &str| bench.run(&[&["table", what][..], &folders].concat());
    let stale = table("--check");
    assert_eq!(stale.code, Some(1));
    assert!(
        stale.stdout.contains("p/README.md is stale"),
        "{}",
        stale.stdout
    );
    table("--write").ok();
    let page = std::fs::read_to_string(bench.path("p/README.md")).unwrap();
    assert!(page == published_page(&papers()).unwrap());
    table("--check").ok();
    bench.write("p/README.md", page.replacen("73.92", "73.93", 1));
    assert_eq!(table("--check").code, Some(1));
    // Without folders, those of the repository, which are not here.
    bench.run(&["table", "--check"]).refused(&["checkpoints"]);
}

/// A record of a checkpoint on all of ImageNet-1K under another protocol than nearest neighbours.
fn under(protocol: Protocol, card: &str) -> Record {
    let mut record = record(Some(card), card, &[], 0, 30_000);
    record.cell.key = blake3::hash(protocol.text.as_bytes()).to_hex().to_string();
    record.cell.protocol.clone_from(&protocol.hash);
    record.protocol = ProtocolRecord {
        kind: protocol.kind(),
        name: protocol.name,
        version: protocol.version,
        hash: protocol.hash,
        text: protocol.text,
        modified: protocol.modified,
    };
    record
}

fn set(settings: &[&str]) -> Vec<Setting> {
    let settings = settings.iter();
    settings.map(|&text| Setting(text.to_owned())).collect()
}

/// A linear probe of a checkpoint on all of ImageNet-1K, whose sixth head is the best.
fn probe(preset: LinearPreset, card: &str, settings: &[&str]) -> Record {
    let protocol = Protocol::preset(preset, &set(settings)).unwrap();
    let mut record = under(protocol, card);
    let head = |block: usize| Measured {
        feature: format!("block {block} concat norm"),
        layer: Some(block),
        learning_rate: Some(5e-4),
        headline: block == 5,
        selection: match block {
            5 => Selection::BestHead,
            _ => Selection::None,
        },
        ..Measured::of(
            Measure::from_hits("top1", 30_000 - 1000 * block.abs_diff(5) as u64, 50_000).unwrap(),
        )
    };
    record.measures = (0..12).map(head).collect();
    record.selection = Selection::BestHead;
    record.sealed()
}

#[test]
fn a_linear_probe_stands_in_its_column_by_its_headline_and_says_that_it_was_selected() {
    let paper = probe(LinearPreset::MedicPaper, "medic-vit-base-16", &[]);
    let table = joined("medic-2", std::slice::from_ref(&paper));
    let row = rows(&table, "MEDiC")[0];
    let measured = column(&table, "Linear measured")[row];
    assert_eq!(number(measured), 60.0);
    assert_eq!(marks(measured), [Mark::Selected]);
    let Cell::Value { source, .. } = measured else {
        panic!("{measured:?}");
    };
    let (key, measure) = (paper.cell.key.clone(), 5);
    assert_eq!(*source, Some(Source::Record { key, measure }));
    assert!(table.footnotes.iter().all(|note| !note.contains('§')));
    note(&table, "Linear measured: protocol linear/medic-paper");
}

#[test]
fn probes_of_other_recipes_say_what_differs_and_those_of_stored_features_never_join() {
    let of = |preset| probe(preset, "medic-vit-base-16", &[]);
    let differing = |preset, said: &[&str]| {
        let table = joined("medic-2", &[of(preset)]);
        let measured = column(&table, "Linear measured")[rows(&table, "MEDiC")[0]];
        assert_eq!(marks(measured), [Mark::Selected, Mark::Differs]);
        let note = note(&table, "§");
        for said in said {
            assert!(note.contains(said), "{said}: {note}");
        }
        // What has no meaning without a BatchNorm or a choice of images is no difference.
        for unsaid in ["task.local_batch", "task.shots_seed", "task.validate_every"] {
            let there = note.contains(unsaid);
            assert_eq!(
                there,
                preset == LinearPreset::Mae && unsaid == "task.local_batch",
                "{note}"
            );
        }
    };
    differing(
        LinearPreset::Beit,
        &[
            "task.learning_rates is [0.001], the paper's is [0.0005]",
            "task.weight_decay is 0.0001, the paper's is 0.05",
            "task.schedule is",
        ],
    );
    differing(
        LinearPreset::Mae,
        &[
            "task.batch is 16384, the paper's is 1024",
            "task.head.batch_norm is true, the usual is false",
            "task.optimizer is",
        ],
    );
    differing(
        LinearPreset::Dinov2,
        &["task.updates_per_epoch is 1250, the usual is not set"],
    );
    // Two recipes are two rows, and one of them says that it is not the column's.
    let table = joined(
        "medic-2",
        &[of(LinearPreset::MedicPaper), of(LinearPreset::Beit)],
    );
    let measured = column(&table, "Linear measured");
    let marks: Vec<_> = measured
        .iter()
        .filter(|cell| matches!(cell, Cell::Value { .. }))
        .map(|cell| self::marks(cell).contains(&Mark::Mixed))
        .collect();
    assert_eq!(marks.len(), 2);
    assert!(marks.contains(&true) && marks.contains(&false));

    let cached = joined("medic-2", &[of(LinearPreset::Cached)]);
    assert_eq!(cached, joined("medic-2", &[]));
}

/// A fine-tuned checkpoint, and what its last epoch gives beside the largest of all.
fn fine_tuned(preset: FinetunePreset, card: &str, settings: &[&str]) -> Record {
    let protocol = Protocol::finetune(preset, &set(settings)).unwrap();
    let mut record = under(protocol, card);
    let measured = |name, hits| Measured {
        feature: "cls norm".to_owned(),
        layer: Some(11),
        ..Measured::of(Measure::from_hits(name, hits, 50_000).unwrap())
    };
    record.measures = vec![
        Measured {
            headline: true,
            ..measured("top1", 42_000)
        },
        Measured {
            selection: Selection::BestEpoch,
            ..measured("top1_max", 42_500)
        },
    ];
    record.sealed()
}

#[test]
fn fine_tuning_stands_in_its_column_and_differs_from_no_paper_by_that_papers_recipe() {
    for (table, preset, card, row, heading) in [
        (
            "medic-2",
            FinetunePreset::MedicPaper,
            "medic-vit-base-16",
            "MEDiC",
            "Fine-tune",
        ),
        (
            "medic-12",
            FinetunePreset::MedicPaper,
            "medic-token-cls-vit-base-16",
            "",
            "Fine-tune",
        ),
        (
            "maskalign-1",
            FinetunePreset::MaskAlignPaper,
            "mae-vit-base-16",
            "MAE",
            "FT Acc.",
        ),
    ] {
        let own = joined(table, &[fine_tuned(preset, card, &[])]);
        let heading = format!("{heading} measured");
        let cells = column(&own, &heading);
        let place = cells
            .iter()
            .position(|cell| matches!(cell, Cell::Value { .. }))
            .unwrap_or_else(|| panic!("{table}: no cell of {row}"));
        // The last epoch's, not the largest.
        assert_eq!(number(cells[place]), 84.0, "{table}");
        assert_eq!(marks(cells[place]), [], "{table}: {:?}", own.footnotes);
        note(
            &own,
            &format!("{heading}: protocol finetune/{}", preset.name()),
        );

        // MAE's recipe is not what these papers have.
        let other = joined(table, &[fine_tuned(FinetunePreset::Mae, card, &[])]);
        let cell = column(&other, &heading)[place];
        assert_eq!(marks(cell), [Mark::Differs], "{table}");
        let note = note(&other, "§");
        assert!(
            note.contains("task.drop_path") == (table == "maskalign-1"),
            "{note}"
        );
        assert!(
            note.contains("task.learning_rate is 0.0005") == (table == "maskalign-1"),
            "{note}"
        );
        assert!(!note.contains("task.not_in_paper"), "{note}");
    }
    // What the paper says, and what it leaves to its code.
    let mae = fine_tuned(FinetunePreset::Mae, "medic-vit-base-16", &[]);
    let table = joined("medic-2", &[mae]);
    let said = note(&table, "§");
    for said_so in [
        "task.mix.mixup is 0.8, the paper's is 0.6",
        "task.pool is mean_patch, that of finetune/medic-paper is cls",
        "task.learning_rate_rule is per256, the paper's is absolute",
    ] {
        assert!(said.contains(said_so), "{said_so}: {said}");
    }
    let of_head = ["task.epochs=99"];
    let shorter = fine_tuned(FinetunePreset::MedicPaper, "medic-vit-base-16", &of_head);
    let table = joined("medic-2", &[shorter]);
    note(&table, "task.epochs is 99, the paper's is 100");
}

/// A run of 300 epochs under the recipe of this hash that has kept these, each of which has a record
/// with so many hits.
fn run_of(name: &str, hash: &str, kept: &[(usize, u64)]) -> (PretrainingRecord, Vec<Record>) {
    let of = |epoch: usize| format!("{name} epoch {epoch}");
    let records: Vec<_> = (kept.iter())
        .map(|(epoch, hits)| record(Some(&of(*epoch)), &of(*epoch), &[], 0, *hits))
        .collect();
    let kept = kept
        .iter()
        .zip(&records)
        .map(|((epoch, _), record)| KeptWeights {
            epoch: *epoch,
            file: format!("epochs/{epoch:04}/model.safetensors").into(),
            blake3: record.subject.blake3.clone().unwrap(),
        });
    let run = PretrainingRecord {
        schema: PRETRAINING_SCHEMA,
        key: format!("key of {name}"),
        name: name.to_owned(),
        identity: Vec::new(),
        recipe: "pretrain/medic-paper".to_owned(),
        version: 1,
        hash: hash.to_owned(),
        text: String::new(),
        modified: Vec::new(),
        seed: 0,
        epochs: 300,
        teachers: Vec::new(),
        data: "data/imagenet".into(),
        manifest: String::new(),
        images: 1,
        terms: Vec::new(),
        looks: Vec::new(),
        kept: kept.collect(),
        encoded: 1,
        seconds: 1.0,
        engine: String::new(),
        device: String::new(),
        precision: "f32".to_owned(),
        at_once: 1,
        numerics: "1.1".to_owned(),
        mimbench: String::new(),
        curves: None,
        seal: String::new(),
    };
    (run, records)
}

fn numbers(cells: Vec<&Cell>) -> Vec<Option<f64>> {
    let number = |cell: &Cell| match cell {
        Cell::Value { value, .. } => Some(*value),
        _ => None,
    };
    cells.into_iter().map(number).collect()
}

#[test]
fn of_a_run_the_best_epoch_stands_in_its_recipes_row() {
    let papers = papers();
    let recipe = papers.table("medic-12").unwrap().definition.recipe(3);
    let kept = [(100, 20_000), (200, 32_000), (250, 32_000), (300, 31_000)];
    let (run, mut records) = run_of("dlw-0.3", recipe.unwrap(), &kept);
    // Another's, of no row, of which one epoch was measured.
    let (other, more) = run_of("own", "another recipe", &[(300, 10_000)]);
    records.extend(more);
    let runs = [run, other];
    let table = joined_with("medic-12", &records, &runs);
    assert_eq!(table.rows.len(), 15);
    let top1 = column(&table, "kNN Top-1 measured");
    let mut expected = vec![None; 15];
    (expected[2], expected[14]) = (Some(64.0), Some(20.0));
    assert_eq!(numbers(top1.clone()), expected);
    assert_eq!(marks(top1[2]), [Mark::Selected]);
    assert!(!marks(top1[14]).contains(&Mark::Selected));
    // top-5 is of the same epoch, the first of equally good ones.
    let top5 = numbers(column(&table, "kNN Top-5 measured"));
    assert_eq!(top5[2], Some(100.0 * 32_100.0 / 50_000.0));
    let epoch = column(&table, "Best Epoch measured");
    assert_eq!(numbers(epoch.clone())[2], Some(200.0));
    assert_eq!(marks(epoch[2]), [Mark::Selected]);
    let alone = Cell::Missing("one epoch alone was measured".to_owned());
    assert_eq!(*epoch[14], alone);
    note(
        &table,
        "epoch 200 of 300, the best top-1 on the validation images of 4 epochs",
    );
    note(&table, "epoch 300 of 300, the only one that was measured");
    // The published epoch is where it was.
    assert_eq!(numbers(column(&table, "Best Epoch"))[2], Some(299.0));

    // A table of last epochs has the last.
    let table = joined_with("medic-4", &records, &runs);
    let found = numbers(column(&table, "kNN Top-1 measured"));
    assert_eq!(found[6..], [Some(62.0), Some(20.0)]);
    assert!(column(&table, "kNN Top-1 measured").iter().all(|cell| {
        !matches!(cell, Cell::Value { marks, .. } if marks.contains(&Mark::Selected))
    }));
    note(&table, "not in this table: 3 records of earlier epochs");

    // Without the run, every record is a row of its own, as ever.
    let table = joined("medic-12", &records);
    assert_eq!(table.rows.len(), 14 + 5);
    assert!(
        !table
            .columns
            .iter()
            .any(|column| column.name == "Best Epoch measured")
    );
}

#[test]
fn definitions_say_whose_epoch_a_column_shows() {
    let bench = Bench::empty();
    let read = |more: &str, rows: &str| {
        bench.write(
            "t/medic-9.toml",
            format!("id = \"medic-9\"\npaper = \"medic\"\ntable = \"9\"\ntitle = \"t\"\n{rows}\n[[columns]]\nname = \"x\"\nkind = \"number\"\n{more}\n"),
        );
        bench.write("p/medic-9.csv", format!("{HEADER}medic,9,1,a,x,1,,,,c\n"));
        let folders = PaperFolders {
            tables: Some(bench.path("t")),
            published: Some(bench.path("p")),
            cards: None,
        };
        Papers::read(&folders)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(read("", ""), Ok(()));
    for (more, rows, said) in [
        ("epoch_of = \"y\"", "", "epoch_of"),
        ("", "rows = [{ row = 1 }]", "neither checkpoint nor point"),
        (
            "",
            "rows = [{ row = 1, point = \"x\" }]",
            "point of no sweep",
        ),
        ("", "sweep = \"no\"", "no built-in sweep"),
        (
            "",
            "sweep = \"medic-12\"\nrows = [{ row = 1, point = \"x\" }]",
            "x is no point of the sweep",
        ),
    ] {
        let error = read(more, rows).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
}

/// A segmented checkpoint on all of ADE20K.
fn segmented(preset: SegmentPreset, card: &str) -> Record {
    let protocol = Protocol::segment(preset, &[]).unwrap();
    let mut record = under(protocol, card);
    record.data.dataset = Some("ade20k".to_owned());
    let measured = |name: &str, value| Measured {
        feature: "UperNet".to_owned(),
        headline: true,
        ..Measured::of(Measure {
            name: name.to_owned(),
            value,
            unit: Unit::Percent,
            n: 2_000,
            interval: Some([value - 0.8, value + 0.8]),
            confidence: CONFIDENCE,
        })
    };
    record.measures = vec![measured("miou", 48.1), measured("aacc", 83.0)];
    record.sealed()
}

#[test]
fn segmentation_stands_in_its_column_and_differs_from_medic_by_another_recipe() {
    for (table, preset, card, heading) in [
        (
            "medic-3",
            SegmentPreset::MedicPaper,
            "medic-vit-base-16",
            "mIoU",
        ),
        (
            "hybrid-distillation-1",
            SegmentPreset::Beit,
            "mae-vit-base-16",
            "ADE20K mIoU",
        ),
        (
            "mim-hd-1",
            SegmentPreset::Beit,
            "mae-vit-base-16",
            "Segmentation mIoU",
        ),
    ] {
        let heading = format!("{heading} measured");
        let own = joined(table, &[segmented(preset, card)]);
        let cells = column(&own, &heading);
        let filled = |cell: &&Cell| matches!(cell, Cell::Value { .. });
        let place = cells.iter().position(filled);
        let place = place.unwrap_or_else(|| panic!("{table}: no cell of {card}"));
        assert_eq!(number(cells[place]), 48.1, "{table}");
        assert_eq!(marks(cells[place]), [], "{table}: {:?}", own.footnotes);
        let other = joined(table, &[segmented(SegmentPreset::Dinov3, card)]);
        let cell = column(&other, &heading)[place];
        assert_eq!(marks(cell), [Mark::Differs], "{table}");
        assert!(note(&other, "§").contains("task.frozen is true"), "{table}");
    }
}
