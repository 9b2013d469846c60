//! What the weights leave open, decided in order: the command line, the card, `config.json`, the
//! dialect's own defaults.

use std::path::Path;

use super::CheckpointError;
use super::card::Card;
use super::config_json::{ConfigJson, Layer};
use super::dialect::{Dialect, PositionResize};
use super::facts::{Facts, square_of_table};
use super::loading::{Choice, Feature, InputFacts, LoadOptions};
use super::root::{Root, unknown};
use super::rule::Mapping;
use super::source::TensorSource;
use crate::engine::{Activation, Precision};
use crate::features::Token;
use crate::nn::WeightError;
use crate::vit::{AXIAL_BASE, FinalNorm, Heads, MlpKind, Pooler, Rope, VitConfig, table_rows};

/// Side of the input where only rotary positions are used and nothing says another.
const USUAL_SIDE: usize = 224;
/// More patches than any input has: 8192 x 8192 pixels in patches of 16. A file's own words must
/// not ask for any amount of memory.
const MOST_PATCHES: usize = 1 << 18;
/// Grid that timm scales rotary positions of EVA-02 and its own ViTs to (`timm/models/eva.py`).
const USUAL_REFERENCE: usize = 16;
/// Registers of no published ViT; a count beyond it is a slip or an attack.
const MOST_REGISTERS: usize = 256;
/// Base of DINOv3's periods (`dinov3/layers/rope_position_encoding.py`).
const DINOV3_BASE: f64 = 100.0;

/// Rows of the position table before the patches', and the grid it is of.
pub(super) type Stored = (usize, [usize; 2]);

/// Decides, and keeps what was decided.
pub(super) struct Settle<'a> {
    path: &'a Path,
    card: Option<&'a Card>,
    json: &'a ConfigJson,
    options: &'a LoadOptions,
    pub choices: Vec<Choice>,
}

impl<'a> Settle<'a> {
    pub(super) fn new(
        path: &'a Path,
        card: Option<&'a Card>,
        json: &'a ConfigJson,
        options: &'a LoadOptions,
    ) -> Self {
        Self {
            path,
            card,
            json,
            options,
            choices: Vec::new(),
        }
    }

    fn chose(&mut self, field: &str, value: impl ToString, from: impl ToString) {
        self.choices.push(Choice::new(field, value, from));
    }

    /// A choice that nothing confirms; `flag` decides it.
    fn assumed(&mut self, field: &str, value: impl ToString, from: impl ToString, flag: &str) {
        let choice = Choice::new(field, value, from);
        self.choices.push(Choice {
            flag: Some(flag.to_owned()),
            ..choice
        });
    }

    fn unclear(&self, reason: String, hint: &'static str) -> CheckpointError {
        CheckpointError::Architecture {
            path: self.path.to_owned(),
            reason,
            hint,
        }
    }

    fn missing(&self, name: &str) -> CheckpointError {
        CheckpointError::Weight {
            path: self.path.to_owned(),
            source: WeightError::Missing {
                name: name.to_owned(),
            },
        }
    }

    /// The first of what was told, in order, and a default; noted.
    fn first<T: serde::Serialize>(
        &mut self,
        field: &str,
        told: [(Option<T>, &str); 3],
        default: (T, String),
        flag: &str,
    ) -> T {
        let told = told
            .into_iter()
            .find_map(|(value, from)| Some((value?, from)));
        // serde_json writes 1e-5 out in full.
        let shown = |value: &T| match serde_json::to_value(value) {
            Ok(serde_json::Value::Number(number)) => match number.as_f64() {
                Some(number) => format!("{number:e}"),
                None => number.to_string(),
            },
            Ok(serde_json::Value::String(text)) => text,
            _ => serde_json::to_string(value).unwrap_or_default(),
        };
        match told {
            Some((value, from)) => {
                self.chose(field, shown(&value), from);
                value
            }
            None => {
                let (value, why) = default;
                self.assumed(field, shown(&value), why, flag);
                value
            }
        }
    }

    /// Notes where in the file the encoder is.
    pub(super) fn encoder(&mut self, root: &Root) {
        let place = root.prefix.trim_end_matches('.');
        if self.options.key.is_some() {
            self.chose("encoder", place, "--key");
        } else if !place.is_empty() {
            self.assumed("encoder", place, root.why(), "--key");
        }
    }

    /// Whose names the keys are.
    pub(super) fn dialect(
        &mut self,
        recognised: Option<(Dialect, String)>,
        source: &TensorSource,
    ) -> Result<Dialect, CheckpointError> {
        let told = [
            (self.options.dialect, "--dialect"),
            (self.card.and_then(|card| card.model.dialect), "card"),
        ];
        let told = told
            .into_iter()
            .find_map(|(told, from)| Some((told?, from.to_owned())));
        if let (Some((told, from)), Some((found, evidence))) = (&told, &recognised)
            && !told.can_be(*found)
        {
            return Err(self.unclear(
                format!(
                    "{from} says {}, and {evidence} says {}, which is another architecture or has other names",
                    told.name(),
                    found.name()
                ),
                "leave the dialect out: the keys tell it",
            ));
        }
        let (dialect, from) = match told.or(recognised) {
            Some(found) => found,
            None if source
                .entries()
                .keys()
                .any(|key| key.ends_with("class_embedding")) =>
            {
                return Err(self.unclear(
                    "openai/CLIP and open_clip share these keys, and their activations differ (QuickGELU, erf GELU)".to_owned(),
                    "--dialect clip or --dialect open-clip tells; open_clip_config.json beside the file would",
                ));
            }
            None => return Err(unknown(source)),
        };
        self.chose("dialect", dialect.name(), from);
        Ok(dialect)
    }

    /// The architecture at the resolution of the file, where its position tables end, and how they
    /// are brought to another.
    pub(super) fn config(
        &mut self,
        facts: &Facts,
        mapping: &Mapping,
        dialect: Dialect,
    ) -> Result<(VitConfig, Stored, PositionResize), CheckpointError> {
        self.check_json(facts)?;
        let rope = self.rope(facts, dialect)?;
        let dinov3 = matches!(rope, Some(Rope::Normalised { .. }));
        let family = dialect.family(
            facts.registers > 0 && (dinov3 || facts.class_token),
            facts.norm_pre,
        );
        let of_dialect = format!("default of {}", dialect.name());
        self.check_tokens(facts, dialect, rope)?;
        // CLIP's patch projection has no bias, and a norm follows it; every other one has.
        if !facts.patch_bias && !facts.norm_pre {
            return Err(self.missing("patch_embed.proj.bias"));
        }
        let stored = self.stored(facts, dialect)?;
        let heads = self.heads(facts, dialect, dinov3)?;
        let model = self.card.map(|card| &card.model);
        let norm_eps = self.first(
            "norm_eps",
            [
                (self.options.norm_eps, "--norm-eps"),
                (model.and_then(|model| model.norm_eps), "card"),
                (self.json.norm_eps, "config.json"),
            ],
            (family.norm_eps, of_dialect.clone()),
            "--norm-eps",
        );
        if !(1e-20..=1e-2).contains(&norm_eps) {
            return Err(self.unclear(
                format!("norm_eps is {norm_eps:e}"),
                "it is a small positive number such as 1e-6",
            ));
        }
        let gate = matches!(facts.mlp, MlpKind::Gated { .. });
        // Of the other gates a config.json says what the MLP would have without one.
        let json = self.json.activation;
        let json = json.filter(|_| !gate || dialect == Dialect::HfDinov3);
        let default = if gate {
            (Activation::Silu, "the gate of its MLP".to_owned())
        } else {
            (family.activation, of_dialect.clone())
        };
        let activation = self.first(
            "activation",
            [
                (self.options.activation, "--activation"),
                (model.and_then(|model| model.activation), "card"),
                (json, "config.json"),
            ],
            default,
            "--activation",
        );
        let resize = self
            .options
            .position_resize
            .or(model.and_then(|model| model.position_resize))
            .unwrap_or(family.resize);
        let config = VitConfig {
            patch_size: facts.patch_size,
            patch_bias: facts.patch_bias,
            grid: stored.1,
            margin: [0; 2],
            channels: facts.channels,
            width: facts.width,
            depth: facts.depth,
            heads,
            mlp: facts.mlp,
            mlp_width: facts.mlp_width,
            activation,
            class_token: facts.class_token,
            distillation_token: facts.distillation_token,
            registers: facts.registers,
            positions: facts.positions.map(|_| stored.0),
            relative_bias: facts.relative_bias,
            rope,
            norm_pre: facts.norm_pre,
            qkv_bias: facts.qkv_bias,
            qk_norm: facts.qk_norm,
            attention_norm: facts.attention_norm,
            layer_scale: facts.layer_scale,
            final_norm: self.final_norm(facts, mapping, dialect)?,
            pooler: facts.pooler,
            norm_eps,
        };
        let attention = matches!(config.pooler, Some(Pooler::Attention { .. }));
        if config.heads.uniform().is_none() && (config.rope.is_some() || attention) {
            return Err(self.unclear(
                format!(
                    "{} heads with rotary positions or attention pooling",
                    config.heads
                ),
                "heads that differ by block are known of ViTs without either",
            ));
        }
        if config.relative_bias.is_some() && (!config.class_token || config.prefix() != 1) {
            return Err(self.unclear(
                "it has tables of relative positions, and its prefix is not one class token"
                    .to_owned(),
                "no code base is known whose tables have rows for other tokens",
            ));
        }
        Ok((config, stored, resize))
    }

    /// Refuses a file without a token or a position table that its code base always saves, or with
    /// one that it does not read.
    fn check_tokens(
        &self,
        facts: &Facts,
        dialect: Dialect,
        rope: Option<Rope>,
    ) -> Result<(), CheckpointError> {
        let unused = |key: &str| CheckpointError::Unused {
            path: self.path.to_owned(),
            keys: vec![key.to_owned()],
        };
        if !facts.class_token && dialect.needs_class_token() {
            return Err(self.missing("cls_token"));
        }
        // timm's published ViTs with registers and no class token have `fc_norm` or attention
        // pooling.
        let headless = facts.registers > 0
            && facts.final_norm == Some(FinalNorm::Tokens)
            && !matches!(facts.pooler, Some(Pooler::Attention { .. }));
        let told = self.card.and_then(|card| card.model.class_token);
        let none = told == Some(false) || self.json.layers.contains(&(Layer::ClassToken, false));
        match told {
            Some(true) if !facts.class_token => return Err(self.missing("cls_token")),
            Some(false) if facts.class_token => {
                return Err(self.unclear(
                    "the card says class_token = false, and the file has one".to_owned(),
                    "the card belongs to another checkpoint: correct one of the two",
                ));
            }
            _ => {}
        }
        if !facts.class_token && headless && !none {
            return Err(self.unclear(
                "cls_token is missing beside reg_token and norm".to_owned(),
                "class_token = false under [model] of a card, or in a config.json beside the file, says that there was none",
            ));
        }
        let dinov3 = matches!(dialect, Dialect::Dinov3 | Dialect::HfDinov3);
        // Every model of `dinov3/hub/backbones.py` has them.
        if dinov3 && facts.registers == 0 && !self.json.layers.contains(&(Layer::Registers, false))
        {
            return Err(self.unclear(
                "the registers of DINOv3 are missing (storage_tokens, embeddings.register_tokens)".to_owned(),
                "{\"num_register_tokens\": 0} in a config.json beside the file says that there were none",
            ));
        }
        if facts.positions.is_some() && dinov3 {
            return Err(unused("pos_embed"));
        }
        // EVA-02 learns positions besides its rotary ones; DINOv3 and timm's ViTs of rotary
        // positions alone have registers.
        let rotary_alone = dinov3
            || dialect == Dialect::TimmEva && facts.registers > 0
            || self
                .json
                .layers
                .contains(&(Layer::AbsolutePositions, false));
        let rotary = rope.is_some() && rotary_alone;
        if facts.positions.is_none() && facts.table_rows.is_none() && !rotary {
            return Err(self.missing(match dialect {
                Dialect::TimmBeit | Dialect::HfBeit => "relative_position_bias_table",
                _ => "pos_embed",
            }));
        }
        // A norm before the first block is CLIP's, or of timm's vit_pe_*, whose rotary positions
        // are counted in another way (`timm/models/eva.py`).
        let of_clip = matches!(
            dialect,
            Dialect::Timm | Dialect::Clip | Dialect::OpenClip | Dialect::HfClip
        );
        let attention = matches!(facts.pooler, Some(Pooler::Attention { .. }));
        if facts.norm_pre && (!of_clip || attention) {
            return Err(unused("norm_pre.weight"));
        }
        // eva02_enormous, the one ViT of this width: its norms come after what a block adds.
        if dialect == Dialect::TimmEva && facts.width == 1792 {
            return Err(CheckpointError::NotPreNorm {
                path: self.path.to_owned(),
                reason: "of width 1792 only eva02_enormous_patch14_clip_224 is known".to_owned(),
            });
        }
        if facts.registers > MOST_REGISTERS {
            return Err(self.unclear(
                format!("{} registers", facts.registers),
                "published ViTs have up to 16",
            ));
        }
        Ok(())
    }

    /// Refuses a `config.json` of another checkpoint.
    fn check_json(&self, facts: &Facts) -> Result<(), CheckpointError> {
        let told = [
            ("width", self.json.width, facts.width),
            ("depth", self.json.depth, facts.depth),
            ("patch size", self.json.patch_size, facts.patch_size),
            ("channels", self.json.channels, facts.channels),
        ];
        for (what, said, found) in told {
            if let Some(said) = said.filter(|&said| said != found) {
                return Err(self.unclear(
                    format!("config.json says {what} {said}, the weights have {found}"),
                    "the config.json belongs to another checkpoint: move one of the two",
                ));
            }
        }
        for (layer, said) in &self.json.layers {
            let found = match layer {
                Layer::QkvBias => facts.qkv_bias,
                Layer::QkNorm => facts.qk_norm,
                Layer::NormPre => facts.norm_pre,
                Layer::Scale => facts.layer_scale,
                Layer::ClassToken => facts.class_token,
                Layer::Registers => facts.registers > 0,
                Layer::AbsolutePositions => facts.positions.is_some(),
                Layer::RelativeBias => facts.relative_bias.is_some(),
                Layer::Gate => matches!(facts.mlp, MlpKind::Gated { .. }),
                Layer::FinalNorm => facts.final_norm.is_some(),
            };
            if found != *said {
                let [has, lack] = if found {
                    ["have", "without"]
                } else {
                    ["lack", "with"]
                };
                return Err(self.unclear(
                    format!(
                        "config.json describes a model {lack} {}, the weights {has} it",
                        layer.name()
                    ),
                    "tensors were lost, or the config.json belongs to another checkpoint",
                ));
            }
        }
        Ok(())
    }

    /// Rotary positions, which leave no trace in most files.
    fn rope(&mut self, facts: &Facts, dialect: Dialect) -> Result<Option<Rope>, CheckpointError> {
        let json = self.json;
        let card = self.card.and_then(|card| card.model.rope);
        let rotary = matches!(
            dialect,
            Dialect::Dinov3 | Dialect::HfDinov3 | Dialect::Eva02 | Dialect::TimmEva
        );
        if let Some(rope) = card {
            let stored = matches!(rope, Rope::Normalised { base: None, .. });
            if !rotary || stored != facts.periods.is_some() {
                return Err(self.unclear(
                    format!("the card says rope {rope}, and {} has none such", dialect.name()),
                    "rope is of timm-eva, eva02, dinov3 and hf-dinov3; base is left out where rope_embed.periods is in the file",
                ));
            }
            self.chose("rope", rope, "card");
            return Ok(Some(rope));
        }
        let no_positions = facts.positions.is_none() && facts.relative_bias.is_none();
        let rope = match dialect {
            // facebookresearch/dinov3 computes them in f32 (`dinov3/hub/backbones.py`,
            // pos_embed_rope_dtype), whatever the periods are stored in.
            Dialect::Dinov3 => Rope::Normalised {
                base: None,
                bf16: false,
            },
            Dialect::HfDinov3 => self.normalised(),
            Dialect::Eva02 => self.axial(facts),
            Dialect::TimmEva => {
                let gate = matches!(facts.mlp, MlpKind::Gated { .. });
                let named = json.architecture.as_deref().unwrap_or_default();
                let like_dinov3 = no_positions && facts.class_token && facts.registers > 0;
                if json.rope == Some(false) {
                    return Ok(None);
                } else if named.contains("dinov3") || like_dinov3 {
                    self.normalised()
                } else if json.rope == Some(true)
                    || no_positions
                    || (gate && facts.relative_bias.is_none())
                {
                    self.axial(facts)
                } else {
                    self.assumed("rope", "none", "absolute positions", "rope on a card");
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        };
        let halves = matches!(rope, Rope::Normalised { .. });
        let base = json.rope_base.filter(|_| !halves);
        if json.rope_halves.is_some_and(|said| said != halves)
            || base.is_some_and(|base| base != AXIAL_BASE)
        {
            return Err(self.unclear(
                format!("config.json has rotary positions that are not those of {rope}"),
                "pairs across halves go with DINOv3's coordinates, neighbours and base 10000 with EVA-02's",
            ));
        }
        let bf16 = Some(Precision::Bf16);
        let rope = match rope {
            Rope::Normalised { base, .. } if self.options.rope_precision == bf16 => {
                Rope::Normalised { base, bf16: true }
            }
            rope => rope,
        };
        match (rope, self.options.rope_precision) {
            (_, Some(_)) => self.chose("rope", rope, "--rope-precision"),
            (Rope::Normalised { base: None, .. }, None) => self.assumed(
                "rope",
                rope,
                "rope_embed.periods, in f32 as the hub's models",
                "--rope-precision",
            ),
            (Rope::Axial { .. }, None) if json.rope_reference.is_some() => {
                self.chose("rope", rope, "config.json");
            }
            (Rope::Axial { .. }, None) if facts.rope_reference.is_some() => {
                self.chose("rope", rope, "the table in the file");
            }
            _ => self.assumed("rope", rope, "the family's usual", "rope on a card"),
        }
        Ok(Some(rope))
    }

    fn normalised(&self) -> Rope {
        Rope::Normalised {
            base: Some(self.json.rope_base.unwrap_or(DINOV3_BASE)),
            bf16: false,
        }
    }

    fn axial(&self, facts: &Facts) -> Rope {
        let told = self.json.rope_reference.or(facts.rope_reference);
        Rope::Axial {
            reference: told.unwrap_or([USUAL_REFERENCE; 2]),
        }
    }

    /// Height and width of the input in pixels, where something says it, and what does.
    fn told_size(&self) -> Option<([usize; 2], &'static str)> {
        let card = self.card.and_then(|card| card.input.size);
        let told = [
            (self.options.input_size, "--input-size"),
            (card, "card"),
            (self.json.image_size, "config.json"),
        ];
        told.into_iter()
            .find_map(|(size, from)| Some((size?, from)))
    }

    /// Patches along each side of an input. Only a model's own size, that of `config.json`, may
    /// have pixels beyond the last patch.
    fn grid_of(&self, size: [usize; 2], facts: &Facts) -> Result<[usize; 2], CheckpointError> {
        let [height, width] = size;
        let p = facts.patch_size;
        let own = self.json.image_size == Some(size);
        if height < p || width < p || (!own && (height % p != 0 || width % p != 0)) {
            return Err(self.unclear(
                format!(
                    "an input of {height} x {width} pixels is no whole number of patches of {p}"
                ),
                "correct --input-size, or the input size of the card or config.json",
            ));
        }
        let grid = [height / p, width / p];
        match grid[0].checked_mul(grid[1]) {
            Some(patches) if patches <= MOST_PATCHES => Ok(grid),
            _ => Err(self.unclear(
                format!(
                    "an input of {height} x {width} pixels has more than {MOST_PATCHES} patches of {p}"
                ),
                "correct --input-size, or the input size of the card or config.json",
            )),
        }
    }

    /// The grid that the file's position tables are of, and how many prefix tokens have a row in
    /// the absolute one.
    fn stored(&self, facts: &Facts, dialect: Dialect) -> Result<Stored, CheckpointError> {
        let first = usize::from(facts.class_token) + usize::from(facts.distillation_token);
        if facts.positions.is_none() && facts.table_rows.is_none() {
            // Nothing in the file is of a grid.
            let (size, _) = self.told_size().unwrap_or(([USUAL_SIDE; 2], ""));
            return Ok((0, self.grid_of(size, facts)?));
        }
        // Only timm saves positions of registers, or none of the class token (`no_embed_class`).
        let mut prefixes = match (facts.positions, dialect) {
            (None, _) => vec![0],
            (Some(_), Dialect::Timm | Dialect::TimmEva) if !facts.distillation_token => {
                vec![first + facts.registers, first, 0]
            }
            (Some(_), _) => vec![first],
        };
        match self.json.class_position {
            Some(true) => prefixes.retain(|&prefix| prefix > 0 || first == 0),
            Some(false) => prefixes.retain(|&prefix| prefix == 0),
            None => {}
        }
        prefixes.dedup();
        let fits = |prefix: usize, [h, w]: [usize; 2]| {
            facts.positions.is_none_or(|rows| rows == prefix + h * w)
                && facts
                    .table_rows
                    .is_none_or(|rows| rows == table_rows([h, w]))
        };
        let reading = |grid: [usize; 2]| {
            let prefix = prefixes.iter().find(|&&prefix| fits(prefix, grid));
            prefix.map(|&prefix| (prefix, grid))
        };
        // What the model was built with, where something says it; else a square.
        let rows = facts.positions.or(facts.table_rows).unwrap_or_default();
        let square_but = |prefix: usize| {
            let rows = rows.checked_sub(prefix).filter(|&rows| rows > 0);
            facts.positions.is_some() && rows.is_some_and(|rows| rows.isqrt().pow(2) == rows)
        };
        let lost = match (facts.class_token, facts.distillation_token) {
            (false, _) if square_but(1) => Some("cls_token"),
            (true, false) if square_but(2) => Some("dist_token"),
            _ => None,
        };
        if let Some(size @ [height, width]) = self.json.image_size {
            return reading(self.grid_of(size, facts)?).ok_or_else(|| match lost {
                Some(token) => self.missing(token),
                None => self.unclear(
                    format!(
                        "{rows} positions do not fit the {height} x {width} input of config.json in patches of {}",
                        facts.patch_size
                    ),
                    "the config.json belongs to another checkpoint: move one of the two; --input-size asks for another size",
                ),
            });
        }
        let square = |&prefix: &usize| {
            let grid = match (facts.positions, facts.table_rows) {
                (Some(rows), _) => [rows.checked_sub(prefix)?.isqrt(); 2],
                (None, rows) => square_of_table(rows?)?,
            };
            (grid[0] > 0 && fits(prefix, grid)).then_some((prefix, grid))
        };
        let mut readings: Vec<Stored> = prefixes.iter().filter_map(square).collect();
        if let Some(size) = self.card.and_then(|card| card.input.size) {
            readings.extend(reading(self.grid_of(size, facts)?));
        }
        if readings.is_empty()
            && let Some(size) = self.options.input_size
        {
            readings.extend(reading(self.grid_of(size, facts)?));
        }
        readings.dedup();
        match readings[..] {
            [reading] => Ok(reading),
            [] => Err(self.unclear(
                match (self.told_size(), lost) {
                    (Some(([height, width], from)), _) => format!(
                        "{rows} positions are neither a square grid nor that of the {height} x {width} input of {from} in patches of {}",
                        facts.patch_size
                    ),
                    (None, Some(token)) => return Err(self.missing(token)),
                    (None, None) => format!("{rows} positions are no square grid"),
                },
                "give the input size of the weights in a card: [input] size = [height, width]",
            )),
            _ => Err(self.unclear(
                format!("{rows} positions can be read as a square grid or as that of the card"),
                "a config.json beside the file with image_size tells what the model was built with",
            )),
        }
    }

    /// The grid of the input that is asked for, the file's where nothing says another, and the
    /// pixels beyond it.
    pub(super) fn input_grid(
        &mut self,
        facts: &Facts,
        stored: [usize; 2],
    ) -> Result<([usize; 2], [usize; 2]), CheckpointError> {
        match self.told_size() {
            Some((size, from)) => {
                let grid = self.grid_of(size, facts)?;
                let [height, width] = size;
                self.chose("input", format!("{height} x {width}"), from);
                Ok((grid, size.map(|side| side % facts.patch_size)))
            }
            None => {
                let [height, width] = stored.map(|side| side * facts.patch_size);
                let value = format!("{height} x {width}");
                if facts.positions.is_none() && facts.table_rows.is_none() {
                    self.assumed("input", value, "the usual size", "--input-size");
                } else {
                    self.chose("input", value, "the position table");
                }
                Ok((stored, [0; 2]))
            }
        }
    }

    /// Notes that position tables are brought to another grid.
    pub(super) fn resized(
        &mut self,
        config: &VitConfig,
        from: [usize; 2],
        to: [usize; 2],
        resize: PositionResize,
    ) {
        let mut methods = Vec::new();
        if config.positions.is_some() {
            methods.push(resize.absolute().name());
        }
        if config.relative_bias.is_some() {
            methods.push(resize.table().name());
        }
        if methods.is_empty() {
            return;
        }
        let ([h, w], [to_h, to_w]) = (from, to);
        let value = format!(
            "{}: {h} x {w} -> {to_h} x {to_w}, {}",
            resize.name(),
            methods.join(" and ")
        );
        if self.options.position_resize.is_some() {
            self.chose("position_resize", value, "--position-resize");
        } else {
            self.assumed(
                "position_resize",
                value,
                "the dialect's own way",
                "--position-resize",
            );
        }
    }

    fn final_norm(
        &mut self,
        facts: &Facts,
        mapping: &Mapping,
        dialect: Dialect,
    ) -> Result<FinalNorm, CheckpointError> {
        if let Some(norm) = facts.final_norm {
            return Ok(norm);
        }
        let segmentation = mapping
            .dropped
            .values()
            .any(|reason| reason.contains("segmentation"));
        if segmentation {
            self.chose(
                "final norm",
                "none",
                "the backbone of a segmentation network",
            );
            Ok(FinalNorm::None)
        } else if dialect == Dialect::HfBeit {
            self.chose("final norm", "none", "mean pooling without its pooler");
            Ok(FinalNorm::None)
        } else if self.json.final_norm == Some(false) {
            self.chose("final norm", "none", "config.json");
            Ok(FinalNorm::None)
        } else {
            Err(self.missing("norm.weight"))
        }
    }

    fn heads(
        &mut self,
        facts: &Facts,
        dialect: Dialect,
        dinov3: bool,
    ) -> Result<Heads, CheckpointError> {
        // Heads by width of published ViTs: timm's and open_clip's configurations.
        const KNOWN: [(usize, usize); 11] = [
            (192, 3),
            (384, 6),
            (512, 8),
            (768, 12),
            (1024, 16),
            (1152, 16),
            (1280, 16),
            (1408, 16),
            (1536, 24),
            (1664, 16),
            (4096, 32),
        ];
        let (width, depth) = (facts.width, facts.depth);
        let same = |heads: usize| Heads::same(heads, 1);
        if let Some(head) = self
            .json
            .head_width
            .filter(|&head| !width.is_multiple_of(head))
        {
            return Err(self.unclear(
                format!("heads of {head} (config.json) do not divide the width {width}"),
                "the config.json belongs to another checkpoint: move one of the two",
            ));
        }
        let of_head = |head: usize| same(width / head);
        let usual = || KNOWN.into_iter().find(|&(known, _)| known == width);
        let of_width = |from: &str| format!("{from} of width {width}");
        let known = match (dialect, width) {
            // `vits.py`, vit_small
            (Dialect::Moco, 384) => Some((12, "facebookresearch/moco-v3's ViT")),
            // `models/modeling_cae.py`, cae_tiny and cae_small
            (Dialect::Cae, 192 | 384) => Some((12, "Atten4Vis/CAE's ViT")),
            (_, 1280) if dinov3 => Some((20, "facebookresearch/dinov3's ViT")),
            _ => usual().map(|(_, heads)| (heads, "the published ViTs")),
        };
        let card = self.card.and_then(|card| card.model.heads.clone());
        let json = self
            .json
            .heads
            .map(same)
            .or(self.json.head_width.map(of_head));
        let json = json.map(|heads| match self.json.last_heads {
            Some(last) => {
                let heads = heads.over(depth).unwrap_or(heads);
                heads.with_last(last)
            }
            None => heads,
        });
        let (heads, from, flag) = if let Some(heads) = self.options.heads.clone() {
            (heads, "--heads".to_owned(), None)
        } else if let Some(heads) = card {
            (heads, "card".to_owned(), None)
        } else if let Some(heads) = json {
            (heads, "config.json".to_owned(), None)
        } else if let Some((heads, name)) = &facts.heads {
            (same(*heads), name.clone(), None)
        } else if let Some((heads, whose)) = known {
            (same(heads), of_width(whose), Some("--heads"))
        } else if width.is_multiple_of(64) {
            let from = format!("a guess: width {width} / 64");
            (same(width / 64), from, Some("--heads"))
        } else {
            return Err(self.unclear(
                format!(
                    "width {width} is no multiple of 64, so the number of heads cannot be guessed"
                ),
                "--heads H, or a card or config.json beside the file, tells it",
            ));
        };
        let Some(heads) = heads.over(depth) else {
            return Err(self.unclear(
                format!(
                    "{} numbers of heads ({from}) for {depth} blocks",
                    heads.iter().count()
                ),
                "give one number for every block, or one a block as in 6x11,12",
            ));
        };
        if let Some(wrong) = heads.iter().find(|&n| n == 0 || !width.is_multiple_of(n)) {
            return Err(self.unclear(
                format!("{wrong} heads ({from}) do not divide the width {width}"),
                "the number of heads is in the training code or the paper",
            ));
        }
        if let Some((told, name)) = &facts.heads
            && heads.uniform() != Some(*told)
        {
            return Err(self.unclear(
                format!("{name} has {told} heads, {from} says {heads}"),
                "leave the number of heads out: the weights tell it",
            ));
        }
        match flag {
            Some(flag) => self.assumed("heads", &heads, from, flag),
            None => self.chose("heads", &heads, from),
        }
        Ok(heads)
    }

    /// A card's shorter side before the crop, for the input that `--input-size` asks for.
    fn scaled(&self, resize: usize, size: [usize; 2], native: [usize; 2]) -> usize {
        let card = self.card.and_then(|card| card.input.size);
        let [of, to] = [card.unwrap_or(native), size].map(|[h, w]| h.min(w));
        match self.options.input_size {
            Some(_) => (resize as f64 * to as f64 / of as f64) as usize,
            None => resize,
        }
    }

    /// What is known of the input; `native` is the size of the file's position tables, pixels.
    pub(super) fn input(
        &mut self,
        vit: &VitConfig,
        native: [usize; 2],
        dialect: Dialect,
        facts: &Facts,
    ) -> Result<InputFacts, CheckpointError> {
        let card = self.card.map(|card| &card.input);
        let size = vit.input_size();
        let fits = |values: &Vec<f32>| values.len() == vit.channels;
        let statistics = dialect.statistics(facts, self.json.architecture.as_deref());
        let (mean, std, why) = if vit.channels == 3 {
            let (mean, std) = statistics.values();
            let why = format!("{}, usual for {}", statistics.name(), dialect.name());
            (mean.to_vec(), std.to_vec(), why)
        } else {
            let half = vec![0.5; vit.channels];
            (half.clone(), half, "by default".to_owned())
        };
        const FLAG: &str = "--set input.normalise, or a card";
        let mean = self.first(
            "mean",
            [
                (card.and_then(|input| input.mean.clone()), "card"),
                (self.json.mean.clone(), "config.json"),
                (None, ""),
            ],
            (mean, why.clone()),
            FLAG,
        );
        let std = self.first(
            "std",
            [
                (card.and_then(|input| input.std.clone()), "card"),
                (self.json.std.clone(), "config.json"),
                (None, ""),
            ],
            (std, why),
            FLAG,
        );
        if !fits(&mean) || !fits(&std) || std.iter().any(|&x| !(x.is_finite() && x > 0.0)) {
            return Err(self.unclear(
                format!(
                    "mean {mean:?} and std {std:?} do not fit {} input channels",
                    vit.channels
                ),
                "give one finite mean and one positive std a channel",
            ));
        }
        let crop = self.json.crop_ratio.filter(|&ratio| ratio > 0.0);
        Ok(InputFacts {
            size,
            channels: vit.channels,
            resize: card
                .and_then(|input| input.resize)
                .map(|resize| self.scaled(resize, size, native))
                .or_else(|| crop.map(|ratio| (size[0].min(size[1]) as f64 / ratio) as usize)),
            interpolation: card
                .and_then(|input| input.interpolation)
                .or(self.json.interpolation),
            mean,
            std,
        })
    }

    /// The feature the checkpoint is evaluated by.
    pub(super) fn feature(&mut self, vit: &VitConfig) -> Feature {
        let norm = vit.final_norm != FinalNorm::None;
        let of = |token| Feature { token, norm };
        let (feature, from) = if let Some(feature) = self.card.and_then(|card| card.feature) {
            (feature, "card")
        } else if vit.final_norm == FinalNorm::MeanPatch {
            (of(Token::MeanPatch), "fc_norm")
        } else if self.json.mean_pooling == Some(true) {
            (of(Token::MeanPatch), "config.json")
        } else if self.json.own_pooling && vit.pooler.is_some() {
            (of(Token::Pooled), "config.json")
        } else if matches!(vit.pooler, Some(Pooler::Attention { .. })) && !vit.class_token {
            (of(Token::Pooled), "attention pooling")
        } else if vit.pooler == Some(Pooler::ClassAndDistillation) {
            (of(Token::Pooled), "class and distillation token")
        } else if vit.class_token {
            (of(Token::Cls), "class token")
        } else {
            (of(Token::MeanPatch), "no class token")
        };
        let norm = if feature.norm { "norm" } else { "raw" };
        let value = format!("{} {norm}", feature.token.name());
        self.assumed("feature", value, from, "--set task.feature");
        feature
    }
}
