//! Where in a file the encoder's keys begin.

use super::CheckpointError;
use super::source::TensorSource;

/// Names of the patch projection, one of which every dialect has.
pub(super) const KERNELS: [&str; 7] = [
    "patch_embed.proj.weight",
    "patch_embed.projection.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "embeddings.patch_embedding.weight",
    "conv1.weight",
    "conv_proj.weight",
];

/// Of two encoders in a file: the part of a key that names the one to evaluate, the part that
/// names the other, and why.
const CHOICES: [(&str, &str, &str); 7] = [
    (
        "teacher",
        "student",
        "DINO, iBOT and DINOv2 evaluate the teacher",
    ),
    (
        "base_encoder",
        "momentum_encoder",
        "MoCo v3 evaluates base_encoder",
    ),
    ("backbone", "target_backbone", "CMAE evaluates backbone"),
    ("encoder", "alignment_encoder", "CAE evaluates encoder"),
    (
        "target_encoder",
        "encoder",
        "I-JEPA evaluates target_encoder",
    ),
    ("", "clip_model", "frozen CLIP teacher"),
    ("", "dino_model", "frozen DINO teacher"),
];

/// The part of a file that holds the encoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Root {
    /// What the encoder's keys begin with: empty, or with a dot at its end.
    pub prefix: String,
    /// Beginnings of keys that belong to other encoders, and why those are not evaluated.
    others: Vec<(String, &'static str)>,
    /// `--key`: whatever else is in the file was not asked for.
    asked: bool,
}

impl Root {
    /// Finds the encoder; `key` is where the user says it is.
    pub(super) fn find(source: &TensorSource, key: Option<&str>) -> Result<Self, CheckpointError> {
        let mut roots: Vec<String> = source
            .entries()
            .iter()
            .filter(|(_, entry)| entry.shape.len() == 4)
            .filter_map(|(name, _)| {
                KERNELS.iter().find_map(|kernel| {
                    let root = name.strip_suffix(kernel)?;
                    // Every layer of a ResNet has a conv1.
                    let clip = format!("{root}class_embedding");
                    let other = *kernel == "conv1.weight" && !source.entries().contains_key(&clip);
                    let whole = root.is_empty() || root.ends_with('.');
                    (whole && !other).then(|| root.to_owned())
                })
            })
            .collect();
        roots.sort();
        roots.dedup();
        if let Some(key) = key {
            let part = format!("{}.", key.trim_end_matches('.'));
            if !source.entries().keys().any(|name| name.starts_with(&part)) {
                return Err(CheckpointError::NoSuchPart {
                    path: source.path().to_owned(),
                    key: key.to_owned(),
                    parts: parts(source),
                });
            }
            roots.retain(|root| root.starts_with(&part));
        }
        let mut others = Vec::new();
        for (kept, other, reason) in CHOICES {
            let (left, right): (Vec<_>, Vec<_>) =
                roots.iter().cloned().partition(|root| !has(root, other));
            if !right.is_empty() && left.iter().any(|root| kept.is_empty() || has(root, kept)) {
                others.extend(right.iter().map(|root| (up_to(root, other), reason)));
                roots = left;
            }
        }
        match <[String; 1]>::try_from(roots) {
            Ok([prefix]) => Ok(Self {
                prefix,
                others,
                asked: key.is_some(),
            }),
            Err(roots) if roots.is_empty() => Err(unknown(source)),
            Err(roots) => Err(CheckpointError::SeveralEncoders {
                path: source.path().to_owned(),
                roots: roots
                    .iter()
                    .map(|root| match root.trim_end_matches('.') {
                        "" => "the top level".to_owned(),
                        part => part.to_owned(),
                    })
                    .collect(),
            }),
        }
    }

    /// One part further up: the top level for `vit.`, `model.` for `model.vit.`.
    pub(super) fn above(&self) -> Self {
        let part = self.prefix.trim_end_matches('.');
        let above = part.rfind('.').map_or("", |dot| &part[..=dot]);
        Self {
            prefix: above.to_owned(),
            ..self.clone()
        }
    }

    /// Why this is the encoder.
    pub(super) fn why(&self) -> &'static str {
        match self.others.first() {
            None => "the only one in the file",
            Some((_, reason)) => reason,
        }
    }

    /// Name below the root, or `/` and the whole key outside it.
    pub(super) fn name(&self, key: &str) -> String {
        match key.strip_prefix(&self.prefix) {
            Some(name) => name.to_owned(),
            None => format!("/{key}"),
        }
    }

    /// Whether one of its parts between dots is `part`.
    pub(super) fn has(&self, part: &str) -> bool {
        has(&self.prefix, part)
    }

    /// Why a key is not looked at, where it is not.
    pub(super) fn drops(&self, key: &str) -> Option<&'static str> {
        let other = self.others.iter().find(|(part, _)| key.starts_with(part));
        match other {
            Some((_, reason)) => Some(reason),
            None if self.asked && !key.starts_with(&self.prefix) => Some("outside --key"),
            None => None,
        }
    }
}

/// Whether one of a root's parts between dots is `part`.
fn has(root: &str, part: &str) -> bool {
    root.split('.').any(|name| name == part)
}

/// The beginning of a root up to and including `part`.
fn up_to(root: &str, part: &str) -> String {
    let mut prefix = String::new();
    for name in root.split('.') {
        prefix.push_str(name);
        prefix.push('.');
        if name == part {
            break;
        }
    }
    prefix
}

/// First parts of the keys, for whoever gave one that is not there.
pub(super) fn parts(source: &TensorSource) -> Vec<String> {
    let mut parts: Vec<String> = source
        .entries()
        .keys()
        .filter_map(|key| key.split_once('.'))
        .map(|(part, _)| part.to_owned())
        .collect();
    parts.dedup();
    parts
}

/// A file without any patch projection.
pub(super) fn unknown(source: &TensorSource) -> CheckpointError {
    let keys = source.entries().keys();
    CheckpointError::UnknownDialect {
        path: source.path().to_owned(),
        keys: match keys.len() {
            0 => "no tensors".to_owned(),
            n => {
                let shown: Vec<_> = keys.take(4).map(String::as_str).collect();
                format!("{n} keys such as {}", shown.join(", "))
            }
        },
    }
}
