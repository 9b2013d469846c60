//! `mimbench pretrain`.

use std::path::PathBuf;

use clap::Args;

use super::linear::seeds;
use super::{ComputeArgs, LoadArgs, Seeds};

/// Arguments of `mimbench pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// Recipe: a file such as protocols/pretrain/medic-paper.toml, or a built-in one's name
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Folder with train/<class>/* and val/<class>/*, tar shards, or CIFAR in its binary format
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Labels of a flat val folder: `file class` lines, synset lines or LOC_val_solution.csv
    #[arg(long, value_name = "FILE")]
    pub val_labels: Option<PathBuf>,
    /// Teacher: any checkpoint, as NAME=FILE where the recipe has several; with --plan also arch:NAME, one of timm's architectures with random weights
    #[arg(long, value_name = "FILE|NAME=FILE")]
    pub teacher: Vec<String>,
    /// Folder of what comes out: weights, card, states and curves
    #[arg(long, value_name = "DIR", required_unless_present_any = ["plan", "show_masks"])]
    pub out: Option<PathBuf>,
    /// Train nothing: draw the masks of a few images in several epochs; those by the student's own attention take it from the run in --out, where there is one
    #[arg(long, value_name = "PNG", conflicts_with_all = ["plan", "seeds", "json"])]
    pub show_masks: Option<PathBuf>,
    /// Change a setting of the recipe, as in terms.pixels.weight=0.05
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train for N epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Use at most N images of each split, stratified by class
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Seeds, as in 0..4 (both ends included) or 1,5,7; a run each, in folders below --out
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with = "seed")]
    pub seeds: Option<Seeds>,
    /// Train nothing: print what the run takes, by count and by a few steps that are timed; without images, on a known dataset as published
    #[arg(long)]
    pub plan: bool,
    /// Seconds of training between two saved states: what a kill can lose
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub state_every: u32,
    /// Begin again although --out holds a run; its states are lost
    #[arg(long)]
    pub recompute: bool,
    /// Folder of records and tables
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Print the run's record, or what --plan finds, as JSON
    #[arg(long)]
    pub json: bool,
    /// How teachers are read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}
