//! `mimbench features`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ComputeArgs, LoadArgs};

/// Arguments of `mimbench features`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["images", "pixels"]))]
pub struct FeaturesArgs {
    /// Checkpoint: a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, value_name = "FILE|CARD")]
    pub ckpt: PathBuf,
    /// Folder of images; subfolders become labels
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Normalised pixels [B, C, H, W] in a safetensors file
    #[arg(long, value_name = "FILE[:KEY]")]
    pub pixels: Option<String>,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write embed and block.0 ... too
    #[arg(long, value_enum)]
    pub layers: Option<AllLayers>,
    /// Write attn.0 ... ([B, H, N, N]) too
    #[arg(long)]
    pub attention: bool,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Which layers to write.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AllLayers {
    /// Every block
    All,
}
