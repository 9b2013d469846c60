//! What fine-tuning asks: a whole encoder and a head, trained with labels under layer-wise decay of
//! the learning rate (facebookresearch/mae `main_finetune.py`, microsoft/unilm
//! `beit/run_class_finetuning.py` and their kin, with their settings named).

use serde::{Deserialize, Serialize};

use super::linear::REFERENCE_BATCH;
use super::protocol::{WrongValue, of_section};
use super::{LearningRateRule, Shots};
use crate::data::augment::{AugmentSpec, CropSpec};
use crate::data::{Interpolation, MixSpec};
use crate::nn::Initial;
use crate::train::{EpochLength, LayerDecayRule, OptimizerKind, Recipe, Schedule};

/// The training and its evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneTask {
    /// Blocks of the encoders that it is for; any number, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// What the head reads.
    pub pool: Pool,
    /// Whether the blocks share a table of relative positions.
    pub relative_bias: RelativeBiasChoice,
    /// Where the head's weights begin; its biases begin at zero.
    pub head_initial: Initial,
    /// Epochs.
    pub epochs: usize,
    /// Images of one update.
    pub batch: usize,
    /// Images that are mixed with one coefficient: those of one device.
    pub local_batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Whether it is for the batch as it is.
    pub learning_rate_rule: LearningRateRule,
    /// How it moves.
    pub schedule: Schedule,
    /// What moves the weights.
    pub optimizer: OptimizerKind,
    /// Weight decay of what the rule of layers does not spare.
    pub weight_decay: f64,
    /// What a layer learns at, of the one above it.
    pub layer_decay: f64,
    /// Which layer a parameter belongs to.
    pub layer_decay_rule: LayerDecayRule,
    /// How likely a branch of the last block is left out of an image; 0 at the first block, and in
    /// equal steps between.
    pub drop_path: f64,
    /// Part of a target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// Largest global norm of a gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// How images are mixed; not at all, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mix: Option<MixSpec>,
    /// What happens to train images before.
    pub augment: AugmentSpec,
    /// How often an epoch has an image; it has as many fewer images.
    pub repeats: usize,
    /// Whether a pass leaves out what makes no whole batch.
    pub drop_last: bool,
    /// Epochs between two looks at the validation images; the last epoch always has one.
    pub validate_every: usize,
    /// Which train images.
    pub shots: Shots,
    /// Seed of their choice, which the run's does not change.
    pub shots_seed: u64,
    /// Settings that the paper does not have, or whose values its text lost: they are the code's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_in_paper: Vec<String>,
}

impl Default for FinetuneTask {
    /// MAE's for ViT-B (`protocols/finetune-mae.toml`) without mixing and stronger augmentation, of
    /// encoders of any depth.
    fn default() -> Self {
        Self {
            depth: None,
            pool: Pool::MeanPatch,
            relative_bias: RelativeBiasChoice::Checkpoint,
            head_initial: Initial::TruncatedNormal(2e-5),
            epochs: 100,
            batch: 1024,
            local_batch: 32,
            learning_rate: 5e-4,
            learning_rate_rule: LearningRateRule::Per256,
            schedule: Schedule::MaeCosine {
                warmup_epochs: 5.0,
                end: 1e-6,
            },
            optimizer: OptimizerKind::AdamW {
                betas: [0.9, 0.999],
                eps: 1e-8,
            },
            weight_decay: 0.05,
            layer_decay: 0.65,
            layer_decay_rule: LayerDecayRule::Mae,
            drop_path: 0.1,
            label_smoothing: 0.1,
            clip_norm: None,
            mix: None,
            augment: AugmentSpec {
                crop: CropSpec::Torchvision,
                interpolation: Interpolation::Bicubic,
                ..AugmentSpec::default()
            },
            repeats: 1,
            drop_last: true,
            validate_every: 1,
            shots: Shots::All,
            shots_seed: 0,
            not_in_paper: Vec::new(),
        }
    }
}

/// What the head of a fine-tuned encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean of the patches under a normalisation of its own, `fc_norm`, which takes the place
    /// of the encoder's last and begins as the identity where the checkpoint has none.
    MeanPatch,
    /// The class token under the encoder's last normalisation.
    Cls,
}

/// Tables of relative positions in fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelativeBiasChoice {
    /// As the checkpoint has them.
    Checkpoint,
    /// Every block begins with a copy of the table that they share in the checkpoint
    /// (microsoft/unilm `beit/run_class_finetuning.py`).
    PerBlock,
}

impl FinetuneTask {
    /// Whether images are mixed, in pairs.
    pub fn mixes(&self) -> bool {
        self.mix.is_some_and(|mix| mix.mixes())
    }

    /// Learning rate of updates of this batch.
    pub fn scaled_learning_rate(&self) -> f64 {
        match self.learning_rate_rule {
            LearningRateRule::Absolute => self.learning_rate,
            LearningRateRule::Per256 => self.learning_rate * self.batch as f64 / REFERENCE_BATCH,
        }
    }

    /// How it is trained by this seed, `at_once` images going through the network together.
    pub fn recipe(&self, seed: u64, at_once: usize) -> Recipe {
        Recipe {
            epochs: self.epochs,
            epoch: match self.drop_last {
                true => EpochLength::WholeBatches,
                false => EpochLength::Samples,
            },
            batch: self.batch,
            local_batch: at_once,
            mixed: self.local_batch,
            repeats: self.repeats,
            learning_rate: self.scaled_learning_rate(),
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            weight_decay_schedule: Schedule::Constant {},
            validate_every: Some(self.validate_every),
            seed,
            batch_norm: false,
        }
    }

    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason: String| Err(WrongValue { field, reason });
        for (field, count) in [
            ("task.batch", self.batch),
            ("task.local_batch", self.local_batch),
            ("task.epochs", self.epochs),
            ("task.validate_every", self.validate_every),
            ("task.repeats", self.repeats),
            ("task.depth", self.depth.unwrap_or(1)),
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
        if self.mixes() && !self.local_batch.is_multiple_of(2) {
            return wrong(
                "task.local_batch",
                format!(
                    "is {}: mixup and cutmix pair images, which takes an even number",
                    self.local_batch
                ),
            );
        }
        if self.repeats > 1 && !self.drop_last {
            let reason =
                "leaves a rest that repeats images unevenly: it needs task.drop_last = true";
            return wrong("task.repeats", reason.to_owned());
        }
        if self.repeats > 1 && self.mixes() && self.batch < 2 * self.repeats {
            return wrong(
                "task.repeats",
                format!(
                    "= {} would mix an image with itself in a batch of {}",
                    self.repeats, self.batch
                ),
            );
        }
        for (field, value, most) in [
            ("task.layer_decay", self.layer_decay, 1.0),
            ("task.learning_rate", self.learning_rate, f64::MAX),
            ("task.clip_norm", self.clip_norm.unwrap_or(1.0), f64::MAX),
        ] {
            if !(value > 0.0 && value <= most) {
                let bound = if most == 1.0 { " and at most 1" } else { "" };
                return wrong(field, format!("must be positive{bound}, it is {value}"));
            }
        }
        for (field, value) in [
            ("task.drop_path", self.drop_path),
            ("task.label_smoothing", self.label_smoothing),
        ] {
            if !(0.0..1.0).contains(&value) {
                return wrong(field, format!("must be from 0 up to 1, it is {value}"));
            }
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let reason = format!("must not be negative, it is {}", self.weight_decay);
            return wrong("task.weight_decay", reason);
        }
        let check = |field, checked: Result<(), String>| {
            checked.map_err(|reason| WrongValue { field, reason })
        };
        check("task.head_initial", self.head_initial.check())?;
        check("task.optimizer", self.optimizer.check())?;
        super::linear::check_schedule(self.schedule, self.epochs)?;
        if let Some(mix) = &self.mix {
            check("task.mix", of_section("mix.", mix.check()))?;
        }
        check("task.augment", of_section("augment.", self.augment.check()))
    }
}
