//! Protocol files: what is measured, and how, in TOML.

mod error;
mod kind;
mod knn;
mod line;
mod overlay;

pub use error::SpecError;
pub use kind::Kind;
pub use knn::{
    DataSection, FeatureChoice, InputSection, InterpolationChoice, KnnProtocol, KnnTask, Layers,
    NamedLayers, NormChoice, Normalise, ResizeChoice, Search, VoteKind,
};
pub use line::line_of;
pub use overlay::{Protocol, Setting};
