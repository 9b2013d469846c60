//! What the canonical tensors of a file say about its architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::CheckpointError;
use super::rule::{Mapping, Part, Recipe};
use super::source::{Float, TensorSource};
use crate::nn::WeightError;
use crate::vit::{FinalNorm, MlpKind, Pooler, RelativeBias, table_rows};

/// Everything that shapes and names tell.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub patch_size: usize,
    pub patch_bias: bool,
    pub channels: usize,
    pub width: usize,
    pub depth: usize,
    pub mlp: MlpKind,
    pub mlp_width: usize,
    pub class_token: bool,
    pub distillation_token: bool,
    pub registers: usize,
    /// Rows of the table of absolute positions.
    pub positions: Option<usize>,
    pub relative_bias: Option<RelativeBias>,
    /// Rows of the tables of relative positions.
    pub table_rows: Option<usize>,
    pub norm_pre: bool,
    pub qkv_bias: bool,
    pub qk_norm: bool,
    pub attention_norm: bool,
    pub layer_scale: bool,
    pub final_norm: Option<FinalNorm>,
    pub pooler: Option<Pooler>,
    /// Whether the periods of rotary positions are in the file, and whether in bfloat16.
    pub periods: Option<bool>,
    /// Attention heads of each block, where tables of relative positions, norms of queries or
    /// tables of rotary positions tell, and which tensor does.
    pub heads: Option<(usize, String)>,
    /// Grid that rotary positions are scaled to, where the file has their table.
    pub rope_reference: Option<[usize; 2]>,
}

impl Facts {
    /// Reads the architecture off canonical shapes.
    pub(super) fn new(source: &TensorSource, mapping: &Mapping) -> Result<Self, CheckpointError> {
        let reader = Reader {
            source,
            mapping,
            prefix: "",
        };
        let kernel = reader.shape("patch_embed.proj.weight", 4, "[D, C, p, p]")?;
        if kernel[2] != kernel[3] {
            return Err(reader.unclear(
                format!(
                    "patches of {} x {} pixels are not square",
                    kernel[2], kernel[3]
                ),
                "only square patches are supported",
            ));
        }
        let width = kernel[0];
        let has = |name: &str| mapping.parts.contains_key(name);
        let depth = reader.depth()?;
        reader.blocks_alike()?;
        let gated = has("blocks.0.mlp.fc1_g.weight");
        let hidden = if gated {
            "blocks.0.mlp.fc1_g.weight"
        } else {
            "blocks.0.mlp.fc1.weight"
        };
        let mlp_width = reader.shape(hidden, 2, "[H, D]")?[0];
        let table = |name: &str| has(&format!("{name}.relative_position_bias_table"));
        let relative_bias = match (table("rel_pos_bias"), table("blocks.0.attn")) {
            (true, true) => Some(RelativeBias::Both),
            (true, false) => Some(RelativeBias::Shared),
            (false, true) => Some(RelativeBias::PerBlock),
            (false, false) => None,
        };
        let table = match relative_bias {
            None => None,
            Some(RelativeBias::PerBlock) => Some("blocks.0.attn.relative_position_bias_table"),
            Some(_) => Some("rel_pos_bias.relative_position_bias_table"),
        };
        let table = table
            .map(|name| Ok((name, reader.shape(name, 2, "[positions, heads]")?)))
            .transpose()?;
        let either = |norm: &str| has(&format!("{norm}.weight")) || has(&format!("{norm}.bias"));
        let (norm, cls_norm, fc_norm) = (either("norm"), either("cls_norm"), either("fc_norm"));
        if norm && fc_norm {
            return Err(reader.unclear(
                "it has both norm and fc_norm, and a ViT uses one of them".to_owned(),
                "--ignore-key \"fc_norm.*\" or --ignore-key \"norm.*\" chooses",
            ));
        }
        let distillation_token = has("dist_token");
        let pooler = if distillation_token {
            Some(Pooler::ClassAndDistillation)
        } else if has("projection.weight") {
            let width = reader.shape("projection.weight", 2, "[out, D]")?[0];
            Some(Pooler::Projection { width })
        } else if mapping
            .parts
            .keys()
            .any(|key| key.starts_with("attn_pool."))
        {
            let mlp_width = reader.shape("attn_pool.mlp.fc1.weight", 2, "[H, D]")?[0];
            Some(Pooler::Attention { mlp_width })
        } else {
            None
        };
        Ok(Self {
            patch_size: kernel[2],
            patch_bias: has("patch_embed.proj.bias"),
            channels: kernel[1],
            width,
            depth,
            mlp: if gated {
                MlpKind::Gated {
                    norm: has("blocks.0.mlp.norm.weight"),
                }
            } else {
                MlpKind::Plain
            },
            mlp_width,
            class_token: has("cls_token"),
            distillation_token,
            registers: if has("reg_token") {
                reader.shape("reg_token", 3, "[1, R, D]")?[1]
            } else {
                0
            },
            positions: if has("pos_embed") {
                Some(reader.shape("pos_embed", 3, "[1, N, D]")?[1])
            } else {
                None
            },
            relative_bias,
            table_rows: table.as_ref().map(|(_, shape)| shape[0]),
            norm_pre: either("norm_pre"),
            qkv_bias: has("blocks.0.attn.qkv.bias"),
            qk_norm: has("blocks.0.attn.q_norm.weight"),
            attention_norm: has("blocks.0.attn.norm.weight"),
            layer_scale: has("blocks.0.ls1.gamma"),
            final_norm: match (norm, cls_norm, fc_norm) {
                (true, true, _) => Some(FinalNorm::Untied),
                (true, false, _) => Some(FinalNorm::Tokens),
                (false, _, true) => Some(FinalNorm::MeanPatch),
                (false, ..) => None,
            },
            pooler,
            periods: reader.periods(),
            heads: reader.heads(width, table)?,
            rope_reference: reader.rope_reference(),
        })
    }
}

/// Rows and columns of a square grid whose table of relative positions has so many rows.
pub(super) fn square_of_table(rows: usize) -> Option<[usize; 2]> {
    let side = rows.checked_sub(3)?.isqrt().div_ceil(2);
    let grid = [side; 2];
    (side > 0 && table_rows(grid) == rows).then_some(grid)
}

/// Reads shapes of one mapping.
pub(super) struct Reader<'a> {
    pub source: &'a TensorSource,
    pub mapping: &'a Mapping,
    /// What precedes its names in the model.
    pub prefix: &'static str,
}

impl Reader<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    pub(super) fn unclear(&self, reason: String, hint: &'static str) -> CheckpointError {
        CheckpointError::Architecture {
            path: self.path().to_owned(),
            reason,
            hint,
        }
    }

    fn missing(&self, name: &str) -> CheckpointError {
        CheckpointError::Weight {
            path: self.path().to_owned(),
            source: WeightError::Missing {
                name: format!("{}{name}", self.prefix),
            },
        }
    }

    /// Shape of a tensor whose dimensions the architecture is read from.
    pub(super) fn shape(
        &self,
        name: &str,
        rank: usize,
        layout: &str,
    ) -> Result<Vec<usize>, CheckpointError> {
        match self.mapping.parts.get(name) {
            None => Err(self.missing(name)),
            Some(Part { shape, .. }) if shape.len() != rank || shape.contains(&0) => Err(self
                .unclear(
                    format!(
                        "{}{name} has shape {shape:?}, a ViT's is {layout}",
                        self.prefix
                    ),
                    "mimbench inspect FILE lists every key of the file",
                )),
            Some(Part { shape, .. }) => Ok(shape.clone()),
        }
    }

    pub(super) fn depth(&self) -> Result<usize, CheckpointError> {
        let number = |name: &String| {
            let (number, _) = name.strip_prefix("blocks.")?.split_once('.')?;
            number.parse::<usize>().ok()
        };
        let blocks: BTreeSet<_> = self.mapping.parts.keys().filter_map(number).collect();
        let depth = blocks.len();
        match (0..depth).find(|block| !blocks.contains(block)) {
            None if depth == 0 => Err(self.missing("blocks.0.norm1.weight")),
            None => Ok(depth),
            Some(gap) => Err(self.missing(&format!("blocks.{gap}.norm1.weight"))),
        }
    }

    /// A tensor that one block has, every block has: one that is lost must not turn into a layer
    /// without it.
    fn blocks_alike(&self) -> Result<(), CheckpointError> {
        let blocks = &self.mapping.blocks;
        let every: BTreeMap<_, _> = blocks.values().flatten().collect();
        for (block, keys) in blocks {
            let lost = every.iter().find(|(name, _)| !keys.contains_key(**name));
            if let Some((name, other)) = lost {
                let other = other.strip_suffix(&format!(".{name}")).unwrap_or(other);
                let before = other.trim_end_matches(|c: char| c.is_ascii_digit());
                return Err(self.missing(&format!("{before}{block}.{name}")));
            }
        }
        Ok(())
    }

    fn periods(&self) -> Option<bool> {
        let part = self.mapping.parts.get("rope_embed.periods")?;
        let Recipe::Same(key) = &part.recipe else {
            return None;
        };
        let entry = self.source.entries().get(key)?;
        Some(entry.float == Some(Float::Bf16))
    }

    /// A table of rotary positions that EVA-02 saves, though it is a function of the grid.
    fn rope_table(&self) -> Option<(&str, &[usize])> {
        let mut dropped = self.mapping.dropped.keys();
        let key = dropped.find(|key| key.ends_with("rope.freqs_cos"))?;
        let entry = self.source.entries().get(key)?;
        (entry.shape.len() == 2).then_some((key, &entry.shape[..]))
    }

    /// Heads that the weights tell: columns of a bias table, or a head's width.
    fn heads(
        &self,
        width: usize,
        table: Option<(&str, Vec<usize>)>,
    ) -> Result<Option<(usize, String)>, CheckpointError> {
        if let Some((name, shape)) = table {
            return Ok(Some((shape[1], name.to_owned())));
        }
        let norm = "blocks.0.attn.q_norm.weight";
        let head_dim = if self.mapping.parts.contains_key(norm) {
            Some((self.shape(norm, 1, "[head_dim]")?[0], norm))
        } else if self.mapping.parts.contains_key("rope_embed.periods") {
            let quarter = self.shape("rope_embed.periods", 1, "[head_dim / 4]")?[0];
            Some((quarter.saturating_mul(4), "rope_embed.periods"))
        } else {
            self.rope_table()
                .map(|(key, shape)| (shape[1], key))
                .filter(|&(head_dim, _)| head_dim > 0)
        };
        match head_dim {
            None => Ok(None),
            Some((head_dim, name)) if width.is_multiple_of(head_dim) => {
                Ok(Some((width / head_dim, name.to_owned())))
            }
            Some((head_dim, name)) => Err(self.unclear(
                format!("{name} says heads of {head_dim}, which do not divide the width {width}"),
                "the file is damaged or no ViT that is known here",
            )),
        }
    }

    /// In the second patch of a row the angle of the first column frequency, 1, is
    /// `reference / grid` (`EVA-02/asuka/rope.py`).
    fn rope_reference(&self) -> Option<[usize; 2]> {
        let (key, &[patches, head_dim]) = self.rope_table()? else {
            return None;
        };
        let side = patches.isqrt();
        if side * side != patches || side < 2 || !head_dim.is_multiple_of(4) {
            return None;
        }
        let table = self.source.tensor(key)?.ok()?;
        let angle = f64::from(*table.data.get(head_dim + head_dim / 2)?).acos();
        let reference = (angle * side as f64).round();
        (reference >= 1.0).then_some([reference as usize; 2])
    }
}
