//! What can be wrong with the inputs of a metric.

use std::fmt;

use thiserror::Error;

/// Which of the two sets of feature rows, or of labels, an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The bank that neighbours are taken from.
    Train,
    /// The queries.
    Test,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Train => "train",
            Side::Test => "test",
        })
    }
}

/// An input that a metric refuses.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MetricError {
    /// A dense matrix whose length is no multiple of its row length.
    #[error("{values} values do not make rows of {dim} features")]
    Shape {
        /// Number of values given.
        values: usize,
        /// Features a row.
        dim: usize,
    },
    /// Train and test rows of different lengths.
    #[error("train rows have {train} features, test rows {test}")]
    Dim {
        /// Features a train row.
        train: usize,
        /// Features a test row.
        test: usize,
    },
    /// No train row to be a neighbour.
    #[error("the train set has no rows")]
    NoTrainRows,
    /// More train rows than a `u32` can number.
    #[error("the train set has {rows} rows, more than {}", u32::MAX)]
    TooManyTrainRows {
        /// Number of train rows.
        rows: usize,
    },
    /// Rows without features.
    #[error("rows have no features")]
    NoFeatures,
    /// A NaN, an infinity, or a Euclidean norm beyond `f32`.
    #[error("{side} row {row} has no finite norm: its similarities would be NaN")]
    NotFinite {
        /// The set the row belongs to.
        side: Side,
        /// Index of the row.
        row: usize,
    },
    /// Fewer images than make a pair.
    #[error("{images} images, where at least 2 are needed")]
    TooFewImages {
        /// Number of images.
        images: usize,
    },
    /// A feature that is NaN or infinite.
    #[error("row {row} holds a NaN or an infinity")]
    NotFiniteRow {
        /// Index of the row.
        row: usize,
    },
    /// A row that has no direction.
    #[error("row {row} is zero, and has no direction")]
    ZeroRow {
        /// Index of the row.
        row: usize,
    },
    /// Features that are zero throughout.
    #[error("every feature of every row is zero")]
    AllZero,
    /// The singular values were not found.
    #[error("the iteration for the singular values did not converge")]
    NoConvergence,
    /// One of several feature sets.
    #[error("feature set {set}: {source}")]
    FeatureSet {
        /// Index of the set.
        set: usize,
        /// What is wrong with it.
        source: Box<MetricError>,
    },
    /// `k = 0`, or no `k` at all.
    #[error("k must be at least 1")]
    NoNeighbours,
    /// A vote over more neighbours than were searched.
    #[error("a vote over {asked} neighbours was asked for, {found} were searched")]
    TooFewNeighbours {
        /// The `k` of the vote.
        asked: usize,
        /// The `k` of the search.
        found: usize,
    },
    /// The result does not fit in memory.
    #[error("{rows} test rows x {k} neighbours do not fit in memory")]
    Memory {
        /// Test rows.
        rows: usize,
        /// Neighbours a row.
        k: usize,
    },
    /// The worker threads could not be started.
    #[error("cannot start {threads} search threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// An HNSW option out of its range.
    #[error("HNSW option {option} is {value}, outside {min}..={max}")]
    HnswOption {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: usize,
        /// Smallest allowed.
        min: usize,
        /// Largest allowed.
        max: usize,
    },
    /// The HNSW graph reached fewer than `k` rows.
    #[error("HNSW found {found} of the {k} neighbours of test row {row}")]
    HnswShort {
        /// The test row.
        row: usize,
        /// Neighbours found.
        found: usize,
        /// Neighbours asked for.
        k: usize,
    },
    /// Two neighbour lists, or predictions and labels, of different sets.
    #[error("{what}: {left} against {right}")]
    Mismatch {
        /// What is compared.
        what: &'static str,
        /// Size of the first.
        left: usize,
        /// Size of the second.
        right: usize,
    },
    /// A neighbour that has no label.
    #[error("neighbour {index} of test row {row} has no label: there are {labels} train labels")]
    Unlabelled {
        /// The test row.
        row: usize,
        /// Index of the neighbour.
        index: u32,
        /// Number of train labels.
        labels: usize,
    },
    /// A label that is no class.
    #[error("{side} label {label} of row {row} is outside the {classes} classes")]
    Label {
        /// The set the label belongs to.
        side: Side,
        /// Index of the row.
        row: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A pixel of a class that there is not.
    #[error("the {what} of pixel {pixel} is {class}, outside the {classes} classes")]
    PixelClass {
        /// Label or prediction.
        what: &'static str,
        /// Place in the map, row by row.
        pixel: usize,
        /// The class.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Pixels of a class that there is not.
    #[error("pixels of class {class} are outside the {classes} classes")]
    UnknownClass {
        /// The class.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// More pixels in an image than can be counted.
    #[error("an image of {pixels} pixels has more than {} of one class", u32::MAX)]
    TooManyPixels {
        /// Pixels of the image.
        pixels: usize,
    },
    /// Every label is ignored.
    #[error("no pixel of any image has a label that counts")]
    NoPixels,
    /// A temperature that is not positive, or so small that `f32` weights overflow.
    #[error("temperature {temperature} does not give finite f32 weights over {k} neighbours")]
    Temperature {
        /// The temperature.
        temperature: f32,
        /// Neighbours whose weights are added.
        k: usize,
    },
    /// An attention map that is not `[N, N]` over a grid's tokens, or a grid without patches.
    #[error(
        "an attention map of {values} values for {prefix} tokens and {} x {} patches",
        grid[0],
        grid[1]
    )]
    AttentionMap {
        /// Number of values given.
        values: usize,
        /// Tokens before the patches.
        prefix: usize,
        /// Rows and columns of patches.
        grid: [usize; 2],
    },
}

impl MetricError {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            MetricError::Dim { .. } => {
                "extract both sets with the same checkpoint and the same pooling".into()
            }
            MetricError::NoTrainRows => "check the train split of the data set".into(),
            MetricError::TooManyTrainRows { .. } => "search the train set in parts".into(),
            MetricError::NotFinite { side, row } => format!(
                "extract the {side} features again in f32 and look at the image of row {row}"
            ),
            MetricError::TooFewImages { .. } => "check --limit and the images of the split".into(),
            MetricError::NotFiniteRow { row } => {
                format!("extract the features again in f32 and look at the image of row {row}")
            }
            MetricError::ZeroRow { row } => {
                format!("look at the image of row {row}, and at the checkpoint's final norm")
            }
            MetricError::AllZero => {
                "look at the checkpoint's last layers with `mimbench inspect`".into()
            }
            MetricError::FeatureSet { source, .. } => return source.hint(),
            MetricError::NoNeighbours => "set task.k to numbers of at least 1".into(),
            MetricError::TooFewNeighbours { found, .. } => format!(
                "ask for k up to {found}: a search gives no more neighbours than there are train rows"
            ),
            MetricError::Memory { .. } => "lower k, or search the test rows in parts".into(),
            MetricError::Threads { .. } => "ask for fewer threads".into(),
            MetricError::HnswOption {
                option, min, max, ..
            } => format!("set {option} between {min} and {max}"),
            MetricError::HnswShort { .. } => {
                "raise ef_search, ef_construction or m, or use the exact search".into()
            }
            MetricError::Unlabelled { .. } | MetricError::Mismatch { .. } => {
                "features and labels must come from the same extraction".into()
            }
            MetricError::Label { label, .. } => {
                format!(
                    "set the number of classes to at least {}",
                    u64::from(*label) + 1
                )
            }
            MetricError::Temperature { .. } => {
                "use a temperature of 0.02 or more; DINO's is 0.07".into()
            }
            MetricError::AttentionMap { .. } => {
                "give the map of one head, queries by keys, and the grid of the same input".into()
            }
            MetricError::PixelClass { .. } | MetricError::UnknownClass { .. } => {
                "the number of classes and the masks' values must be those of one dataset".into()
            }
            MetricError::TooManyPixels { .. } => "cut the image into parts".into(),
            MetricError::NoPixels => {
                "check the protocol's ignored value, and whether it reduces the zero label".into()
            }
            MetricError::Shape { .. } | MetricError::NoFeatures | MetricError::NoConvergence => {
                return None;
            }
        })
    }
}
