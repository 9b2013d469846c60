//! Random initialisation.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{FinalNorm, VitConfig};
use crate::engine::HostTensor;
use crate::nn::{Weights, standard_normal};

/// Standard deviation of a linear layer's weights in timm
/// (`timm/models/vision_transformer.py`, `init_weights_vit_timm`).
const STD: f64 = 0.02;

/// Weights of an untrained ViT of the layers that [`VitConfig::plain`] has, whatever their sizes, a
/// function of the seed alone: matrices, the class token and the
/// positions from a normal distribution of standard deviation 0.02 cut at two deviations, biases
/// zero, norms the identity.
pub fn random_weights(config: &VitConfig, seed: u64) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Weights::default();
    let mut normal = |name: String, shape: Vec<usize>| {
        weights.insert(name, cut_normal_tensor(&mut rng, shape));
    };
    let (width, patch) = (config.width, config.patch_size);
    if config.class_token {
        normal("cls_token".to_owned(), vec![1, 1, width]);
    }
    if let Some(prefix) = config.positions {
        let rows = prefix + config.patches();
        normal("pos_embed".to_owned(), vec![1, rows, width]);
    }
    normal(
        "patch_embed.proj.weight".to_owned(),
        vec![width, config.channels, patch, patch],
    );
    let linear = [
        ("attn.qkv", 3 * width, width),
        ("attn.proj", width, width),
        ("mlp.fc1", config.mlp_width, width),
        ("mlp.fc2", width, config.mlp_width),
    ];
    for block in 0..config.depth {
        for (name, outputs, inputs) in linear {
            normal(
                format!("blocks.{block}.{name}.weight"),
                vec![outputs, inputs],
            );
        }
    }
    let mut constant = |name: String, length: usize, value: f32| {
        weights.insert(
            name,
            HostTensor {
                shape: vec![length],
                data: vec![value; length],
            },
        );
    };
    let mut norm = |prefix: String| {
        constant(format!("{prefix}.weight"), width, 1.0);
        constant(format!("{prefix}.bias"), width, 0.0);
    };
    for block in 0..config.depth {
        norm(format!("blocks.{block}.norm1"));
        norm(format!("blocks.{block}.norm2"));
    }
    norm(match config.final_norm {
        FinalNorm::MeanPatch => "fc_norm".to_owned(),
        _ => "norm".to_owned(),
    });
    constant("patch_embed.proj.bias".to_owned(), width, 0.0);
    for block in 0..config.depth {
        for (name, outputs, _) in linear {
            constant(format!("blocks.{block}.{name}.bias"), outputs, 0.0);
        }
    }
    weights
}

/// Numbers in the tensors of [`random_weights`].
pub fn random_elements(config: &VitConfig) -> usize {
    let [width, mlp] = [config.width, config.mlp_width];
    let class = if config.class_token { width } else { 0 };
    let positions = config
        .positions
        .map_or(0, |prefix| prefix + config.patches());
    let patch = config.channels * config.patch_size.pow(2) + 1;
    let attention = 4 * width * (width + 1);
    let block = attention + 2 * width * mlp + mlp + width + 4 * width;
    class + (positions + patch) * width + config.depth * block + 2 * width
}

/// The same tensors as they are before any training, a function of the seed alone: matrices, tokens
/// and positions as [`random_weights`] has them, norms the identity, biases and the tables of
/// relative positions zero, scales of branches 0.1 (microsoft/unilm `beit/run_class_finetuning.py`,
/// as for ViT-B). Periods of rotary positions stay as they are.
pub fn untrained(weights: &Weights, seed: u64) -> Weights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fresh = Weights::default();
    for (name, tensor) in weights.iter() {
        let shape = tensor.shape.clone();
        let constant = |value: f32| HostTensor {
            data: vec![value; tensor.data.len()],
            shape: shape.clone(),
        };
        let last = name.rsplit('.').next().unwrap_or(name);
        fresh.insert(
            name.to_owned(),
            match last {
                _ if stays_untrained(name) => tensor.clone(),
                "gamma" => constant(0.1),
                "bias" | "relative_position_bias_table" => constant(0.0),
                "weight" if shape.len() == 1 => constant(1.0),
                _ => cut_normal_tensor(&mut rng, shape),
            },
        );
    }
    fresh
}

/// Whether a tensor is the same before any training as after it: the periods of rotary positions.
pub fn stays_untrained(name: &str) -> bool {
    name.ends_with(".periods")
}

/// Numbers of standard deviation 0.02, cut at two deviations.
pub(super) fn cut_normal_tensor(rng: &mut ChaCha8Rng, shape: Vec<usize>) -> HostTensor {
    let count = shape.iter().product();
    let data = (0..count).map(|_| (STD * cut_normal(rng)) as f32).collect();
    HostTensor { shape, data }
}

/// A standard normal number within two deviations.
fn cut_normal(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let z = standard_normal(rng);
        if z.abs() <= 2.0 {
            return z;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Architecture;
    use super::*;

    #[test]
    fn numbers_are_counted_without_drawing_them() {
        let mut config = Architecture::named("vit_tiny_patch16_224")
            .unwrap()
            .config();
        // timm's 5 717 416 have a head of 1000 classes.
        assert_eq!(random_elements(&config), 5_717_416 - 193_000);
        config = VitConfig {
            positions: None,
            mlp_width: 32,
            final_norm: FinalNorm::MeanPatch,
            ..VitConfig::plain(4, [2, 3], (8, 2, 2))
        };
        let weights = random_weights(&config, 0);
        let elements: usize = weights.iter().map(|(_, tensor)| tensor.data.len()).sum();
        assert_eq!(random_elements(&config), elements);
    }
}
