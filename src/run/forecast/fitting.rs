//! How many images go through the network together: as many as are asked for, or as many as fit.

use std::path::Path;

use super::super::overview::bytes;
use super::super::{Terminal, machine};
use super::{Trainee, Trial, waiting};
use crate::engine::Device;
use crate::error::Error;
use crate::features::Observer;
use crate::nn::ModelError;
use crate::plan::{AtOnce, RunOptions, largest_carried_out, largest_within};
use crate::train::{AT_ONCE, Identity, Standing, StateFolder, TrainError};

/// Part of the machine's free memory that training is planned with. The rest is for what a step does
/// not show: the copy that a state is written from, files that the system keeps in memory for the
/// next epoch, fragments of freed memory, other programs.
const SHARE: f64 = 0.8;

/// Activations of the smaller of the two steps that are measured, bytes: far more than what a
/// process takes and lets go beside them.
const VISIBLE: u64 = 64 << 20;

/// Images that go through the network together; `folder` is the run's, whose state decides where
/// there is one.
pub(in crate::run) fn at_once<T: Trainee>(
    trainee: &T,
    folder: Option<&Path>,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<usize, Error> {
    if run.at_once != AtOnce::Fitting {
        return trainee.images_at_once(run.at_once);
    }
    let known = folder.map(|folder| standing(folder, run)).transpose()?;
    let name = trainee.name();
    if let Some(images) = known.flatten().and_then(|standing| of_state(&standing))
        && trainee.parts().contains(&images)
    {
        terminal.notice(&format!(
            "{name}: {images} images at once, as in the state that the run goes on from"
        ));
        return Ok(images);
    }
    let (images, why) = match run.compute.device {
        Device::Cuda(_) => tried(trainee, run)?,
        Device::Cpu => extrapolated(trainee, run)?,
    };
    terminal.notice(&format!("{name}: {images} images at once: {why}"));
    Ok(images)
}

/// How far the run in a folder is, where it has a state.
pub(in crate::run) fn standing(folder: &Path, run: &RunOptions) -> Result<Option<Standing>, Error> {
    let states = StateFolder::new(folder, Identity::new(), run.states.every);
    Ok(states.standing()?)
}

/// The images at once that a state was made with.
pub(in crate::run) fn of_state(standing: &Standing) -> Option<usize> {
    let mut identity = standing.identity.iter();
    let (_, images) = identity.find(|(name, _)| name == AT_ONCE)?;
    images.parse().ok()
}

/// The largest number of images that a device carries out a step of, and why.
fn tried<T: Trainee>(trainee: &T, run: &RunOptions) -> Result<(usize, String), Error> {
    let parts = trainee.parts();
    let mut trial = Trial::new(trainee, run.compute)?;
    let largest = largest_carried_out(&parts, &mut |images| match trial.step(images) {
        Ok(()) => Ok(true),
        Err(TrainError::Model(ModelError::Engine(error))) if error.is_out_of_memory() => Ok(false),
        Err(error) => Err(error),
    })?;
    let device = run.compute.device;
    match largest {
        None => Ok((
            parts.first().copied().unwrap_or(1),
            format!("{device} has no memory for one step, and there are no fewer"),
        )),
        Some(images) if Some(&images) == parts.last() => {
            Ok((images, "a whole update fits".to_owned()))
        }
        Some(images) => Ok((
            images,
            format!("the next larger part of a batch is more than {device} has memory for"),
        )),
    }
}

/// The largest number of images whose step stays within the machine's memory, as two small ones let
/// expect, and why.
fn extrapolated<T: Trainee>(trainee: &T, run: &RunOptions) -> Result<(usize, String), Error> {
    let parts = trainee.parts();
    let usual = |why: &str| {
        let images = trainee.images_at_once(AtOnce::Usual)?;
        Ok((images, format!("{why}; --batch N takes another number")))
    };
    let untold = "the system does not tell what memory there is, so that it is the usual number";
    let memory = machine::available_memory().zip(machine::resident_memory());
    let Some((available, before)) = memory else {
        return usual(untold);
    };
    let budget = (SHARE * (available + before) as f64) as u64;
    let kept = trainee.counted(0, 2, run.compute)? - trainee.counted(0, 1, run.compute)?;
    let enough = |images: &&usize| **images as u64 * kept >= VISIBLE;
    let Some(&small) = parts.iter().find(enough).or(parts.last()) else {
        return usual(untold);
    };
    let larger = |images: &&usize| **images >= 2 * small;
    let Some(&large) = parts.iter().find(larger) else {
        return Ok((small, "a whole update is small".to_owned()));
    };
    if !machine::forget_peak_memory() {
        return usual(untold);
    }
    let mut trial = Trial::new(trainee, run.compute)?;
    let groups = trial.groups();
    let parameters = groups.iter().map(|group| group.elements).sum();
    let mut peaks = [0; 2];
    for (peak, images) in peaks.iter_mut().zip([small, large]) {
        trial.step(images)?;
        match machine::peak_memory() {
            Some(bytes) => *peak = bytes,
            None => return usual(untold),
        }
    }
    let counted = [
        trainee.counted(parameters, small, run.compute)?,
        trainee.counted(parameters, large, run.compute)?,
    ];
    let line = Line::through([small, large], peaks, before, counted);
    let needed =
        |images: usize| line.at(images) + waiting(trainee.input(), images, run.pass.workers);
    let images = largest_within(&parts, budget, &needed).unwrap_or(small);
    Ok((
        images,
        format!(
            "about {} of the {} that may be taken ({:.0} % of what is free), {} an image",
            bytes(needed(images) as usize),
            bytes(budget as usize),
            100.0 * SHARE,
            bytes(line.each as usize),
        ),
    ))
}

/// Memory as a function of the images at once.
struct Line {
    /// Bytes of an image.
    each: u64,
    /// Bytes beside the images.
    fixed: u64,
}

impl Line {
    /// The line through what two steps took. What the process had let go before, and its allocator
    /// kept, hides what they take: an image takes as much as is kept of it at least, and where
    /// nothing is seen the formula counts.
    fn through(
        [small, large]: [usize; 2],
        [peak, larger_peak]: [u64; 2],
        before: u64,
        [counted, larger_counted]: [u64; 2],
    ) -> Self {
        let each = (larger_counted - counted) / (large - small) as u64;
        let seen = larger_peak.saturating_sub(peak) / (large - small) as u64;
        if larger_peak < before + larger_counted / 2 {
            let fixed = larger_counted.saturating_sub(large as u64 * each);
            return Self { each, fixed };
        }
        let each = each.max(seen);
        let fixed = larger_peak.saturating_sub(large as u64 * each);
        Self { each, fixed }
    }

    fn at(&self, images: usize) -> u64 {
        self.fixed + images as u64 * self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 bytes beside 10 an image, of 2 and of 4.
    const COUNTED: [u64; 2] = [120, 140];

    #[test]
    fn a_line_goes_through_what_is_seen() {
        let line = Line::through([2, 4], [1200, 1240], 1000, COUNTED);
        assert_eq!((line.each, line.fixed), (20, 1160));
        assert_eq!(line.at(4), 1240);
        // Less than is kept of an image cannot be.
        let line = Line::through([2, 4], [1200, 1202], 1000, COUNTED);
        assert_eq!((line.each, line.at(4)), (10, 1202));
    }

    #[test]
    fn what_is_hidden_is_counted() {
        let line = Line::through([2, 4], [5000, 5000], 5000, COUNTED);
        assert_eq!((line.each, line.fixed), (10, 100));
    }
}
