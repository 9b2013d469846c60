//! transformers' ViT, DeiT, BEiT, data2vec, MAE, MSN, I-JEPA, DINOv2 and DINOv3, under the names
//! of its files and those that transformers 5 has in memory.

use super::super::rule::{Names, Rule, drop, rename, same};
use super::names::{HEAD, INDEX, MASK_TOKEN, OUTSIDE, head};

/// Before a block's number: files, transformers 5 in memory, DINOv3.
const BLOCKS: &[&str] = &["encoder.layer.", "layers.", "layer.", "model.layer."];

/// Attention under both vocabularies; BEiT has no bias of the keys, DINOv3 has none or all.
const ATTENTION: &[Rule] = &[
    Rule::Stack {
        from: &[
            "attention.attention.query.weight",
            "attention.attention.key.weight",
            "attention.attention.value.weight",
        ],
        to: "attn.qkv.weight",
    },
    Rule::QkvBias {
        from: [
            Some("attention.attention.query.bias"),
            Some("attention.attention.key.bias"),
            Some("attention.attention.value.bias"),
        ],
        to: "attn.qkv.bias",
    },
    rename("attention.output.dense.{p}", "attn.proj.{p}"),
    Rule::Stack {
        from: &[
            "attention.q_proj.weight",
            "attention.k_proj.weight",
            "attention.v_proj.weight",
        ],
        to: "attn.qkv.weight",
    },
    Rule::QkvBias {
        from: [
            Some("attention.q_proj.bias"),
            Some("attention.k_proj.bias"),
            Some("attention.v_proj.bias"),
        ],
        to: "attn.qkv.bias",
    },
    rename("attention.o_proj.{p}", "attn.proj.{p}"),
];

const MLP: &[Rule] = &[
    rename("intermediate.dense.{p}", "mlp.fc1.{p}"),
    rename("output.dense.{p}", "mlp.fc2.{p}"),
    same("mlp.fc1.{p}"),
    same("mlp.fc2.{p}"),
];

const NORMS: &[Rule] = &[
    rename("layernorm_before.{p}", "norm1.{p}"),
    rename("layernorm_after.{p}", "norm2.{p}"),
    same("norm1.{p}"),
    same("norm2.{p}"),
];

const TRUNK: &[Rule] = &[
    rename("embeddings.cls_token", "cls_token"),
    rename("embeddings.distillation_token", "dist_token"),
    rename("embeddings.register_tokens", "reg_token"),
    rename("embeddings.position_embeddings", "pos_embed"),
    rename(
        "embeddings.patch_embeddings.projection.{p}",
        "patch_embed.proj.{p}",
    ),
    drop("embeddings.mask_token", MASK_TOKEN),
    rename("layernorm.{p}", "norm.{p}"),
    drop("classifier.*", HEAD),
    drop(
        "pooler.dense.*",
        "transformers' pooler over the class token, which no protocol uses",
    ),
];

/// ViT, DeiT, MAE, MSN and I-JEPA.
pub(super) const VIT: Names = Names {
    blocks: BLOCKS,
    block: &[ATTENTION, MLP, NORMS],
    trunk: &[TRUNK, OUTSIDE],
};

/// MAE's decoder (`models/vit_mae/modeling_vit_mae.py`), whose keys begin beside those of the
/// encoder's root; the second name of its blocks is what transformers 5 makes of the first when it
/// saves a model.
pub(super) const MAE_DECODER: Names = Names {
    blocks: &["decoder.decoder_layers.", "decoder.decoder_encoder.layer."],
    block: &[ATTENTION, MLP, NORMS],
    trunk: &[&[
        rename("decoder.decoder_embed.{p}", "embed.{p}"),
        rename("decoder.mask_token", "mask_token"),
        rename("decoder.decoder_pos_embed", "pos_embed"),
        rename("decoder.decoder_norm.{p}", "norm.{p}"),
        rename("decoder.decoder_pred.{p}", "pred.{p}"),
    ]],
};

/// The head of every `*ForImageClassification`; the last two are those of the distilled DeiT
/// (`models/deit/modeling_deit.py`, `DeiTForImageClassificationWithTeacher`).
pub(super) const CLASSIFIER: Names = head(&[&[
    rename("classifier.{p}", "head.{p}"),
    rename("cls_classifier.{p}", "head.{p}"),
    rename("distillation_classifier.{p}", "head_dist.{p}"),
]]);

/// BEiT and data2vec.
pub(super) const BEIT: Names = Names {
    blocks: BLOCKS,
    block: &[
        ATTENTION,
        MLP,
        NORMS,
        &[
            rename("lambda_1", "ls1.gamma"),
            rename("lambda_2", "ls2.gamma"),
            rename(
                "attention.attention.relative_position_bias.relative_position_bias_table",
                "attn.relative_position_bias_table",
            ),
            rename(
                "relative_position_bias.relative_position_bias_table",
                "attn.relative_position_bias_table",
            ),
            drop("*relative_position_index", INDEX),
        ],
    ],
    trunk: &[
        TRUNK,
        &[
            rename("pooler.layernorm.{p}", "fc_norm.{p}"),
            rename(
                "encoder.relative_position_bias.relative_position_bias_table",
                "rel_pos_bias.relative_position_bias_table",
            ),
            rename(
                "shared_position_bias.relative_position_bias_table",
                "rel_pos_bias.relative_position_bias_table",
            ),
            drop("*relative_position_index", INDEX),
        ],
        OUTSIDE,
    ],
};

/// DINOv2, with and without registers.
pub(super) const DINOV2: Names = Names {
    blocks: BLOCKS,
    block: &[
        ATTENTION,
        MLP,
        NORMS,
        &[
            rename("layer_scale1.lambda1", "ls1.gamma"),
            rename("layer_scale2.lambda1", "ls2.gamma"),
            Rule::Split {
                from: "mlp.weights_in.{p}",
                to: &[("mlp.fc1_g.{p}", 1), ("mlp.fc1_x.{p}", 1)],
            },
            rename("mlp.weights_out.{p}", "mlp.fc2.{p}"),
        ],
    ],
    trunk: &[TRUNK, OUTSIDE],
};

/// DINOv3 without a gate.
pub(super) const DINOV3: Names = Names {
    blocks: BLOCKS,
    block: &[ATTENTION, NORMS, DINOV3_SCALES, DINOV3_PLAIN],
    trunk: &[DINOV3_TRUNK, TRUNK, OUTSIDE],
};

/// DINOv3 with a gate.
pub(super) const DINOV3_GATED: Names = Names {
    blocks: BLOCKS,
    block: &[ATTENTION, NORMS, DINOV3_SCALES, DINOV3_GATE],
    trunk: &[DINOV3_TRUNK, TRUNK, OUTSIDE],
};

const DINOV3_SCALES: &[Rule] = &[
    rename("layer_scale1.lambda1", "ls1.gamma"),
    rename("layer_scale2.lambda1", "ls2.gamma"),
    rename("mlp.down_proj.{p}", "mlp.fc2.{p}"),
];

const DINOV3_PLAIN: &[Rule] = &[rename("mlp.up_proj.{p}", "mlp.fc1.{p}")];

const DINOV3_GATE: &[Rule] = &[
    rename("mlp.gate_proj.{p}", "mlp.fc1_g.{p}"),
    rename("mlp.up_proj.{p}", "mlp.fc1_x.{p}"),
];

const DINOV3_TRUNK: &[Rule] = &[
    rename("embeddings.patch_embeddings.{p}", "patch_embed.proj.{p}"),
    rename("norm.{p}", "norm.{p}"),
    drop("rope_embeddings.inv_freq", "a function of the base"),
];
