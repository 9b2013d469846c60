//! Protocol files: what is measured, and how, in TOML. The papers' tables: what was published.

mod conflict;
mod error;
mod kind;
mod knn;
mod line;
mod overlay;
mod paper_error;
mod papers;
mod published;
mod table;

pub use conflict::{CellPlace, Claim, Conflict, Place};
pub use error::SpecError;
pub use kind::Kind;
pub use knn::{
    DataSection, FeatureChoice, InputSection, InterpolationChoice, KnnProtocol, KnnTask, Layers,
    NamedLayers, NormChoice, Normalise, ResizeChoice, Search, VoteKind,
};
pub use line::line_of;
pub use overlay::{Protocol, Setting};
pub use paper_error::PaperError;
pub use papers::{PaperFolders, Papers};
pub use published::{Content, PaperTable, PublishedCell, PublishedMark, PublishedRow};
pub use table::{
    ColumnDefinition, ColumnKind, ColumnUnit, MeasuredBy, MeasuredOn, Measurement, Paper, Preference,
    RowDefinition, Select, TableDefinition, setting,
};
