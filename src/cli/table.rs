//! `mimbench table`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `mimbench table`.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// Which table, as in medic-1 [default: a list of all]
    #[arg(value_name = "ID", conflicts_with_all = ["conflicts", "check", "write"])]
    pub id: Option<String>,
    /// Where the records are
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// How the table is written
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: TableFormat,
    /// List where the papers contradict themselves or each other
    #[arg(long, conflicts_with_all = ["check", "write"])]
    pub conflicts: bool,
    /// Say whether results/published/README.md is what the tables make; exit 1 if not
    #[arg(long, conflicts_with = "write")]
    pub check: bool,
    /// Write results/published/README.md
    #[arg(long)]
    pub write: bool,
    /// Definitions of tables, ID.toml [default: the built-in ones]
    #[arg(long, value_name = "DIR")]
    pub tables: Option<PathBuf>,
    /// Published values, ID.csv and conflicts/*.toml [default: the built-in ones]
    #[arg(long, value_name = "DIR")]
    pub published: Option<PathBuf>,
    /// Cards that definitions may name beside the built-in ones
    #[arg(long, value_name = "DIR")]
    pub cards: Option<PathBuf>,
}

/// Formats of tables.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TableFormat {
    /// For people at a terminal
    Terminal,
    /// GitHub's
    Markdown,
    /// booktabs
    Latex,
    /// For programs, in full precision
    Csv,
    /// The same, with columns, marks and sources
    Json,
    /// A figure for a page
    Html,
}
