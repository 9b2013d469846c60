//! `mimbench demo`.

use clap::Args;

use super::CommonArgs;

/// Arguments of `mimbench demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Train images of each class
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub train_per_class: u32,
    /// Validation images of each class
    #[arg(long, value_name = "N", default_value = "25", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub val_per_class: u32,
    /// Print the records as JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print the table as CSV
    #[arg(long)]
    pub csv: bool,
    /// How and where to compute.
    #[command(flatten)]
    pub common: CommonArgs,
}
