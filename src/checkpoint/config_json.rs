//! `config.json` beside the weights, in the vocabularies of timm, transformers and small
//! from-scratch projects.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::CheckpointError;
use super::architecture::named;
use super::source::regular;
use super::strict_json;
use crate::data::Interpolation;
use crate::engine::Activation;

/// Whose vocabulary a `config.json` has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Vocabulary {
    Timm,
    Transformers,
    OpenClip,
    /// None of these, or no file.
    #[default]
    Plain,
}

/// A layer that a model has or has not, which tensors that were lost would hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    QkvBias,
    QkNorm,
    NormPre,
    Scale,
    ClassToken,
    Registers,
    AbsolutePositions,
    RelativeBias,
    Gate,
    FinalNorm,
}

impl Layer {
    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::QkvBias => "a bias of queries, keys and values",
            Self::QkNorm => "norms of queries and keys",
            Self::NormPre => "a norm before the first block",
            Self::Scale => "layer scale",
            Self::ClassToken => "a class token",
            Self::Registers => "registers",
            Self::AbsolutePositions => "absolute positions",
            Self::RelativeBias => "relative position biases",
            Self::Gate => "a gate in its MLP",
            Self::FinalNorm => "a final normalisation",
        }
    }
}

/// The layers that fields of timm's `model_args` and of transformers decide.
const LAYERS: [(&str, Layer); 17] = [
    ("qkv_bias", Layer::QkvBias),
    ("qk_norm", Layer::QkNorm),
    ("pre_norm", Layer::NormPre),
    ("init_values", Layer::Scale),
    ("layer_scale_init_value", Layer::Scale),
    ("class_token", Layer::ClassToken),
    ("reg_tokens", Layer::Registers),
    ("num_reg_tokens", Layer::Registers),
    ("num_register_tokens", Layer::Registers),
    ("use_abs_pos_emb", Layer::AbsolutePositions),
    ("use_absolute_position_embeddings", Layer::AbsolutePositions),
    ("use_rel_pos_bias", Layer::RelativeBias),
    ("use_relative_position_bias", Layer::RelativeBias),
    ("use_shared_rel_pos_bias", Layer::RelativeBias),
    ("mlp_layer", Layer::Gate),
    ("swiglu_mlp", Layer::Gate),
    ("final_norm", Layer::FinalNorm),
];

/// What a `config.json` says that the weights cannot tell, or should agree on.
#[derive(Debug, Default)]
pub(super) struct ConfigJson {
    pub path: PathBuf,
    pub vocabulary: Vocabulary,
    /// timm's name of the architecture, or transformers' type of the model.
    pub architecture: Option<String>,
    pub heads: Option<usize>,
    /// Heads of the last block, where they are others.
    pub last_heads: Option<usize>,
    /// Heads of MAE's decoder.
    pub decoder_heads: Option<usize>,
    /// Width of a head.
    pub head_width: Option<usize>,
    pub norm_eps: Option<f64>,
    pub activation: Option<Activation>,
    /// Height and width, pixels.
    pub image_size: Option<[usize; 2]>,
    pub mean: Option<Vec<f32>>,
    pub std: Option<Vec<f32>>,
    /// Input side over resized shorter side.
    pub crop_ratio: Option<f64>,
    pub interpolation: Option<Interpolation>,
    /// Whether the model's own feature is the mean of its patch tokens.
    pub mean_pooling: Option<bool>,
    /// Whether there are rotary positions.
    pub rope: Option<bool>,
    /// Base of the periods of rotary positions.
    pub rope_base: Option<f64>,
    /// Whether numbers of a head are paired across its halves, and not with their neighbours.
    pub rope_halves: Option<bool>,
    /// Whether the class token has a position.
    pub class_position: Option<bool>,
    /// Whether there is a final normalisation.
    pub final_norm: Option<bool>,
    /// Whether the model's own feature is that of its attention pooling.
    pub own_pooling: bool,
    /// Grid that rotary positions are scaled to.
    pub rope_reference: Option<[usize; 2]>,
    /// Layers that the model has, or has not.
    pub layers: Vec<(Layer, bool)>,
    /// Set where the blocks are not pre-norm.
    pub norm_position: Option<String>,
    /// Facts the weights tell too: name here, value.
    pub width: Option<usize>,
    pub depth: Option<usize>,
    pub patch_size: Option<usize>,
    pub channels: Option<usize>,
}

/// Keys of timm's `model_args` that are read, or that leave a plain ViT's forward pass alone.
const MODEL_ARGS: &[&str] = &[
    "embed_dim",
    "depth",
    "num_heads",
    "patch_size",
    "mlp_ratio",
    "num_classes",
    "img_size",
    "in_chans",
    "global_pool",
    "fc_norm",
    "class_token",
    "no_embed_class",
    "qkv_bias",
    "act_layer",
    "pos_embed",
    "weight_init",
    "dynamic_img_size",
    "dynamic_img_pad",
    "strict_img_size",
    "final_norm",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
    "fix_init",
    "norm_eps",
    "norm_layer",
    "pre_norm",
    "qk_norm",
    "reg_tokens",
    "num_reg_tokens",
    "init_values",
    "mlp_layer",
    "swiglu_mlp",
    "swiglu_align_to",
    "scale_mlp",
    "scale_attn_inner",
    "qkv_fused",
    "use_abs_pos_emb",
    "use_rel_pos_bias",
    "use_shared_rel_pos_bias",
    "use_rot_pos_emb",
    "use_fc_norm",
    "rope_type",
    "rope_temperature",
    "rope_rotate_half",
    "rope_grid_offset",
    "rope_grid_indexing",
    "ref_feat_shape",
];

impl ConfigJson {
    /// Reads `config.json` in the folder of `weights`, or open_clip's `open_clip_config.json` where
    /// that is alone or the weights are open_clip's own, and the statistics of transformers'
    /// `preprocessor_config.json`; `None` where there is none.
    pub(super) fn beside(weights: &Path) -> Result<Option<Self>, CheckpointError> {
        let read = |name: &str| {
            let path = weights.with_file_name(name);
            let text = text(&path)?;
            text.map(|text| Self::parse(&path, &text)).transpose()
        };
        let file = weights.file_name().unwrap_or_default().to_string_lossy();
        let mut names = ["config.json", "open_clip_config.json"];
        if file.starts_with("open_clip") {
            names.reverse();
        }
        let mut config = match read(names[0])? {
            Some(config) => Some(config),
            None => read(names[1])?,
        };
        if let Some(config) = &mut config
            && config.vocabulary == Vocabulary::Transformers
            && let Some(preprocessor) = read("preprocessor_config.json")?
        {
            config.mean = config.mean.take().or(preprocessor.mean);
            config.std = config.std.take().or(preprocessor.std);
        }
        Ok(config)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Config {
            path: path.to_owned(),
            reason,
        };
        let root = strict_json::parse(text).map_err(|error| wrong(error.to_string()))?;
        let null = Value::Null;
        let args = root.get("model_args").unwrap_or(&null);
        let pretrained = root.get("pretrained_cfg").unwrap_or(&null);
        let open_clip = root.get("model_cfg").unwrap_or(&null);
        // transformers' CLIPModel and SiglipModel, open_clip: the vision tower.
        let vision = root
            .get("vision_config")
            .or_else(|| open_clip.get("vision_cfg"))
            .unwrap_or(&null);
        let preprocess = root.get("preprocess_cfg").unwrap_or(&null);
        let vocabulary = if !open_clip.is_null() {
            Vocabulary::OpenClip
        } else if root.get("model_type").is_some() {
            Vocabulary::Transformers
        } else if root.get("architecture").is_some() {
            Vocabulary::Timm
        } else {
            Vocabulary::Plain
        };
        if let Some(key) = args
            .as_object()
            .and_then(|args| {
                args.iter().find(|(key, value)| {
                    !MODEL_ARGS.contains(&key.as_str())
                        && !value.is_null()
                        && **value != Value::Bool(false)
                })
            })
            .map(|(key, _)| key)
        {
            return Err(wrong(format!(
                "model_args.{key} is not known and may change the forward pass"
            )));
        }
        let find = |names: &[&'static str]| {
            [args, pretrained, vision, preprocess, &root]
                .into_iter()
                .find_map(|table| {
                    let value = |&name: &&'static str| Some((name, table.get(name)?));
                    names
                        .iter()
                        .filter_map(value)
                        .find(|(_, value)| !value.is_null())
                })
        };
        let count = |names: &[&'static str]| match find(names) {
            None => Ok(None),
            Some((name, value)) => match value.as_u64().filter(|&n| n > 0) {
                Some(n) => Ok(Some(n as usize)),
                None => Err(wrong(format!(
                    "{name} must be a positive integer, it is {value}"
                ))),
            },
        };
        let number = |names: &[&'static str]| match find(names) {
            None => Ok(None),
            Some((name, value)) => match value.as_f64().filter(|&x| x > 0.0) {
                Some(x) => Ok(Some(x)),
                None => Err(wrong(format!(
                    "{name} must be a positive number, it is {value}"
                ))),
            },
        };
        let interpolation = match find(&["interpolation"]) {
            None => None,
            Some((name, value)) => Some(match value.as_str() {
                Some("bicubic") => Interpolation::Bicubic,
                Some("bilinear") => Interpolation::Bilinear,
                _ => return Err(wrong(format!("{name} {value} is not known"))),
            }),
        };
        let numbers = |names: &[&'static str]| match find(names) {
            None => Ok(None),
            Some((name, value)) => value
                .as_array()
                .and_then(|list| list.iter().map(|x| x.as_f64().map(|x| x as f32)).collect())
                .map(Some)
                .ok_or_else(|| wrong(format!("{name} must be a list of numbers, it is {value}"))),
        };
        let timm_tower = vision.get("timm_model_name");
        let names = [root.get("architecture"), timm_tower, root.get("model_type")];
        let name = names.into_iter().flatten().find_map(Value::as_str);
        let architecture = name.map(str::to_owned);
        let named = name.map(named).unwrap_or_default();
        if let Some(reason) = named.refused {
            let name = architecture.unwrap_or_default();
            return Err(wrong(format!("{name} cannot be evaluated: {reason}")));
        }
        let activation = match find(&["hidden_act", "act_layer", "act"]) {
            None if open_clip.get("quick_gelu") == Some(&Value::Bool(true)) => {
                Some(Activation::QuickGelu)
            }
            None if vocabulary == Vocabulary::OpenClip && timm_tower.is_none() => {
                Some(Activation::Gelu)
            }
            None => named.activation,
            Some((name, value)) => Some(match value.as_str() {
                Some("gelu") => Activation::Gelu,
                Some("gelu_tanh" | "gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
                Some("quick_gelu" | "quickgelu") => Activation::QuickGelu,
                Some("silu" | "SiLU" | "swish") => Activation::Silu,
                _ => return Err(wrong(format!("{name} {value} is not known"))),
            }),
        };
        let side = |value: &Value| value.as_u64().filter(|&n| n > 0).map(|n| n as usize);
        let image_size = match find(&["img_size", "image_size", "img", "input_size"]) {
            None => None,
            Some((name, value)) => {
                let size = match value.as_array().map(Vec::as_slice) {
                    Some([height, width] | [_, height, width]) => side(height).zip(side(width)),
                    Some(_) => None,
                    None => side(value).map(|side| (side, side)),
                };
                let (height, width) = size.ok_or_else(|| {
                    wrong(format!("{name} must be a size in pixels, it is {value}"))
                })?;
                Some([height, width])
            }
        };
        let rope_reference = match find(&["ref_feat_shape"]) {
            None => None,
            Some((name, value)) => match value.as_array().map(Vec::as_slice) {
                Some([rows, columns]) => side(rows).zip(side(columns)).map(<[usize; 2]>::from),
                _ => {
                    return Err(wrong(format!(
                        "{name} must be rows and columns, it is {value}"
                    )));
                }
            },
        };
        let layer_eps = args
            .get("norm_layer")
            .and_then(|layer| layer.get("eps"))
            .and_then(Value::as_f64);
        let layers = LAYERS.iter().filter_map(|&(name, layer)| {
            let said = match args.get(name).or_else(|| root.get(name))? {
                Value::Null => false,
                Value::Bool(said) => *said,
                Value::Object(layer) => layer.get("partial")? != "Mlp",
                Value::String(layer) => layer != "Mlp",
                number => number.as_f64()? > 0.0,
            };
            // Two fields are of relative biases, and neither denies the other's.
            (said || layer != Layer::RelativeBias).then_some((layer, said))
        });
        // timm reads the class token alone.
        let pooled = root.get("global_pool").or_else(|| args.get("global_pool"));
        let of_token = vocabulary == Vocabulary::Timm
            && args.get("global_pool").or(pooled) == Some(&Value::from("token"));
        let layers = layers.chain(of_token.then_some((Layer::ClassToken, true)));
        // Rotary positions that a Rope does not describe, layers that no part of the model is.
        let usual = [
            ("rope_type", &["cat", "dinov3"][..]),
            ("rope_grid_indexing", &["ij"]),
            ("norm_layer", &["LayerNorm", "layernorm"]),
            ("mlp_layer", &["Mlp", "GluMlp", "SwiGLU"]),
        ];
        for (name, known) in usual {
            let value = args.get(name).filter(|value| !value.is_null());
            // timm writes a function with its arguments: {"partial": "LayerNorm", "eps": 1e-5}.
            let said = value.and_then(|value| value.get("partial").or(Some(value))?.as_str());
            if let Some(value) = value
                && !said.is_some_and(|value| known.contains(&value))
            {
                return Err(wrong(format!("model_args.{name} {value} is not known")));
            }
        }
        let mlp = args
            .get("mlp_layer")
            .and_then(|layer| layer.get("gate_last"));
        if mlp == Some(&Value::Bool(true)) {
            return Err(wrong(
                "model_args.mlp_layer with gate_last is not known".to_owned(),
            ));
        }
        if let Some(offset) = args.get("rope_grid_offset").and_then(Value::as_f64)
            && offset != 0.0
        {
            return Err(wrong(format!(
                "model_args.rope_grid_offset {offset} is not known"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            vocabulary,
            layers: layers.collect(),
            heads: count(&["num_heads", "num_attention_heads", "heads"])?.or(named.heads),
            last_heads: count(&["last_num_heads"])?,
            decoder_heads: count(&["decoder_num_attention_heads", "decoder_num_heads"])?,
            head_width: count(&["head_width"])?,
            norm_eps: match layer_eps {
                Some(eps) => Some(eps),
                None => number(&["layer_norm_eps", "norm_eps", "eps"])?,
            },
            rope: find(&["use_rot_pos_emb"]).and_then(|(_, value)| value.as_bool()),
            rope_base: number(&["rope_temperature", "rope_theta"])?,
            rope_halves: find(&["rope_rotate_half"]).and_then(|(_, value)| value.as_bool()),
            class_position: args
                .get("no_embed_class")
                .and_then(Value::as_bool)
                .map(|without| !without),
            final_norm: find(&["final_norm"]).and_then(|(_, value)| value.as_bool()),
            own_pooling: pooled.and_then(Value::as_str) == Some("map"),
            rope_reference,
            activation,
            image_size,
            mean: numbers(&["mean", "image_mean"])?,
            std: numbers(&["std", "image_std"])?,
            crop_ratio: number(&["crop_pct"])?,
            interpolation,
            mean_pooling: find(&["global_pool", "pool"])
                .and_then(|(_, value)| value.as_str())
                .map(|pool| matches!(pool, "avg" | "mean"))
                .or(find(&["use_mean_pooling"]).and_then(|(_, value)| value.as_bool())),
            norm_position: find(&["norm_position"])
                .and_then(|(_, value)| value.as_str())
                .filter(|&position| position != "pre")
                .map(str::to_owned),
            width: count(match vocabulary {
                Vocabulary::OpenClip => &["width"],
                _ => &["embed_dim", "hidden_size", "dim"],
            })?,
            depth: count(&["depth", "num_hidden_layers", "layers"])?,
            patch_size: count(&["patch_size", "patch"])?,
            channels: count(&["in_chans", "num_channels", "chans"])?,
            architecture,
        })
    }
}

/// The text of a small file; `None` where there is none.
fn text(path: &Path) -> Result<Option<String>, CheckpointError> {
    /// Bytes; transformers' with every label of ImageNet-22K have half of that.
    const MOST: u64 = 4 << 20;
    let long = || CheckpointError::Config {
        path: path.to_owned(),
        reason: "it has more than 4 MiB".to_owned(),
    };
    match regular::text(path, MOST, long) {
        Err(CheckpointError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        text => text.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigJson, String> {
        ConfigJson::parse(Path::new("config.json"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn timm_and_plain_vocabularies() {
        let timm = parse(r#"{"model_args": {"num_heads": 3, "img_size": [32, 48]}, "global_pool": "avg", "pretrained_cfg": {"mean": [0.5], "crop_pct": 0.9}}"#).unwrap();
        assert_eq!(
            (timm.heads, timm.image_size, timm.mean_pooling),
            (Some(3), Some([32, 48]), Some(true))
        );
        assert_eq!((timm.mean, timm.crop_ratio), (Some(vec![0.5]), Some(0.9)));
        let plain = parse(
            r#"{"heads": 4, "img": 28, "eps": 1e-5, "act": "gelu", "norm_position": "post"}"#,
        )
        .unwrap();
        assert_eq!(
            (plain.heads, plain.image_size, plain.norm_eps),
            (Some(4), Some([28, 28]), Some(1e-5))
        );
        assert_eq!(plain.norm_position.as_deref(), Some("post"));
    }

    #[test]
    fn what_would_change_the_forward_pass_is_refused() {
        assert!(
            parse(r#"{"model_args": {"block_fn": "ParallelScalingBlock"}}"#)
                .unwrap_err()
                .contains("block_fn")
        );
        for rope in [
            r#""rope_type": "mixed""#,
            r#""rope_grid_indexing": "xy""#,
            r#""rope_grid_offset": 1.0"#,
        ] {
            let refused = parse(&format!(r#"{{"model_args": {{{rope}}}}}"#)).unwrap_err();
            assert!(refused.contains("rope_"), "{refused}");
        }
        assert!(parse(r#"{"model_args": {"init_values": null, "rope_type": "cat"}}"#).is_ok());
        assert!(
            parse(r#"{"hidden_act": "relu"}"#)
                .unwrap_err()
                .contains("relu")
        );
        assert!(
            parse(r#"{"num_heads": 0}"#)
                .unwrap_err()
                .contains("num_heads")
        );
        assert!(
            parse(r#"{"layer_norm_eps": "1e-5"}"#)
                .unwrap_err()
                .contains("layer_norm_eps")
        );
        assert!(
            parse(r#"{"interpolation": "lanczos"}"#)
                .unwrap_err()
                .contains("lanczos")
        );
        assert!(parse("[").is_err());
    }
}
