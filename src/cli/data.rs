//! `mimbench data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `mimbench data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// Subcommands of `mimbench data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Decode every image; report counts, classes, leaks and damage; exit 1 if a number on it
    /// could not be trusted
    Check {
        /// The dataset
        dir: PathBuf,
        /// Labels of a flat val folder
        #[arg(long, value_name = "FILE")]
        val_labels: Option<PathBuf>,
        /// Decoding threads [default: all cores]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
        workers: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the report only
        #[arg(long)]
        quiet: bool,
    },
}
