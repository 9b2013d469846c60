//! `mimbench demo`: made-up scenes, two untrained ViTs and raw pixels, from nothing.

use std::sync::Arc;

use super::Terminal;
use crate::checkpoint::{Checkpoint, LoadOptions, save};
use crate::data::scenes::{SceneSpec, write_dataset};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{DataRequest, EvaluationSet, Plan, RunOptions, Subject, pixel_input};
use crate::spec::{Kind, Protocol};
use crate::vit::{VitConfig, random_weights};

/// Side of the scenes, pixels.
const SIZE: usize = 64;

/// The untrained ViTs of the demo: ViT-Ti's width and heads, six blocks, patches of so many pixels.
const PATCHES: [(&str, usize); 2] = [("untrained-vit", 8), ("untrained-vit-16", 16)];

/// Draws so many train and validation scenes a class and saves the untrained ViTs below the results
/// folder, where the next run finds them again; then plans kNN for them and for raw pixels, and the
/// attention analysis for them.
pub fn plan(
    [train_per_class, val_per_class]: [usize; 2],
    options: RunOptions,
    terminal: &mut Terminal,
) -> Result<Plan, Error> {
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
    let protocols =
        [Kind::Knn, Kind::Attention].map(|kind| Protocol::builtin(kind, &[]).map(Arc::new));
    let [knn, attention] = protocols;
    let (knn, attention) = (knn?, attention?);
    let set = EvaluationSet::open(&data, &DataRequest::default(), options.seed)?;
    let set = Arc::new(set);
    let seed = options.seed;
    let mut plan = Plan {
        cells: Vec::new(),
        run: options,
    };
    for (name, patch) in PATCHES {
        let weights = folder.join(format!("{name}-seed{seed}.safetensors"));
        if !weights.is_file() {
            let config = VitConfig::plain(patch, [SIZE / patch; 2], (192, 6, 3));
            save(&weights, &random_weights(&config, seed))?;
        }
        let checkpoint = Checkpoint::open(&weights, &LoadOptions::default())?;
        let subject = Arc::new(Subject::Checkpoint(Box::new(checkpoint)));
        plan.add(&subject, &knn, &set, seed)?;
        plan.add(&subject, &attention, &set, seed)?;
    }
    let pixels = Arc::new(Subject::Pixels(pixel_input(SIZE)));
    plan.add(&pixels, &knn, &set, seed)?;
    Ok(plan)
}
