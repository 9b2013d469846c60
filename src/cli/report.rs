//! `mimbench report`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `mimbench report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Where the records are
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// The page, one file that needs no other and no network
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Also write each plot of the page as an SVG file into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}
