//! `mimbench all`.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, LoadArgs, StoreArgs};

/// Arguments of `mimbench all`.
#[derive(Debug, Args)]
pub struct AllArgs {
    /// Protocol files; patterns such as 'protocols/*.toml' may be quoted
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|PATTERN")]
    pub protocols: Vec<String>,
    /// Checkpoints, each a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|CARD")]
    pub ckpt: Vec<PathBuf>,
    /// Folder that holds a folder for each dataset, as $MIMBENCH_DATA does, or one dataset for all protocols
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Use at most N images of each split, stratified by class; marks the rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Fine-tune with a new head where a checkpoint has one
    #[arg(long)]
    pub reset_head: bool,
    /// Print what is there and what is to be computed, and stop
    #[arg(long)]
    pub plan: bool,
    /// Take every N-th cell of the plan, beginning with the I-th, as in 2/4; cells on different shards do not share their passes
    #[arg(long, value_name = "I/N", value_parser = shard)]
    pub shard: Option<(usize, usize)>,
    /// How the checkpoints are read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Where results and features go.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Reads `2/4`: the second of four.
fn shard(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(place, count)| {
        let (place, count) = (place.parse().ok()?, count.parse().ok()?);
        (1 <= place && place <= count).then_some((place, count))
    });
    numbers.ok_or_else(|| "a shard is I/N with 1 <= I <= N".to_owned())
}
