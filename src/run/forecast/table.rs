//! Forecasts for people.

use std::time::Duration;

use super::{Done, Forecast};
use crate::report::{Cell, Column, Table};
use crate::run::overview::{bytes, shown};

/// Names and values of rows.
pub(in crate::run) type Rows = Vec<(String, String)>;

/// What a kind of training says of its forecast beside what all say.
pub(in crate::run) struct Own {
    /// What is trained, by what, in words.
    pub title: String,
    /// Operations.
    pub operations: Rows,
    /// Bytes at the peak by formula.
    pub memory: u64,
    /// What they are of.
    pub memory_of: Vec<(String, u64)>,
    /// What else was timed.
    pub timed: Rows,
}

/// One forecast, a quantity a row.
pub(in crate::run) fn table<C>(forecast: &Forecast<C>, own: Own) -> Table {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        rows.push(vec![Cell::Text(name.to_owned()), Cell::Text(value)]);
    };
    let Forecast {
        recipe, disk, time, ..
    } = forecast;
    row(
        "epochs",
        format!(
            "{}, {} of them warm-up",
            recipe.epochs, recipe.warmup_epochs
        ),
    );
    row(
        "updates",
        format!(
            "{} an epoch, {} in all",
            recipe.updates_per_epoch, recipe.updates
        ),
    );
    row(
        "images of an update",
        match recipe.parts {
            1 => format!("{}, all at once", recipe.batch),
            parts => format!(
                "{}, {} at once in {parts} parts",
                recipe.batch, recipe.at_once
            ),
        },
    );
    row(
        "trained parameters",
        format!("{} in {} groups", forecast.parameters, forecast.groups),
    );
    for (name, value) in own.operations {
        row(&name, value);
    }
    row("memory, counted", size(own.memory));
    for (name, part) in own.memory_of {
        row(&format!("  {name}"), size(part));
    }
    row(
        "memory, measured",
        forecast
            .measured_memory
            .map_or_else(|| "the system does not tell".to_owned(), size),
    );
    row(
        "disk",
        format!(
            "{}: two states of {} and the weights",
            size(disk.states + disk.weights),
            size(disk.state)
        ),
    );
    row(
        "an update",
        format!(
            "{:.3} s: {} x {:.3} s and {:.3} s",
            recipe.parts as f64 * time.local_batch + time.update,
            recipe.parts,
            time.local_batch,
            time.update
        ),
    );
    for (name, value) in own.timed {
        row(&name, value);
    }
    if recipe.val_images > 0 {
        row(
            "validation",
            format!(
                "{:.1} images/s",
                time.validation_images as f64 / time.validation_batch
            ),
        );
    }
    row("time to compute", duration(time.compute));
    row(
        "time to decode and augment",
        match (time.decode, time.decoded_per_s) {
            (Some(seconds), Some(rate)) => {
                format!("{} at {rate:.1} images/s", duration(seconds))
            }
            _ => "left out: the images are not here".to_owned(),
        },
    );
    row("time of the run, about", duration(time.run));
    match forecast.done {
        Done::Nothing => {}
        Done::Part {
            epochs, updates, ..
        } => {
            row(
                "done",
                format!(
                    "epoch {epochs} of {}, {updates} of {} updates",
                    recipe.epochs, recipe.updates
                ),
            );
            row("time left, about", duration(time.left));
        }
        Done::All => row("done", "all: the record is up to date".to_owned()),
    }
    Table {
        title: format!(
            "plan: {}, on {}, seed {}",
            own.title, forecast.data, forecast.seed
        ),
        columns: vec![Column::text("what"), Column::text("how much")],
        rows,
        footnotes: footnotes(forecast),
    }
}

fn footnotes<C>(forecast: &Forecast<C>) -> Vec<String> {
    let time = &forecast.time;
    let mut notes = vec![format!(
        "measured on {}, {}, {}, {} thread(s) and {} that decode",
        forecast.engine, forecast.device, forecast.precision, forecast.threads, forecast.workers
    )];
    notes.push(
        "a multiplication and its addition are two operations; papers often print half of it as FLOPs"
            .to_owned(),
    );
    if let Some(decode) = time.decode {
        notes.push(if time.run > time.compute.max(decode) {
            "the processor both computes and decodes: the times add up".to_owned()
        } else if decode > time.compute {
            "decoding goes on beside computing and takes longer: it counts".to_owned()
        } else {
            "decoding goes on beside computing, which takes longer: it counts".to_owned()
        });
    }
    if let Done::Part {
        at_once: Some(images),
        ..
    } = forecast.done
        && images != forecast.recipe.at_once
    {
        notes.push(format!(
            "the state is of {images} images at once: --batch {images} or --batch auto goes on from it"
        ));
    }
    notes
}

fn duration(seconds: f64) -> String {
    shown(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `12.3 MiB`.
pub(in crate::run) fn size(count: u64) -> String {
    bytes(count as usize)
}

/// `35.1 GFLOP`.
pub(in crate::run) fn flop(operations: f64) -> String {
    const PREFIXES: [(f64, &str); 4] = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")];
    let prefix = PREFIXES.iter().find(|(size, _)| operations >= *size);
    let (size, prefix) = prefix.copied().unwrap_or((1e6, "M"));
    format!("{:.1} {prefix}FLOP", operations / size)
}
