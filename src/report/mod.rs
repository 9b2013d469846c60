//! Records, tables and the formats they are written in. A table is a pure function of records.

mod attention_maps;
mod attention_tables;
mod cell_text;
mod comparison;
mod comparison_error;
mod comparison_images;
mod comparison_settings;
mod comparison_sides;
mod comparison_tables;
pub mod csv;
pub mod html;
pub mod json;
mod knn_tables;
mod labels;
pub mod latex;
mod linear_tables;
pub mod markdown;
mod outcomes;
mod page;
mod paper_epochs;
mod paper_notes;
mod paper_page;
mod paper_runs;
mod paper_settings;
mod paper_table;
pub mod picture;
pub mod plot;
mod pretraining_record;
mod protocol_tables;
mod published_weights;
mod record;
mod record_error;
mod segmentation_tables;
mod table;
mod table_error;
pub mod terminal;

pub use attention_maps::{AttentionMaps, HeadMaps, QueryMaps};
pub use attention_tables::{layer_table, measure_table};
pub use comparison::{
    Class, ClassDifference, Comparison, Disagreement, ImageDifference, Pair, Question, Run, Side,
    SideRun, Test,
};
pub use comparison_error::ComparisonError;
pub use comparison_settings::differing_settings;
pub use comparison_tables::{comparison_tables, pairs_table};
pub use knn_tables::{curve_table, full_table, headline_table};
pub use linear_tables::linear_table;
use linear_tables::{ACCURACIES, seed_table};
pub use outcomes::{ImageConfusions, ImageOutcomes, ImageValues, Outcomes};
pub use page::{Compared, Entry, JoinedTable, PageError, PretrainingEntry, Report, comparisons};
pub use paper_page::{conflict_table, published_page, table_list};
pub use paper_table::{has_measured, paper_table, published_table};
pub use pretraining_record::{
    KeptWeights, Look, PRETRAINING, PRETRAINING_SCHEMA, PretrainingRecord, TeacherRecord,
};
pub use protocol_tables::tables;
pub use published_weights::PublishedWeights;
pub use record::{
    BesideRecord, CellKey, ComputeRecord, DataRecord, Measured, ProtocolRecord, Record, SCHEMA,
    Selection, SplitRecord, SubjectRecord, segmentation_folder, segmentation_sheet,
};
pub use record_error::RecordError;
use segmentation_tables::SEGMENTATION;
pub use segmentation_tables::segmentation_table;
pub use table::{Align, Better, Cell, Column, Mark, Rank, Source, Table};
pub use table_error::TableError;
