//! What linear probes ask: heads over a frozen encoder, trained on augmented images
//! (microsoft/unilm `beit/run_linear_eval.py`, facebookresearch/mae `main_linprobe.py`,
//! facebookresearch/dinov2 `eval/linear.py` and their kin, with their settings named).

use serde::{Deserialize, Serialize};

use super::protocol::{WrongValue, of_section};
use super::{FeatureChoice, NormChoice, Shots};
use crate::data::augment::AugmentSpec;
use crate::decoders::ProbeInput;
use crate::features::Token;
use crate::nn::Initial;
use crate::train::{EpochLength, OptimizerKind, Recipe, Schedule};

/// Batch size that learning rates are given for where they are scaled (Goyal et al. 2017).
pub(super) const REFERENCE_BATCH: f64 = 256.0;

/// Key path of the warm-up of schedules that count it in epochs.
pub(super) const WARMUP_EPOCHS: &str = "task.schedule.warmup_epochs";

/// The evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearTask {
    /// What heads read; every head is trained in the same pass.
    pub inputs: Vec<HeadInput>,
    /// What a head is.
    pub head: HeadSettings,
    /// Learning rates; every one of them has a head over every input.
    pub learning_rates: Vec<f64>,
    /// Whether they are for the batch as it is.
    pub learning_rate_rule: LearningRateRule,
    /// How they move.
    pub schedule: Schedule,
    /// What moves the weights.
    pub optimizer: OptimizerKind,
    /// Weight decay, of matrices and biases alike.
    pub weight_decay: f64,
    /// Images of one update.
    pub batch: usize,
    /// Images that go through the heads together: what BatchNorm sees.
    pub local_batch: usize,
    /// Epochs.
    pub epochs: usize,
    /// Updates of an epoch, where it is no pass over the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates_per_epoch: Option<usize>,
    /// Whether a pass leaves out what makes no whole batch.
    pub drop_last: bool,
    /// Largest global norm of a gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// What happens to train images.
    pub augment: AugmentSpec,
    /// Epochs between two looks at the validation images; the last epoch always has one.
    pub validate_every: usize,
    /// Which train images.
    pub shots: Shots,
    /// Seed of their choice, which the run's does not change.
    pub shots_seed: u64,
}

impl Default for LinearTask {
    /// BEiT's (`protocols/linear-beit.toml`).
    fn default() -> Self {
        Self {
            inputs: vec![HeadInput {
                blocks: HeadBlocks::Named(NamedHeadBlocks::Each),
                token: FeatureChoice::Concat,
                norm: NormChoice::Raw,
            }],
            head: HeadSettings::default(),
            learning_rates: vec![1e-3],
            learning_rate_rule: LearningRateRule::Per256,
            schedule: Schedule::EpochCosine { end: 0.0 },
            optimizer: OptimizerKind::AdamW {
                betas: [0.9, 0.999],
                eps: 1e-8,
            },
            weight_decay: 1e-4,
            batch: 1024,
            local_batch: 128,
            epochs: 100,
            updates_per_epoch: None,
            drop_last: false,
            clip_norm: None,
            augment: AugmentSpec::default(),
            validate_every: 1,
            shots: Shots::All,
            shots_seed: 0,
        }
    }
}

/// What one or several heads read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadInput {
    /// Which blocks.
    pub blocks: HeadBlocks,
    /// Which tokens; with `concat` the mean of the last block's patches follows class tokens.
    pub token: FeatureChoice,
    /// Whether the checkpoint's final normalisation is applied.
    pub norm: NormChoice,
}

/// Which blocks a head reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeadBlocks {
    /// By name.
    Named(NamedHeadBlocks),
    /// The block of this number, counted from 0.
    One(usize),
    /// So many blocks up to the last, joined.
    Joined {
        /// How many.
        last: usize,
    },
}

/// Blocks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedHeadBlocks {
    /// A head for every block.
    Each,
    /// The last block.
    Last,
}

/// What a head is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadSettings {
    /// Whether a BatchNorm without weights stands before the linear layer.
    pub batch_norm: bool,
    /// Where weights begin; biases begin at zero.
    pub initial: Initial,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            batch_norm: false,
            initial: Initial::Normal(0.01),
        }
    }
}

/// What a learning rate is given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateRule {
    /// The batch as it is.
    Absolute,
    /// A batch of 256: it is multiplied by batch / 256.
    Per256,
}

impl LinearTask {
    /// Learning rates of updates of this batch.
    pub fn scaled_learning_rates(&self) -> Vec<f64> {
        let scale = match self.learning_rate_rule {
            LearningRateRule::Absolute => 1.0,
            LearningRateRule::Per256 => self.batch as f64 / REFERENCE_BATCH,
        };
        self.learning_rates
            .iter()
            .map(|rate| rate * scale)
            .collect()
    }

    /// How long an epoch is.
    pub fn epoch_length(&self) -> EpochLength {
        match (self.updates_per_epoch, self.drop_last) {
            (Some(updates), _) => EpochLength::Updates(updates),
            (None, true) => EpochLength::WholeBatches,
            (None, false) => EpochLength::Samples,
        }
    }

    /// How heads are trained by this seed. Several learning rates scale one of 1.
    pub fn recipe(&self, seed: u64) -> Recipe {
        let learning_rate = match self.scaled_learning_rates()[..] {
            [only] => only,
            _ => 1.0,
        };
        Recipe {
            epochs: self.epochs,
            epoch: self.epoch_length(),
            batch: self.batch,
            local_batch: self.local_batch,
            learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            weight_decay_schedule: Schedule::Constant {},
            mixed: self.local_batch,
            repeats: 1,
            validate_every: Some(self.validate_every),
            seed,
            batch_norm: self.head.batch_norm,
        }
    }

    /// What heads read of an encoder of `depth` blocks, which its card evaluates by `card`'s token
    /// and normalisation; each once.
    pub fn probe_inputs(&self, depth: usize, card: (Token, bool)) -> Vec<ProbeInput> {
        let last = depth.saturating_sub(1);
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let blocks = match input.blocks {
                HeadBlocks::Named(NamedHeadBlocks::Each) => (0..depth).map(|i| vec![i]).collect(),
                HeadBlocks::Named(NamedHeadBlocks::Last) => vec![vec![last]],
                HeadBlocks::One(block) => vec![vec![block]],
                HeadBlocks::Joined { last } => vec![(depth.saturating_sub(last)..depth).collect()],
            };
            for blocks in blocks {
                let input = ProbeInput {
                    blocks,
                    token: input.token.token(card.0),
                    norm: input.norm.applies(card.1),
                };
                if !inputs.contains(&input) {
                    inputs.push(input);
                }
            }
        }
        inputs
    }

    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason: String| Err(WrongValue { field, reason });
        if self.inputs.is_empty() {
            return wrong(
                "task.inputs",
                "lists nothing that a head could read".to_owned(),
            );
        }
        let no_block = |input: &HeadInput| input.blocks == HeadBlocks::Joined { last: 0 };
        if self.inputs.iter().any(no_block) {
            return wrong("task.inputs", "joins no block (last = 0)".to_owned());
        }
        if self.learning_rates.is_empty() {
            return wrong("task.learning_rates", "lists no number".to_owned());
        }
        let rates = self.learning_rates.iter();
        for (i, &rate) in rates.clone().enumerate() {
            if !(rate.is_finite() && rate > 0.0) {
                return wrong(
                    "task.learning_rates",
                    format!("must be positive, it has {rate}"),
                );
            }
            if rates.clone().take(i).any(|&other| other == rate) {
                return wrong("task.learning_rates", format!("lists {rate} twice"));
            }
        }
        for (field, count) in [
            ("task.batch", self.batch),
            ("task.local_batch", self.local_batch),
            ("task.epochs", self.epochs),
            ("task.validate_every", self.validate_every),
            (
                "task.updates_per_epoch",
                self.updates_per_epoch.unwrap_or(1),
            ),
        ] {
            if count == 0 {
                return wrong(field, "counts from 1".to_owned());
            }
        }
        if !self.batch.is_multiple_of(self.local_batch) {
            return wrong(
                "task.local_batch",
                format!(
                    "{} does not divide task.batch = {}",
                    self.local_batch, self.batch
                ),
            );
        }
        if self.updates_per_epoch.is_some() && self.drop_last {
            let reason = "means nothing where task.updates_per_epoch is given";
            return wrong("task.drop_last", reason.to_owned());
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let reason = format!("must not be negative, it is {}", self.weight_decay);
            return wrong("task.weight_decay", reason);
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return wrong("task.clip_norm", format!("must be positive, it is {norm}"));
        }
        let check = |field, checked: Result<(), String>| {
            checked.map_err(|reason| WrongValue { field, reason })
        };
        check("task.head.initial", self.head.initial.check())?;
        check("task.optimizer", self.optimizer.check())?;
        check_schedule(self.schedule, self.epochs)?;
        check("task.augment", of_section("augment.", self.augment.check()))
    }
}

/// Refuses a schedule that `epochs` have no room for.
pub(super) fn check_schedule(schedule: Schedule, epochs: usize) -> Result<(), WrongValue> {
    let warmup = match schedule {
        Schedule::MaeCosine { warmup_epochs, .. } => warmup_epochs,
        Schedule::BeitCosine { warmup_epochs, .. } => warmup_epochs as f64,
        _ => 0.0,
    };
    if warmup >= epochs as f64 {
        return Err(WrongValue {
            field: WARMUP_EPOCHS,
            reason: format!("= {warmup} leaves nothing of task.epochs = {epochs}"),
        });
    }
    schedule.check(epochs as u64).map_err(|reason| WrongValue {
        field: "task.schedule",
        reason,
    })
}
