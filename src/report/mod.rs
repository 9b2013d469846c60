//! Records, tables and the formats they are written in. A table is a pure function of records.

pub mod csv;
mod knn_tables;
mod outcomes;
mod record;
mod record_error;
mod table;
mod table_error;
pub mod terminal;

pub use knn_tables::{curve_table, full_table, headline_table};
pub use outcomes::{ImageOutcomes, ImageValues, Outcomes};
pub use record::{
    CellKey, ComputeRecord, DataRecord, Measured, ProtocolRecord, Record, SCHEMA, Selection,
    SplitRecord, SubjectRecord,
};
pub use record_error::RecordError;
pub use table::{Align, Cell, Column, Mark, Table};
pub use table_error::TableError;
