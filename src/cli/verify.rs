//! `mimbench verify`.

use std::path::PathBuf;

use clap::Args;

use super::ComputeArgs;

/// Arguments of `mimbench verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Cards (.toml), or checkpoints with a card beside them [default: every card of --cards whose weights and dataset are there]
    #[arg(long, num_args = 1.., value_name = "CARD|FILE")]
    pub ckpt: Vec<PathBuf>,
    /// A dataset (train/<class>/* and val/<class>/*, tar shards, or CIFAR's binary files), or a folder with one for each that anchors name [default: $MIMBENCH_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Labels of a flat val folder: `file class` lines, synset lines or LOC_val_solution.csv
    #[arg(long, value_name = "FILE")]
    pub val_labels: Option<PathBuf>,
    /// Where the cards are, when no --ckpt is given
    #[arg(
        long,
        value_name = "DIR",
        default_value = "checkpoints",
        conflicts_with = "ckpt"
    )]
    pub cards: PathBuf,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
