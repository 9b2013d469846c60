//! Protocol files: what is measured, and how, in TOML.

mod attention;
mod error;
mod feature;
mod kind;
mod knn;
mod line;
mod overlay;
mod pattern;
mod protocol;
mod section;

pub use attention::{AttentionTask, ImageChoice};
pub use error::SpecError;
pub use feature::{FeatureChoice, NormChoice};
pub use kind::Kind;
pub use knn::{KnnTask, Layers, NamedLayers, Search, VoteKind};
pub use line::line_of;
pub use overlay::Setting;
pub use protocol::{Protocol, Task};
pub use section::{DataSection, InputSection, InterpolationChoice, Normalise, ResizeChoice};
