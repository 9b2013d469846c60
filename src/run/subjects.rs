//! Opening what is evaluated.

use std::path::PathBuf;

use super::dispatch;
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::error::Error;
use crate::plan::{Subject, check_heads, tell_apart};

/// Opens the checkpoints one by one and builds each model once, so that whatever is wrong with
/// one of them is known before the first image is read; no weights are kept.
pub fn open(paths: &[PathBuf], load: &LoadOptions) -> Result<Vec<Subject>, Error> {
    let mut checkpoints = Vec::new();
    for path in paths {
        let checkpoint = Checkpoint::open(path, load)?;
        dispatch::check(&checkpoint)?;
        checkpoints.push(checkpoint);
    }
    check_heads(load.heads.as_ref(), &checkpoints)?;
    tell_apart(&mut checkpoints);
    let subject = |checkpoint| Subject::Checkpoint(Box::new(checkpoint));
    Ok(checkpoints.into_iter().map(subject).collect())
}
