//! From a file somebody saved to a configured ViT with every tensor accounted for.
//!
//! A dialect recognises the file, reads the architecture off it and gives rules; one executor
//! applies the rules and its log is the audit. Nothing is dropped without a reason.

mod anchor;
mod architecture;
mod audit;
pub mod card;
mod classifier;
mod config_json;
mod decoder;
mod dialect;
mod error;
mod facts;
mod loading;
mod mapped;
mod pattern;
pub mod position;
mod root;
mod rule;
mod saving;
mod scene_head;
mod settle;
pub mod source;
mod strict_json;

pub use anchor::{Anchor, AnchorKind, AnchorMeasure};
pub use audit::{Audit, AuditLine, Fate};
pub use classifier::ClassifierCheckpoint;
pub use decoder::MaeCheckpoint;
pub use dialect::{Dialect, PositionResize};
pub use error::CheckpointError;
pub use loading::{Checkpoint, Choice, Feature, InputFacts, LoadOptions, audit_file};
pub use mapped::MappedWeights;
pub use saving::{
    CanonicalModel, ConvertError, Pretrained, TimmModel, Trained, save, save_original,
};
pub use scene_head::{HeadOrigin, SceneHead};
