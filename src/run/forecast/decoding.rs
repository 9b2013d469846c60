//! How fast images are decoded.

use std::time::Instant;

use crate::error::Error;
use crate::train::{ImageBatch, Recipe, Solo, Source};

/// Seconds that decoding is timed for, about.
const DECODING: f64 = 2.0;

/// Images a second that the workers decode and augment while nothing else is done.
pub(in crate::run) fn decoded_per_s(
    images: &mut impl Source<Batch = ImageBatch>,
    recipe: &Recipe,
) -> Result<f64, Error> {
    let steps = recipe.sampler(images.samples()).epoch(0, &Solo);
    let batches: Vec<_> = steps.into_iter().flat_map(|step| step.local).collect();
    let (mut first, mut count) = (0, 1);
    loop {
        let end = batches.len().min(first + count);
        let start = Instant::now();
        let mut decoded = 0;
        images.train(&batches[first..end], &mut |batch| {
            decoded += batch.labels.len();
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        // Half the time is enough: to go on would take twice as long.
        if seconds >= DECODING / 2.0 || end == batches.len() {
            return Ok(decoded as f64 / seconds);
        }
        (first, count) = (end, 2 * count);
    }
}
