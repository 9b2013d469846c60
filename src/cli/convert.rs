//! `mimbench convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::LoadArgs;

/// Arguments of `mimbench convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Checkpoint: a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The .safetensors file to write
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Names of the tensors in OUT
    #[arg(long, value_enum, default_value = "timm")]
    pub names: TensorNames,
    /// Replace OUT, and its card, where they exist
    #[arg(long)]
    pub force: bool,
    /// How the checkpoint is read; of these --names original has --key and --ignore-key.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Print results only
    #[arg(long)]
    pub quiet: bool,
}

/// Names of the tensors in a converted file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TensorNames {
    /// timm's, in f32, with a card and the call that loads the file; only of a ViT
    Timm,
    /// As they are, element types too; of any file of tensors
    Original,
}
