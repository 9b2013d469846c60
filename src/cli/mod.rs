//! The command line: structures only, one file a subcommand.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "these comments are the help texts"
)]

mod all;
mod attention;
mod bench;
mod common;
mod compare;
mod convert;
mod data;
mod demo;
mod features;
mod finetune;
mod inspect;
mod knn;
mod linear;
mod pretrain;
mod report;
mod segment;
mod table;
mod verify;

pub use all::AllArgs;
pub use attention::AttentionArgs;
pub use bench::{BenchArgs, BenchMethod, BenchWork};
pub use common::{
    Batch, ComputeArgs, Engine, EngineArgs, ForwardPrecision, LoadArgs, MlpActivation, OnBadImage,
    StoreArgs, StoreType,
};
pub use compare::CompareArgs;
pub use convert::{ConvertArgs, TensorNames};
pub use data::{DataArgs, DataCommand};
pub use demo::DemoArgs;
pub use features::FeaturesArgs;
pub use finetune::{FinetuneArgs, Recipe};
pub use inspect::InspectArgs;
pub use knn::KnnArgs;
pub use linear::{LinearArgs, Preset, Seeds};
pub use pretrain::PretrainArgs;
pub use report::ReportArgs;
pub use segment::{SegmentArgs, SegmentRecipe};
pub use table::{TableArgs, TableFormat};
pub use verify::VerifyArgs;

use clap::{Parser, Subcommand};

/// How good is this Vision Transformer checkpoint, really, and compared with what?
#[derive(Debug, Parser)]
#[command(name = "mimbench", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// kNN classification of frozen features, as DINO's eval_knn.py does it
    Knn(KnnArgs),
    /// Linear probes: heads over a frozen encoder
    Linear(Box<LinearArgs>),
    /// Fine-tuning: a whole encoder and a head under layer-wise decay, or a fine-tuned file as it is
    Finetune(Box<FinetuneArgs>),
    /// Segmentation: UperNet trained with its encoder, or a linear head over a frozen one
    Segment(Box<SegmentArgs>),
    /// Pre-training: a student that learns from masked images and teachers, as the papers say
    Pretrain(Box<PretrainArgs>),
    /// Where the attention of every head looks, and what the features of every block are worth
    Attention(AttentionArgs),
    /// Checkpoints under several protocols: the plan, then every cell that is missing
    All(AllArgs),
    /// Test checkpoints against each other on the same images, from their records
    Compare(CompareArgs),
    /// Write embeddings of images or pixels for your own use
    Features(FeaturesArgs),
    /// Say what a checkpoint is and what became of every key
    Inspect(InspectArgs),
    /// Write a checkpoint under timm's names, with a card beside it, or as it is
    Convert(ConvertArgs),
    /// Look at a dataset before trusting a number on it
    Data(DataArgs),
    /// Show all records in one HTML file: tables, plots, and where every number comes from
    Report(ReportArgs),
    /// A table of a paper, with measured values beside the published ones
    Table(TableArgs),
    /// Find published numbers of checkpoints again: fine-tuned ones evaluated as they are
    Verify(VerifyArgs),
    /// A whole small run on made-up scenes; nothing to download
    Demo(DemoArgs),
    /// Time an architecture with random weights on an engine
    Bench(BenchArgs),
}
