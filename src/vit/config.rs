//! Everything that decides a ViT's forward pass besides its weights.

use serde::{Deserialize, Serialize};

use crate::engine::Activation;

/// Where the last normalisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalNorm {
    /// `norm`, over every token (timm with `global_pool="token"`, MAE's pre-training files).
    Tokens,
    /// `fc_norm`, over the mean of the patch tokens alone; the tokens stay as the last block
    /// leaves them (timm with `global_pool="avg"`, MAE's fine-tuned files).
    MeanPatch,
}

/// Architecture of a plain pre-norm ViT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Side of a square patch, pixels.
    pub patch_size: usize,
    /// Rows and columns of the patch grid.
    pub grid: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Token width D.
    pub width: usize,
    /// Number of blocks L.
    pub depth: usize,
    /// Attention heads of every block; they divide the width.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub mlp_width: usize,
    /// Whether a class token precedes the patch tokens.
    pub class_token: bool,
    /// Whether the position table has a row for the class token; otherwise positions are added to
    /// the patch tokens alone (DeiT III).
    pub class_position: bool,
    /// Where the final normalisation stands.
    pub final_norm: FinalNorm,
    /// Epsilon of every LayerNorm.
    pub norm_eps: f64,
    /// Activation of the MLP.
    pub activation: Activation,
}

impl VitConfig {
    /// Patch tokens.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// All tokens, the class token included.
    pub fn tokens(&self) -> usize {
        self.patches() + usize::from(self.class_token)
    }

    /// Rows of the position table.
    pub fn positions(&self) -> usize {
        self.patches() + usize::from(self.class_position)
    }

    /// Height and width of the input, pixels.
    pub fn input_size(&self) -> [usize; 2] {
        self.grid.map(|side| side * self.patch_size)
    }
}
