//! Predictions as pictures: index files of a few images, and these beside image and mask.

use super::scenes::Scenes;
use super::{SceneTraining, name_of_head};
use crate::data::{Colour, Pick};
use crate::engine::IGNORED;
use crate::error::Error;
use crate::metric::Confusion;
use crate::plan::{Cell, Part};
use crate::report::picture::{
    Classes, Picture, SegmentedImage, index_png, segmented_sheet, standing,
};
use crate::report::segmentation_folder;
use crate::spec::SegmentTask;
use crate::store::write_atomic;
use crate::train::SceneBatch;

/// Images of each standing.
const EACH: usize = 2;
/// Side of an image on a sheet, pixels.
const CELL: usize = 240;

/// The sheet of the best, the median and the worst validation images, PNG; their predictions are
/// written beside it, each under its place.
pub(super) fn draw(
    cell: &Cell,
    task: &SegmentTask,
    network: &mut SceneTraining,
    scenes: &Scenes<'_>,
    (confusions, results): (&[Confusion], &std::path::Path),
) -> Result<Vec<u8>, Error> {
    let values: Vec<_> = confusions.iter().map(Confusion::mean_iou).collect();
    let chosen = standing(&values, EACH);
    let places: Vec<_> = chosen.iter().map(|&(_, index)| one(index)).collect();
    let folder = segmentation_folder(results, &cell.key);
    let samples = &cell.images(Part::Val).split.samples;
    let palette = &cell.set.palette;
    let mut drawn = Vec::new();
    scenes.whole(&places, &mut |batch| {
        let found = network.validate(&batch)?;
        drawn.push((batch, found));
        Ok(())
    })?;
    let mut maps = Vec::new();
    for ((standing, index), (batch, found)) in chosen.iter().zip(drawn) {
        let [height, width] = batch.original;
        let found = short(&found);
        let png = index_png([width, height], &found, palette)?;
        write_atomic(&folder.join(format!("{index:06}.png")), &png)?;
        let caption = format!(
            "{}: {}, mIoU {:.1} %",
            standing.name(),
            samples[*index].path,
            100.0 * values[*index].unwrap_or(f64::NAN)
        );
        let picture = seen(scenes, *index, &batch)?;
        maps.push((caption, picture, short(&batch.labels), found));
    }
    let images: Vec<_> = (maps.iter())
        .map(|(caption, image, truth, prediction)| SegmentedImage {
            caption: caption.clone(),
            image,
            truth,
            prediction,
        })
        .collect();
    let classes = Classes {
        names: &cell.set.classes,
        palette,
        ignored: u16::MAX,
    };
    let title = format!(
        "{}, {}, seed {}",
        cell.subject.name(),
        name_of_head(task),
        cell.seed
    );
    Ok(segmented_sheet(&title, &images, classes, CELL)?.png()?)
}

/// An image by itself.
fn one(index: usize) -> Vec<Pick> {
    vec![Pick {
        index,
        pass: 0,
        group: 0,
    }]
}

/// Classes of 16 bits, as pictures have them.
fn short(classes: &[u32]) -> Vec<u16> {
    let class = |&class: &u32| match class {
        IGNORED => u16::MAX,
        class => u16::try_from(class).unwrap_or(u16::MAX),
    };
    classes.iter().map(class).collect()
}

/// The image as its file has it.
fn seen(scenes: &Scenes<'_>, index: usize, batch: &SceneBatch) -> Result<Picture, Error> {
    let pixels = scenes.image(index, Colour::Rgb)?;
    let [height, width] = batch.original;
    Ok(Picture::new(width, height, pixels.data)?)
}
