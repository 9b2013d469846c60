//! mimbench answers one question for people who train or choose Vision Transformers: how good is
//! this checkpoint, really, and compared with what?
//!
//! How data flows: `argv -> cli -> plan -> run -> checkpoint -> vit (an encoder) -> features ->
//! protocol -> report (records, tables)`. ARCHITECTURE.md draws the house.
//!
//! - [`cli`]: the command line, structures only.
//! - [`spec`]: protocol files. [`checkpoint`]: weights, cards, dialects, the audit.
//! - [`hub`]: checkpoints of the Hugging Face hub.
//! - [`plan`]: everything resolved, checked and hashed before the first second of compute.
//! - [`engine`]: the tensor library behind one trait. [`nn`], [`vit`], [`decoders`]: models over
//!   it. [`pretrain`]: models as they are pre-trained.
//! - [`data`]: images, datasets, decoding ahead. [`features`]: one pass for every asker.
//! - [`store`]: files that survive anything. [`metric`], [`stats`]: pure functions.
//! - [`train`]: optimizers, schedules, the one loop, resumable state.
//! - [`protocol`]: what is asked of the features. [`report`]: records and tables.
//! - [`run`]: cells, progress, cancellation, and the one match on the engine.

pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod decoders;
pub mod engine;
pub mod error;
pub mod features;
pub mod hub;
pub mod metric;
pub mod nn;
pub mod plan;
pub mod pretrain;
pub mod protocol;
pub mod report;
pub mod run;
pub mod spec;
pub mod stats;
pub mod store;
pub mod train;
pub mod vit;
