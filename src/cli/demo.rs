//! `mimbench demo`.

use clap::Args;

use super::{ComputeArgs, StoreArgs};

/// Arguments of `mimbench demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Train images of each class
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub train_per_class: u32,
    /// Validation images of each class
    #[arg(long, value_name = "N", default_value = "25", value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub val_per_class: u32,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Where results and features go.
    #[command(flatten)]
    pub store: StoreArgs,
}
