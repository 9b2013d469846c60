//! `mimbench segment`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::linear::seeds;
use super::{ComputeArgs, LoadArgs, Seeds, StoreArgs};

/// Arguments of `mimbench segment`.
#[derive(Debug, Args)]
pub struct SegmentArgs {
    /// Checkpoints, each a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|CARD")]
    pub ckpt: Vec<PathBuf>,
    /// Folder with images/{training,validation} and annotations/{training,validation}, as ADE20K has them, or {train,val} of both
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Whose segmentation
    #[arg(long, value_enum, default_value = "beit", conflicts_with_all = ["protocol", "head"])]
    pub preset: SegmentRecipe,
    /// Protocol file, in place of a preset
    #[arg(long, value_name = "FILE", conflicts_with = "head")]
    pub protocol: Option<PathBuf>,
    /// Train nothing: evaluate the head of an earlier run, head.safetensors, over the encoder that it was trained with, by its own protocol
    #[arg(long, value_name = "FILE", conflicts_with_all = ["updates", "seeds", "from_scratch", "run", "state_every"])]
    pub head: Option<PathBuf>,
    /// Change a setting of the protocol, as in task.batch=8; marks the row
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train for N updates, with one look at the validation images at the end; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub updates: Option<u32>,
    /// Use at most N images of each split; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Seeds, as in 0..4 (both ends included) or 1,5,7; a run each, then mean and deviation
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with = "seed")]
    pub seeds: Option<Seeds>,
    /// Begin with untrained weights: of the checkpoint only its architecture counts
    #[arg(long)]
    pub from_scratch: bool,
    /// Folder of the run: its states, from which the same command goes on, its curves and what was trained [default: runs/<key> in the results folder]
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

/// Segmentation recipes that are built in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SegmentRecipe {
    /// BEiT's UperNet, ViT-B
    Beit,
    /// BEiT v2's UperNet, ViT-B
    Beit2,
    /// MAE's UperNet, ViT-B
    Mae,
    /// MEDiC's UperNet, table 10
    MedicPaper,
    /// MEDiC's UperNet, its code
    MedicCode,
    /// iBOT's linear head over a frozen encoder
    Ibot,
    /// DINOv3's linear head over a frozen encoder
    Dinov3,
    /// UperNet for small encoders and images: minutes on a CPU
    Mini,
    /// A linear head over a small frozen encoder: minutes on a CPU
    MiniLinear,
}
