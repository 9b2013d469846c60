//! The names that descendants of timm's `VisionTransformer`, `Beit` and `Eva` share
//! (`timm/models/vision_transformer.py`, `beit.py`, `eva.py`), and what surrounds an encoder.

use super::super::rule::{Names, Rule, drop, rename, same};

/// Why an encoder leaves a classification head's tensors.
pub(in super::super) const HEAD: &str = "classification head";
const PRETRAINING_HEAD: &str = "head of pre-training";
/// Why an encoder leaves a decoder's tensors.
pub(in super::super) const DECODER: &str = "decoder of pre-training";
pub(super) const MASK_TOKEN: &str = "mask token of pre-training";
pub(super) const INDEX: &str = "index of the bias table, a constant of the grid";
const TRAINING: &str = "state of training";

/// Layers of a block.
pub(super) const BLOCK: &[Rule] = &[
    same("norm1.{p}"),
    same("attn.qkv.weight"),
    Rule::BiasMask {
        bias: "attn.qkv.bias",
        mask: "attn.qkv.bias_mask",
        to: "attn.qkv.bias",
    },
    same("attn.proj.{p}"),
    same("norm2.{p}"),
    same("mlp.fc1.{p}"),
    same("mlp.fc2.{p}"),
    same("attn.q_norm.{p}"),
    same("attn.k_norm.{p}"),
    same("attn.norm.{p}"),
    same("ls1.gamma"),
    same("ls2.gamma"),
    rename("gamma_1", "ls1.gamma"),
    rename("gamma_2", "ls2.gamma"),
];

/// BEiT's attention: biases of queries and values alone, and tables of relative positions.
pub(super) const BEIT_ATTENTION: &[Rule] = &[
    Rule::QkvBias {
        from: [Some("attn.q_bias"), None, Some("attn.v_bias")],
        to: "attn.qkv.bias",
    },
    same("attn.relative_position_bias_table"),
    drop("attn.relative_position_index", INDEX),
];

/// SwiGLU of timm's `Beit` and `Eva`, and projections that are not packed.
pub(super) const EVA_LAYERS: &[Rule] = &[
    Rule::Stack {
        from: &[
            "attn.q_proj.weight",
            "attn.k_proj.weight",
            "attn.v_proj.weight",
        ],
        to: "attn.qkv.weight",
    },
    Rule::QkvBias {
        from: [
            Some("attn.q_proj.bias"),
            Some("attn.k_proj.bias"),
            Some("attn.v_proj.bias"),
        ],
        to: "attn.qkv.bias",
    },
    same("mlp.fc1_g.{p}"),
    same("mlp.fc1_x.{p}"),
    same("mlp.norm.{p}"),
];

/// Everything but the blocks.
pub(super) const TRUNK: &[Rule] = &[
    same("cls_token"),
    same("dist_token"),
    same("reg_token"),
    same("pos_embed"),
    same("patch_embed.proj.{p}"),
    same("norm_pre.{p}"),
    same("norm.{p}"),
    same("fc_norm.{p}"),
    same("rel_pos_bias.relative_position_bias_table"),
    drop("rel_pos_bias.relative_position_index", INDEX),
    drop("head.*", HEAD),
    drop("head_dist.*", HEAD),
    drop("pre_logits.*", HEAD),
    drop("mask_token", MASK_TOKEN),
];

/// timm's attention pooling (`timm/layers/attention_pool.py`).
pub(super) const ATTENTION_POOL: &[Rule] = &[
    same("attn_pool.latent"),
    same("attn_pool.q.{p}"),
    same("attn_pool.kv.{p}"),
    same("attn_pool.proj.{p}"),
    same("attn_pool.norm.{p}"),
    same("attn_pool.mlp.fc1.{p}"),
    same("attn_pool.mlp.fc2.{p}"),
];

/// What pre-training leaves beside the blocks of an encoder, in one code base or another.
pub(super) const PRETRAINING: &[Rule] = &[
    drop("decoder*", DECODER),
    drop("decode_*", DECODER),
    drop("de_pos_embed", DECODER),
    drop("mask_token*", MASK_TOKEN),
    drop("masked_embed", MASK_TOKEN),
    drop("lm_head*", PRETRAINING_HEAD),
    drop("down.*", DECODER),
    drop("down_1.*", DECODER),
    drop("cls_pt_layers.*", PRETRAINING_HEAD),
    drop("distill_head*", PRETRAINING_HEAD),
    drop("distill_weights", PRETRAINING_HEAD),
    drop("clip_model.*", "frozen CLIP teacher"),
    drop("dino_model.*", "frozen DINO teacher"),
    drop("projector*", PRETRAINING_HEAD),
    drop("predictor*", PRETRAINING_HEAD),
];

/// A segmentation network around its backbone (mmsegmentation).
pub(super) const SEGMENTATION: &[Rule] = &[
    drop("fpn1.*", "feature pyramid of a segmentation network"),
    drop("fpn2.*", "feature pyramid of a segmentation network"),
    drop("fpn3.*", "feature pyramid of a segmentation network"),
    drop("fpn4.*", "feature pyramid of a segmentation network"),
];

/// Keys outside the encoder's root: nothing there can change its forward pass.
pub(super) const OUTSIDE: &[Rule] = &[
    drop("/*optimizer*", TRAINING),
    drop("/*scheduler*", TRAINING),
    drop("/*scaler*", TRAINING),
    drop("/amp*", TRAINING),
    drop("/*loss*.center*", TRAINING),
    drop("/opt.*", TRAINING),
    drop("/*queue*", TRAINING),
    drop("/epoch", TRAINING),
    drop("/loss", TRAINING),
    drop("/best_*", TRAINING),
    // Generators of random numbers, as resumable trainings keep them.
    drop("/*rng*", TRAINING),
    // PyTorch Lightning (`trainer/connectors/checkpoint_connector.py`).
    drop("/callbacks.*", TRAINING),
    drop("/loops.*", TRAINING),
    drop("/hyper_parameters.*", TRAINING),
    drop("/*decode_head.*", "head of a segmentation network"),
    drop("/*auxiliary_head.*", "head of a segmentation network"),
    drop("/*distill_head*", PRETRAINING_HEAD),
    drop("/*distill_weights", PRETRAINING_HEAD),
    drop("/*decoder*", DECODER),
    drop("/*regresser.*", DECODER),
    drop("/*regresser_norm.*", DECODER),
    drop("/*rd_pos_embed", DECODER),
    drop("/*mask_token*", MASK_TOKEN),
    drop("/*projector*", PRETRAINING_HEAD),
    drop("/*predictor*", PRETRAINING_HEAD),
    drop("/*lm_head*", PRETRAINING_HEAD),
    drop("/*visual.head.*", PROJECTION),
    drop("/*classifier.*", HEAD),
    drop("/*head.*", HEAD),
    drop("/*head_dist.*", HEAD),
    drop("/*text_model.*", TEXT),
    drop("/*text.*", TEXT),
    drop("/*text_projection*", TEXT),
    drop("/*transformer.resblocks.*", TEXT),
    drop("/*token_embedding.*", TEXT),
    drop("/*positional_embedding", TEXT),
    drop("/*ln_final.*", TEXT),
    drop("/*attn_mask", TEXT),
    drop("/*logit_scale", TEMPERATURE),
    drop("/*logit_bias", TEMPERATURE),
];

const TEXT: &str = "text tower";
const PROJECTION: &str = "projection to where images and texts meet, after timm's own tower";
const TEMPERATURE: &str = "temperature of pre-training";

/// timm's `VisionTransformer`, and MAE, DINO, iBOT, DeiT, MoCo v3, MILAN, SemMAE, MaskAlign and
/// TinyMIM.
pub(super) const VIT: Names = Names {
    blocks: &["blocks."],
    block: &[BLOCK],
    trunk: &[TRUNK, ATTENTION_POOL, PRETRAINING, SEGMENTATION, OUTSIDE],
};

/// The decoder of facebookresearch/mae (`models_mae.py`).
pub(super) const MAE_DECODER: Names = Names {
    blocks: &["decoder_blocks."],
    block: &[BLOCK],
    trunk: &[&[
        rename("decoder_embed.{p}", "embed.{p}"),
        same("mask_token"),
        rename("decoder_pos_embed", "pos_embed"),
        rename("decoder_norm.{p}", "norm.{p}"),
        rename("decoder_pred.{p}", "pred.{p}"),
    ]],
};

/// The names of a head: a linear layer of the trunk.
pub(super) const fn head(rules: &'static [&'static [Rule]]) -> Names {
    Names {
        blocks: &[],
        block: &[],
        trunk: rules,
    }
}

/// The head of timm's models and of those that fine-tune under its names; the second layer is that
/// of DeiT's distillation token.
pub(super) const VIT_HEAD: Names = head(&[&[same("head.{p}"), same("head_dist.{p}")]]);

/// The head of dinov2's hub, beside its backbone (`dinov2/hub/classifiers.py`).
pub(super) const DINOV2_HEAD: Names = head(&[&[rename("linear_head.{p}", "head.{p}")]]);

/// The head of mmpretrain's ViT (`mmpretrain/models/heads/vision_transformer_head.py`).
pub(super) const MMPRETRAIN_HEAD: Names = head(&[&[rename("head.layers.head.{p}", "head.{p}")]]);

/// The head of torchvision's ViT (`torchvision/models/vision_transformer.py`).
pub(super) const TORCHVISION_HEAD: Names = head(&[&[rename("heads.head.{p}", "head.{p}")]]);

/// timm's `Beit` and `Eva`, and BEiT, SimMIM, BootMAE, CAE, MaskDistill and EVA-01.
pub(super) const BEIT: Names = Names {
    blocks: &["blocks."],
    block: &[BLOCK, BEIT_ATTENTION, EVA_LAYERS],
    trunk: &[TRUNK, PRETRAINING, SEGMENTATION, OUTSIDE],
};

/// MaskDistill-PyTorch: a bias of the packed projection that its forward pass does not use.
pub(super) const MASKDISTILL: Names = Names {
    blocks: &["blocks."],
    block: &[
        &[drop(
            "attn.qkv.bias",
            "not used: that code takes q_bias and v_bias",
        )],
        BLOCK,
        BEIT_ATTENTION,
    ],
    trunk: &[TRUNK, PRETRAINING, OUTSIDE],
};

/// facebookresearch/dinov2 (`dinov2/models/vision_transformer.py`).
pub(super) const DINOV2: Names = Names {
    blocks: &["blocks."],
    block: &[
        BLOCK,
        &[
            Rule::Split {
                from: "mlp.w12.{p}",
                to: &[("mlp.fc1_g.{p}", 1), ("mlp.fc1_x.{p}", 1)],
            },
            rename("mlp.w3.{p}", "mlp.fc2.{p}"),
        ],
    ],
    trunk: &[
        &[rename("register_tokens", "reg_token")],
        TRUNK,
        PRETRAINING,
        OUTSIDE,
    ],
};

/// facebookresearch/dinov3 (`dinov3/models/vision_transformer.py`).
pub(super) const DINOV3: Names = Names {
    blocks: &["blocks."],
    block: &[
        BLOCK,
        &[
            rename("mlp.w1.{p}", "mlp.fc1_g.{p}"),
            rename("mlp.w2.{p}", "mlp.fc1_x.{p}"),
            rename("mlp.w3.{p}", "mlp.fc2.{p}"),
        ],
    ],
    trunk: &[
        &[
            rename("storage_tokens", "reg_token"),
            same("rope_embed.periods"),
            same("cls_norm.{p}"),
            drop(
                "local_cls_norm.*",
                "norm of the class token of local crops, which training alone sees",
            ),
        ],
        TRUNK,
        PRETRAINING,
        OUTSIDE,
    ],
};

/// baaivision/EVA (`EVA-02/asuka/modeling_finetune.py`).
pub(super) const EVA02: Names = Names {
    blocks: &["blocks."],
    block: &[
        &[
            rename("attn.inner_attn_ln.{p}", "attn.norm.{p}"),
            rename("mlp.w1.{p}", "mlp.fc1_g.{p}"),
            rename("mlp.w2.{p}", "mlp.fc1_x.{p}"),
            rename("mlp.w3.{p}", "mlp.fc2.{p}"),
            rename("mlp.ffn_ln.{p}", "mlp.norm.{p}"),
            drop("attn.rope.freqs_*", ROPE_TABLE),
        ],
        BLOCK,
        BEIT_ATTENTION,
        EVA_LAYERS,
    ],
    trunk: &[
        &[drop("rope.freqs_*", ROPE_TABLE)],
        TRUNK,
        PRETRAINING,
        OUTSIDE,
    ],
};

const ROPE_TABLE: &str = "table of rotary positions, a function of the grid";

/// mmpretrain, mmselfsup and CMAE (`mmpretrain/models/backbones/vision_transformer.py`).
pub(super) const MMPRETRAIN: Names = Names {
    blocks: &["layers."],
    block: &[
        &[
            rename("ln1.{p}", "norm1.{p}"),
            rename("ln2.{p}", "norm2.{p}"),
            rename("ffn.layers.0.0.{p}", "mlp.fc1.{p}"),
            rename("ffn.layers.1.{p}", "mlp.fc2.{p}"),
            rename("attn.gamma1.weight", "ls1.gamma"),
            rename("ffn.gamma2.weight", "ls2.gamma"),
        ],
        BLOCK,
        BEIT_ATTENTION,
    ],
    trunk: &[
        &[
            rename("patch_embed.projection.{p}", "patch_embed.proj.{p}"),
            rename("ln1.{p}", "norm.{p}"),
        ],
        TRUNK,
        PRETRAINING,
        OUTSIDE,
    ],
};

/// torchvision (`torchvision/models/vision_transformer.py`).
pub(super) const TORCHVISION: Names = Names {
    blocks: &["encoder.layers.encoder_layer_"],
    block: &[&[
        rename("ln_1.{p}", "norm1.{p}"),
        rename("self_attention.in_proj_weight", "attn.qkv.weight"),
        rename("self_attention.in_proj_bias", "attn.qkv.bias"),
        rename("self_attention.out_proj.{p}", "attn.proj.{p}"),
        rename("ln_2.{p}", "norm2.{p}"),
        rename("mlp.0.{p}", "mlp.fc1.{p}"),
        rename("mlp.3.{p}", "mlp.fc2.{p}"),
        rename("mlp.linear_1.{p}", "mlp.fc1.{p}"),
        rename("mlp.linear_2.{p}", "mlp.fc2.{p}"),
    ]],
    trunk: &[
        &[
            rename("conv_proj.{p}", "patch_embed.proj.{p}"),
            rename("class_token", "cls_token"),
            rename("encoder.pos_embedding", "pos_embed"),
            rename("encoder.ln.{p}", "norm.{p}"),
            drop("heads.*", HEAD),
        ],
        OUTSIDE,
    ],
};

#[cfg(test)]
mod tests {
    use super::super::super::pattern::matches;
    use super::{OUTSIDE, Rule, TRAINING};

    #[test]
    fn what_a_training_keeps_beside_the_weights_is_its_state() {
        for key in [
            "callbacks.ModelCheckpoint{'monitor': None}.best_model_score",
            "loops.fit_loop.epoch_progress",
            "hyper_parameters.lr",
            "rng",
            "torch_rng_state",
            "cuda_rng.0",
            "loss",
            "best_acc1",
            "optimizer_states.0.state.0.exp_avg",
        ] {
            let key = format!("/{key}");
            let found = OUTSIDE.iter().find_map(|rule| match *rule {
                Rule::Drop { keys, reason } if matches(keys, &key).is_some() => Some(reason),
                _ => None,
            });
            assert_eq!(found, Some(TRAINING), "{key}");
        }
    }
}
