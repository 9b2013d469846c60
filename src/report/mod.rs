//! Records, tables and the formats they are written in. A table is a pure function of records.

mod attention_maps;
pub mod csv;
mod knn_tables;
mod outcomes;
pub mod picture;
mod record;
mod table;
mod table_error;
pub mod terminal;

pub use attention_maps::{AttentionMaps, HeadMaps, QueryMaps};
pub use knn_tables::{curve_table, full_table, headline_table};
pub use outcomes::{ImageOutcomes, Outcomes};
pub use record::{
    CellKey, ComputeRecord, DataRecord, Measured, ProtocolRecord, Record, SCHEMA, Selection,
    SplitRecord, SubjectRecord,
};
pub use table::{Align, Cell, Column, Mark, Table};
pub use table_error::TableError;
