//! What a dialect says about keys, and what that makes of the keys of one file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::CheckpointError;
use super::pattern::matches;
use super::root::Root;
use super::source::TensorSource;
use crate::nn::WeightError;

/// What BEiT's code saves beside a table of relative positions, and the table
/// (`beit/modeling_finetune.py`).
const TABLE_INDEX: &str = "relative_position_index";
const TABLE: &str = "relative_position_bias_table";

/// What to do with the keys that match a pattern (see [`super::pattern`]).
///
/// A block's rules are of names after its number, the trunk's of other names below the encoder's
/// root, and patterns that begin with `/` of whole keys outside it. The first rule that matches a
/// name decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Part of the model under a canonical name.
    Rename {
        from: &'static str,
        to: &'static str,
    },
    /// Part of the model with leading axes of size 1 added up to this rank.
    Lift {
        from: &'static str,
        to: &'static str,
        rank: usize,
    },
    /// A matrix used from the other side.
    Transpose {
        from: &'static str,
        to: &'static str,
    },
    /// Rows joined; every part must be there.
    Stack {
        from: &'static [&'static str],
        to: &'static str,
    },
    /// Biases of queries, keys and values joined; that of the keys is zero where it is not there.
    QkvBias {
        from: [Option<&'static str>; 3],
        to: &'static str,
    },
    /// A bias times its mask of zeros and ones, where it has one; NaN, in files nobody initialised,
    /// is DINOv3's mask: ones, zeros for the keys, ones.
    BiasMask {
        bias: &'static str,
        mask: &'static str,
        to: &'static str,
    },
    /// Rows taken apart, in proportion.
    Split {
        from: &'static str,
        to: &'static [(&'static str, usize)],
    },
    /// Not part of the encoder.
    Drop {
        keys: &'static str,
        reason: &'static str,
    },
}

/// A key of the same name in the model.
pub(super) const fn same(name: &'static str) -> Rule {
    Rule::Rename {
        from: name,
        to: name,
    }
}

/// [`Rule::Rename`].
pub(super) const fn rename(from: &'static str, to: &'static str) -> Rule {
    Rule::Rename { from, to }
}

/// [`Rule::Drop`].
pub(super) const fn drop(keys: &'static str, reason: &'static str) -> Rule {
    Rule::Drop { keys, reason }
}

/// The names of a dialect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// What precedes a block's number.
    pub blocks: &'static [&'static str],
    /// Layers of a block; canonical names are below `blocks.N.`.
    pub block: &'static [&'static [Rule]],
    /// Everything else.
    pub trunk: &'static [&'static [Rule]],
}

impl Names {
    /// The block of a name and what follows its number. Of two numbers the second counts: DINOv2's
    /// chunks (`dinov2/models/vision_transformer.py`, `BlockChunk`) number blocks throughout.
    pub(super) fn block_of<'k>(&self, name: &'k str) -> Option<(usize, &'k str)> {
        let number = |text: &'k str| {
            let (digits, rest) = text.split_once('.')?;
            let all_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            Some((digits.parse().ok().filter(|_| all_digits)?, rest))
        };
        let (block, rest) = self
            .blocks
            .iter()
            .find_map(|prefix| number(name.strip_prefix(prefix)?))?;
        Some(number(rest).unwrap_or((block, rest)))
    }

    /// The rule that takes a name, which of its parts that is, and where the name belongs.
    fn decide(&self, name: &str) -> Option<(Rule, usize, Place)> {
        let (rules, name, block) = match self.block_of(name) {
            Some((block, rest)) => (self.block, rest, Some(block)),
            None => (self.trunk, name, None),
        };
        let mut rules = rules.iter().flat_map(|rules| rules.iter());
        rules.find_map(|&rule| {
            let mut patterns = rule.patterns().into_iter().enumerate();
            let (part, parameter) =
                patterns.find_map(|(part, pattern)| Some((part, matches(pattern?, name)?)))?;
            let parameter = parameter.map(str::to_owned);
            Some((rule, part, Place { block, parameter }))
        })
    }
}

/// What stands for the open parts of a rule's canonical name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    block: Option<usize>,
    parameter: Option<String>,
}

impl Place {
    fn named(&self, name: &str) -> String {
        let name = match &self.parameter {
            Some(parameter) => name.replace("{p}", parameter),
            None => name.to_owned(),
        };
        match self.block {
            Some(block) => format!("blocks.{block}.{name}"),
            None => name,
        }
    }
}

impl Rule {
    /// The patterns whose keys it takes, in the order of its parts.
    fn patterns(&self) -> Vec<Option<&'static str>> {
        match *self {
            Self::Rename { from, .. }
            | Self::Lift { from, .. }
            | Self::Transpose { from, .. }
            | Self::Split { from, .. } => vec![Some(from)],
            Self::Stack { from, .. } => from.iter().copied().map(Some).collect(),
            Self::QkvBias { from, .. } => from.to_vec(),
            Self::BiasMask { bias, mask, .. } => vec![Some(bias), Some(mask)],
            Self::Drop { keys, .. } => vec![Some(keys)],
        }
    }
}

/// How a canonical tensor is made of tensors of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) enum Recipe {
    /// As it is.
    Same(String),
    /// Under another shape of as many elements.
    Reshape(String),
    /// `[a, b]` as `[b, a]`.
    Transpose(String),
    /// Along the first axis.
    Stack(Vec<String>),
    /// Along the first axis; `None` is as many zeros as the others have elements.
    ZeroFilled([Option<String>; 3]),
    /// Bias, mask.
    Masked(String, String),
    /// A range of the first axis.
    Rows(String, std::ops::Range<usize>),
}

impl Recipe {
    /// The keys it reads.
    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Same(key) | Self::Reshape(key) | Self::Transpose(key) | Self::Rows(key, _) => {
                vec![key]
            }
            Self::Stack(keys) => keys.iter().map(String::as_str).collect(),
            Self::ZeroFilled(keys) => keys.iter().flatten().map(String::as_str).collect(),
            Self::Masked(bias, mask) => vec![bias, mask],
        }
    }
}

impl Recipe {
    /// Whether it is the bias of queries, keys and values of a code base whose keys have none.
    pub(super) fn leaves_keys(&self) -> bool {
        matches!(self, Self::ZeroFilled([_, None, _]) | Self::Masked(..))
    }

    /// What it does with a key, for the audit.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Same(_) => "taken",
            Self::Reshape(_) => "reshaped",
            Self::Transpose(_) => "transposed",
            Self::Stack(_) => "joined",
            Self::ZeroFilled(_) => "joined, zeros where a part is missing",
            Self::Masked(..) => "masked",
            Self::Rows(..) => "split",
        }
    }
}

/// A canonical tensor: its shape and how it is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Part {
    pub shape: Vec<usize>,
    pub recipe: Recipe,
}

/// What rules make of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    /// Canonical names.
    pub parts: BTreeMap<String, Part>,
    /// Keys left out, and why.
    pub dropped: BTreeMap<String, String>,
    /// Keys that no rule mentions.
    pub unknown: BTreeSet<String>,
    /// Keys that are part of the model, by block and what follows its number.
    pub blocks: BTreeMap<usize, BTreeMap<String, String>>,
}

/// Keys by part of a rule.
type Found = Vec<Option<String>>;

impl Mapping {
    /// Applies the rules to every key that is neither ignored nor the root's to drop.
    pub(super) fn new(
        source: &TensorSource,
        root: &Root,
        names: &Names,
        ignored: &dyn Fn(&str) -> bool,
    ) -> Result<Self, CheckpointError> {
        let mut mapping = Self::default();
        let mut found: BTreeMap<(&'static str, Place), (Rule, Found)> = BTreeMap::new();
        let mut indexed = Vec::new();
        for key in source.entries().keys().filter(|key| !ignored(key)) {
            if let Some(reason) = root.drops(key) {
                mapping.dropped.insert(key.clone(), reason.to_owned());
                continue;
            }
            let name = root.name(key);
            match names.decide(&name) {
                None => {
                    mapping.unknown.insert(key.clone());
                }
                Some((Rule::Drop { reason, .. }, ..)) => {
                    mapping.dropped.insert(key.clone(), reason.to_owned());
                    if let Some(module) = key.strip_suffix(TABLE_INDEX) {
                        indexed.push(format!("{module}{TABLE}"));
                    }
                }
                Some((rule, part, place)) => {
                    if let Some((block, rest)) = names.block_of(&name) {
                        let keys = mapping.blocks.entry(block).or_default();
                        keys.insert(rest.to_owned(), key.clone());
                    }
                    let patterns = rule.patterns();
                    let first = patterns
                        .iter()
                        .flatten()
                        .next()
                        .copied()
                        .unwrap_or_default();
                    let (_, parts) = found
                        .entry((first, place))
                        .or_insert_with(|| (rule, vec![None; patterns.len()]));
                    if let Some(other) = &parts[part] {
                        return Err(duplicate(source, &name, other, key));
                    }
                    parts[part] = Some(key.clone());
                }
            }
        }
        let lost = |table: &String| !source.entries().contains_key(table) || ignored(table);
        if let Some(name) = indexed.into_iter().find(lost) {
            return Err(missing(source, name));
        }
        for ((_, place), (rule, keys)) in found {
            mapping.apply(source, rule, &place, keys)?;
        }
        mapping.gate();
        Ok(mapping)
    }

    fn apply(
        &mut self,
        source: &TensorSource,
        rule: Rule,
        place: &Place,
        keys: Found,
    ) -> Result<(), CheckpointError> {
        let named = |name: &str| place.named(name);
        let shape = |key: &str| {
            let entry = source.entries().get(key);
            entry.map(|entry| entry.shape.clone()).unwrap_or_default()
        };
        let unlike = |what: &str, keys: &[&str]| CheckpointError::Architecture {
            path: source.path().to_owned(),
            reason: format!(
                "{} cannot {what}",
                keys.iter()
                    .map(|key| format!("{key} {:?}", shape(key)))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            hint: "mimbench inspect FILE lists every key of the file",
        };
        let present: Vec<String> = keys.iter().flatten().cloned().collect();
        let rows = |keys: &[String]| {
            let shapes: Vec<_> = keys.iter().map(|key| shape(key)).collect();
            let alike = shapes
                .windows(2)
                .all(|pair| !pair[0].is_empty() && pair[0].get(1..) == pair[1].get(1..));
            let all: Vec<&str> = keys.iter().map(String::as_str).collect();
            let mut joined = shapes.first().cloned().unwrap_or_default();
            match joined.first_mut() {
                Some(first) if alike => {
                    *first = shapes.iter().map(|shape| shape[0]).sum();
                    Ok(joined)
                }
                _ => Err(unlike("be joined", &all)),
            }
        };
        let missing = |i: usize| missing(source, named(rule.patterns()[i].unwrap_or_default()));
        let all = || -> Result<Vec<String>, CheckpointError> {
            let each = keys.iter().enumerate();
            each.map(|(i, key)| key.clone().ok_or_else(|| missing(i)))
                .collect()
        };
        let (to, part) = match rule {
            Rule::Drop { .. } => return Ok(()),
            Rule::Rename { to, .. } => {
                let key = all()?.remove(0);
                let shape = shape(&key);
                let recipe = Recipe::Same(key);
                (to, Part { shape, recipe })
            }
            Rule::Lift { to, rank, .. } => {
                let key = all()?.remove(0);
                let mut lifted = vec![1; rank.saturating_sub(shape(&key).len())];
                lifted.extend(shape(&key));
                let recipe = Recipe::Reshape(key);
                (
                    to,
                    Part {
                        shape: lifted,
                        recipe,
                    },
                )
            }
            Rule::Transpose { to, .. } => {
                let key = all()?.remove(0);
                let &[rows, columns] = shape(&key).as_slice() else {
                    return Err(unlike("be transposed", &[&key]));
                };
                let shape = vec![columns, rows];
                let recipe = Recipe::Transpose(key);
                (to, Part { shape, recipe })
            }
            Rule::Stack { to, .. } => {
                let keys = all()?;
                let shape = rows(&keys)?;
                let recipe = Recipe::Stack(keys);
                (to, Part { shape, recipe })
            }
            Rule::QkvBias { to, .. } => {
                // Softmax takes no notice of a bias of the keys, so code bases leave that one out.
                if let Some(part) = [0, 2].into_iter().find(|&part| keys[part].is_none()) {
                    return Err(missing(part));
                }
                let mut shape = shape(&present[0]);
                let alike =
                    |key: &String| source.entries().get(key).map(|x| &x.shape) == Some(&shape);
                if shape.len() != 1 || !present.iter().all(alike) {
                    let keys: Vec<&str> = present.iter().map(String::as_str).collect();
                    return Err(unlike("be biases of one layer", &keys));
                }
                shape[0] *= 3;
                let mut keys = keys.into_iter();
                let recipe = Recipe::ZeroFilled(std::array::from_fn(|_| keys.next().flatten()));
                (to, Part { shape, recipe })
            }
            Rule::BiasMask { to, .. } => {
                let mut keys = keys.into_iter();
                let bias = keys.next().flatten().ok_or_else(|| missing(0))?;
                let of = shape(&bias);
                let recipe = match keys.next().flatten() {
                    None => Recipe::Same(bias),
                    Some(mask) if shape(&mask) == of && of.len() == 1 => Recipe::Masked(bias, mask),
                    Some(mask) => return Err(unlike("be a bias and its mask", &[&bias, &mask])),
                };
                (to, Part { shape: of, recipe })
            }
            Rule::Split { to, .. } => {
                let key = all()?.remove(0);
                return match split(&key, &shape(&key), to) {
                    Some(parts) => {
                        for (to, part) in parts {
                            self.insert(source, named(to), part)?;
                        }
                        Ok(())
                    }
                    None => Err(unlike("be split", &[&key])),
                };
            }
        };
        self.insert(source, named(to), part)
    }

    fn insert(
        &mut self,
        source: &TensorSource,
        name: String,
        part: Part,
    ) -> Result<(), CheckpointError> {
        let keys = part.recipe.keys().join(" + ");
        match self.parts.insert(name.clone(), part) {
            None => Ok(()),
            Some(other) => Err(duplicate(
                source,
                &name,
                &other.recipe.keys().join(" + "),
                &keys,
            )),
        }
    }

    /// Takes packed gates apart: where, in every block, `fc1` has twice as many rows as `fc2` has
    /// columns, it holds the gate, then the value (timm, `timm/layers/mlp.py`, `GluMlp` with
    /// `gate_last=False`).
    fn gate(&mut self) {
        let names = self.parts.keys();
        let mlps: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".fc1.weight"))
            .filter(|mlp| mlp.starts_with("blocks."))
            .map(str::to_owned)
            .collect();
        let shape = |mlp: &str, layer: &str| {
            let part = self.parts.get(&format!("{mlp}.{layer}.weight"))?;
            <[usize; 2]>::try_from(part.shape.as_slice()).ok()
        };
        let packed = |mlp: &String| {
            let layers = shape(mlp, "fc1").zip(shape(mlp, "fc2"));
            layers.is_some_and(|([rows, _], [_, columns])| Some(rows) == columns.checked_mul(2))
        };
        if !mlps.iter().all(packed) {
            return;
        }
        for mlp in mlps {
            for of in ["weight", "bias"] {
                let Some(Part {
                    recipe: Recipe::Same(key),
                    shape,
                }) = self.parts.remove(&format!("{mlp}.fc1.{of}"))
                else {
                    continue;
                };
                let halves = split(&key, &shape, &[("fc1_g", 1), ("fc1_x", 1)]);
                for (half, part) in halves.into_iter().flatten() {
                    self.parts.insert(format!("{mlp}.{half}.{of}"), part);
                }
            }
        }
    }
}

/// Ranges of rows in proportion to the numbers of `to`.
fn split<'a>(
    key: &str,
    shape: &[usize],
    to: &'a [(&'static str, usize)],
) -> Option<Vec<(&'a str, Part)>> {
    let whole: usize = to.iter().map(|(_, share)| share).sum();
    let rows = *shape.first()?;
    if rows % whole != 0 {
        return None;
    }
    let mut start = 0;
    let part = |&(name, share): &(&'static str, usize)| {
        let count = rows / whole * share;
        let range = start..start + count;
        start += count;
        let mut shape = shape.to_vec();
        shape[0] = count;
        let recipe = Recipe::Rows(key.to_owned(), range);
        (name, Part { shape, recipe })
    };
    Some(to.iter().map(part).collect())
}

fn missing(source: &TensorSource, name: String) -> CheckpointError {
    CheckpointError::Weight {
        path: source.path().to_owned(),
        source: WeightError::Missing { name },
    }
}

fn duplicate(source: &TensorSource, name: &str, one: &str, other: &str) -> CheckpointError {
    CheckpointError::Architecture {
        path: source.path().to_owned(),
        reason: format!("both {one} and {other} are {name}"),
        hint: "--ignore-key GLOB leaves one of them out, --key PART chooses a part of the file",
    }
}
