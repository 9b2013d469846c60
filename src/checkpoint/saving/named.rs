//! Architectures that timm has a name for.
//!
//! Names, and what each of them sets, are those of timm 1.0.31: `timm/models/vision_transformer.py`,
//! `deit.py`, `beit.py` and `eva.py`.

use super::class::Class;
use super::value::Value::{self, Count, Flag, Number, Sides, Text};

/// Arguments in the vocabulary of [`super::architecture`].
pub(super) type Arguments = &'static [(&'static str, Value)];

/// A name and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub name: &'static str,
    pub class: Class,
    /// Width, depth and heads.
    size: [usize; 3],
    patch: usize,
    /// Side of the input, pixels.
    side: usize,
    /// Where the name differs from the defaults of its class.
    sets: &'static [Arguments],
}

impl Named {
    /// What the name sets an argument to; the default of its class where it sets none.
    pub(super) fn value(&self, argument: &str) -> Option<Value> {
        let [width, depth, heads] = self.size;
        let set = self.sets.iter().flat_map(|sets| sets.iter());
        let set = |argument: &str| set.clone().find(|(name, _)| *name == argument);
        match argument {
            "img_size" => Some(Sides([self.side; 2])),
            "patch_size" => Some(Count(self.patch)),
            "embed_dim" => Some(Count(width)),
            "depth" => Some(Count(depth)),
            "num_heads" => Some(Count(heads)),
            _ => match set(argument) {
                Some(&(_, value)) => Some(value),
                None if argument == "mlp_width" => Some(Count(4 * width)),
                None => self.class.default(argument),
            },
        }
    }
}

const fn vit(
    name: &'static str,
    size: [usize; 3],
    patch: usize,
    side: usize,
    sets: &'static [Arguments],
) -> Named {
    Named {
        name,
        class: Class::VisionTransformer,
        size,
        patch,
        side,
        sets,
    }
}

const fn of(class: Class, named: Named) -> Named {
    Named { class, ..named }
}

const TINY: [usize; 3] = [192, 12, 3];
const SMALL: [usize; 3] = [384, 12, 6];
const BASE: [usize; 3] = [768, 12, 12];
const LARGE: [usize; 3] = [1024, 24, 16];
const HUGE: [usize; 3] = [1280, 32, 16];
const SO400M: [usize; 3] = [1152, 27, 16];
const GIANT: [usize; 3] = [1536, 40, 24];

const FEATURES: Arguments = &[("num_classes", Count(0))];
const MEAN: Arguments = &[("global_pool", Text("avg"))];
const DEIT3: Arguments = &[("no_embed_class", Flag(true)), ("layer_scale", Flag(true))];
const CLIP: Arguments = &[("pre_norm", Flag(true)), ("norm_eps", Number(1e-5))];
const QUICK: Arguments = &[("act_layer", Text("quick_gelu"))];
const TANH: Arguments = &[("act_layer", Text("gelu_tanh"))];
const TO_512: Arguments = &[("num_classes", Count(512))];
const TO_768: Arguments = &[("num_classes", Count(768))];
const DINOV2: Arguments = &[("layer_scale", Flag(true)), ("num_classes", Count(0))];
const DINOV2_GIANT: Arguments = &[
    ("mlp_width", Count(4096)),
    ("packed_gate", Flag(true)),
    ("act_layer", Text("silu")),
];
const REGISTERS: Arguments = &[("reg_tokens", Count(4)), ("no_embed_class", Flag(true))];
const SIGLIP: Arguments = &[
    ("class_token", Flag(false)),
    ("global_pool", Text("map")),
    ("num_classes", Count(0)),
];
const SIGLIP_SO400M: Arguments = &[("mlp_width", Count(4304))];
const PATCHES_ALONE: Arguments = &[
    ("class_token", Flag(false)),
    ("global_pool", Text("avg")),
    ("fc_norm", Flag(false)),
];
const BEIT: Arguments = &[
    ("use_abs_pos_emb", Flag(false)),
    ("use_rel_pos_bias", Flag(true)),
    ("layer_scale", Flag(true)),
];
const EVA02: Arguments = &[
    ("swiglu_mlp", Flag(true)),
    ("use_rot_pos_emb", Flag(true)),
    ("ref_feat_shape", Sides([16, 16])),
];
const EVA02_NORM: Arguments = &[("scale_mlp", Flag(true)), ("qkv_fused", Flag(false))];
const EVA02_CLIP: Arguments = &[
    ("scale_attn_inner", Flag(true)),
    ("global_pool", Text("token")),
];
const WIDE_512: Arguments = &[("mlp_width", Count(512))];
const WIDE_1024: Arguments = &[("mlp_width", Count(1024))];
const WIDE_2048: Arguments = &[("mlp_width", Count(2048))];
const WIDE_2730: Arguments = &[("mlp_width", Count(2730))];
const DINOV3: Arguments = &[
    ("layer_scale", Flag(true)),
    ("rope_type", Text("dinov3")),
    ("rope_temperature", Number(100.0)),
    ("rope_rotate_half", Flag(true)),
    ("use_rot_pos_emb", Flag(true)),
    ("use_abs_pos_emb", Flag(false)),
    ("num_reg_tokens", Count(4)),
    ("use_fc_norm", Flag(false)),
    ("norm_eps", Number(1e-5)),
    ("num_classes", Count(0)),
];
const DINOV3_GATE: Arguments = &[("swiglu_mlp", Flag(true)), ("swiglu_align_to", Count(8))];
const NO_BIAS: Arguments = &[("qkv_bias", Flag(false))];
const ROPE_REGISTER: Arguments = &[
    ("layer_scale", Flag(true)),
    ("class_token", Flag(false)),
    ("num_reg_tokens", Count(1)),
    ("use_rot_pos_emb", Flag(true)),
    ("use_abs_pos_emb", Flag(false)),
    ("ref_feat_shape", Sides([16, 16])),
];

const DISTILLED: Class = Class::Distilled;
const B: Class = Class::Beit;
const E: Class = Class::Eva;

/// The names, of equally good ones the first counts.
pub(super) const NAMED: &[Named] = &[
    vit("vit_base_patch16_224", BASE, 16, 224, &[]),
    vit("vit_tiny_patch16_224", TINY, 16, 224, &[]),
    vit("vit_small_patch16_224", SMALL, 16, 224, &[]),
    vit("vit_large_patch16_224", LARGE, 16, 224, &[]),
    vit("vit_huge_patch14_224", HUGE, 14, 224, &[FEATURES]),
    vit("vit_base_patch8_224", BASE, 8, 224, &[]),
    vit("vit_small_patch8_224", SMALL, 8, 224, &[FEATURES]),
    vit("vit_base_patch32_224", BASE, 32, 224, &[]),
    vit("vit_small_patch32_224", SMALL, 32, 224, &[]),
    vit("vit_large_patch14_224", LARGE, 14, 224, &[]),
    vit("vit_base_patch16_384", BASE, 16, 384, &[]),
    vit("vit_large_patch16_384", LARGE, 16, 384, &[]),
    vit("eva_large_patch14_196", LARGE, 14, 196, &[MEAN]),
    vit(
        "vit_base_patch16_gap_224",
        [768, 12, 16],
        16,
        224,
        &[PATCHES_ALONE],
    ),
    vit(
        "vit_huge_patch14_gap_224",
        HUGE,
        14,
        224,
        &[PATCHES_ALONE, FEATURES],
    ),
    vit("deit3_base_patch16_224", BASE, 16, 224, &[DEIT3]),
    vit("deit3_small_patch16_224", SMALL, 16, 224, &[DEIT3]),
    vit("deit3_large_patch16_224", LARGE, 16, 224, &[DEIT3]),
    vit("deit3_huge_patch14_224", HUGE, 14, 224, &[DEIT3]),
    vit("vit_base_patch16_clip_224", BASE, 16, 224, &[CLIP]),
    vit("vit_base_patch32_clip_224", BASE, 32, 224, &[CLIP]),
    vit("vit_large_patch14_clip_224", LARGE, 14, 224, &[CLIP]),
    vit("vit_large_patch14_clip_336", LARGE, 14, 336, &[CLIP]),
    vit("vit_huge_patch14_clip_224", HUGE, 14, 224, &[CLIP]),
    vit(
        "vit_base_patch16_clip_quickgelu_224",
        BASE,
        16,
        224,
        &[CLIP, QUICK, TO_512],
    ),
    vit(
        "vit_base_patch32_clip_quickgelu_224",
        BASE,
        32,
        224,
        &[CLIP, QUICK, TO_512],
    ),
    vit(
        "vit_large_patch14_clip_quickgelu_224",
        LARGE,
        14,
        224,
        &[CLIP, QUICK, TO_768],
    ),
    vit(
        "vit_large_patch14_clip_quickgelu_336",
        LARGE,
        14,
        336,
        &[CLIP, QUICK, TO_768],
    ),
    vit("vit_base_patch14_dinov2", BASE, 14, 518, &[DINOV2]),
    vit("vit_small_patch14_dinov2", SMALL, 14, 518, &[DINOV2]),
    vit("vit_large_patch14_dinov2", LARGE, 14, 518, &[DINOV2]),
    vit(
        "vit_giant_patch14_dinov2",
        GIANT,
        14,
        518,
        &[DINOV2, DINOV2_GIANT],
    ),
    vit(
        "vit_base_patch14_reg4_dinov2",
        BASE,
        14,
        518,
        &[DINOV2, REGISTERS],
    ),
    vit(
        "vit_small_patch14_reg4_dinov2",
        SMALL,
        14,
        518,
        &[DINOV2, REGISTERS],
    ),
    vit(
        "vit_large_patch14_reg4_dinov2",
        LARGE,
        14,
        518,
        &[DINOV2, REGISTERS],
    ),
    vit(
        "vit_giant_patch14_reg4_dinov2",
        GIANT,
        14,
        518,
        &[DINOV2, DINOV2_GIANT, REGISTERS],
    ),
    vit("vit_base_patch16_siglip_224", BASE, 16, 224, &[SIGLIP]),
    vit("vit_base_patch16_siglip_256", BASE, 16, 256, &[SIGLIP]),
    vit("vit_base_patch16_siglip_384", BASE, 16, 384, &[SIGLIP]),
    vit("vit_base_patch16_siglip_512", BASE, 16, 512, &[SIGLIP]),
    vit(
        "vit_base_patch32_siglip_256",
        BASE,
        32,
        256,
        &[SIGLIP, TANH],
    ),
    vit("vit_large_patch16_siglip_256", LARGE, 16, 256, &[SIGLIP]),
    vit("vit_large_patch16_siglip_384", LARGE, 16, 384, &[SIGLIP]),
    vit(
        "vit_so400m_patch14_siglip_224",
        SO400M,
        14,
        224,
        &[SIGLIP, SIGLIP_SO400M],
    ),
    vit(
        "vit_so400m_patch14_siglip_384",
        SO400M,
        14,
        384,
        &[SIGLIP, SIGLIP_SO400M],
    ),
    vit(
        "vit_so400m_patch16_siglip_256",
        SO400M,
        16,
        256,
        &[SIGLIP, SIGLIP_SO400M, TANH],
    ),
    of(
        DISTILLED,
        vit("deit_base_distilled_patch16_224", BASE, 16, 224, &[]),
    ),
    of(
        DISTILLED,
        vit("deit_small_distilled_patch16_224", SMALL, 16, 224, &[]),
    ),
    of(
        DISTILLED,
        vit("deit_tiny_distilled_patch16_224", TINY, 16, 224, &[]),
    ),
    of(
        DISTILLED,
        vit("deit_base_distilled_patch16_384", BASE, 16, 384, &[]),
    ),
    of(B, vit("beit_base_patch16_224", BASE, 16, 224, &[BEIT])),
    of(B, vit("beit_large_patch16_224", LARGE, 16, 224, &[BEIT])),
    of(B, vit("beit_base_patch16_384", BASE, 16, 384, &[BEIT])),
    of(B, vit("beit_large_patch16_384", LARGE, 16, 384, &[BEIT])),
    of(B, vit("beit_large_patch16_512", LARGE, 16, 512, &[BEIT])),
    of(
        E,
        vit(
            "eva02_base_patch14_224",
            BASE,
            14,
            224,
            &[EVA02, EVA02_NORM, WIDE_2048, FEATURES],
        ),
    ),
    of(
        E,
        vit(
            "eva02_tiny_patch14_224",
            TINY,
            14,
            224,
            &[EVA02, WIDE_512, FEATURES],
        ),
    ),
    of(
        E,
        vit(
            "eva02_small_patch14_224",
            SMALL,
            14,
            224,
            &[EVA02, WIDE_1024, FEATURES],
        ),
    ),
    of(
        E,
        vit(
            "eva02_large_patch14_224",
            LARGE,
            14,
            224,
            &[EVA02, EVA02_NORM, WIDE_2730, FEATURES],
        ),
    ),
    of(
        E,
        vit("eva02_tiny_patch14_336", TINY, 14, 336, &[EVA02, WIDE_512]),
    ),
    of(
        E,
        vit(
            "eva02_small_patch14_336",
            SMALL,
            14,
            336,
            &[EVA02, WIDE_1024],
        ),
    ),
    of(
        E,
        vit(
            "eva02_base_patch14_448",
            BASE,
            14,
            448,
            &[EVA02, EVA02_NORM, WIDE_2048],
        ),
    ),
    of(
        E,
        vit(
            "eva02_large_patch14_448",
            LARGE,
            14,
            448,
            &[EVA02, EVA02_NORM, WIDE_2730],
        ),
    ),
    of(
        E,
        vit(
            "eva02_base_patch16_clip_224",
            BASE,
            16,
            224,
            &[EVA02, EVA02_NORM, EVA02_CLIP, WIDE_2048, TO_512],
        ),
    ),
    of(
        E,
        vit(
            "eva02_large_patch14_clip_224",
            LARGE,
            14,
            224,
            &[EVA02, EVA02_NORM, EVA02_CLIP, WIDE_2730, TO_768],
        ),
    ),
    of(
        E,
        vit(
            "eva02_large_patch14_clip_336",
            LARGE,
            14,
            336,
            &[EVA02, EVA02_NORM, EVA02_CLIP, WIDE_2730, TO_768],
        ),
    ),
    of(
        E,
        vit(
            "vit_base_patch16_rope_reg1_gap_256",
            BASE,
            16,
            256,
            &[ROPE_REGISTER],
        ),
    ),
    of(
        E,
        vit("vit_base_patch16_dinov3", BASE, 16, 256, &[DINOV3, NO_BIAS]),
    ),
    of(
        E,
        vit("vit_base_patch16_dinov3_qkvb", BASE, 16, 256, &[DINOV3]),
    ),
    of(
        E,
        vit(
            "vit_small_patch16_dinov3",
            SMALL,
            16,
            256,
            &[DINOV3, NO_BIAS],
        ),
    ),
    of(
        E,
        vit("vit_small_patch16_dinov3_qkvb", SMALL, 16, 256, &[DINOV3]),
    ),
    of(
        E,
        vit(
            "vit_small_plus_patch16_dinov3",
            SMALL,
            16,
            256,
            &[DINOV3, DINOV3_GATE, NO_BIAS],
        ),
    ),
    of(
        E,
        vit(
            "vit_small_plus_patch16_dinov3_qkvb",
            SMALL,
            16,
            256,
            &[DINOV3, DINOV3_GATE],
        ),
    ),
    of(
        E,
        vit(
            "vit_large_patch16_dinov3",
            LARGE,
            16,
            256,
            &[DINOV3, NO_BIAS],
        ),
    ),
    of(
        E,
        vit("vit_large_patch16_dinov3_qkvb", LARGE, 16, 256, &[DINOV3]),
    ),
    of(
        E,
        vit(
            "vit_huge_plus_patch16_dinov3",
            [1280, 32, 20],
            16,
            256,
            &[DINOV3, DINOV3_GATE, NO_BIAS],
        ),
    ),
    of(
        E,
        vit(
            "vit_huge_plus_patch16_dinov3_qkvb",
            [1280, 32, 20],
            16,
            256,
            &[DINOV3, DINOV3_GATE],
        ),
    ),
];
