//! `mimbench demo`: made-up scenes, an untrained ViT and raw pixels, from nothing.

use std::path::PathBuf;

use super::Terminal;
use crate::checkpoint::{Checkpoint, LoadOptions, save};
use crate::data::scenes::{SceneSpec, write_dataset};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{RunOptions, Subject, pixel_input};
use crate::vit::{VitConfig, random_weights};

/// Side of the scenes, pixels.
const SIZE: usize = 64;

/// The untrained ViT of the demo: ViT-Ti's width and heads, six blocks, patches of 8 pixels.
fn config() -> VitConfig {
    VitConfig::plain(8, [SIZE / 8; 2], (192, 6, 3))
}

/// Draws so many train and validation scenes a class and saves the untrained ViT below the results
/// folder; both are found again
/// by the next run. Returns the dataset and what is to be evaluated on it.
pub fn prepare(
    [train_per_class, val_per_class]: [usize; 2],
    options: &RunOptions,
    terminal: &mut Terminal,
) -> Result<(PathBuf, Vec<Subject>), Error> {
    let folder = options.results.join("demo");
    let data = folder.join(format!(
        "scenes-{train_per_class}-{val_per_class}-seed{}",
        options.seed
    ));
    if !data.is_dir() {
        terminal.notice(&format!("drawing scenes into {}", data.display()));
    }
    let spec = SceneSpec {
        size: SIZE,
        seed: options.seed,
    };
    write_dataset(
        &data,
        &spec,
        train_per_class,
        val_per_class,
        options.pass.workers,
        &|_, _| {},
    )?;
    let weights = folder.join(format!("untrained-vit-seed{}.safetensors", options.seed));
    if !weights.is_file() {
        save(&weights, &random_weights(&config(), options.seed))?;
    }
    let checkpoint = Checkpoint::open(&weights, &LoadOptions::default())?;
    let subjects = vec![
        Subject::Checkpoint(Box::new(checkpoint)),
        Subject::Pixels(pixel_input(SIZE)),
    ];
    Ok((data, subjects))
}
