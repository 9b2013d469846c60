//! Where a cell is trained: in its run's folder, or, where that run is done again, in one inside it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::plan::{Cell, RunOptions};
use crate::spec::Task;
use crate::store::{Lock, METRICS, StoreError, curves_path, delete, delete_folder, write_atomic};
use crate::train::{Curves, Identity, StateFolder};

/// Inside a run's folder that of the run that is to take its place. The record, the states and the
/// curves of the one before stay as they are until the new record stands.
const RECOMPUTATION: &str = "recompute";

/// The trained weights, where a run keeps them.
pub(in crate::run) const WEIGHTS: &str = "model.safetensors";
/// Their card.
pub(in crate::run) const CARD: &str = "model.toml";
/// The head of a segmentation.
pub(in crate::run) const HEAD: &str = "head.safetensors";

/// Whether a cell's training is being done again: begun, and its record not yet written.
pub(in crate::run) fn recomputes(run: &RunOptions, cell: &Cell) -> bool {
    let folder = || run.run_folder(cell).join(RECOMPUTATION);
    let states = || StateFolder::new(&folder(), Identity::new(), run.states.every);
    // A folder that cannot be listed has its error told by who trains in it.
    let trains = cell.protocol.task.trains() && cell.scene_head.is_none();
    trains && states().holds_state().unwrap_or(true)
}

/// Whether a cell's run has ended and its weights have been deleted since: its state has them still.
pub(in crate::run) fn lacks_weights(run: &RunOptions, cell: &Cell) -> bool {
    let folder = run.run_folder(cell);
    let states = StateFolder::new(&folder, Identity::new(), run.states.every);
    kept(&cell.protocol.task)
        .iter()
        .any(|file| !folder.join(file).exists())
        && cell.scene_head.is_none()
        && states.holds_state().unwrap_or(true)
}

/// What a run leaves beside its states and curves.
fn kept(task: &Task) -> &'static [&'static str] {
    match task {
        Task::Finetune(_) => &[WEIGHTS],
        Task::Segment(task) if task.frozen => &[HEAD],
        Task::Segment(_) => &[WEIGHTS, HEAD],
        _ => &[],
    }
}

/// The folder of a cell's run, which no other process trains in.
pub(in crate::run) struct RunFolder {
    run: PathBuf,
    recomputation: Option<PathBuf>,
    _lock: Lock,
}

impl RunFolder {
    /// Takes the folder; while another process trains in it, `waiting` is told which, and where.
    pub(in crate::run) fn take(
        run: &RunOptions,
        cell: &Cell,
        waiting: &mut dyn FnMut(&str, &Path),
    ) -> Result<Self, Error> {
        let folder = run.run_folder(cell);
        // The cell's lock does not keep other cells out of a folder that --run names.
        let lock = Lock::take(&folder.join("lock"), &mut |holder| waiting(holder, &folder))?;
        let again = run.recompute || recomputes(run, cell);
        Ok(Self {
            recomputation: again.then(|| folder.join(RECOMPUTATION)),
            run: folder,
            _lock: lock,
        })
    }

    /// Where states and curves go.
    pub(in crate::run) fn path(&self) -> &Path {
        self.recomputation.as_deref().unwrap_or(&self.run)
    }

    /// Puts the curves where the record's readers look for them.
    pub(in crate::run) fn publish(&self, run: &RunOptions, cell: &Cell) -> Result<(), Error> {
        let own = self.path().join(METRICS);
        let published = curves_path(&run.results, &cell.key);
        if own != published {
            let bytes = match std::fs::read(&own) {
                // No result hangs on curves that somebody deleted.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                bytes => bytes.map_err(|source| StoreError::Io {
                    action: "read",
                    path: own,
                    source,
                })?,
            };
            write_atomic(&published, &bytes)?;
        }
        Ok(())
    }

    /// The record is written: what was trained again takes the place of what was there before.
    /// Cut short, it leaves the recomputation as one that is finished and has no record yet.
    pub(in crate::run) fn settle(self) -> Result<(), Error> {
        if let Some(recomputation) = &self.recomputation {
            Curves::replace(&self.run, recomputation)?;
            for name in [WEIGHTS, CARD, HEAD] {
                replace(&self.run.join(name), &recomputation.join(name))?;
            }
            let states = |folder| StateFolder::new(folder, Identity::new(), Default::default());
            states(&self.run).replace(&states(recomputation))?;
            delete_folder(recomputation)?;
        }
        Ok(())
    }
}

/// Puts a file in the place of another; where there is none, the place is empty afterwards.
fn replace(old: &Path, new: &Path) -> Result<(), StoreError> {
    if new.exists() {
        return std::fs::rename(new, old).map_err(|source| StoreError::Io {
            action: "write",
            path: old.to_owned(),
            source,
        });
    }
    match old.exists() {
        true => delete(old),
        false => Ok(()),
    }
}
