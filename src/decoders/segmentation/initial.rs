//! Heads and necks before any training.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SegmenterConfig;
use super::config::Layout;
use super::conv_module::Kernel;
use super::neck::Scale;
use crate::engine::HostTensor;
use crate::nn::{Initial, Weights};

/// Standard deviation of the last layer of every head (mmsegmentation
/// `mmseg/models/decode_heads/decode_head.py`, `init_cfg`; facebookresearch/dinov3's linear head has
/// the same).
const LAST: Initial = Initial::Normal(0.01);

/// The tensors of [`super::SegmentationDecoder::load`] as mmcv and PyTorch begin them, each a
/// function of the seed and its name: convolutions normal with the variance of a ReLU's outputs kept
/// backwards (`kaiming_init` of mmcv, `mmcv/cnn/bricks/conv_module.py`), the neck's transposed ones
/// as PyTorch leaves them, norms the identity.
pub fn initial_weights(config: &SegmenterConfig, seed: u64) -> Weights {
    let width = config.width();
    let mut beginning = Beginning {
        seed,
        weights: Weights::default(),
    };
    match config.layout() {
        Layout::UperNet(own, scales) => {
            beginning.neck(width, scales);
            let channels = own.channels;
            for i in 0..own.pool_scales.len() {
                let name = format!("decode_head.psp_modules.{i}.1");
                beginning.module(&name, (width, channels), Kernel::One);
            }
            let pooled = width + channels * own.pool_scales.len();
            let three = [("bottleneck", pooled), ("fpn_bottleneck", 4 * channels)];
            for (name, inputs) in three {
                let name = format!("decode_head.{name}");
                beginning.module(&name, (inputs, channels), Kernel::Three);
            }
            for i in 0..3 {
                let name = format!("decode_head.lateral_convs.{i}");
                beginning.module(&name, (width, channels), Kernel::One);
                let name = format!("decode_head.fpn_convs.{i}");
                beginning.module(&name, (channels, channels), Kernel::Three);
            }
            beginning.last("decode_head", (channels, config.classes()));
            if let Some(auxiliary) = own.auxiliary {
                let channels = auxiliary.channels;
                let name = "auxiliary_head.convs.0";
                beginning.module(name, (width, channels), Kernel::Three);
                beginning.last("auxiliary_head", (channels, config.classes()));
            }
        }
        Layout::Linear(own) => {
            let width = width * config.blocks().len();
            if own.batch_norm {
                beginning.norm("decode_head.bn", width);
            }
            beginning.last("decode_head", (width, config.classes()));
        }
    }
    beginning.weights
}

/// Tensors as they are made.
struct Beginning {
    seed: u64,
    weights: Weights,
}

impl Beginning {
    fn stream(&self, name: &str) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.seed.to_le_bytes())
            .update(name.as_bytes());
        ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
    }

    fn normal(&mut self, name: String, shape: Vec<usize>, initial: Initial) {
        let tensor = initial.tensor(&mut self.stream(&name), shape);
        self.weights.insert(name, tensor);
    }

    fn constant(&mut self, name: String, length: usize, value: f32) {
        let tensor = HostTensor {
            shape: vec![length],
            data: vec![value; length],
        };
        self.weights.insert(name, tensor);
    }

    /// Uniform between `-bound` and `bound`.
    fn uniform(&mut self, name: String, shape: Vec<usize>, bound: f64) {
        let mut rng = self.stream(&name);
        let count = shape.iter().product();
        let mut number = || (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32;
        let data = (0..count).map(|_| number()).collect();
        self.weights.insert(name, HostTensor { shape, data });
    }

    fn norm(&mut self, prefix: &str, width: usize) {
        for (name, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ] {
            self.constant(format!("{prefix}.{name}"), width, value);
        }
    }

    fn module(&mut self, prefix: &str, (inputs, outputs): (usize, usize), kernel: Kernel) {
        let side = kernel.side();
        let deviation = (2.0 / (outputs * side * side) as f64).sqrt();
        let shape = vec![outputs, inputs, side, side];
        self.normal(
            format!("{prefix}.conv.weight"),
            shape,
            Initial::Normal(deviation),
        );
        self.norm(&format!("{prefix}.bn"), outputs);
    }

    fn last(&mut self, head: &str, (channels, classes): (usize, usize)) {
        let name = format!("{head}.conv_seg");
        self.normal(
            format!("{name}.weight"),
            vec![classes, channels, 1, 1],
            LAST,
        );
        self.constant(format!("{name}.bias"), classes, 0.0);
    }

    /// PyTorch's `kaiming_uniform_(a=√5)` of a transposed kernel `[I, O, 2, 2]`, whose second axis
    /// it takes for the inputs (`torch/nn/init.py`, `_calculate_fan_in_and_fan_out`).
    fn transposed(&mut self, prefix: &str, width: usize) {
        let bound = 1.0 / ((4 * width) as f64).sqrt();
        self.uniform(format!("{prefix}.weight"), vec![width, width, 2, 2], bound);
        self.uniform(format!("{prefix}.bias"), vec![width], bound);
    }

    fn neck(&mut self, width: usize, scales: &[Scale; 4]) {
        for (i, scale) in scales.iter().enumerate() {
            let prefix = format!("backbone.fpn{}", i + 1);
            match scale {
                Scale::Quadruple => {
                    self.transposed(&format!("{prefix}.0"), width);
                    self.norm(&format!("{prefix}.1"), width);
                    self.transposed(&format!("{prefix}.3"), width);
                }
                Scale::Double => self.transposed(&format!("{prefix}.0"), width),
                Scale::Same | Scale::Half | Scale::Quarter | Scale::Eighth => {}
            }
        }
    }
}
