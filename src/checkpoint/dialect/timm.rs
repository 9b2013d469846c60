//! timm's `VisionTransformer` (`timm/models/vision_transformer.py`) and facebookresearch/mae,
//! whose encoder has the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::CheckpointError;
use super::super::pattern::matches;
use super::super::source::Entry;
use super::{Facts, Rule};
use crate::nn::WeightError;

const fn same(name: &'static str) -> Rule {
    Rule::Rename {
        from: name,
        to: name,
    }
}

const fn head(keys: &'static str) -> Rule {
    Rule::Drop {
        keys,
        reason: "classification head",
    }
}

const fn decoder(keys: &'static str) -> Rule {
    Rule::Drop {
        keys,
        reason: "MAE decoder",
    }
}

pub(super) const RULES: &[Rule] = &[
    same("cls_token"),
    same("pos_embed"),
    same("patch_embed.proj.weight"),
    same("patch_embed.proj.bias"),
    same("blocks.{i}.norm1.weight"),
    same("blocks.{i}.norm1.bias"),
    same("blocks.{i}.attn.qkv.weight"),
    same("blocks.{i}.attn.qkv.bias"),
    same("blocks.{i}.attn.proj.weight"),
    same("blocks.{i}.attn.proj.bias"),
    same("blocks.{i}.norm2.weight"),
    same("blocks.{i}.norm2.bias"),
    same("blocks.{i}.mlp.fc1.weight"),
    same("blocks.{i}.mlp.fc1.bias"),
    same("blocks.{i}.mlp.fc2.weight"),
    same("blocks.{i}.mlp.fc2.bias"),
    same("norm.weight"),
    same("norm.bias"),
    same("fc_norm.weight"),
    same("fc_norm.bias"),
    head("head.weight"),
    head("head.bias"),
    head("pre_logits.weight"),
    head("pre_logits.bias"),
    head("pre_logits.fc.weight"),
    head("pre_logits.fc.bias"),
    Rule::Drop {
        keys: "mask_token",
        reason: "mask token of pre-training",
    },
    decoder("decoder_embed.*"),
    decoder("decoder_pos_embed"),
    decoder("decoder_blocks.*"),
    decoder("decoder_norm.*"),
    decoder("decoder_pred.*"),
];

/// The keys that say timm, or nothing.
pub(super) fn recognise(entries: &BTreeMap<String, Entry>) -> Option<String> {
    let kernel = "patch_embed.proj.weight";
    entries.get(kernel).filter(|entry| entry.shape.len() == 4)?;
    let block = entries
        .keys()
        .find(|key| matches("blocks.{i}.*", key).is_some())?;
    Some(format!("{kernel}, {block}"))
}

pub(super) fn facts(
    path: &Path,
    entries: &BTreeMap<String, Entry>,
) -> Result<Facts, CheckpointError> {
    let missing = |name: &str| CheckpointError::Weight {
        path: path.to_owned(),
        source: WeightError::Missing {
            name: name.to_owned(),
        },
    };
    // Shape of a key whose dimensions the architecture is read from.
    let shape = |name: &str, rank: usize, layout: &str| match entries.get(name) {
        None => Err(missing(name)),
        Some(entry) if entry.shape.len() != rank || entry.shape.contains(&0) => {
            Err(CheckpointError::Architecture {
                path: path.to_owned(),
                reason: format!(
                    "{name} has shape {:?}, a plain ViT's is {layout}",
                    entry.shape
                ),
                hint: "mimbench inspect FILE lists every key of the file",
            })
        }
        Some(entry) => Ok(entry.shape.clone()),
    };
    let kernel = shape("patch_embed.proj.weight", 4, "[D, C, p, p]")?;
    if kernel[2] != kernel[3] {
        return Err(CheckpointError::Architecture {
            path: path.to_owned(),
            reason: format!(
                "patches of {} x {} pixels are not square",
                kernel[2], kernel[3]
            ),
            hint: "only square patches are supported",
        });
    }
    let width = kernel[0];
    let positions = shape("pos_embed", 3, "[1, N, D]")?[1];
    let hidden = shape("blocks.0.mlp.fc1.weight", 2, "[H, D]")?[0];
    let has = |name| entries.contains_key(name);
    if has("norm.weight") && has("fc_norm.weight") {
        return Err(CheckpointError::Architecture {
            path: path.to_owned(),
            reason: "it has both norm and fc_norm, and a ViT uses one of them".to_owned(),
            hint: "--ignore-key \"fc_norm.*\" or --ignore-key \"norm.*\" chooses",
        });
    }
    let blocks: BTreeSet<_> = entries
        .keys()
        .filter_map(|key| matches("blocks.{i}.*", key).flatten())
        .collect();
    let depth = blocks.len();
    if let Some(gap) = (0..depth).find(|block| !blocks.contains(block)) {
        return Err(missing(&format!("blocks.{gap}.norm1.weight")));
    }
    Ok(Facts {
        patch_size: kernel[2],
        channels: kernel[1],
        width,
        depth,
        mlp_width: hidden,
        class_token: has("cls_token"),
        positions,
        fc_norm: has("fc_norm.weight"),
    })
}
