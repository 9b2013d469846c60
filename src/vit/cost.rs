//! What an architecture costs: products of a forward pass, and what training keeps of an image.

use super::{MlpKind, VitConfig};
use crate::engine::{EngineKind, Precision};

impl VitConfig {
    /// Multiplications, each with its addition, of one image's forward pass without a head: those of
    /// matrix products. facebookresearch/fvcore counts norms beside them
    /// (`fvcore/nn/jit_handles.py`), 0.1 % of a ViT-B/16.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds_of(self.patches())
    }

    /// [`VitConfig::multiply_adds`] of so many of an image's patches, none but which are embedded.
    pub fn multiply_adds_of(&self, patches: usize) -> u64 {
        self.patch_multiply_adds(patches) + self.block_multiply_adds(self.depth, patches)
    }

    /// [`VitConfig::multiply_adds`] of the forward pass and of the gradients of all parameters: a
    /// product has two, for its factors, but pixels need none. What an engine computes again instead
    /// of keeping it does not count.
    pub fn training_multiply_adds(&self) -> u64 {
        self.training_multiply_adds_of(self.patches())
    }

    /// [`VitConfig::training_multiply_adds`] of so many of an image's patches.
    pub fn training_multiply_adds_of(&self, patches: usize) -> u64 {
        3 * self.multiply_adds_of(patches) - self.patch_multiply_adds(patches)
    }

    /// Of the first `depth` blocks alone.
    pub(crate) fn block_multiply_adds(&self, depth: usize, patches: usize) -> u64 {
        let [tokens, width] = [self.prefix() + patches, self.width].map(|n| n as u64);
        let mlp = self.mlp_matrices() * width * self.mlp_width as u64;
        depth as u64 * tokens * (4 * width * width + mlp + 2 * tokens * width)
    }

    /// Of the embedding of so many patches alone.
    pub(crate) fn patch_multiply_adds(&self, patches: usize) -> u64 {
        (patches * self.patch_pixels() * self.width) as u64
    }

    /// Numbers of a patch.
    fn patch_pixels(&self) -> usize {
        self.channels * self.patch_size * self.patch_size
    }

    fn mlp_matrices(&self) -> u64 {
        match self.mlp {
            MlpKind::Plain => 2,
            MlpKind::Gated { .. } => 3,
        }
    }

    /// Bytes of one image's activations in the middle of a training step: what the forward pass
    /// keeps of every block, and what the gradient of one block needs beside it.
    pub fn activation_bytes(&self, engine: EngineKind, precision: Precision) -> u64 {
        self.activation_bytes_of(engine, precision, self.patches())
    }

    /// [`VitConfig::activation_bytes`] of so many of the image's patches.
    pub fn activation_bytes_of(
        &self,
        engine: EngineKind,
        precision: Precision,
        patches: usize,
    ) -> u64 {
        let width = self.width as f64;
        let hidden = self.mlp_width as f64;
        // Of numbers that take four bytes, and of those that are cast for products.
        let (wide, cast) = match (engine, precision) {
            (_, Precision::F64) => (8.0, 8.0),
            (EngineKind::Torch, Precision::Bf16) => (4.0, 2.0),
            _ => (4.0, 4.0),
        };
        // Inputs of both norms; their outputs, queries, keys and values, and what they mix to.
        let mut kept = 2.0 * width * wide + 6.0 * width * cast;
        if self.layer_scale {
            kept += 2.0 * width * cast;
        }
        if self.qk_norm {
            kept += 5.0 * width * cast;
        }
        if self.rope.is_some() {
            kept += 3.0 * width * cast;
        }
        if self.attention_norm {
            kept += width * cast;
        }
        kept += cast
            * match (self.mlp, engine) {
                // The kernel computes the activated layer again.
                (MlpKind::Plain, EngineKind::Candle) => hidden,
                (MlpKind::Plain, EngineKind::Torch) => 2.0 * hidden,
                (MlpKind::Gated { norm }, _) => hidden * if norm { 5.0 } else { 4.0 },
            };
        let passing = (2.0 * hidden + 2.0 * width) * cast;
        let pixels = (self.patch_pixels() * patches) as f64;
        let tokens = (self.prefix() + patches) as f64;
        (tokens * (self.depth as f64 * kept + passing) + pixels * wide) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::Architecture;
    use super::*;

    fn config(name: &str) -> VitConfig {
        Architecture::named(name).unwrap().config()
    }

    #[test]
    fn products_are_those_that_papers_count() {
        // timm's results tables (`results/model_metadata-in1k.csv`, `gmacs` with attention; DeiT's
        // table 5 has 17.6 for ViT-B), 10^9 multiply-adds with the head, which is below 0.01.
        for (name, published) in [
            ("vit_tiny_patch16_224", 1.26),
            ("vit_small_patch16_224", 4.6),
            ("vit_base_patch16_224", 17.58),
            ("vit_large_patch16_224", 61.6),
        ] {
            let found = config(name).multiply_adds() as f64 / 1e9;
            assert!((found / published - 1.0).abs() < 0.01, "{name}: {found}");
        }
    }

    #[test]
    fn products_are_counted_one_by_one() {
        let config = config("vit_base_patch16_224");
        let mut products = vec![(196, 768, 768)];
        for _ in 0..12 {
            products.extend([(197, 768, 2304), (197, 768, 768)]);
            products.extend([(197, 768, 3072), (197, 3072, 768)]);
            for _ in 0..12 {
                products.extend([(197, 64, 197), (197, 197, 64)]);
            }
        }
        let sum: u64 = products
            .iter()
            .map(|(m, k, n): &(u64, u64, u64)| m * k * n)
            .sum();
        assert_eq!(config.multiply_adds(), sum);
        let gradients = 2 * sum - 196 * 768 * 768;
        assert_eq!(config.training_multiply_adds(), sum + gradients);
    }
}
