//! `mimbench inspect`.

use std::path::PathBuf;

use clap::Args;

use super::LoadArgs;

/// Arguments of `mimbench inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Checkpoint: a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    pub file: PathBuf,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
