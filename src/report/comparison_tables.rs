//! A comparison as tables.

use super::comparison::{Class, Comparison, Disagreement, Pair, Side, Test};
use super::comparison::{ClassDifference, ImageDifference};
use super::{Cell, Column, Mark, Source, Table};
use crate::stats::{NoiseSource, RatioDifference, Unit};

/// Classes that are shown of a pair.
const CLASSES: usize = 10;

/// The unit of values, and of their differences.
fn units(unit: Unit) -> [Option<&'static str>; 2] {
    match unit {
        Unit::Percent => [Some("%"), Some("points")],
        Unit::Pixels => [Some("px"); 2],
        Unit::Nats => [Some("nat"); 2],
        Unit::Unitless => [None; 2],
    }
}

/// Digits of a value after the point.
fn decimals(unit: Unit) -> u8 {
    match unit {
        Unit::Percent | Unit::Pixels => 2,
        Unit::Nats => 3,
        Unit::Unitless => 4,
    }
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

fn number(value: f64, interval: Option<[f64; 2]>, decimals: u8) -> Cell {
    Cell::Value {
        value,
        interval,
        decimals,
        marks: Vec::new(),
        source: None,
    }
}

fn title(comparison: &Comparison) -> String {
    let hash: String = comparison.protocol_hash.chars().take(8).collect();
    let k = comparison
        .k
        .map_or_else(String::new, |k| format!(", k = {k}"));
    format!(
        "{} by {} version {} ({hash}){k}, on {} images of {}",
        comparison.measure,
        comparison.protocol,
        comparison.version,
        comparison.images,
        comparison.data.display(),
    )
}

/// The checkpoints, the pairs, and for two checkpoints the classes that differ most and the images that
/// they disagree on: for people.
pub fn comparison_tables(comparison: &Comparison) -> Vec<Table> {
    let mut tables = vec![sides_table(comparison), pairs_table(comparison)];
    if let [pair] = &comparison.pairs[..] {
        if !pair.classes.is_empty() {
            tables.push(classes_table(comparison, pair));
        }
        if !pair.disagreements.is_empty() {
            tables.push(disagreements_table(comparison, pair));
        }
        if !pair.images.is_empty() {
            tables.push(images_table(comparison, pair));
        }
    }
    tables
}

/// One row a checkpoint: mean over its seeds, with what a single run moves by.
fn sides_table(comparison: &Comparison) -> Table {
    let [unit, _] = units(comparison.unit);
    let decimals = decimals(comparison.unit);
    let mut value = Column::numbers(&comparison.measure, unit);
    value.better = comparison.better;
    let row = |side: &Side| {
        let one = match &side.runs[..] {
            [run] => Some(run),
            _ => None,
        };
        let missing = |reason: &str| Cell::Missing(reason.to_owned());
        let noise = side.seeds.noise;
        vec![
            text(&side.name),
            text(&side.feature),
            Cell::Value {
                value: side.seeds.mean,
                interval: one.and_then(|run| run.interval),
                decimals,
                marks: side
                    .selected
                    .then_some(Mark::Selected)
                    .into_iter()
                    .collect(),
                source: one.map(|run| Source::Record {
                    key: run.key.clone(),
                    measure: run.measure,
                }),
            },
            Cell::Count(side.runs.len() as u64),
            side.seeds.deviation.map_or_else(
                || missing("one seed"),
                |deviation| number(deviation, None, decimals),
            ),
            noise.map_or_else(
                || missing("no interval"),
                |noise| number(noise.half_width, None, decimals),
            ),
            text(noise.map_or("", |noise| match noise.source {
                NoiseSource::Images => "images",
                NoiseSource::Seeds => "seeds",
                NoiseSource::ImagesAndSeeds => "images and seeds",
            })),
        ]
    };
    Table {
        title: title(comparison),
        columns: vec![
            Column::text("checkpoint"),
            Column::text("feature"),
            value,
            Column::numbers("seeds", None),
            Column::numbers("deviation", unit),
            Column::numbers("noise ±", unit),
            Column::text("noise of"),
        ],
        rows: comparison.sides.iter().map(row).collect(),
        footnotes: comparison.notes.clone(),
    }
}

/// One row a pair.
pub fn pairs_table(comparison: &Comparison) -> Table {
    let [_, unit] = units(comparison.unit);
    let classified = comparison.pairs.iter().any(|pair| pair.hits.is_some());
    let seeds = comparison.pairs.iter().any(|pair| pair.noise.is_some());
    let several = comparison.pairs.len() > 1;
    let mut columns = vec![
        Column::text("A"),
        Column::text("B"),
        Column::numbers("A - B", unit),
        Column::numbers("p", None),
    ];
    if several {
        columns.push(Column::numbers("p (Holm)", None));
    }
    columns.push(Column::text("test"));
    if classified {
        let counts = ["only A right", "only B right", "both", "neither"];
        columns.extend(counts.map(|name| Column::numbers(name, None)));
        columns.push(Column::numbers("same class", Some("%")));
    }
    if seeds {
        columns.push(Column::text("within noise"));
    }
    let row = |pair: &Pair| {
        let mut row = vec![
            text(&comparison.sides[pair.a].name),
            text(&comparison.sides[pair.b].name),
            number(
                pair.difference,
                Some(pair.interval),
                decimals(comparison.unit),
            ),
            text(probability(pair.p)),
        ];
        if several {
            row.push(text(probability(pair.adjusted_p)));
        }
        row.push(text(match pair.test {
            Test::McnemarExact => "McNemar, exact",
            Test::PairedBootstrap => "paired bootstrap",
        }));
        let several_seeds = || Cell::Missing("several seeds".to_owned());
        if classified {
            match pair.hits {
                Some(hits) => {
                    row.extend([hits.only_a, hits.only_b, hits.both, hits.neither].map(Cell::Count))
                }
                None => row.extend([(); 4].map(|()| several_seeds())),
            }
            row.push(
                pair.agreement
                    .map_or_else(several_seeds, |share| number(100.0 * share, None, 1)),
            );
        }
        if seeds {
            row.push(match pair.within_noise {
                Some(true) => text("yes"),
                Some(false) => text("no"),
                None => Cell::Missing("one seed each".to_owned()),
            });
        }
        row
    };
    Table {
        title: format!(
            "Differences, {:.0} % intervals of {} resamples of the images",
            100.0 * comparison.confidence,
            comparison.bootstrap.resamples
        ),
        columns,
        rows: comparison.pairs.iter().map(row).collect(),
        footnotes: Vec::new(),
    }
}

/// Three digits of any probability; small ones as powers of ten.
fn probability(p: f64) -> String {
    match p {
        0.0 => "0".to_owned(),
        p if p < 0.001 => format!("{p:.2e}"),
        p => format!("{p:.3}"),
    }
}

/// One row a class, those that differ most.
fn classes_table(comparison: &Comparison, pair: &Pair) -> Table {
    let [_, unit] = units(comparison.unit);
    let mut all: Vec<&ClassDifference> = pair.classes.iter().collect();
    let size = |class: &ClassDifference| class.difference.difference.abs();
    all.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let shown = all.len().min(CLASSES);
    let row = |class: &&ClassDifference| {
        let RatioDifference {
            difference,
            interval,
        } = class.difference;
        vec![
            self::class(&class.class),
            number(difference, interval, decimals(comparison.unit)),
        ]
    };
    let mut footnotes = vec![
        "each interval is of its class alone: of many classes some lie beside 0 by chance"
            .to_owned(),
    ];
    if shown < all.len() {
        let of = all.len();
        footnotes.push(format!(
            "the {shown} that differ most of {of} classes; --json has all"
        ));
    }
    Table {
        title: "Classes that differ most".to_owned(),
        columns: vec![Column::text("class"), Column::numbers("A - B", unit)],
        rows: all[..shown].iter().map(row).collect(),
        footnotes,
    }
}

/// One row an image, its own measure under either.
fn images_table(comparison: &Comparison, pair: &Pair) -> Table {
    let [unit, points] = units(comparison.unit);
    let name = |side: usize| &comparison.sides[side].name;
    let row = |image: &ImageDifference| {
        vec![
            text(name(image.winner)),
            text(&image.path),
            number(image.a, None, 1),
            number(image.b, None, 1),
            number(image.a - image.b, None, 1),
        ]
    };
    Table {
        title: "The images that tell most".to_owned(),
        columns: vec![
            Column::text("better"),
            Column::text("image"),
            Column::numbers(format!("A: {}", name(pair.a)), unit),
            Column::numbers(format!("B: {}", name(pair.b)), unit),
            Column::numbers("A - B", points),
        ],
        rows: pair.images.iter().map(row).collect(),
        footnotes: Vec::new(),
    }
}

fn class(class: &Class) -> Cell {
    match &class.name {
        Some(name) => text(name),
        None => text(class.index.to_string()),
    }
}

/// One row an image.
fn disagreements_table(comparison: &Comparison, pair: &Pair) -> Table {
    let name = |side: usize| &comparison.sides[side].name;
    let near = pair.disagreements.iter().any(|image| image.near.is_some());
    let votes = comparison.k.is_some();
    let row = |image: &Disagreement| {
        let mut row = vec![
            text(name(image.winner)),
            text(&image.path),
            class(&image.label),
            class(&image.a),
            class(&image.b),
        ];
        row.extend(votes.then(|| text(format!("{} of {}", image.won, image.of))));
        row.extend(image.near.map(|near| match near {
            true => text("in top 5"),
            false => text("not in top 5"),
        }));
        row
    };
    let mut columns = vec![
        Column::text("right"),
        Column::text("image"),
        Column::text("class"),
        Column::text(format!("A: {}", name(pair.a))),
        Column::text(format!("B: {}", name(pair.b))),
    ];
    columns.extend(votes.then(|| Column::text("at k")));
    columns.extend(near.then(|| Column::text("the other's")));
    Table {
        title: "The most telling images that one gets right and the other wrong".to_owned(),
        columns,
        rows: pair.disagreements.iter().map(row).collect(),
        footnotes: Vec::new(),
    }
}
