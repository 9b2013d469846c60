//! `mimbench inspect`: what a checkpoint is, and what became of every key.

use std::fmt::Write;

use crate::checkpoint::{Checkpoint, Fate};
use crate::vit::FinalNorm;

/// The report as text.
pub fn text(checkpoint: &Checkpoint) -> String {
    let config = &checkpoint.config;
    let [height, width] = config.input_size();
    let mut out = String::new();
    let mut line = |what: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{what:<13} {value}");
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
    let class_token = match (config.class_token, config.class_position) {
        (false, _) => "none",
        (true, true) => "yes, with a position",
        (true, false) => "yes, without a position",
    };
    line("class token", class_token.to_owned());
    let norm = match config.final_norm {
        FinalNorm::Tokens => "norm, over every token",
        FinalNorm::MeanPatch => "fc_norm, over the mean of the patch tokens",
    };
    line("final norm", norm.to_owned());
    for choice in &checkpoint.choices {
        line(&choice.field, format!("{} ({})", choice.value, choice.from));
    }
    for published in &checkpoint.published {
        line(
            "published",
            format!(
                "{} {} ({})",
                published.measure, published.value, published.citation
            ),
        );
    }
    let (loaded, left_out) = checkpoint.audit.counts();
    line("keys", format!("{loaded} loaded, {left_out} left out"));
    let widest = checkpoint
        .audit
        .lines
        .iter()
        .map(|line| line.key.len())
        .max()
        .unwrap_or(0);
    for key in &checkpoint.audit.lines {
        let fate = match &key.fate {
            Fate::Loaded => "loaded".to_owned(),
            Fate::Renamed { to } => format!("loaded as {to}"),
            Fate::Dropped { reason } => format!("dropped: {reason}"),
            Fate::Ignored { pattern } => format!("left out by --ignore-key {pattern}"),
        };
        let _ = writeln!(
            out,
            "  {:<widest$}  {:<4} {:<18} {fate}",
            key.key,
            key.dtype,
            format!("{:?}", key.shape)
        );
    }
    out
}

/// The report as JSON.
pub fn json(checkpoint: &Checkpoint) -> serde_json::Value {
    serde_json::json!({
        "file": checkpoint.path,
        "blake3": checkpoint.blake3,
        "dialect": checkpoint.dialect,
        "architecture": checkpoint.config,
        "choices": checkpoint.choices,
        "keys": checkpoint.audit.lines,
    })
}
