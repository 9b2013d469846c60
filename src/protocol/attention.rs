//! Attention of every head and features of every block, over a list of images.

use crate::metric::{
    AttentionStatistic, MetricError, Rows, alignment, cka_matrix, rank_me, uniformity,
};
use crate::report::{ImageValues, Measured};
use crate::stats::{Bootstrap, CONFIDENCE, Measure, SampleError, Unit};

/// Raised when the same statistics and features may give other numbers: part of every cell's key.
pub const EVALUATION_VERSION: u32 = 1;

/// Statistics that cannot be averaged, or features that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum AttentionError {
    /// No interval can be given.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A diagnostic failed.
    #[error("{feature}: {source}")]
    Diagnostic {
        /// The feature.
        feature: String,
        /// Why.
        source: MetricError,
    },
}

impl AttentionError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Sample(error) => error.hint(),
            Self::Diagnostic { source, .. } => source.hint().or_else(|| {
                Some("--set task.diagnostics=false leaves the features alone".to_owned())
            }),
        }
    }
}

/// What was read of one block.
#[derive(Clone, Copy)]
pub struct LayerData<'a> {
    /// The block, counted from 0.
    pub layer: usize,
    /// Statistics of its heads, `[n, H x 4]`, as [`AttentionStatistic::ALL`] orders them.
    pub statistics: &'a dyn Rows,
    /// Its features, with their name, where they are looked at.
    pub features: Option<(&'a str, &'a dyn Rows)>,
}

/// What all blocks gave.
#[derive(Debug, Default)]
pub struct AttentionOutcome {
    /// Statistics a layer and a head, then diagnostics a layer, then CKA a pair of layers.
    pub measures: Vec<Measured>,
    /// Statistics of every image, one entry a layer and statistic: `[n, H]`.
    pub values: Vec<ImageValues>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Means over the images with bootstrap intervals, and diagnostics of the features. `labels` are
/// the images' classes, for the alignment; `progress` hears of every layer that is done.
pub fn evaluate(
    layers: &[LayerData<'_>],
    labels: &[u32],
    bootstrap: &Bootstrap,
    progress: &dyn Fn(usize),
) -> Result<AttentionOutcome, AttentionError> {
    let mut outcome = AttentionOutcome::default();
    for (done, data) in layers.iter().enumerate() {
        statistics(data, bootstrap, &mut outcome)?;
        progress(done);
    }
    let features: Vec<_> = layers
        .iter()
        .filter_map(|data| Some((data.layer, data.features?)))
        .collect();
    for (done, &(layer, (name, rows))) in features.iter().enumerate() {
        diagnostics(layer, name, rows, labels, &mut outcome)?;
        progress(layers.len() + done);
    }
    cka(&features, &mut outcome)?;
    Ok(outcome)
}

fn measured(feature: String, layer: usize, measure: Measure) -> Measured {
    Measured {
        feature,
        layer: Some(layer),
        headline: true,
        ..Measured::of(measure)
    }
}

/// Every head's statistics, and their mean over heads.
fn statistics(
    data: &LayerData<'_>,
    bootstrap: &Bootstrap,
    outcome: &mut AttentionOutcome,
) -> Result<(), AttentionError> {
    const KINDS: usize = AttentionStatistic::ALL.len();
    let images = data.statistics.len();
    let heads = data.statistics.dim() / KINDS;
    let mut row = vec![0.0; data.statistics.dim()];
    // A column a head and statistic, then a column a statistic: the mean over heads.
    let mut columns = Vec::with_capacity(images * (heads + 1) * KINDS);
    let mut values: [Vec<f32>; KINDS] = Default::default();
    for image in 0..images {
        data.statistics.copy(image, &mut row);
        columns.extend(row.iter().map(|&x| f64::from(x)));
        for (kind, values) in values.iter_mut().enumerate() {
            let of_heads = row.iter().skip(kind).step_by(KINDS);
            let total: f64 = of_heads.clone().map(|&x| f64::from(x)).sum();
            columns.push(total / heads as f64);
            values.extend(of_heads);
        }
    }
    let width = (heads + 1) * KINDS;
    // One image says nothing of others.
    let intervals = match images {
        1 => vec![None; width],
        _ => bootstrap
            .mean_intervals(&columns, width)?
            .into_iter()
            .map(Some)
            .collect(),
    };
    let measure = |kind: usize, column: usize| {
        let total: f64 = columns.iter().skip(column).step_by(width).sum();
        Measure {
            name: AttentionStatistic::ALL[kind].name().to_owned(),
            value: total / images as f64,
            unit: unit(AttentionStatistic::ALL[kind]),
            n: images as u64,
            interval: intervals[column],
            confidence: CONFIDENCE,
        }
    };
    let layer = data.layer;
    for kind in 0..KINDS {
        let mean = measure(kind, heads * KINDS + kind);
        outcome
            .measures
            .push(measured(format!("block {layer}"), layer, mean));
        for head in 0..heads {
            outcome.measures.push(Measured {
                head: Some(head),
                headline: false,
                ..measured(
                    format!("block {layer} head {head}"),
                    layer,
                    measure(kind, head * KINDS + kind),
                )
            });
        }
    }
    for (kind, values) in AttentionStatistic::ALL.iter().zip(values) {
        outcome.values.push(ImageValues {
            name: format!("block {layer}/{}", kind.name()),
            width: heads,
            values,
        });
    }
    Ok(())
}

fn unit(statistic: AttentionStatistic) -> Unit {
    match statistic {
        AttentionStatistic::Nmi => Unit::Unitless,
        AttentionStatistic::Distance | AttentionStatistic::DistanceRaw => Unit::Pixels,
        AttentionStatistic::Entropy => Unit::Nats,
    }
}

/// A number without an interval: resampled images would repeat, which these measures take for
/// structure.
fn plain(name: &str, value: f64, n: usize) -> Measure {
    Measure {
        name: name.to_owned(),
        value,
        unit: Unit::Unitless,
        n: n as u64,
        interval: None,
        confidence: CONFIDENCE,
    }
}

/// What the features of one block are worth without labels.
fn diagnostics(
    layer: usize,
    name: &str,
    features: &dyn Rows,
    labels: &[u32],
    outcome: &mut AttentionOutcome,
) -> Result<(), AttentionError> {
    let n = features.len();
    if n < 2 {
        let note = format!("{name}: no diagnostics of a single image");
        outcome.notes.push(note);
        return Ok(());
    }
    let failed = |source| AttentionError::Diagnostic {
        feature: name.to_owned(),
        source,
    };
    let mut push = |measure| {
        let measure = measured(name.to_owned(), layer, measure);
        outcome.measures.push(measure);
    };
    push(plain("rank_me", rank_me(features).map_err(failed)?, n));
    push(plain(
        "uniformity",
        uniformity(features).map_err(failed)?,
        n,
    ));
    if let Some(alignment) = alignment(features, labels).map_err(failed)? {
        push(plain("alignment", alignment, n));
    }
    Ok(())
}

/// CKA of every pair of blocks.
fn cka(
    features: &[(usize, (&str, &dyn Rows))],
    outcome: &mut AttentionOutcome,
) -> Result<(), AttentionError> {
    let rows: Vec<&dyn Rows> = features.iter().map(|(_, (_, rows))| *rows).collect();
    let Some(n) = rows.first().map(|rows| rows.len()).filter(|&n| n > 1) else {
        return Ok(());
    };
    let failed = |source| AttentionError::Diagnostic {
        feature: "CKA of the blocks".to_owned(),
        source,
    };
    let matrix = cka_matrix(&rows).map_err(failed)?;
    for (left, (layer, (name, _))) in features.iter().enumerate() {
        for (right, (other, _)) in features.iter().enumerate().skip(left + 1) {
            match matrix.get(left, right) {
                Some(value) => outcome.measures.push(Measured {
                    other_layer: Some(*other),
                    headline: false,
                    ..measured((*name).to_owned(), *layer, plain("cka", value, n))
                }),
                None => outcome.notes.push(format!(
                    "blocks {layer} and {other}: no CKA, because the features of one of them do not vary"
                )),
            }
        }
    }
    Ok(())
}
