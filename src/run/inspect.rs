//! `mimbench inspect`: what a checkpoint is, and what became of every key.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::dispatch;
use crate::checkpoint::source::{printable, shown};
use crate::checkpoint::{Audit, Checkpoint, CheckpointError, Fate, LoadOptions, audit_file};
use crate::vit::{FinalNorm, RelativeBias, VitConfig};

/// Characters of the column of keys; what follows a longer one stands further right.
const WIDEST_KEY: usize = 80;
/// Characters of a line, but for a key's.
const WIDEST_LINE: usize = 2000;

/// What is known of a checkpoint file.
#[derive(Debug)]
pub struct Inspection {
    /// The weights.
    pub path: PathBuf,
    /// The fate of every key.
    pub audit: Audit,
    /// The checkpoint, or why it cannot be evaluated.
    pub checkpoint: Result<Checkpoint, CheckpointError>,
}

/// Reads the file and builds the model once; fails only where there are no keys to show.
pub fn inspect(path: &Path, options: &LoadOptions) -> Result<Inspection, CheckpointError> {
    let opened = Checkpoint::open(path, options);
    let (weights, audit) = match &opened {
        Ok(checkpoint) => (checkpoint.path.clone(), checkpoint.audit.clone()),
        Err(_) => audit_file(path, options)?,
    };
    let checkpoint = opened.and_then(|checkpoint| {
        dispatch::check(&checkpoint)?;
        Ok(checkpoint)
    });
    Ok(Inspection {
        path: weights,
        audit,
        checkpoint,
    })
}

/// The report as text.
pub fn text(inspection: &Inspection) -> String {
    let mut out = String::new();
    match &inspection.checkpoint {
        Ok(checkpoint) => describe(&mut out, checkpoint),
        Err(_) => {
            // Writing to a String cannot fail.
            let path = inspection.path.display().to_string();
            let _ = writeln!(out, "file          {}", printable(&path, WIDEST_LINE));
        }
    }
    keys(&mut out, &inspection.audit);
    out
}

fn describe(out: &mut String, checkpoint: &Checkpoint) {
    let config = &checkpoint.config;
    let [height, width] = config.input_size();
    let mut line = |what: &str, value: String| {
        let value = printable(&value, WIDEST_LINE);
        let _ = writeln!(out, "{:<13} {value}", shown(what));
    };
    line("file", checkpoint.path.display().to_string());
    line("blake3", checkpoint.blake3.clone());
    line(
        "architecture",
        format!(
            "ViT, {} blocks x {} wide, {} heads, MLP {}, patch {}, {} x {height} x {width} input",
            config.depth,
            config.width,
            config.heads,
            config.mlp_width,
            config.patch_size,
            config.channels
        ),
    );
    line("tokens", tokens(config));
    let norm = match config.final_norm {
        FinalNorm::Tokens => "norm, over every token",
        FinalNorm::Untied => "cls_norm over the prefix tokens, norm over the patches",
        FinalNorm::MeanPatch => "fc_norm, over the mean of the patch tokens",
        FinalNorm::None => "none",
    };
    line("final norm", norm.to_owned());
    for choice in &checkpoint.choices {
        line(&choice.field, choice.to_string());
    }
    for published in &checkpoint.published {
        line("published", published.to_string());
    }
}

fn keys(out: &mut String, audit: &Audit) {
    let dtypes = audit.dtypes().into_iter();
    let dtypes: Vec<_> = dtypes
        .map(|(dtype, keys)| format!("{keys} {dtype}"))
        .collect();
    let _ = writeln!(out, "stored        {}", dtypes.join(", "));
    if !audit.others.is_empty() {
        const SHOWN: usize = 8;
        let others = audit.others.iter().take(SHOWN);
        let others: Vec<_> = others.map(|other| shown(other)).collect();
        let more = if audit.others.len() > SHOWN {
            ", ..."
        } else {
            ""
        };
        let count = audit.others.len();
        let _ = writeln!(out, "no tensors    {count}: {}{more}", others.join(", "));
    }
    let (loaded, left_out) = audit.counts();
    let _ = writeln!(out, "keys          {loaded} loaded, {left_out} left out");
    let keys: Vec<_> = audit.lines.iter().map(|line| shown(&line.key)).collect();
    let widest = keys.iter().map(|key| key.chars().count()).max();
    let widest = widest.unwrap_or(0).min(WIDEST_KEY);
    for (key, line) in keys.iter().zip(&audit.lines) {
        let fate = match &line.fate {
            Fate::Loaded => "loaded".to_owned(),
            Fate::Renamed { to } => format!("loaded as {to}"),
            Fate::Mapped { to, how } => format!("{how} into {}", to.join(", ")),
            Fate::Dropped { reason } => format!("dropped: {reason}"),
            Fate::Ignored { pattern } => format!("left out by --ignore-key {pattern}"),
            Fate::Unknown => "unknown".to_owned(),
        };
        let fate = printable(&fate, WIDEST_LINE);
        let shape = format!("{:?}", line.shape);
        let _ = writeln!(
            out,
            "  {key:<widest$}  {:<4} {shape:<18} {fate}",
            shown(&line.dtype)
        );
    }
}

/// The report as JSON.
pub fn json(inspection: &Inspection) -> serde_json::Value {
    let checkpoint = inspection.checkpoint.as_ref();
    serde_json::json!({
        "file": inspection.path,
        "error": checkpoint.err().map(CheckpointError::to_string),
        "blake3": checkpoint.ok().map(|checkpoint| &checkpoint.blake3),
        "dialect": checkpoint.ok().map(|checkpoint| checkpoint.dialect),
        "architecture": checkpoint.ok().map(|checkpoint| &checkpoint.config),
        "choices": checkpoint.ok().map(|checkpoint| &checkpoint.choices),
        "published": checkpoint.ok().map(|checkpoint| &checkpoint.published),
        "keys": inspection.audit.lines,
        "no_tensors": inspection.audit.others,
    })
}

/// What precedes the patches, and which tokens have positions of which kind.
fn tokens(config: &VitConfig) -> String {
    let mut parts = Vec::new();
    if config.class_token {
        parts.push("class".to_owned());
    }
    if config.distillation_token {
        parts.push("distillation".to_owned());
    }
    if config.registers > 0 {
        parts.push(format!("{} registers", config.registers));
    }
    parts.push(format!("{} patches", config.patches()));
    let mut positions = Vec::new();
    if let Some(prefix) = config.positions {
        positions.push(match prefix {
            0 => "absolute positions of the patches".to_owned(),
            _ if prefix == config.prefix() => "absolute positions of all".to_owned(),
            _ => format!("absolute positions of the patches and the first {prefix}"),
        });
    }
    match config.relative_bias {
        None => {}
        Some(RelativeBias::PerBlock) => positions.push("relative ones a block".to_owned()),
        Some(RelativeBias::Shared) => positions.push("relative ones for all blocks".to_owned()),
        Some(RelativeBias::Both) => {
            positions.push("relative ones for all blocks and a block".to_owned());
        }
    }
    if config.rope.is_some() {
        positions.push("rotary ones".to_owned());
    }
    format!("{}; {}", parts.join(", "), positions.join(", "))
}
