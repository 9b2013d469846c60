//! The vision towers of openai/CLIP (`clip/model.py`) and open_clip
//! (`src/open_clip/transformer.py`).

use super::super::rule::{Names, Rule, drop, rename, same};
use super::names::OUTSIDE;

pub(super) const CLIP: Names = Names {
    blocks: &["transformer.resblocks."],
    block: &[&[
        rename("ln_1.{p}", "norm1.{p}"),
        rename("attn.in_proj_weight", "attn.qkv.weight"),
        rename("attn.in_proj_bias", "attn.qkv.bias"),
        rename("attn.out_proj.{p}", "attn.proj.{p}"),
        rename("ln_2.{p}", "norm2.{p}"),
        rename("mlp.c_fc.{p}", "mlp.fc1.{p}"),
        rename("mlp.c_proj.{p}", "mlp.fc2.{p}"),
        rename("ls_1.gamma", "ls1.gamma"),
        rename("ls_2.gamma", "ls2.gamma"),
    ]],
    trunk: &[
        &[
            rename("conv1.{p}", "patch_embed.proj.{p}"),
            Rule::Lift {
                from: "class_embedding",
                to: "cls_token",
                rank: 3,
            },
            Rule::Lift {
                from: "positional_embedding",
                to: "pos_embed",
                rank: 3,
            },
            rename("ln_pre.{p}", "norm_pre.{p}"),
            rename("ln_post.{p}", "norm.{p}"),
            Rule::Transpose {
                from: "proj",
                to: "projection.weight",
            },
            drop("/input_resolution", "a number of the model's description"),
            drop("/context_length", "a number of the model's description"),
            drop("/vocab_size", "a number of the model's description"),
        ],
        OUTSIDE,
    ],
};

/// transformers' `CLIPVisionModel` and `CLIPModel` (`models/clip/modeling_clip.py`).
pub(super) const HF_CLIP: Names = Names {
    blocks: &["encoder.layers."],
    block: &[HF_BLOCK],
    trunk: &[
        HF_TRUNK,
        &[
            Rule::Lift {
                from: "embeddings.class_embedding",
                to: "cls_token",
                rank: 3,
            },
            // The name is misspelt there.
            rename("pre_layrnorm.{p}", "norm_pre.{p}"),
            rename("/*visual_projection.weight", "projection.weight"),
        ],
        OUTSIDE,
    ],
};

/// transformers' `SiglipVisionModel` (`models/siglip/modeling_siglip.py`).
pub(super) const HF_SIGLIP: Names = Names {
    blocks: &["encoder.layers."],
    block: &[HF_BLOCK],
    trunk: &[
        HF_TRUNK,
        &[
            rename("head.probe", "attn_pool.latent"),
            Rule::Split {
                from: "head.attention.in_proj_weight",
                to: &[("attn_pool.q.weight", 1), ("attn_pool.kv.weight", 2)],
            },
            Rule::Split {
                from: "head.attention.in_proj_bias",
                to: &[("attn_pool.q.bias", 1), ("attn_pool.kv.bias", 2)],
            },
            rename("head.attention.out_proj.{p}", "attn_pool.proj.{p}"),
            rename("head.layernorm.{p}", "attn_pool.norm.{p}"),
            rename("head.mlp.fc1.{p}", "attn_pool.mlp.fc1.{p}"),
            rename("head.mlp.fc2.{p}", "attn_pool.mlp.fc2.{p}"),
        ],
        OUTSIDE,
    ],
};

const HF_BLOCK: &[Rule] = &[
    rename("layer_norm1.{p}", "norm1.{p}"),
    Rule::Stack {
        from: &[
            "self_attn.q_proj.weight",
            "self_attn.k_proj.weight",
            "self_attn.v_proj.weight",
        ],
        to: "attn.qkv.weight",
    },
    Rule::Stack {
        from: &[
            "self_attn.q_proj.bias",
            "self_attn.k_proj.bias",
            "self_attn.v_proj.bias",
        ],
        to: "attn.qkv.bias",
    },
    rename("self_attn.out_proj.{p}", "attn.proj.{p}"),
    rename("layer_norm2.{p}", "norm2.{p}"),
    same("mlp.fc1.{p}"),
    same("mlp.fc2.{p}"),
];

const HF_TRUNK: &[Rule] = &[
    rename("embeddings.patch_embedding.{p}", "patch_embed.proj.{p}"),
    Rule::Lift {
        from: "embeddings.position_embedding.weight",
        to: "pos_embed",
        rank: 3,
    },
    drop("embeddings.position_ids", "0, 1, 2 and so on"),
    rename("post_layernorm.{p}", "norm.{p}"),
];
