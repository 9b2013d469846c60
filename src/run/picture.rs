//! Inputs of a network as pictures.

use crate::error::Error;
use crate::report::picture::Picture;

/// What the network saw, before it was normalised.
pub(super) fn picture<'a>(
    pixels: &[f32],
    [height, width]: [usize; 2],
    statistics: impl Iterator<Item = (&'a f32, &'a f32)>,
) -> Result<Picture, Error> {
    let planes: Vec<Vec<u8>> = pixels
        .chunks_exact(height * width)
        .zip(statistics)
        .map(|(plane, (mean, std))| {
            let byte = |x: &f32| (255.0 * (x * std + mean)).round() as u8;
            plane.iter().map(byte).collect()
        })
        .collect();
    let channel = |channel: usize| planes.get(channel).or(planes.first());
    let mut rgb = Vec::with_capacity(3 * height * width);
    for at in 0..height * width {
        rgb.extend((0..3).filter_map(|c| Some(channel(c)?[at])));
    }
    Ok(Picture::new(width, height, rgb)?)
}
