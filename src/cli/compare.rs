//! `mimbench compare`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `mimbench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Two checkpoints or more that have records: a name, a path, or the key of a record or its first eight characters or more
    #[arg(required = true, num_args = 2.., value_name = "CHECKPOINT")]
    pub subjects: Vec<String>,
    /// Kind or name of the protocol, as in knn or linear/beit
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: String,
    /// Where the records are
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// What is compared, as in top5 or distance [default: the protocol's first headline]
    #[arg(long, value_name = "NAME")]
    pub measure: Option<String>,
    /// Feature or head, where records have several, as in "block 11 cls norm" or "block 3 head 0"; once for all or once for each checkpoint [default: the headline's, where there is one]
    #[arg(long, value_name = "NAME")]
    pub feature: Vec<String>,
    /// Neighbours [default: the headline's]
    #[arg(long, value_name = "K")]
    pub k: Option<usize>,
    /// How often the images are resampled
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub resamples: u32,
    /// Seed of the resamples
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Images that are named for each checkpoint of a pair, which it gets right and the other wrong
    #[arg(long, value_name = "N", default_value = "5")]
    pub show: usize,
    /// Print everything as JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print the pairs as CSV
    #[arg(long)]
    pub csv: bool,
}
