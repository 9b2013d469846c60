//! Which patches of its images an encoder sees.

use crate::engine::Engine;

/// Which patches of its images an encoder sees.
#[derive(Clone, Copy, Debug)]
pub enum PatchView<'a, E: Engine> {
    /// All of them.
    All,
    /// All, some with a learned token in place of what they show: BEiT's way (microsoft/unilm
    /// `beit/modeling_pretrain.py`).
    Hiding {
        /// `[1, 1, D]`
        mask_token: &'a E::Tensor,
        /// Whether a patch is hidden: `[B, N]`.
        hidden: &'a [bool],
    },
    /// These alone, in this order, each at the position that it has among all: MAE's way
    /// (facebookresearch/mae `models_mae.py`). `[B, K]`, patches of each image.
    Seeing(&'a [u32]),
}
