//! timm's classes of ViTs.

use super::value::Value::{self, Count, Flag, Number, Text};
use crate::checkpoint::Dialect;

/// A class of timm's, each with parameter names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `timm/models/vision_transformer.py`: absolute positions.
    VisionTransformer,
    /// `timm/models/deit.py`: the same and a distillation token.
    Distilled,
    /// `timm/models/beit.py`: tables of relative positions.
    Beit,
    /// `timm/models/eva.py`: rotary positions.
    Eva,
}

impl Class {
    /// timm's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::VisionTransformer => "VisionTransformer",
            Self::Distilled => "VisionTransformerDistilled",
            Self::Beit => "Beit",
            Self::Eva => "Eva",
        }
    }

    /// The dialect of its names.
    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::VisionTransformer | Self::Distilled => Dialect::Timm,
            Self::Beit => Dialect::TimmBeit,
            Self::Eva => Dialect::TimmEva,
        }
    }

    /// Where the norm stands behind the pooling.
    pub(super) fn pooled_norm(self) -> &'static str {
        match self {
            Self::VisionTransformer | Self::Distilled => "fc_norm",
            Self::Beit | Self::Eva => "use_fc_norm",
        }
    }

    /// What its constructor takes where an argument is left out.
    pub(super) fn default(self, argument: &str) -> Option<Value> {
        let plain = matches!(self, Self::VisionTransformer | Self::Distilled);
        Some(match argument {
            "in_chans" => Count(3),
            "num_classes" => Count(1000),
            "global_pool" if plain => Text("token"),
            "global_pool" => Text("avg"),
            "norm_eps" => Number(1e-6),
            "act_layer" => Text("gelu"),
            "qkv_bias" | "class_token" | "use_abs_pos_emb" | "qkv_fused" => Flag(true),
            "reg_tokens" | "num_reg_tokens" | "swiglu_align_to" => Count(0),
            "rope_type" => Text("cat"),
            "rope_temperature" => Number(10_000.0),
            "attn_type" => Text("eva"),
            "qk_norm"
            | "scale_attn_norm"
            | "scale_attn_inner"
            | "scale_mlp"
            | "swiglu_mlp"
            | "packed_gate"
            | "layer_scale"
            | "no_embed_class"
            | "pre_norm"
            | "use_pre_transformer_norm"
            | "use_rel_pos_bias"
            | "use_shared_rel_pos_bias"
            | "use_rot_pos_emb"
            | "rope_rotate_half" => Flag(false),
            _ => return None,
        })
    }
}
