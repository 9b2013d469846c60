//! Parse, dispatch, exit code.

mod allocator;
mod commands;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use mimbench::checkpoint::source::printable;
use mimbench::cli::{Cli, Command};
use mimbench::error::Error;

fn main() -> ExitCode {
    allocator::keep_memory();
    let outcome = match Cli::parse().command {
        Command::Knn(args) => commands::knn(args),
        Command::Linear(args) => commands::linear(*args),
        Command::Finetune(args) => commands::finetune(*args),
        Command::Segment(args) => commands::segment(*args),
        Command::Pretrain(args) => commands::pretrain(*args),
        Command::Attention(args) => commands::attention(args),
        Command::All(args) => commands::all(args),
        Command::Compare(args) => commands::compare(args),
        Command::Features(args) => commands::features(args),
        Command::Inspect(args) => commands::inspect(args),
        Command::Convert(args) => commands::convert(args),
        Command::Data(args) => commands::data(args),
        Command::Report(args) => commands::report(&args),
        Command::Table(args) => commands::table(args),
        Command::Verify(args) => commands::verify(args),
        Command::Demo(args) => commands::demo(args),
        Command::Bench(args) => commands::bench(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Characters of an error, whatever a file made of it.
const LONGEST: usize = 1 << 14;

fn report_error(error: &Error) {
    let mut text = format!("error: {}\n", printable(&error.to_string(), LONGEST));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {}\n", printable(&hint, LONGEST)));
    }
    // Where nobody reads any more, the exit code still tells.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
