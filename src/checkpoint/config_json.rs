//! `config.json` beside the weights, in the vocabularies of timm, transformers and small
//! from-scratch projects.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::CheckpointError;
use crate::data::Interpolation;
use crate::engine::Activation;

/// What a `config.json` says that the weights cannot tell, or should agree on.
#[derive(Debug, Default)]
pub(super) struct ConfigJson {
    pub path: PathBuf,
    pub heads: Option<usize>,
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
];

impl ConfigJson {
    /// Reads `config.json` in the folder of `weights`; `None` where there is none.
    pub(super) fn beside(weights: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = weights.with_file_name("config.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Read { path, source }),
        };
        Self::parse(&path, &text).map(Some)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CheckpointError> {
        let wrong = |reason: String| CheckpointError::Config {
            path: path.to_owned(),
            reason,
        };
        let root: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let null = Value::Null;
        let args = root.get("model_args").unwrap_or(&null);
        let pretrained = root.get("pretrained_cfg").unwrap_or(&null);
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
            [args, pretrained, &root].into_iter().find_map(|table| {
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
        let activation = match find(&["hidden_act", "act_layer", "act"]) {
            None => None,
            Some((name, value)) => Some(match value.as_str() {
                Some("gelu") => Activation::Gelu,
                Some("gelu_tanh" | "gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
                Some("quick_gelu" | "quickgelu") => Activation::QuickGelu,
                _ => return Err(wrong(format!("{name} {value} is not known"))),
            }),
        };
        let side = |value: &Value| value.as_u64().filter(|&n| n > 0).map(|n| n as usize);
        let image_size = match find(&["img_size", "image_size", "img"]) {
            None => None,
            Some((name, value)) => {
                let size = match value.as_array().map(Vec::as_slice) {
                    Some([height, width]) => side(height).zip(side(width)),
                    Some(_) => None,
                    None => side(value).map(|side| (side, side)),
                };
                let (height, width) = size.ok_or_else(|| {
                    wrong(format!("{name} must be a size in pixels, it is {value}"))
                })?;
                Some([height, width])
            }
        };
        Ok(Self {
            path: path.to_owned(),
            heads: count(&["num_heads", "num_attention_heads", "heads"])?,
            norm_eps: number(&["layer_norm_eps", "norm_eps", "eps"])?,
            activation,
            image_size,
            mean: numbers(&["mean", "image_mean"])?,
            std: numbers(&["std", "image_std"])?,
            crop_ratio: number(&["crop_pct"])?,
            interpolation,
            mean_pooling: find(&["global_pool", "pool"])
                .and_then(|(_, value)| value.as_str())
                .map(|pool| matches!(pool, "avg" | "mean")),
            norm_position: find(&["norm_position"])
                .and_then(|(_, value)| value.as_str())
                .filter(|&position| position != "pre")
                .map(str::to_owned),
            width: count(&["embed_dim", "hidden_size", "dim"])?,
            depth: count(&["depth", "num_hidden_layers"])?,
            patch_size: count(&["patch_size", "patch"])?,
            channels: count(&["in_chans", "num_channels", "chans"])?,
        })
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
        assert!(parse(r#"{"model_args": {"init_values": null}}"#).is_ok());
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
