//! Which class of timm's is a checkpoint's model, and which arguments make it so.
//!
//! Arguments have timm's names but for four whose Python is more than a literal: `norm_eps`
//! (`norm_layer`), `layer_scale` (`init_values`), `mlp_width` (`mlp_ratio`) and `packed_gate`
//! (`mlp_layer`).

use super::class::Class;
use super::model::Model;
use super::value::Value::{self, Count, Flag, Number, Sides, Text};
use crate::engine::Activation;
use crate::features::Token;
use crate::vit::{FinalNorm, MlpKind, Pooler, RelativeBias, Rope, VitConfig};

/// Arguments in the order in which they are printed.
pub(super) type Wanted = Vec<(&'static str, Value)>;

/// What has to be read of the weights before a class can be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Whether some key has a bias other than zero.
    pub key_bias: bool,
    /// Base of the rotary periods, where they are powers of one.
    pub base: Option<f64>,
}

/// A model as timm builds it.
#[derive(Clone, Debug)]
pub(super) struct Architecture {
    pub class: Class,
    pub wanted: Wanted,
    /// Whether the class token takes its row of the position table into itself.
    pub folded: bool,
    /// Rotary positions as timm computes them.
    pub rope: Option<Rope>,
}

impl Architecture {
    /// The class and its arguments, or what timm has no argument for.
    pub(super) fn of(model: &Model<'_>, measured: Measured) -> Result<Self, String> {
        let config = model.config;
        let class = class(config)?;
        let heads = config.heads.uniform();
        let heads = heads.ok_or("its blocks have different numbers of heads")?;
        match config.final_norm {
            FinalNorm::Tokens | FinalNorm::MeanPatch => {}
            FinalNorm::Untied => {
                return Err("its prefix tokens and its patches have different final norms".into());
            }
            FinalNorm::None => return Err("it has no final norm".into()),
        }
        refuse_ambiguous(config)?;
        let (pool, pooled_norm) = pooling(model);
        let mut wanted: Wanted = vec![
            ("img_size", Sides(config.input_size())),
            ("patch_size", Count(config.patch_size)),
            ("in_chans", Count(config.channels)),
            (
                "num_classes",
                Count(match (model.head, config.pooler) {
                    (Some(head), _) => head.classes,
                    (None, Some(Pooler::Projection { width })) => width,
                    (None, _) => 0,
                }),
            ),
            ("global_pool", Text(pool)),
            (class.pooled_norm(), Flag(pooled_norm)),
            ("embed_dim", Count(config.width)),
            ("depth", Count(config.depth)),
            ("num_heads", Count(heads)),
            ("mlp_width", Count(config.mlp_width)),
            ("qkv_bias", Flag(config.qkv_bias)),
            ("layer_scale", Flag(config.layer_scale)),
            ("norm_eps", Number(config.norm_eps)),
        ];
        let (folded, rope) = match class {
            Class::VisionTransformer | Class::Distilled => {
                (plain(config, class, &mut wanted)?, None)
            }
            Class::Beit => {
                beit(config, measured, &mut wanted)?;
                (false, None)
            }
            Class::Eva => eva(config, measured, &mut wanted)?,
        };
        Ok(Self {
            class,
            wanted,
            folded,
            rope,
        })
    }

    /// What an argument has to be, where it matters.
    pub(super) fn value(&self, argument: &str) -> Option<Value> {
        let mut wanted = self.wanted.iter();
        wanted
            .find(|(name, _)| *name == argument)
            .map(|&(_, value)| value)
    }
}

fn class(config: &VitConfig) -> Result<Class, String> {
    Ok(
        match (
            config.relative_bias,
            config.rope,
            config.distillation_token,
            config.pooler,
        ) {
            (Some(_), Some(_), ..) => {
                return Err("it has relative and rotary positions at once".into());
            }
            (None, None, true, Some(Pooler::ClassAndDistillation)) => Class::Distilled,
            (None, None, false, _) => Class::VisionTransformer,
            (.., Some(_)) | (_, _, true, None) => {
                return Err("its pooling stands on other positions than timm has it for".into());
            }
            (Some(_), None, false, None) => Class::Beit,
            (None, Some(_), false, None) => Class::Eva,
        },
    )
}

/// A grid that only a card's size tells from a square.
fn refuse_ambiguous(config: &VitConfig) -> Result<(), String> {
    let [rows, columns] = config.grid;
    let patches = config.patches();
    if config.positions.is_some() && rows != columns && patches.isqrt().pow(2) == patches {
        let side = patches.isqrt();
        return Err(format!(
            "nothing in its names would tell a grid of {rows} x {columns} from {side} x {side}"
        ));
    }
    Ok(())
}

/// timm's pooling, and whether the final norm stands behind it.
fn pooling(model: &Model<'_>) -> (&'static str, bool) {
    let config = model.config;
    match (config.final_norm, config.pooler) {
        (_, Some(Pooler::Attention { .. })) => ("map", false),
        (FinalNorm::MeanPatch, _) => ("avg", true),
        _ if !config.class_token => ("avg", false),
        (_, None) if model.feature.token == Token::MeanPatch => ("avg", false),
        _ => ("token", false),
    }
}

/// Whether a class token's row is folded into it. Other tokens without a row would need the
/// positions to begin in the midst of the prefix, which timm has no argument for.
fn rows(config: &VitConfig, wanted: &mut Wanted) -> Result<bool, String> {
    let (prefix, positions) = (config.prefix(), config.positions);
    match positions {
        // Without a prefix, or without a table, the argument changes nothing.
        None => Ok(false),
        Some(_) if prefix == 0 => Ok(false),
        Some(rows) if rows == prefix || rows == 0 => {
            wanted.push(("no_embed_class", Flag(rows == 0)));
            Ok(false)
        }
        Some(1) if config.class_token => {
            wanted.push(("no_embed_class", Flag(true)));
            Ok(true)
        }
        Some(rows) => Err(format!(
            "{rows} of the {prefix} tokens before the patches have positions"
        )),
    }
}

/// `VisionTransformer`.
fn plain(config: &VitConfig, class: Class, wanted: &mut Wanted) -> Result<bool, String> {
    if config.positions.is_none() {
        return Err("it has no positions".into());
    }
    if config.norm_pre == config.patch_bias {
        return Err("timm has a norm before the blocks in place of the patch bias".into());
    }
    if class == Class::Distilled && (config.registers > 0 || config.positions != Some(2)) {
        return Err(
            "timm's distilled ViT has positions of all its tokens, and no registers".into(),
        );
    }
    if let Some(Pooler::Attention { mlp_width }) = config.pooler
        && mlp_width != config.mlp_width
    {
        return Err("the MLP of its pooling is not as wide as that of its blocks".into());
    }
    let gated = match config.mlp {
        MlpKind::Plain => false,
        MlpKind::Gated { norm: false } => true,
        MlpKind::Gated { norm: true } => {
            return Err("its gated MLP has a norm, and it has no rotary positions".into());
        }
    };
    if gated && matches!(config.pooler, Some(Pooler::Attention { .. })) {
        return Err("the MLP of its pooling has no gate, that of its blocks has".into());
    }
    wanted.extend([
        ("class_token", Flag(config.class_token)),
        ("reg_tokens", Count(config.registers)),
        ("pre_norm", Flag(config.norm_pre)),
        ("qk_norm", Flag(config.qk_norm)),
        ("scale_attn_norm", Flag(config.attention_norm)),
        ("packed_gate", Flag(gated)),
        (
            "act_layer",
            Text(match config.activation {
                Activation::Gelu => "gelu",
                Activation::GeluTanh => "gelu_tanh",
                Activation::QuickGelu => "quick_gelu",
                Activation::Silu => "silu",
                Activation::Relu => "relu",
            }),
        ),
    ]);
    rows(config, wanted)
}

/// The activation of `Beit` and `Eva` cannot be chosen.
fn fixed_activation(config: &VitConfig, class: Class) -> Result<(), String> {
    let fixed = match config.mlp {
        MlpKind::Plain => Activation::Gelu,
        MlpKind::Gated { .. } => Activation::Silu,
    };
    if config.activation == fixed {
        return Ok(());
    }
    let class = class.name();
    Err(format!("the activation of timm's {class} is another"))
}

/// `Beit`.
fn beit(config: &VitConfig, measured: Measured, wanted: &mut Wanted) -> Result<(), String> {
    fixed_activation(config, Class::Beit)?;
    if measured.key_bias {
        return Err("timm's Beit has no bias of keys, and this one is not zero".into());
    }
    if !matches!(config.positions, None | Some(1)) {
        return Err("timm's Beit has positions of all its tokens".into());
    }
    let others = [
        (config.norm_pre, "a norm before the blocks"),
        (config.qk_norm, "norms of queries and keys"),
        (config.attention_norm, "a norm inside its attention"),
    ];
    if let Some((_, what)) = others.iter().find(|(has, _)| *has) {
        return Err(format!("timm's Beit has not {what}"));
    }
    let relative = config.relative_bias;
    wanted.extend([
        ("use_abs_pos_emb", Flag(config.positions.is_some())),
        (
            "use_rel_pos_bias",
            Flag(relative != Some(RelativeBias::Shared)),
        ),
        (
            "use_shared_rel_pos_bias",
            Flag(relative != Some(RelativeBias::PerBlock)),
        ),
    ]);
    gate(config.mlp, wanted);
    Ok(())
}

fn gate(mlp: MlpKind, wanted: &mut Wanted) {
    wanted.extend([
        ("swiglu_mlp", Flag(mlp != MlpKind::Plain)),
        ("scale_mlp", Flag(mlp == MlpKind::Gated { norm: true })),
    ]);
}

/// `Eva`.
fn eva(
    config: &VitConfig,
    measured: Measured,
    wanted: &mut Wanted,
) -> Result<(bool, Option<Rope>), String> {
    fixed_activation(config, Class::Eva)?;
    if config.norm_pre == config.patch_bias {
        return Err("timm has a norm before the blocks in place of the patch bias".into());
    }
    wanted.extend([
        ("class_token", Flag(config.class_token)),
        ("num_reg_tokens", Count(config.registers)),
        ("use_pre_transformer_norm", Flag(config.norm_pre)),
        ("qk_norm", Flag(config.qk_norm)),
        ("scale_attn_inner", Flag(config.attention_norm)),
        ("use_abs_pos_emb", Flag(config.positions.is_some())),
        ("use_rot_pos_emb", Flag(true)),
    ]);
    gate(config.mlp, wanted);
    let rope = match config.rope {
        Some(Rope::Axial { reference }) => {
            wanted.push(("ref_feat_shape", Sides(reference)));
            wanted.push(("rope_type", Text("cat")));
            Rope::Axial { reference }
        }
        Some(Rope::Normalised { bf16: true, .. }) => {
            return Err("its rotary positions are rounded to bfloat16".into());
        }
        Some(Rope::Normalised { base, .. }) => {
            let base = base.or(measured.base);
            let base =
                base.ok_or("the periods of its rotary positions are not powers of a base")?;
            wanted.extend([
                ("rope_type", Text("dinov3")),
                ("rope_temperature", Number(base)),
                ("rope_rotate_half", Flag(true)),
            ]);
            Rope::Normalised {
                base: Some(base),
                bf16: false,
            }
        }
        None => return Err("it has no rotary positions".into()),
    };
    if measured.key_bias {
        // The other attention of that class has no bias of keys.
        wanted.push(("attn_type", Text("rope")));
    }
    Ok((rows(config, wanted)?, Some(rope)))
}
