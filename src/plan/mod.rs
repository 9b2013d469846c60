//! Arguments, protocols, cards and defaults resolved, checked and hashed before the first second
//! of compute.

mod cell;
mod dataset;
mod finetune;
mod input;
mod pretrain;
mod pretrain_prospect;
mod prospect;
mod segment;
mod subject;
mod sweep;
mod teacher_origin;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::checkpoint::SceneHead;
use crate::data::segmentation::MaskSpec;
use crate::engine::Compute;
use crate::error::Error;
use crate::features::PassOptions;
use crate::spec::Protocol;
use crate::store::{RowType, run_folder};

pub use cell::{Cell, Part, Request};
pub use dataset::{DataRequest, EvaluationSet, ImageList};
pub use finetune::{
    HeadStart, images_at_once, is_part, largest_carried_out, largest_within, parts,
};
pub use input::{input_spec, pixel_input};
pub use pretrain::{
    PretrainPlan, TeacherFile, blueprint, open_teachers, pretrain_at_once, pretrain_input,
    pretrain_parts, teacher_origins,
};
pub use pretrain_prospect::PretrainProspect;
pub use prospect::{Counts, Origin, Prospect};
pub use segment::{crops_at_once, segmenting_config};
pub use subject::{Subject, check_heads, teacher_key, tell_apart};
pub use sweep::{sweep_recipes, teachers_of_each};
pub use teacher_origin::TeacherOrigin;

/// How and where a command runs, in values that need no further default.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Engine, device and element type of the forward pass.
    pub compute: Compute,
    /// Threads of the forward pass and of the search.
    pub threads: usize,
    /// Batch, decoding threads and what to do with bad images.
    pub pass: PassOptions,
    /// Element type of stored features.
    pub rows: RowType,
    /// Seed of everything random.
    pub seed: u64,
    /// Where records go.
    pub results: PathBuf,
    /// Where features are kept.
    pub store: PathBuf,
    /// Whether to evaluate again where a record is up to date.
    pub recompute: bool,
    /// How training is kept safe.
    pub states: StateOptions,
    /// Images that go through a network together while all of it is trained.
    pub at_once: AtOnce,
    /// Whether fine-tuning begins with a new head where the checkpoint has one.
    pub reset_head: bool,
    /// The head of a segmentation that is evaluated as it is.
    pub scene_head: Option<Arc<SceneHead>>,
}

/// Images that go through a network together while all of it is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtOnce {
    /// Nobody says.
    #[default]
    Usual,
    /// So many.
    Images(usize),
    /// As many as fit into memory.
    Fitting,
}

/// How the states of training runs are kept.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// Time between two states: what a kill can lose.
    pub every: Duration,
    /// The run's folder, where it is not `runs` in the results.
    pub folder: Option<PathBuf>,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(300),
            folder: None,
        }
    }
}

impl RunOptions {
    /// The folder of a cell's training run.
    pub fn run_folder(&self, cell: &Cell) -> PathBuf {
        let usual = || run_folder(&self.results, &cell.key);
        self.states.folder.clone().unwrap_or_else(usual)
    }
}

/// Everything a command is going to evaluate.
#[derive(Debug)]
pub struct Plan {
    /// Subject by subject, each under all its protocols.
    pub cells: Vec<Cell>,
    /// How it runs.
    pub run: RunOptions,
}

/// A cell that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Name of what was to be evaluated.
    pub subject: String,
    /// Name of the protocol.
    pub protocol: String,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Every subject under every protocol with every seed, which all look at one dataset.
    pub fn new(
        subjects: Vec<Subject>,
        protocols: Vec<Protocol>,
        seeds: &[u64],
        set: EvaluationSet,
        run: RunOptions,
    ) -> Result<Self, Error> {
        let set = Arc::new(set);
        let protocols: Vec<_> = protocols.into_iter().map(Arc::new).collect();
        let mut plan = Self {
            cells: Vec::new(),
            run,
        };
        for subject in subjects {
            let subject = Arc::new(subject);
            for protocol in &protocols {
                for &seed in seeds {
                    plan.add(&subject, protocol, &set, seed)?;
                }
            }
        }
        if plan.run.states.folder.is_some() && plan.cells.len() > 1 {
            return Err(Error::Usage {
                message: format!(
                    "--run is the folder of one run, and these are {}",
                    plan.cells.len()
                ),
                hint: "without it every run has a folder of its own below the results".to_owned(),
            });
        }
        Ok(plan)
    }

    /// Every subject under every protocol, each on the dataset it names in `request`; what cannot
    /// be looked at comes back with the reason.
    pub fn over(
        subjects: Vec<Subject>,
        protocols: Vec<Protocol>,
        request: &DataRequest,
        run: RunOptions,
    ) -> (Self, Vec<Skipped>) {
        type Opened = Result<Arc<EvaluationSet>, String>;
        // Two names may be one folder, which is opened once.
        let mut sets: Vec<((PathBuf, Option<MaskSpec>), Opened)> = Vec::new();
        let mut of_protocol: Vec<(Arc<Protocol>, Opened)> = Vec::new();
        for protocol in protocols.into_iter().map(Arc::new) {
            let opened = match request.root(&protocol.data.dataset) {
                Err(error) => Err(error.to_string()),
                Ok(root) => {
                    let place = (root, protocol.masks().cloned());
                    match sets.iter().find(|(known, _)| *known == place) {
                        Some((_, opened)) => opened.clone(),
                        None => {
                            let set = EvaluationSet::of(&place.0, &protocol, request, run.seed);
                            let set = set.map(Arc::new).map_err(|error| error.to_string());
                            sets.push((place, set.clone()));
                            set
                        }
                    }
                }
            };
            of_protocol.push((protocol, opened));
        }
        let mut plan = Self {
            cells: Vec::new(),
            run,
        };
        let mut skipped = Vec::new();
        for subject in subjects.into_iter().map(Arc::new) {
            for (protocol, opened) in &of_protocol {
                let added = match opened {
                    Ok(set) => {
                        let added = plan.add(&subject, protocol, set, plan.run.seed);
                        added.map_err(|error| error.to_string())
                    }
                    Err(reason) => Err(reason.clone()),
                };
                if let Err(reason) = added {
                    skipped.push(Skipped {
                        subject: subject.name().to_owned(),
                        protocol: protocol.name.clone(),
                        reason,
                    });
                }
            }
        }
        (plan, skipped)
    }

    /// Keeps every `count`-th cell, beginning with the `place`-th, counted from 1.
    pub fn shard(&mut self, (place, count): (usize, usize)) {
        let mut at = 0;
        self.cells.retain(|_| {
            at += 1;
            at % count == place % count
        });
    }

    /// One more cell.
    pub fn add(
        &mut self,
        subject: &Arc<Subject>,
        protocol: &Arc<Protocol>,
        set: &Arc<EvaluationSet>,
        seed: u64,
    ) -> Result<(), Error> {
        let cell = Cell::new(
            subject.clone(),
            protocol.clone(),
            set.clone(),
            seed,
            &self.run,
        )?;
        self.cells.push(cell);
        Ok(())
    }
}

/// blake3 of a value's JSON, hexadecimal.
fn digest(value: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers in plain structures serialise"
    )]
    let json = serde_json::to_vec(value).expect("a key serialises");
    blake3::hash(&json).to_hex()[..32].to_owned()
}

/// Where features of a command go when `--store` is not given.
pub fn default_store(results: &Path) -> PathBuf {
    results.join("store")
}
