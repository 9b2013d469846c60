//! `kind = "segment"`: what every pixel shows, told from an encoder's patches.

use serde::{Deserialize, Serialize};

use super::protocol::{WrongValue, of_section};
use crate::data::segmentation::{MaskSpec, SceneAugment};
use crate::decoders::segmentation::{AuxiliaryConfig, SegmentationHead, UperNetConfig};
use crate::train::{EpochLength, LayerDecayRule, OptimizerKind, Recipe, Schedule};

/// The training and its evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentTask {
    /// Blocks of the encoders that it is for; any number, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// How masks are read.
    pub masks: MaskSpec,
    /// What tells classes from patches.
    pub head: SegmentationHead,
    /// Whether the encoder stays as it is.
    pub frozen: bool,
    /// How patches know where they are.
    pub positions: ScenePositions,
    /// Layer scales of an encoder that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Updates.
    pub updates: usize,
    /// Updates between two looks at the validation images; the last update always has one.
    pub validate_every: usize,
    /// Crops of one update.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
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
    /// How likely a branch of the last block is left out of a crop; 0 at the first block, and in
    /// equal steps between.
    pub drop_path: f64,
    /// Largest global norm of a gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// What happens to train images.
    pub augment: SceneAugment,
    /// What happens to validation images.
    pub test: SceneTest,
    /// Settings that the paper does not have, or whose values its text lost: they are the code's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_in_paper: Vec<String>,
}

/// How patches know where they are in a segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScenePositions {
    /// As the checkpoint has them, brought to the crop.
    Checkpoint,
    /// The same, and every block begins with a copy of a table of relative positions that they share
    /// (microsoft/unilm `beit/semantic_segmentation/mmcv_custom/checkpoint.py`).
    PerBlock,
    /// The same, and beside absolute positions every block has a table of relative ones that begins at
    /// zero (implus/mae_segmentation).
    Added,
    /// No absolute positions, and a table of relative ones in every block that begins at zero: what the
    /// checkpoint had is lost (aicip/MEDiC `src/downstream/segmentation`).
    Anew,
}

/// How validation images are looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneTest {
    /// Longest and shortest side, pixels: the image fits into both.
    pub scale: [usize; 2],
    /// Pixels between two windows of the crop's size.
    pub stride: usize,
    /// Sizes that are looked at, of the scale; of several the probabilities are added.
    pub ratios: Vec<f64>,
    /// Whether the mirrored image is looked at too.
    pub flip: bool,
}

impl Default for SceneTest {
    /// microsoft/unilm `beit/semantic_segmentation/configs/_base_/datasets/ade20k.py` and its windows.
    fn default() -> Self {
        Self {
            scale: [2048, 512],
            stride: 341,
            ratios: vec![1.0],
            flip: false,
        }
    }
}

impl Default for SegmentTask {
    /// BEiT's of ADE20K (`protocols/segment-beit.toml`), of encoders of any depth.
    fn default() -> Self {
        Self {
            depth: None,
            masks: MaskSpec {
                classes: 150,
                ignore: None,
                reduce_zero_label: true,
            },
            head: SegmentationHead::UperNet(UperNetConfig {
                channels: 768,
                pool_scales: vec![1, 2, 3, 6],
                auxiliary: Some(AuxiliaryConfig {
                    channels: 256,
                    weight: 0.4,
                }),
                dropout: 0.1,
            }),
            frozen: false,
            positions: ScenePositions::Checkpoint,
            layer_scale: None,
            updates: 160_000,
            validate_every: 16_000,
            batch: 16,
            learning_rate: 7e-4,
            schedule: Schedule::MmcvPolynomial {
                power: 1.0,
                end: 0.0,
                warmup_steps: 1500,
                warmup_ratio: 1e-6,
            },
            optimizer: OptimizerKind::AdamW {
                betas: [0.9, 0.999],
                eps: 1e-8,
            },
            weight_decay: 0.05,
            layer_decay: 0.65,
            layer_decay_rule: LayerDecayRule::Mmseg,
            drop_path: 0.1,
            clip_norm: None,
            augment: SceneAugment::default(),
            test: SceneTest::default(),
            not_in_paper: Vec::new(),
        }
    }
}

impl SegmentTask {
    /// Side of a crop and of a window, pixels.
    pub fn crop(&self) -> usize {
        self.augment.crop
    }

    /// How it is trained by this seed, `at_once` crops going through the network together.
    pub fn recipe(&self, seed: u64, at_once: usize) -> Recipe {
        // Looks lie evenly; the last part of the run is as long as the others.
        let epochs = self.updates.div_ceil(self.validate_every).max(1);
        Recipe {
            epochs,
            epoch: EpochLength::Updates(self.updates / epochs),
            batch: self.batch,
            local_batch: at_once,
            mixed: self.batch,
            repeats: 1,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            weight_decay_schedule: Schedule::Constant {},
            validate_every: Some(1),
            seed,
            batch_norm: match &self.head {
                SegmentationHead::UperNet(_) => true,
                SegmentationHead::Linear(head) => head.batch_norm,
            },
        }
    }

    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason: String| Err(WrongValue { field, reason });
        for (field, count) in [
            ("task.batch", self.batch),
            ("task.updates", self.updates),
            ("task.validate_every", self.validate_every),
            ("task.depth", self.depth.unwrap_or(1)),
            ("task.test.stride", self.test.stride),
        ] {
            if count == 0 {
                return wrong(field, "counts from 1".to_owned());
            }
        }
        let every = self.validate_every;
        if !self.updates.is_multiple_of(every) && every < self.updates {
            let reason = format!("{every} does not divide task.updates = {}", self.updates);
            return wrong("task.validate_every", reason);
        }
        for (field, value, most) in [
            ("task.layer_decay", self.layer_decay, 1.0),
            ("task.learning_rate", self.learning_rate, f64::MAX),
            (
                "task.layer_scale",
                self.layer_scale.unwrap_or(1.0),
                f64::MAX,
            ),
            ("task.clip_norm", self.clip_norm.unwrap_or(1.0), f64::MAX),
        ] {
            if !(value > 0.0 && value <= most) {
                let bound = if most == 1.0 { " and at most 1" } else { "" };
                return wrong(field, format!("must be positive{bound}, it is {value}"));
            }
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let reason = format!("must be from 0 up to 1, it is {}", self.drop_path);
            return wrong("task.drop_path", reason);
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            let reason = format!("must not be negative, it is {}", self.weight_decay);
            return wrong("task.weight_decay", reason);
        }
        let SceneTest {
            scale: [long, short],
            stride,
            ratios,
            ..
        } = &self.test;
        if *short == 0 || long < short {
            let reason = format!("[{long}, {short}] is no longest and shortest side");
            return wrong("task.test.scale", reason);
        }
        if *stride > self.crop() {
            let reason = format!("{stride} leaves gaps between windows of {}", self.crop());
            return wrong("task.test.stride", reason);
        }
        if ratios.is_empty() || ratios.iter().any(|ratio| !(0.05..=20.0).contains(ratio)) {
            let reason = format!("{ratios:?} are not sizes from 0.05 to 20");
            return wrong("task.test.ratios", reason);
        }
        let check = |field, checked: Result<(), String>| {
            checked.map_err(|reason| WrongValue { field, reason })
        };
        check("task.optimizer", self.optimizer.check())?;
        let epochs = self.recipe(0, self.batch).epochs as u64;
        check("task.schedule", self.schedule.check(epochs))?;
        check("task.masks", of_section("masks.", self.masks.check()))?;
        check("task.augment", of_section("augment.", self.augment.check()))
    }
}
