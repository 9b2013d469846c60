//! Everything that decides a ViT's forward pass besides its weights.

use serde::{Deserialize, Serialize};

use super::heads::Heads;
use super::rope::Rope;
use crate::engine::Activation;
use crate::metric::PatchGrid;
use crate::nn::AttentionConfig;

/// Where the last normalisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalNorm {
    /// `norm`, over every token (timm with `global_pool="token"`, MAE's pre-training files).
    Tokens,
    /// `cls_norm` over the prefix tokens, `norm` over the patch tokens (DINOv3's largest models).
    Untied,
    /// `fc_norm`, over the mean of the patch tokens alone; the tokens stay as the last block
    /// leaves them (timm with `global_pool="avg"`, MAE's fine-tuned files).
    MeanPatch,
    /// None: the tokens stay as the last block leaves them (segmentation backbones).
    None,
}

impl FinalNorm {
    /// Whether the tokens themselves are normalised.
    pub fn over_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::Untied)
    }
}

/// The MLP of every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MlpKind {
    /// `fc2(act(fc1(x)))`.
    Plain,
    /// `fc2(norm?(act(fc1_g(x)) * fc1_x(x)))`: SwiGLU.
    Gated {
        /// Whether the product is normalised before `fc2` (EVA-02's sub-LN).
        norm: bool,
    },
}

/// Learned biases of the attention scores, by the displacement from key to query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelativeBias {
    /// Every block has a table of its own (BEiT's fine-tuned files).
    PerBlock,
    /// One table for all (BEiT's pre-training files).
    Shared,
    /// One for all and one a block, which are added.
    Both,
}

/// How the tokens become the checkpoint's own feature, where that is neither the class token nor
/// the mean patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooler {
    /// Mean of class and distillation token (timm's distilled DeiT).
    ClassAndDistillation,
    /// A linear map of the class token into the space that images and texts share: CLIP.
    Projection {
        /// Numbers in its output.
        width: usize,
    },
    /// One learned query attends to the tokens, then an MLP: SigLIP.
    Attention {
        /// Hidden width of its MLP.
        mlp_width: usize,
    },
}

/// Architecture of a pre-norm ViT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Side of a square patch, pixels.
    pub patch_size: usize,
    /// Whether the patch projection has a bias.
    pub patch_bias: bool,
    /// Rows and columns of the patch grid.
    pub grid: [usize; 2],
    /// Rows and columns of pixels beyond the last patch, which the projection never sees: an
    /// input of 384 pixels in patches of 14 has 6.
    pub margin: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Token width D.
    pub width: usize,
    /// Number of blocks L.
    pub depth: usize,
    /// Attention heads of each block.
    pub heads: Heads,
    /// The MLP of every block.
    pub mlp: MlpKind,
    /// Hidden width of the MLP.
    pub mlp_width: usize,
    /// Activation of the MLP.
    pub activation: Activation,
    /// Whether a class token precedes the other tokens.
    pub class_token: bool,
    /// Whether a distillation token follows the class token (DeiT).
    pub distillation_token: bool,
    /// Register tokens between those and the patches.
    pub registers: usize,
    /// Prefix tokens, from the first on, that have a row in the table of absolute positions, as
    /// every patch has; `None` where there is no such table.
    pub positions: Option<usize>,
    /// Learned biases of the attention scores.
    pub relative_bias: Option<RelativeBias>,
    /// Rotary positions of queries and keys.
    pub rope: Option<Rope>,
    /// Whether a norm precedes the first block (CLIP).
    pub norm_pre: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised a head.
    pub qk_norm: bool,
    /// Whether the mixed values are normalised before their projection (EVA-02's sub-LN).
    pub attention_norm: bool,
    /// Whether a learned scale follows the attention and the MLP.
    pub layer_scale: bool,
    /// Where the final normalisation stands.
    pub final_norm: FinalNorm,
    /// The checkpoint's own pooling.
    pub pooler: Option<Pooler>,
    /// Epsilon of every LayerNorm.
    pub norm_eps: f64,
}

impl VitConfig {
    /// timm's `VisionTransformer` with its defaults: class token, learned positions of all tokens,
    /// an MLP of four times the width, and `norm` over every token.
    pub fn plain(
        patch_size: usize,
        grid: [usize; 2],
        (width, depth, heads): (usize, usize, usize),
    ) -> Self {
        Self {
            patch_size,
            patch_bias: true,
            grid,
            margin: [0; 2],
            channels: 3,
            width,
            depth,
            heads: Heads::same(heads, depth),
            mlp: MlpKind::Plain,
            mlp_width: 4 * width,
            activation: Activation::Gelu,
            class_token: true,
            distillation_token: false,
            registers: 0,
            positions: Some(1),
            relative_bias: None,
            rope: None,
            norm_pre: false,
            qkv_bias: true,
            qk_norm: false,
            attention_norm: false,
            layer_scale: false,
            final_norm: FinalNorm::Tokens,
            pooler: None,
            norm_eps: 1e-6,
        }
    }

    /// Patch tokens.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Tokens before the patches: class, distillation, registers.
    pub fn prefix(&self) -> usize {
        usize::from(self.class_token) + usize::from(self.distillation_token) + self.registers
    }

    /// All tokens.
    pub fn tokens(&self) -> usize {
        self.prefix() + self.patches()
    }

    /// Where the patches stand among the tokens and on the image.
    pub fn patch_grid(&self) -> PatchGrid {
        PatchGrid {
            prefix: self.prefix(),
            grid: self.grid,
            patch_size: self.patch_size,
        }
    }

    /// The attention of a block of so many heads.
    pub(super) fn attention(&self, heads: usize) -> AttentionConfig {
        AttentionConfig {
            heads,
            bias: self.qkv_bias,
            qk_norm: self.qk_norm,
            norm: self.attention_norm,
            norm_eps: self.norm_eps,
        }
    }

    /// Height and width of the input, pixels.
    pub fn input_size(&self) -> [usize; 2] {
        let [rows, columns] = self.grid.map(|side| side * self.patch_size);
        [rows + self.margin[0], columns + self.margin[1]]
    }
}
