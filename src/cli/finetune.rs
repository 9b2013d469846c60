//! `mimbench finetune`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::linear::seeds;
use super::{ComputeArgs, LoadArgs, Seeds, StoreArgs};

/// Arguments of `mimbench finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// Checkpoints, each a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, required_unless_present = "arch", num_args = 1.., value_name = "FILE|CARD")]
    pub ckpt: Vec<PathBuf>,
    /// With --plan, in place of checkpoints: an architecture by timm's name, untrained
    #[arg(long, value_name = "NAME", requires = "plan", conflicts_with = "ckpt")]
    pub arch: Option<String>,
    /// Folder with train/<class>/* and val/<class>/*, tar shards, or CIFAR in its binary format
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Labels of a flat val folder: `file class` lines, synset lines or LOC_val_solution.csv
    #[arg(long, value_name = "FILE")]
    pub val_labels: Option<PathBuf>,
    /// Whose fine-tuning
    #[arg(long, value_enum, default_value = "mae", conflicts_with_all = ["protocol", "eval"])]
    pub preset: Recipe,
    /// Protocol file, in place of a preset
    #[arg(long, value_name = "FILE")]
    pub protocol: Option<PathBuf>,
    /// Train nothing: evaluate the checkpoint's own head, as fine-tuned files have it
    #[arg(long, conflicts_with_all = ["epochs", "shots", "seeds", "from_scratch", "reset_head", "run", "state_every"])]
    pub eval: bool,
    /// Train nothing: print what the run takes, by count and by a few steps that are timed; without images, on a known dataset as published
    #[arg(long, conflicts_with = "eval")]
    pub plan: bool,
    /// Change a setting of the protocol, as in task.batch=256; marks the row
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train for N epochs; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Train images: all, a share of every class as in 1%, or a number of each class; marks the row
    #[arg(long, value_name = "SHOTS")]
    pub shots: Option<String>,
    /// Use at most N images of each split, stratified by class; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Seeds, as in 0..4 (both ends included) or 1,5,7; a run each, then mean and deviation
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with = "seed")]
    pub seeds: Option<Seeds>,
    /// Begin with a new head although the checkpoint has one
    #[arg(long)]
    pub reset_head: bool,
    /// Begin with untrained weights: of the checkpoint only its architecture counts
    #[arg(long)]
    pub from_scratch: bool,
    /// Folder of the run: its states, from which the same command goes on, its curves and the trained weights [default: runs/<key> in the results folder]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Seconds of training between two saved states: what a kill can lose
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub state_every: u32,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Where results go.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Fine-tuning recipes that are built in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Recipe {
    /// MAE, ViT-B
    Mae,
    /// MAE, ViT-L
    MaeLarge,
    /// MAE, ViT-H
    MaeHuge,
    /// BEiT, ViT-B
    Beit,
    /// BEiT v2, ViT-B of 300 epochs; MaskDistill's too
    Beit2,
    /// MaskAlign, its paper
    #[value(name = "maskalign-paper")]
    MaskAlignPaper,
    /// MaskAlign, its code
    #[value(name = "maskalign-code")]
    MaskAlignCode,
    /// TinyMIM
    #[value(name = "tinymim")]
    TinyMim,
    /// dBOT
    Dbot,
    /// MEDiC, table 9
    MedicPaper,
    /// MEDiC, its code
    MedicCode,
    /// Small encoders on small images: minutes on a CPU
    Mini,
}
