//! `mimbench data check`: what a dataset holds and whether a number on it can be trusted.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use super::Terminal;
use crate::data::check::{Count, Known, Report, SplitReport, check};
use crate::data::{Colour, Dataset, Limits, OpenOptions, decode};
use crate::error::Error;

/// Decodes every image of the dataset in `root`.
pub fn run(
    root: &Path,
    options: &OpenOptions,
    workers: NonZeroUsize,
    terminal: &Terminal,
) -> Result<Report, Error> {
    let dataset = Dataset::open(root, options)?;
    let images = dataset.train.samples.len() + dataset.val.samples.len();
    let bar = terminal.bar("decoding", images, "images");
    let report = check(
        &dataset,
        &|bytes| {
            decode(bytes, Colour::Rgb, &Limits::default())
                .map(|pixels| (pixels.width, pixels.height))
                .map_err(|error| error.to_string())
        },
        &|done, _| bar.set_position(done as u64),
        workers,
    );
    bar.finish_and_clear();
    Ok(report)
}

/// Whether nothing was found that makes a number on this data meaningless: undecodable images,
/// the same image under two labels or in both splits, or a known dataset with other counts.
pub fn trustworthy(report: &Report) -> bool {
    let sound = |split: &SplitReport| {
        split.undecodable.is_empty()
            && !split
                .duplicates
                .iter()
                .any(|duplicate| duplicate.labels_differ)
    };
    let whole = |known: &Known| known.train.difference == 0 && known.val.difference == 0;
    sound(&report.train)
        && sound(&report.val)
        && report.leaks.is_empty()
        && report.known.as_ref().is_none_or(whole)
}

/// Longest list of examples shown.
const SHOWN: usize = 5;

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!(
        "{}: {} classes, order {}",
        report.root,
        report.classes.total,
        &report.classes.order_digest[..16]
    ));
    for (name, split) in [("train", &report.train), ("val", &report.val)] {
        line(format!(
            "{name:<6} {} images in {}/ ({:.1} MB), {} to {} a class, median {}",
            split.images,
            split.directory,
            split.bytes as f64 / 1e6,
            split.class_counts.min,
            split.class_counts.max,
            split.class_counts.median,
        ));
        if let Some(sizes) = &split.sizes {
            line(format!(
                "       {} to {} pixels wide, {} to {} high",
                sizes.min_width, sizes.max_width, sizes.min_height, sizes.max_height
            ));
        }
        for (extension, count) in &split.ignored {
            line(format!(
                "       {count} files that are no images: {extension}"
            ));
        }
        for bad in split.undecodable.iter().take(SHOWN) {
            line(format!("       undecodable: {}: {}", bad.path, bad.reason));
        }
        line(format!(
            "       {} undecodable, {} groups of equal images",
            split.undecodable.len(),
            split.duplicates.len()
        ));
        for group in split
            .duplicates
            .iter()
            .filter(|group| group.labels_differ)
            .take(SHOWN)
        {
            line(format!(
                "       one image under several labels: {}",
                group.paths.join(", ")
            ));
        }
    }
    for (what, classes) in [
        (
            "val has classes that train lacks",
            &report.classes.missing_in_train,
        ),
        (
            "train has classes that val lacks",
            &report.classes.missing_in_val,
        ),
    ] {
        if !classes.is_empty() {
            let shown = classes
                .iter()
                .take(SHOWN)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            line(format!("{what}: {} ({shown})", classes.len()));
        }
    }
    line(format!("{} images are in both splits", report.leaks.len()));
    for leak in report.leaks.iter().take(SHOWN) {
        line(format!(
            "       {} = {}",
            leak.train.join(", "),
            leak.val.join(", ")
        ));
    }
    if let Some(known) = &report.known {
        let compare = |count: &Count| match count.difference {
            0 => format!("{} as it should be", count.expected),
            difference => format!("{} expected, {difference:+}", count.expected),
        };
        line(format!(
            "this is {}: train {}, val {}",
            known.name,
            compare(&known.train),
            compare(&known.val)
        ));
    }
    out
}
