//! Opening what is evaluated.

use std::path::PathBuf;

use super::cells::Failure;
use super::dispatch;
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::error::Error;
use crate::plan::{Subject, check_heads, tell_apart};

/// Opens the checkpoints one by one and builds each model once, so that whatever is wrong with
/// one of them is known before the first image is read; no weights are kept.
pub fn open(paths: &[PathBuf], load: &LoadOptions) -> Result<Vec<Subject>, Error> {
    let (subjects, failures) = open_each(paths, load)?;
    match failures.into_iter().next() {
        Some(failure) => Err(failure.error),
        None => Ok(subjects),
    }
}

/// [`open`], and beside the checkpoints that can be opened those that cannot, with the reason.
pub fn open_each(
    paths: &[PathBuf],
    load: &LoadOptions,
) -> Result<(Vec<Subject>, Vec<Failure>), Error> {
    let mut checkpoints = Vec::new();
    let mut failures = Vec::new();
    for path in paths {
        let opened = Checkpoint::open(path, load)
            .and_then(|checkpoint| dispatch::check(&checkpoint).map(|()| checkpoint));
        match opened {
            Ok(checkpoint) => checkpoints.push(checkpoint),
            Err(error) => failures.push(Failure {
                cell: path.display().to_string(),
                error: error.into(),
            }),
        }
    }
    check_heads(load.heads.as_ref(), &checkpoints)?;
    tell_apart(&mut checkpoints);
    let subject = |checkpoint| Subject::Checkpoint(Box::new(checkpoint));
    Ok((checkpoints.into_iter().map(subject).collect(), failures))
}
