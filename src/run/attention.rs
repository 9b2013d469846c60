//! Attention cells: statistics and diagnostics, and the maps of some images.

use std::path::{Path, PathBuf};

use super::Terminal;
use super::cells::{LazyEncoder, Outcome};
use super::extraction::Features;
use super::picture::picture;
use crate::data::{Limits, Preprocessor};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{ExtractError, Tap};
use crate::metric::Rows;
use crate::plan::{Cell, Plan, RunOptions, Subject};
use crate::protocol::attention::{self, LayerData};
use crate::report::picture::{SheetRow, View, sheet};
use crate::report::{AttentionMaps, HeadMaps, QueryMaps, Record};
use crate::spec::AttentionTask;
use crate::stats::Bootstrap;
use crate::store::write_atomic;
use crate::vit::VitConfig;

/// Pixels a side of a cell of a sheet.
const CELL: usize = 144;

/// Averages over the images, and keeps the maps of some of them.
pub(super) fn evaluate(
    cell: &Cell,
    task: &AttentionTask,
    features: &[Features<'_>],
    run: &RunOptions,
    encoder: &mut LazyEncoder<'_>,
    terminal: &Terminal,
) -> Result<Outcome, Error> {
    let [images] = features else {
        return Ok(Outcome::default());
    };
    let names: Vec<String> = cell.taps().map(|tap| tap.to_string()).collect();
    let taps: Vec<(Tap, &dyn Rows)> = (cell.taps())
        .zip(images.matrices.iter().map(|&matrix| matrix as &dyn Rows))
        .collect();
    let mut layers = Vec::new();
    for &(tap, statistics) in &taps {
        let Tap::AttentionStatistics(layer) = tap else {
            continue;
        };
        let features = (taps.iter().zip(&names)).find_map(|(&(tap, rows), name)| match tap {
            Tap::Pooled { layer: of, .. } if of == layer => Some((name.as_str(), rows)),
            _ => None,
        });
        layers.push(LayerData {
            layer,
            statistics,
            features,
        });
    }
    let steps = layers.len() * if task.diagnostics { 2 } else { 1 };
    let bar = terminal.bar(cell.subject.name(), steps, "layers");
    let outcome = attention::evaluate(
        &layers,
        &images.labels(),
        &Bootstrap {
            seed: cell.seed,
            resamples: task.resamples,
        },
        &|done| bar.set_position(done as u64 + 1),
    );
    bar.finish_and_clear();
    let outcome = outcome?;
    Ok(Outcome {
        measures: outcome.measures,
        notes: outcome.notes,
        values: outcome.values,
        maps: maps(cell, task, images, run, encoder)?,
        ..Outcome::default()
    })
}

/// Attention of the last block in images that are evenly spread over the list.
fn maps(
    cell: &Cell,
    task: &AttentionTask,
    images: &Features<'_>,
    run: &RunOptions,
    encoder: &mut LazyEncoder<'_>,
) -> Result<Vec<AttentionMaps>, Error> {
    let Subject::Checkpoint(checkpoint) = &*cell.subject else {
        return Ok(Vec::new());
    };
    let config = &checkpoint.config;
    let count = task.maps.min(images.kept.len());
    let chosen: Vec<usize> = (0..count)
        .map(|i| images.kept[i * images.kept.len() / count] as usize)
        .collect();
    let layer = config.depth - 1;
    let input = &cell.input;
    let size = input.channels * input.height * input.width;
    let mut preprocessor = Preprocessor::new(input.clone(), Limits::default())?;
    let mut all = Vec::new();
    for chosen in chosen.chunks(run.pass.batch) {
        let mut pixels = vec![0.0; chosen.len() * size];
        for (&image, pixels) in chosen.iter().zip(pixels.chunks_exact_mut(size)) {
            let path = images.split.samples[image].path.clone();
            let bad = |source| ExtractError::BadImage { path, source };
            preprocessor
                .apply(&images.split.read(image)?, pixels)
                .map_err(bad)?;
        }
        let attention = encoder
            .get()?
            .encode(&pixels, chosen.len(), &[Tap::Attention(layer)])?;
        let Some(attention) = attention.first() else {
            continue;
        };
        for (place, (&image, pixels)) in chosen.iter().zip(pixels.chunks_exact(size)).enumerate() {
            let mean = input.mean.iter().zip(&input.std);
            let picture = picture(pixels, [input.height, input.width], mean);
            all.push(AttentionMaps {
                path: images.split.samples[image].path.clone(),
                image: picture?,
                layer,
                class: match config.class_token {
                    true => Some(heads(attention, place, 0, config)?),
                    false => None,
                },
                queries: queries(attention, place, task, config)?,
            });
        }
    }
    Ok(all)
}

/// What one token of an image attends to among the patches.
///
/// attention: `[B, H, N, N]`
fn heads(
    attention: &HostTensor,
    image: usize,
    token: usize,
    config: &VitConfig,
) -> Result<HeadMaps, Error> {
    let tokens = config.tokens();
    let heads = attention.shape[1];
    let [rows, columns] = config.grid;
    let mut values = Vec::with_capacity(heads * rows * columns);
    for head in 0..heads {
        let row = ((image * heads + head) * tokens + token) * tokens;
        values
            .extend(&attention.data[row + config.prefix()..row + config.prefix() + rows * columns]);
    }
    Ok(HeadMaps::new([heads, rows, columns], values)?)
}

fn queries(
    attention: &HostTensor,
    image: usize,
    task: &AttentionTask,
    config: &VitConfig,
) -> Result<Vec<QueryMaps>, Error> {
    let [rows, columns] = config.grid;
    let query = |&[down, right]: &[f64; 2]| {
        let row = (down * rows as f64) as usize;
        let column = (right * columns as f64) as usize;
        let token = config.prefix() + row * columns + column;
        Ok(QueryMaps {
            row,
            column,
            maps: heads(attention, image, token, config)?,
        })
    };
    task.queries.iter().map(query).collect()
}

/// Draws the attention maps of the plan's cells that have a record: below `folder` one folder for
/// each list of images under each protocol, in it for each image one sheet for the class token and
/// one for each patch, checkpoints down and heads across. Returns the folders.
pub fn draw_sheets(plan: &Plan, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let results = &plan.run.results;
    let mut lists: Vec<(PathBuf, Vec<Drawn>)> = Vec::new();
    for cell in &plan.cells {
        let path = Record::path(results, &cell.key);
        if !AttentionMaps::path(results, &cell.key).is_file() || !path.is_file() {
            continue;
        }
        let record = Record::load(&path)?;
        let drawn = Drawn {
            maps: record.maps(results)?,
            name: record.subject.name,
        };
        let list = format!("{}{}", cell.protocol.hash, cell.data_key);
        let list = &blake3::hash(list.as_bytes()).to_hex()[..8];
        let folder = folder.join(format!("{}-{list}", cell.protocol.name));
        match lists.iter_mut().find(|(of, _)| *of == folder) {
            Some((_, all)) => all.push(drawn),
            None => lists.push((folder, vec![drawn])),
        }
    }
    for (folder, drawn) in &lists {
        draw_list(drawn, folder)?;
    }
    Ok(lists.into_iter().map(|(folder, _)| folder).collect())
}

/// A checkpoint's maps.
struct Drawn {
    name: String,
    maps: Vec<AttentionMaps>,
}

fn draw_list(drawn: &[Drawn], folder: &Path) -> Result<(), Error> {
    let mut images: Vec<&str> = Vec::new();
    for image in drawn.iter().flat_map(|drawn| &drawn.maps) {
        if !images.contains(&image.path.as_str()) {
            images.push(&image.path);
        }
    }
    for (place, image) in images.iter().enumerate() {
        let rows: Vec<SheetRow<'_>> = (drawn.iter())
            .flat_map(|Drawn { name, maps }| {
                let of_image = maps.iter().filter(|maps| maps.path == *image);
                of_image.map(|maps| SheetRow { name, maps })
            })
            .collect();
        let queries = rows.iter().map(|row| row.maps.queries.len()).min();
        let mut views = Vec::new();
        if rows.iter().any(|row| row.maps.class.is_some()) {
            views.push((View::Class, "class".to_owned()));
        }
        let queries = 0..queries.unwrap_or(0);
        views.extend(queries.map(|query| (View::Query(query), format!("query-{query}"))));
        for (view, name) in views {
            let file = folder.join(format!("image-{place}-{name}.png"));
            write_atomic(&file, &sheet(&rows, view, CELL)?.png()?)?;
        }
    }
    Ok(())
}
