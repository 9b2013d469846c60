//! A step of UperNet on noise.

use std::time::Instant;

use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{BenchOptions, Timed};
use crate::data::Pick;
use crate::decoders::segmentation::{
    AuxiliaryConfig, SegmentationHead, SegmenterConfig, UperNetConfig, initial_weights,
};
use crate::error::Error;
use crate::run::dispatch;
use crate::run::segment::{Start, build};
use crate::spec::Protocol;
use crate::spec::{SegmentPreset, Setting, Task};
use crate::train::{LearningRate, SceneBatch, SceneView, Share};
use crate::vit::random_weights;

/// What is timed of segmentation: BEiT's recipe without drop path, in this size.
#[derive(Clone, Copy, Debug)]
pub struct SegmentStep {
    /// Channels of UperNet.
    pub channels: usize,
    /// Side of a crop, pixels.
    pub crop: usize,
}

/// Classes of every pixel: ADE20K's.
const CLASSES: usize = 150;

/// Channels of the second head.
const AUXILIARY: usize = 256;

/// Learning rate of every step; no time depends on it.
const LEARNING_RATE: f64 = 1e-4;

impl SegmentStep {
    /// Rounds of encoder, neck, both heads, the cross entropy of every pixel, the gradients and the
    /// optimizer.
    pub(super) fn time(
        self,
        options: &BenchOptions,
        rounds: usize,
        bar: &ProgressBar,
    ) -> Result<Timed, Error> {
        let settings = [
            format!("task.augment.crop={}", self.crop),
            format!("task.test.stride={}", self.crop),
            format!("task.batch={}", options.batch),
            "task.drop_path=0.0".to_owned(),
        ];
        let protocol = Protocol::segment(SegmentPreset::Beit, &settings.map(Setting))?;
        let Task::Segment(task) = protocol.task else {
            return Err(Error::Usage {
                message: "the built-in recipe is no segmentation".to_owned(),
                hint: "please report it".to_owned(),
            });
        };
        let mut config = options.architecture.config();
        config.grid = [self.crop / config.patch_size; 2];
        config.margin = [self.crop % config.patch_size; 2];
        let head = SegmentationHead::UperNet(UperNetConfig {
            channels: self.channels,
            pool_scales: vec![1, 2, 3, 6],
            auxiliary: Some(AuxiliaryConfig {
                channels: AUXILIARY,
                weight: 0.4,
            }),
            dropout: 0.1,
        });
        let segmenter = SegmenterConfig::new(head, CLASSES, &config)?;
        let mut weights = random_weights(&config, options.seed);
        for (name, tensor) in initial_weights(&segmenter, options.seed).iter() {
            weights.insert(name.to_owned(), tensor.clone());
        }
        let start = Start {
            encoder: segmenter.encoder(&config),
            segmenter,
            weights,
            key_bias: true,
        };
        let mut network = build(start, &task, (options.seed, options.batch), options.compute)?;
        let batch = noise(options, (config.channels, self.crop));
        let share = Share {
            samples: options.batch as f64,
            first: true,
        };
        let mut seconds = Vec::new();
        let mut loss = None;
        for _ in 0..rounds {
            let start = Instant::now();
            let terms = network.accumulate(&batch, share)?;
            network.update(LearningRate::constant(LEARNING_RATE), task.weight_decay)?;
            seconds.push(start.elapsed().as_secs_f64());
            loss = Some(terms.iter().sum());
            bar.inc(1);
        }
        seconds.drain(..options.warmup.min(rounds));
        Ok(Timed {
            seconds,
            loss,
            device_memory: dispatch::device_memory(options.compute)?,
        })
    }
}

/// Crops of noise, of which every pixel has some class.
fn noise(options: &BenchOptions, (channels, crop): (usize, usize)) -> SceneBatch {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let pixels = options.batch * crop * crop;
    let pick = |index| Pick {
        index,
        pass: 0,
        group: 0,
    };
    SceneBatch {
        views: vec![SceneView {
            pixels: (0..pixels * channels)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect(),
            size: [crop; 2],
            mirrored: false,
        }],
        labels: (0..pixels)
            .map(|_| rng.random_range(0..CLASSES as u32))
            .collect(),
        original: [crop; 2],
        picks: (0..options.batch).map(pick).collect(),
        contents: vec![[0; 16]; options.batch],
    }
}
