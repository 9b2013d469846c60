//! Every way a command can end without its result.

use crate::checkpoint::{CheckpointError, ConvertError};
use crate::data::scenes::SceneError;
use crate::data::segmentation::SegmentationDataError;
use crate::data::{DatasetError, ImageError};
use crate::decoders::segmentation::SegmentationError as SegmenterError;
use crate::engine::EngineUnavailable;
use crate::features::{EncoderError, ExtractError};
use crate::hub::HubError;
use crate::nn::ModelError;
use crate::pretrain::MethodError;
use crate::protocol::attention::AttentionError;
use crate::protocol::knn::KnnError;
use crate::protocol::linear_cached::LinearCachedError;
use crate::protocol::segmentation::SegmentationError;
use crate::report::picture::PictureError;
use crate::report::{ComparisonError, PageError, RecordError, TableError};
use crate::spec::{PaperError, RecipeError, SpecError, SweepError};
use crate::stats::IntervalError;
use crate::store::StoreError;
use crate::train::TrainError;
use crate::vit::UnknownArchitecture;

/// Why a command ended, with a hint where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint under other names.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A file of the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A protocol.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A pre-training recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A sweep.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// What a recipe describes, between the networks at hand.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// A dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// An input that images cannot be brought to.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The demo's images.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineUnavailable),
    /// The encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The extraction.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The kNN evaluation.
    #[error(transparent)]
    Knn(#[from] KnnError),
    /// The attention analysis.
    #[error(transparent)]
    Attention(#[from] AttentionError),
    /// The results or the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An architecture's name.
    #[error(transparent)]
    Architecture(#[from] UnknownArchitecture),
    /// Images with masks.
    #[error(transparent)]
    SegmentationData(#[from] SegmentationDataError),
    /// The measures of a segmentation.
    #[error(transparent)]
    Segmentation(#[from] SegmentationError),
    /// A head that segments, and what it stands over.
    #[error(transparent)]
    Segmenter(#[from] SegmenterError),
    /// A model that is built or trained.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Records side by side.
    #[error(transparent)]
    Comparison(#[from] ComparisonError),
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A paper's table.
    #[error(transparent)]
    Paper(#[from] PaperError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The report.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The counting of a linear probe.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// The cached linear probe.
    #[error(transparent)]
    LinearCached(#[from] LinearCachedError),
    /// One cell of many.
    #[error("{cell}: {source}")]
    Cell {
        /// Checkpoint and protocol, or the file.
        cell: String,
        /// Why it has no record.
        source: Box<Error>,
    },
    /// The command line asks for what cannot be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: String,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Convert(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Spec(error) => error.hint(),
            Self::Recipe(error) => error.hint(),
            Self::Sweep(error) => error.hint(),
            Self::Method(error) => error.hint(),
            Self::Dataset(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Scene(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Encoder(error) => error.hint(),
            Self::Extract(error) => error.hint(),
            Self::Knn(error) => error.hint(),
            Self::Attention(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Architecture(error) => error.hint(),
            Self::SegmentationData(error) => error.hint(),
            Self::Segmentation(error) => error.hint(),
            Self::Segmenter(error) => Some(error.hint().to_owned()),
            Self::Model(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Comparison(error) => error.hint(),
            Self::Picture(error) => error.hint(),
            Self::Paper(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Page(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Interval(error) => error.hint(),
            Self::LinearCached(error) => error.hint(),
            Self::Cell { source, .. } => source.hint(),
            Self::Usage { hint, .. } => Some(hint.clone()),
        }
    }

    /// 130 when the user stopped the command (128 + SIGINT, as shells count), else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Extract(ExtractError::Interrupted { .. })
            | Self::Train(TrainError::Interrupted { .. }) => 130,
            Self::Cell { source, .. } => source.exit_code(),
            _ => 2,
        }
    }
}
