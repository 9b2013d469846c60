//! `mimbench attention`.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, LoadArgs, StoreArgs};

/// Arguments of `mimbench attention`.
#[derive(Debug, Args)]
pub struct AttentionArgs {
    /// Checkpoints, each a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|CARD")]
    pub ckpt: Vec<PathBuf>,
    /// Folder with train/<class>/* and val/<class>/*, tar shards, or CIFAR's binary files, whose validation images are looked at
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of images alone; subfolders are classes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "val_labels"])]
    pub images: Option<PathBuf>,
    /// Labels of a flat val folder: `file class` lines, synset lines or LOC_val_solution.csv
    #[arg(long, value_name = "FILE")]
    pub val_labels: Option<PathBuf>,
    /// Protocol file [default: the built-in protocols/attention.toml]
    #[arg(long, value_name = "FILE")]
    pub protocol: Option<PathBuf>,
    /// Change a setting of the protocol, as in task.images=64; marks the row
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Use at most N images of each split, stratified by class; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Draw the attention maps as PNG sheets into this folder [default: attention in the results folder]
    #[arg(long, value_name = "DIR")]
    pub sheets: Option<PathBuf>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Where results and features go.
    #[command(flatten)]
    pub store: StoreArgs,
}
