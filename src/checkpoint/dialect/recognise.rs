//! Which code base wrote a file, from its keys and shapes.

use std::collections::BTreeMap;

use super::super::config_json::{ConfigJson, Vocabulary};
use super::super::root::Root;
use super::super::source::TensorSource;
use super::Dialect;

/// Shapes by name below the encoder's root; keys outside it begin with `/`.
struct Keys(BTreeMap<String, Vec<usize>>);

impl Keys {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn rows(&self, name: &str) -> Option<usize> {
        self.0.get(name)?.first().copied()
    }

    /// The first name that holds `part`.
    fn with(&self, part: &str) -> Option<&str> {
        let mut names = self.0.keys();
        names.find(|name| name.contains(part)).map(String::as_str)
    }

    /// The first name of the encoder's own that holds `part`.
    fn own(&self, part: &str) -> Option<&str> {
        let mut names = self.0.keys().filter(|name| !name.starts_with('/'));
        names.find(|name| name.contains(part)).map(String::as_str)
    }
}

/// The dialect of a file and the keys that say so.
pub(in super::super) fn recognise(
    source: &TensorSource,
    root: &Root,
    json: &ConfigJson,
) -> Option<(Dialect, String)> {
    let entries = source.entries().iter();
    let keys = entries.map(|(key, entry)| (root.name(key), entry.shape.clone()));
    let keys = Keys(keys.collect());
    let (dialect, evidence) = if keys.has("conv_proj.weight") {
        (Dialect::Torchvision, "conv_proj.weight")
    } else if keys.has("conv1.weight") && keys.has("class_embedding") {
        clip(&keys, json)?
    } else if keys.has("embeddings.patch_embedding.weight") {
        let clip = ["embeddings.class_embedding", "pre_layrnorm.weight"];
        if let Some(key) = clip.into_iter().find(|key| keys.has(key)) {
            (Dialect::HfClip, key)
        } else {
            (Dialect::HfSiglip, "embeddings.patch_embedding.weight")
        }
    } else if keys.has("embeddings.patch_embeddings.projection.weight") {
        transformers(&keys)
    } else if keys.has("embeddings.patch_embeddings.weight") {
        (Dialect::HfDinov3, "embeddings.patch_embeddings.weight")
    } else if keys.has("patch_embed.projection.weight") {
        (Dialect::Mmpretrain, "patch_embed.projection.weight")
    } else if keys.has("patch_embed.proj.weight") {
        timm_names(&keys, root, json)?
    } else {
        return None;
    };
    Some((dialect, evidence.to_owned()))
}

/// openai/CLIP or open_clip; `None` where nothing tells, because their activations differ.
fn clip<'k>(keys: &'k Keys, json: &ConfigJson) -> Option<(Dialect, &'k str)> {
    let openai = ["/input_resolution", "/context_length", "/vocab_size"];
    if let Some(key) = openai.into_iter().find(|key| keys.has(key)) {
        return Some((Dialect::Clip, &key[1..]));
    }
    if json.vocabulary == Vocabulary::OpenClip {
        return Some((Dialect::OpenClip, "model_cfg in its configuration"));
    }
    keys.with("ls_1.gamma").map(|key| (Dialect::OpenClip, key))
}

fn transformers(keys: &Keys) -> (Dialect, &str) {
    let beit = [".lambda_1", "relative_position_bias"];
    if let Some(key) = beit.into_iter().find_map(|part| keys.with(part)) {
        return (Dialect::HfBeit, key);
    }
    // BEiT's keys have no bias.
    if let Some(key) = keys.own("attention.query.bias")
        && keys.own("attention.key.bias").is_none()
    {
        return (Dialect::HfBeit, key);
    }
    match keys.with(".layer_scale1.lambda1") {
        Some(key) => (Dialect::HfDinov2, key),
        None => (
            Dialect::HfVit,
            "embeddings.patch_embeddings.projection.weight",
        ),
    }
}

/// The many that share timm's names; `None` for blocks that are not a plain pre-norm ViT's.
fn timm_names<'k>(keys: &'k Keys, root: &Root, json: &ConfigJson) -> Option<(Dialect, &'k str)> {
    let first = |names: &[&'static str]| names.iter().copied().find(|name| keys.has(name));
    let timm = json.vocabulary == Vocabulary::Timm;
    if let Some(key) = first(&[
        "storage_tokens",
        "rope_embed.periods",
        "blocks.0.attn.qkv.bias_mask",
    ]) {
        return Some((Dialect::Dinov3, key));
    }
    let chunks = ["blocks.0.0.norm1.weight"];
    let flat_mask = keys
        .0
        .get("mask_token")
        .is_some_and(|shape| shape.len() == 2);
    if let Some(key) = first(&["register_tokens"]).or(first(&chunks)) {
        return Some((Dialect::Dinov2, key));
    }
    if flat_mask && keys.has("blocks.0.ls1.gamma") {
        return Some((
            Dialect::Dinov2,
            "mask_token of two axes, blocks.0.ls1.gamma",
        ));
    }
    let table = keys.own("relative_position_bias_table");
    if let Some(key) = keys
        .own(".mlp.w1.weight")
        .or(keys.own(".attn.inner_attn_ln."))
    {
        return Some((Dialect::Eva02, key));
    }
    if let Some(key) = keys
        .own(".attn.q_proj.weight")
        .or(keys.own(".mlp.fc1_g.weight"))
    {
        return Some(match table {
            Some(table) => (Dialect::TimmBeit, table),
            None => (Dialect::TimmEva, key),
        });
    }
    let biases = keys
        .own(".attn.q_bias")
        .or(keys.own(".attn.v_bias"))
        .is_some();
    let packed = keys.rows("blocks.0.mlp.fc1.weight").zip(
        keys.0
            .get("blocks.0.mlp.fc2.weight")
            .and_then(|shape| shape.get(1)),
    );
    if biases && packed.is_some_and(|(fc1, fc2)| fc1 == 2 * fc2) {
        return Some((Dialect::TimmEva, "packed blocks.0.mlp.fc1.weight"));
    }
    // Rotary positions leave no trace; what has no positions has lost them where it has no registers
    // or the layers of a VisionTransformer, which Eva has under other names.
    let plain = keys.has("blocks.0.attn.qkv.bias") || keys.has("blocks.0.ls1.gamma");
    if !keys.has("pos_embed") && table.is_none() && !plain {
        if let Some(key) = first(&["reg_token"]) {
            return Some((Dialect::TimmEva, key));
        }
        if json.rope == Some(true) {
            return Some((Dialect::TimmEva, "rotary positions of config.json"));
        }
    }
    if biases {
        return Some(beit(keys, root, timm, json, table));
    }
    keys.own("blocks.")?;
    // BEiT without its biases, or with the packed one that segmentation code gave it.
    if let Some(table) = table {
        return Some((Dialect::Beit, table));
    }
    Some(vit(keys, root, timm))
}

fn beit<'k>(
    keys: &'k Keys,
    root: &Root,
    timm: bool,
    json: &ConfigJson,
    table: Option<&'k str>,
) -> (Dialect, &'k str) {
    if let Some(key) = keys.with("decode_blocks") {
        return (Dialect::Bootmae, key);
    }
    if let Some(key) = keys.with("alignment_encoder.").or(keys.with("regresser.")) {
        return (Dialect::Cae, key);
    }
    if let Some(key) = keys.with("distill_head").filter(|_| root.has("student")) {
        return (Dialect::Maskdistill, key);
    }
    if let Some(key) = keys.with("decoder.0.").filter(|_| root.has("encoder")) {
        return (Dialect::Simmim, key);
    }
    let eva = json
        .architecture
        .as_deref()
        .is_some_and(|name| name.starts_with("eva") || name.contains("_rope_"));
    match (timm, table) {
        (true, _) if eva => (Dialect::TimmEva, "config.json"),
        (true, _) => (Dialect::TimmBeit, "config.json"),
        // timm does not save the index of its tables, BEiT's own code does.
        (false, Some(table)) if keys.with("relative_position_index").is_none() => {
            (Dialect::TimmBeit, table)
        }
        (false, _) => (Dialect::Beit, "blocks.0.attn.q_bias"),
    }
}

fn vit<'k>(keys: &'k Keys, root: &Root, timm: bool) -> (Dialect, &'k str) {
    let wrapped = root.has("teacher") || root.has("student");
    let own = keys.has("head.weight");
    if let Some(key) = keys
        .with("decoder_blocks.0.attn.kv")
        .or(keys.with("decoder_blocks.0.attn.q."))
    {
        return (Dialect::Milan, key);
    }
    if let Some(key) = keys.with("distill_weights").or(keys.with("distill_heads")) {
        return (Dialect::Maskalign, key);
    }
    if root.has("base_encoder") {
        return (Dialect::Moco, "base_encoder");
    }
    if let Some(key) = keys.with("masked_embed") {
        return (Dialect::Ibot, key);
    }
    if keys.has("blocks.0.gamma_1") && wrapped {
        return (Dialect::Ibot, "blocks.0.gamma_1");
    }
    if let Some(key) = keys
        .with("decoder_pos_embed")
        .or(keys.with("decoder_embed."))
    {
        return (Dialect::Mae, key);
    }
    if !timm && (wrapped || root.has("backbone")) && !own {
        return (Dialect::Dino, "backbone");
    }
    (
        Dialect::Timm,
        "patch_embed.proj.weight, blocks.0.attn.qkv.weight",
    )
}
