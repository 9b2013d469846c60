//! Files that survive anything: written whole or not at all, verified on reading, and never
//! written by two processes at once.

mod append;
mod atomic;
mod curves;
mod error;
mod lock;
mod part;
mod tensors;

pub use append::AppendFile;
pub use atomic::{AtomicFile, delete, delete_folder, remove_leftovers, write_atomic};
pub use curves::{
    CurveKind, CurvePoint, LEARNING_RATE, METRICS, curves_path, read_curves, run_folder,
};
pub use error::StoreError;
pub use lock::Lock;
pub use part::{
    ImageStamp, Part, PartHeader, PartWriter, RowType, list_parts, list_spans, merge_parts,
};
pub use tensors::{
    Elements, NamedTensor, Slot, TensorFile, TensorStream, Tensors, read_tensors,
    read_tensors_and_metadata,
};
