//! `mimbench inspect`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `mimbench inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .safetensors file or a card (.toml)
    pub file: PathBuf,
    /// Attention heads [default: card, config.json, else width / 64]
    #[arg(long, value_name = "H")]
    pub heads: Option<usize>,
    /// Leave out keys that match
    #[arg(long, value_name = "GLOB")]
    pub ignore_key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
