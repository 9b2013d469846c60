//! Protocol files: what is measured, and how, in TOML. The papers' tables: what was published.

mod attention;
mod cached;
mod card_key;
mod classify;
mod conflict;
mod error;
mod feature;
mod finetune;
mod finetune_preset;
mod kind;
mod knn;
mod line;
mod linear;
mod overlay;
mod paper_error;
mod papers;
mod pattern;
mod preset;
mod pretrain;
mod pretrain_preset;
mod pretrain_sweep;
mod protocol;
mod published;
mod recipe_error;
mod section;
mod segment;
mod segment_preset;
mod shots;
mod sweep;
mod sweep_error;
mod table;

pub use attention::{AttentionTask, ImageChoice};
pub use cached::CachedTask;
pub use card_key::CardKey;
pub use classify::ClassifyTask;
pub use conflict::{CellPlace, Claim, Conflict, Place};
pub use error::SpecError;
pub use feature::{FeatureChoice, NormChoice};
pub use finetune::{FinetuneTask, Pool, RelativeBiasChoice};
pub use finetune_preset::FinetunePreset;
pub use kind::Kind;
pub use knn::{KnnTask, Layers, NamedLayers, Search, VoteKind};
pub use line::line_of;
pub use linear::{
    HeadBlocks, HeadInput, HeadSettings, LearningRateRule, LinearTask, NamedHeadBlocks,
};
pub use overlay::Setting;
pub use paper_error::PaperError;
pub use papers::{PaperFolders, Papers};
pub use preset::LinearPreset;
pub use pretrain::{
    PretrainInput, PretrainMonitor, PretrainRecipe, PretrainTraining, PretrainedFeature,
    ResolvedRecipe, StudentNormalise,
};
pub use pretrain_preset::PretrainPreset;
pub use pretrain_sweep::PretrainSweep;
pub use protocol::{Protocol, Task};
pub use published::{Content, PaperTable, PublishedCell, PublishedMark, PublishedRow};
pub use recipe_error::RecipeError;
pub use section::{DataSection, InputSection, InterpolationChoice, Normalise, ResizeChoice};
pub use segment::{ScenePositions, SceneTest, SegmentTask};
pub use segment_preset::SegmentPreset;
pub use shots::Shots;
pub use sweep::{Sweep, SweepPoint};
pub use sweep_error::SweepError;
pub use table::{
    ColumnDefinition, ColumnKind, ColumnUnit, MeasuredBy, MeasuredOn, Measurement, Paper,
    Preference, RowDefinition, Select, TableDefinition, setting,
};
