//! Layouts of published files that no golden has: each is made of a ViT whose architecture and
//! tensors are known, under the names and with the surroundings that its code base gives it.

use std::path::PathBuf;

use mimbench::checkpoint::{Checkpoint, Dialect, Fate, LoadOptions};
use mimbench::engine::HostTensor;
use mimbench::nn::TensorStore;
use mimbench::vit::{FinalNorm, MlpKind, RelativeBias, VitConfig, table_rows};
use tempfile::TempDir;

use crate::tensors::{Stored, Tensors, build, noise};

/// 32 x 32 pixels in patches of 8, three heads, two blocks.
fn small() -> VitConfig {
    VitConfig {
        mlp_width: 60,
        ..VitConfig::plain(8, [4, 4], (24, 2, 3))
    }
}

/// BEiT's: biases of queries and values, a relative position table, layer scale.
fn beit(tables: RelativeBias) -> VitConfig {
    VitConfig {
        positions: None,
        relative_bias: Some(tables),
        layer_scale: true,
        ..small()
    }
}

/// Every tensor of an architecture under its canonical name.
fn canonical(config: &VitConfig) -> Canonical {
    let (width, hidden, patch) = (config.width, config.mlp_width, config.patch_size);
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize]| shapes.push((name.to_owned(), shape.to_vec()));
    if config.class_token {
        add("cls_token", &[1, 1, width]);
    }
    if config.registers > 0 {
        add("reg_token", &[1, config.registers, width]);
    }
    if let Some(prefix) = config.positions {
        add("pos_embed", &[1, prefix + config.patches(), width]);
    }
    add("patch_embed.proj.weight", &[width, 3, patch, patch]);
    add("patch_embed.proj.bias", &[width]);
    let table = |block: usize| [table_rows(config.grid), config.heads.of(block)];
    if config.relative_bias == Some(RelativeBias::Shared) {
        add("rel_pos_bias.relative_position_bias_table", &table(0));
    }
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        add(&format!("{name}.weight"), &[outputs, inputs]);
        add(&format!("{name}.bias"), &[outputs]);
    };
    for block in 0..config.depth {
        let name = |layer: &str| format!("blocks.{block}.{layer}");
        linear(&name("attn.qkv"), 3 * width, width);
        linear(&name("attn.proj"), width, width);
        if config.mlp == MlpKind::Plain {
            linear(&name("mlp.fc1"), hidden, width);
        } else {
            linear(&name("mlp.fc1_g"), hidden, width);
            linear(&name("mlp.fc1_x"), hidden, width);
        }
        linear(&name("mlp.fc2"), width, hidden);
    }
    for block in 0..config.depth {
        let mut norms = vec!["norm1", "norm2"];
        if config.layer_scale {
            norms.extend(["ls1", "ls2"]);
        }
        for norm in norms {
            for of in ["weight", "bias", "gamma"] {
                if norm.starts_with("ls") == (of == "gamma") {
                    add(&format!("blocks.{block}.{norm}.{of}"), &[width]);
                }
            }
        }
        if config.relative_bias == Some(RelativeBias::PerBlock) {
            let name = format!("blocks.{block}.attn.relative_position_bias_table");
            add(&name, &table(block));
        }
    }
    let norm = match config.final_norm {
        FinalNorm::Tokens => Some("norm"),
        FinalNorm::MeanPatch => Some("fc_norm"),
        FinalNorm::Untied | FinalNorm::None => None,
    };
    if let Some(norm) = norm {
        add(&format!("{norm}.weight"), &[width]);
        add(&format!("{norm}.bias"), &[width]);
    }
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let tensor = noise(&name, &shape);
        (name, tensor)
    };
    shapes.into_iter().map(tensor).collect()
}

/// Tensors by canonical name.
type Canonical = Vec<(String, HostTensor)>;

/// The same without a bias of the keys.
fn keyless(mut tensors: Canonical) -> Canonical {
    for (name, tensor) in &mut tensors {
        if name.ends_with("qkv.bias") {
            let width = tensor.data.len() / 3;
            tensor.data[width..2 * width].fill(0.0);
        }
    }
    tensors
}

const GAMMAS: [(&str, &str); 2] = [("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")];

fn rename(name: &str, names: &[(&str, &str)]) -> String {
    let renamed = |&(from, to): &(&str, &str)| Some(name.replace(from, to)).filter(|to| to != name);
    let names = names.iter().find_map(renamed);
    names.unwrap_or_else(|| name.to_owned())
}

/// A file in the making, and what is to be read off it.
struct Layout {
    config: VitConfig,
    tensors: Canonical,
    file: Tensors,
}

/// Rows of a tensor, as many parts as are asked for.
fn parts(tensor: &HostTensor, count: usize) -> Vec<HostTensor> {
    let mut shape = tensor.shape.clone();
    shape[0] /= count;
    let length = shape.iter().product();
    let part = |data: &[f32]| HostTensor {
        shape: shape.clone(),
        data: data.to_vec(),
    };
    tensor.data.chunks(length).map(part).collect()
}

impl Layout {
    /// Each tensor under the names that `named` gives its rows; those of an empty name are left
    /// out.
    fn new(config: VitConfig, tensors: Canonical, named: impl Fn(&str) -> Vec<String>) -> Self {
        let mut file = Tensors::default();
        for (name, tensor) in &tensors {
            let keys = named(name);
            for (key, part) in keys.iter().zip(parts(tensor, keys.len())) {
                if !key.is_empty() {
                    file.0.insert(key.clone(), Stored::from(&part));
                }
            }
        }
        Self {
            config,
            tensors,
            file,
        }
    }

    /// timm's names below a prefix.
    fn timm(config: VitConfig, prefix: &str) -> Self {
        let tensors = canonical(&config);
        Self::new(config, tensors, |name| vec![format!("{prefix}{name}")])
    }

    /// BEiT's own names below a prefix, with the indices of its tables.
    fn beit(config: VitConfig, prefix: &str) -> Self {
        let tensors = keyless(canonical(&config));
        let mut layout = Self::new(config, tensors, |name| {
            match name.strip_suffix("qkv.bias") {
                None => vec![format!("{prefix}{}", rename(name, &GAMMAS))],
                Some(attn) => vec![
                    format!("{prefix}{attn}q_bias"),
                    String::new(),
                    format!("{prefix}{attn}v_bias"),
                ],
            }
        });
        let index = |key: &String| {
            key.ends_with("_bias_table")
                .then(|| key.replace("_bias_table", "_index"))
        };
        let indices: Vec<_> = layout.file.0.keys().filter_map(index).collect();
        for index in indices {
            layout.add(&index, &[17, 17]);
        }
        layout
    }

    fn add(&mut self, key: &str, shape: &[usize]) {
        self.file.add(key, shape);
    }

    /// Weight and bias.
    fn linear(&mut self, key: &str, outputs: usize, inputs: usize) {
        self.add(&format!("{key}.weight"), &[outputs, inputs]);
        self.add(&format!("{key}.bias"), &[outputs]);
    }

    /// BatchNorm's five tensors.
    fn batch_norm(&mut self, key: &str, width: usize) {
        for of in ["weight", "bias", "running_mean", "running_var"] {
            self.add(&format!("{key}.{of}"), &[width]);
        }
        self.add(&format!("{key}.num_batches_tracked"), &[]);
    }

    /// A second ViT, which is not to be evaluated, its tensors other ones.
    fn other(&mut self, prefix: &str) {
        for (name, tensor) in canonical(&small()) {
            self.add(&format!("{prefix}{name}"), &tensor.shape);
        }
    }

    /// What the file is taken for, `heads` told: the dialect is found, the architecture and every
    /// tensor are those that were put in, and each key that `left_out` begins is left out for the
    /// reason beside it, no other.
    #[track_caller]
    fn is(&self, dialect: Dialect, left_out: &[(&str, &str)]) -> Checkpoint {
        let heads = LoadOptions {
            heads: Some(self.config.heads.clone()),
            ..LoadOptions::default()
        };
        self.is_with(&heads, dialect, left_out)
    }

    #[track_caller]
    fn is_with(
        &self,
        options: &LoadOptions,
        dialect: Dialect,
        left_out: &[(&str, &str)],
    ) -> Checkpoint {
        let (_folder, path) = self.written();
        let checkpoint = build(&path, options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(checkpoint.dialect, dialect);
        assert_eq!(checkpoint.config, self.config);
        let mut weights = checkpoint.weights();
        for (name, tensor) in &self.tensors {
            assert!(weights.take(name).unwrap() == *tensor, "{name}");
        }
        assert_eq!(weights.left(), [""; 0]);
        for line in &checkpoint.audit.lines {
            let why = left_out.iter().find(|(key, _)| line.key.starts_with(key));
            match (&line.fate, why) {
                (Fate::Dropped { reason }, Some((_, why))) => {
                    assert!(reason.contains(why), "{}: {reason}", line.key);
                }
                (Fate::Dropped { reason }, None) => {
                    let constant = line.key.ends_with("relative_position_index");
                    assert!(constant, "{}: {reason}", line.key);
                }
                (Fate::Loaded | Fate::Renamed { .. } | Fate::Mapped { .. }, None) => {}
                (fate, _) => panic!("{}: {fate:?}", line.key),
            }
        }
        checkpoint
    }

    fn written(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        self.file.write(&path);
        (folder, path)
    }
}

/// Who decided a field.
fn from<'c>(checkpoint: &'c Checkpoint, field: &str) -> &'c str {
    let mut choices = checkpoint.choices.iter();
    &choices.find(|choice| choice.field == field).unwrap().from
}

#[test]
fn maskalign_with_its_frozen_clip_teacher() {
    let mut layout = Layout::timm(small(), "");
    layout.linear("distill_heads.0", 32, 24);
    layout.linear("distill_heads.1", 32, 24);
    layout.add("distill_weights", &[2, 2]);
    let clip = "clip_model.vision_model";
    layout.add(&format!("{clip}.embeddings.class_embedding"), &[32]);
    layout.add(
        &format!("{clip}.embeddings.patch_embedding.weight"),
        &[32, 3, 8, 8],
    );
    layout.add(
        &format!("{clip}.embeddings.position_embedding.weight"),
        &[17, 32],
    );
    layout.linear(&format!("{clip}.encoder.layers.0.self_attn.q_proj"), 32, 32);
    layout.linear("clip_model.text_model.encoder.layers.0.mlp.fc1", 64, 16);
    layout.add("clip_model.text_projection.weight", &[32, 16]);
    layout.add("clip_model.visual_projection.weight", &[32, 32]);
    layout.add("clip_model.logit_scale", &[]);
    layout.is(
        Dialect::Maskalign,
        &[
            ("distill_", "pre-training"),
            ("clip_model.", "frozen CLIP teacher"),
        ],
    );
}

#[test]
fn maskalign_with_its_frozen_dino_teacher_under_ddp() {
    let mut layout = Layout::timm(small(), "module.");
    layout.add("module.distill_weights", &[2, 2]);
    layout.linear("module.distill_heads.0", 24, 24);
    layout.other("module.dino_model.");
    layout.is(
        Dialect::Maskalign,
        &[
            ("module.distill_", "pre-training"),
            ("module.dino_model.", "frozen DINO teacher"),
        ],
    );
}

/// MAE's decoder, whose blocks are timm's but for MILAN's attention.
fn decoder(layout: &mut Layout, milan: bool, output: usize) {
    layout.add("mask_token", &[1, 1, 16]);
    layout.linear("decoder_embed", 16, 24);
    layout.add("decoder_pos_embed", &[1, 17, 16]);
    if milan {
        layout.linear("decoder_blocks.0.attn.q", 16, 16);
        layout.linear("decoder_blocks.0.attn.kv", 32, 16);
    } else {
        layout.linear("decoder_blocks.0.attn.qkv", 48, 16);
    }
    layout.linear("decoder_blocks.0.attn.proj", 16, 16);
    layout.linear("decoder_blocks.0.mlp.fc1", 32, 16);
    layout.add("decoder_norm.weight", &[16]);
    layout.linear("decoder_pred", output, 16);
}

const DECODER: [(&str, &str); 2] = [("decoder", "decoder"), ("mask_token", "mask token")];

#[test]
fn milan_whose_decoder_attends_to_the_encoder() {
    let mut layout = Layout::timm(small(), "");
    decoder(&mut layout, true, 512);
    layout.is(Dialect::Milan, &DECODER);
}

#[test]
fn semmae_with_785_positions_of_patches_of_8() {
    let config = VitConfig {
        grid: [28, 28],
        ..small()
    };
    let mut layout = Layout::timm(config.clone(), "");
    assert_eq!(layout.file.0["pos_embed"].shape, [1, 785, 24]);
    let checkpoint = layout.is(Dialect::Timm, &[]);
    assert_eq!(checkpoint.input.size, [224, 224]);
    decoder(&mut layout, false, 192);
    layout.is(Dialect::Mae, &DECODER);
}

#[test]
fn moco_v3_has_12_heads_at_width_384_without_being_told() {
    let config = VitConfig {
        mlp_width: 32,
        ..VitConfig::plain(8, [2, 2], (384, 2, 12))
    };
    let mut layout = Layout::timm(config, "state_dict.module.base_encoder.");
    layout.other("state_dict.module.momentum_encoder.");
    for encoder in ["base_encoder", "momentum_encoder"] {
        let head = format!("state_dict.module.{encoder}.head");
        layout.add(&format!("{head}.0.weight"), &[32, 384]);
        layout.batch_norm(&format!("{head}.1"), 32);
    }
    layout.add("state_dict.module.predictor.0.weight", &[32, 16]);
    layout.batch_norm("state_dict.module.predictor.1", 32);
    layout.add("optimizer.state.0.exp_avg", &[384]);
    let checkpoint = layout.is_with(
        &LoadOptions::default(),
        Dialect::Moco,
        &[
            ("state_dict.module.base_encoder.head", "head"),
            (
                "state_dict.module.momentum_encoder",
                "evaluates base_encoder",
            ),
            ("state_dict.module.predictor", "pre-training"),
            ("optimizer", "training"),
        ],
    );
    assert!(from(&checkpoint, "heads").contains("moco-v3"));
}

#[test]
fn cae_has_12_heads_at_width_192_without_being_told() {
    let config = VitConfig {
        mlp_width: 32,
        layer_scale: true,
        ..VitConfig::plain(8, [2, 2], (192, 2, 12))
    };
    let mut layout = Layout::beit(config, "model.encoder.");
    layout.other("model.alignment_encoder.");
    layout.linear("model.regresser.regressers.0.cross_attn.q", 192, 192);
    layout.linear("model.encoder_to_regresser", 192, 192);
    layout.add("model.encoder_to_regresser_norm.weight", &[192]);
    layout.add("model.rd_pos_embed", &[1, 5, 192]);
    layout.add("model.mask_token", &[1, 1, 192]);
    layout.linear("model.decoder.head", 8192, 2);
    let left_out = [
        ("model.alignment_encoder", "CAE evaluates encoder"),
        ("model.regresser", "decoder"),
        ("model.encoder_to_regresser", "decoder"),
        ("model.rd_pos_embed", "decoder"),
        ("model.mask_token", "mask token"),
        ("model.decoder", "decoder"),
    ];
    let checkpoint = layout.is_with(&LoadOptions::default(), Dialect::Cae, &left_out);
    assert!(from(&checkpoint, "heads").contains("Atten4Vis/CAE"));
}

#[test]
fn simmim_as_it_is_saved_below_model() {
    let mut layout = Layout::beit(beit(RelativeBias::Shared), "model.encoder.");
    layout.add("model.encoder.mask_token", &[1, 1, 24]);
    layout.linear("model.decoder.0", 192, 24);
    layout.add("optimizer.state.0.exp_avg", &[24]);
    layout.is(
        Dialect::Simmim,
        &[
            ("model.encoder.mask_token", "mask token"),
            ("model.decoder", "decoder"),
            ("optimizer", "training"),
        ],
    );
}

/// A segmentation network around `backbone.`.
fn segmentation(layout: &mut Layout, prefix: &str) {
    let backbone = format!("{prefix}backbone");
    layout.linear(&format!("{backbone}.fpn1.0"), 24, 24);
    layout.batch_norm(&format!("{backbone}.fpn1.1"), 24);
    layout.linear(&format!("{backbone}.fpn2.0"), 24, 24);
    layout.linear(&format!("{prefix}decode_head.conv_seg"), 150, 24);
    layout.batch_norm(&format!("{prefix}decode_head.psp_modules.0.1.bn"), 24);
    layout.linear(&format!("{prefix}auxiliary_head.conv_seg"), 150, 24);
    layout.batch_norm(&format!("{prefix}auxiliary_head.convs.0.bn"), 24);
}

#[test]
fn the_backbone_of_beits_segmentation_network_has_no_final_norm() {
    let config = VitConfig {
        final_norm: FinalNorm::None,
        ..beit(RelativeBias::PerBlock)
    };
    let mut layout = Layout::beit(config, "state_dict.backbone.");
    segmentation(&mut layout, "state_dict.");
    let checkpoint = layout.is(
        Dialect::Beit,
        &[
            ("state_dict.backbone.fpn", "segmentation"),
            ("state_dict.decode_head", "segmentation"),
            ("state_dict.auxiliary_head", "segmentation"),
        ],
    );
    assert!(!checkpoint.feature.norm);
}

#[test]
fn the_backbone_of_maes_segmentation_network_has_a_packed_bias_and_tables() {
    let config = VitConfig {
        final_norm: FinalNorm::None,
        positions: Some(1),
        ..beit(RelativeBias::PerBlock)
    };
    let tensors = canonical(&config);
    let named = |name: &str| vec![format!("backbone.{}", rename(name, &GAMMAS))];
    let mut layout = Layout::new(config, tensors, named);
    segmentation(&mut layout, "");
    let left_out = [
        ("backbone.fpn", "segmentation"),
        ("decode_head", "segmentation"),
        ("auxiliary_head", "segmentation"),
    ];
    layout.is(Dialect::Beit, &left_out);
}

#[test]
fn open_clip_with_a_tower_of_timms() {
    let mut layout = Layout::timm(small(), "visual.trunk.");
    layout.add("visual.head.proj.weight", &[16, 24]);
    layout.add("text.positional_embedding", &[8, 16]);
    layout.linear("text.transformer.resblocks.0.mlp.c_fc", 64, 16);
    layout.add("text.ln_final.weight", &[16]);
    layout.add("logit_scale", &[]);
    layout.add("logit_bias", &[]);
    layout.is(
        Dialect::Timm,
        &[
            ("visual.head", "projection"),
            ("text.", "text tower"),
            ("logit_", "temperature"),
        ],
    );
    // The text tower of older files stands at the top.
    let mut layout = Layout::timm(small(), "visual.trunk.");
    layout.add("positional_embedding", &[8, 16]);
    layout.add("token_embedding.weight", &[40, 16]);
    layout.linear("transformer.resblocks.0.mlp.c_fc", 64, 16);
    layout.add("ln_final.weight", &[16]);
    layout.add("text_projection", &[16, 24]);
    let text = ["positional", "token_", "transformer", "ln_final", "text_"];
    layout.is(Dialect::Timm, &text.map(|key| (key, "text tower")));
}

#[test]
fn deit_3_in_its_own_file() {
    let config = VitConfig {
        layer_scale: true,
        positions: Some(0),
        ..small()
    };
    let tensors = canonical(&config);
    let named = |name: &str| vec![format!("model.{}", rename(name, &GAMMAS))];
    let mut layout = Layout::new(config, tensors, named);
    layout.linear("model.head", 10, 24);
    layout.is(Dialect::Timm, &[("model.head", "classification head")]);
}

#[test]
fn eva_of_2022_has_absolute_positions_alone() {
    for prefix in ["module.", "model."] {
        let mut layout = Layout::beit(small(), prefix);
        layout.linear(&format!("{prefix}lm_head"), 16, 24);
        layout.add(&format!("{prefix}mask_token"), &[1, 1, 24]);
        let [head, mask] = ["lm_head", "mask_token"].map(|key| format!("{prefix}{key}"));
        let left_out = [(&*head, "pre-training"), (&*mask, "mask token")];
        layout.is(Dialect::Beit, &left_out);
    }
}

#[test]
fn ijepa_evaluates_its_target_encoder() {
    let config = VitConfig {
        class_token: false,
        positions: Some(0),
        ..small()
    };
    let mut layout = Layout::timm(config, "target_encoder.module.");
    layout.other("encoder.module.");
    layout.linear("predictor.module.predictor_embed", 16, 24);
    layout.linear("predictor.module.predictor_blocks.0.attn.qkv", 48, 16);
    layout.add("opt.state.0.exp_avg", &[24]);
    layout.add("scaler._scale", &[]);
    layout.is(
        Dialect::Timm,
        &[
            ("encoder.", "evaluates target_encoder"),
            ("predictor.", "pre-training"),
            ("opt.", "training"),
            ("scaler.", "training"),
        ],
    );
}

#[test]
fn a_whole_training_file_of_dino_is_its_teacher() {
    let mut layout = Layout::timm(small(), "teacher.backbone.");
    layout.other("student.module.backbone.");
    for head in ["teacher.head", "student.module.head"] {
        layout.linear(&format!("{head}.mlp.0"), 32, 24);
        layout.add(&format!("{head}.last_layer.weight_g"), &[64, 1]);
        layout.add(&format!("{head}.last_layer.weight_v"), &[64, 16]);
    }
    layout.add("optimizer.state.0.exp_avg", &[24]);
    layout.add("optimizer.state.0.exp_avg_sq", &[24]);
    layout.add("fp16_scaler._scale", &[]);
    layout.add("dino_loss.center", &[1, 64]);
    layout.is(
        Dialect::Dino,
        &[
            ("student.", "evaluate the teacher"),
            ("teacher.head", "head"),
            ("optimizer.", "training"),
            ("fp16_scaler.", "training"),
            ("dino_loss.", "training"),
        ],
    );
}

#[test]
fn a_whole_training_file_of_ibot_is_its_teacher() {
    let config = VitConfig {
        layer_scale: true,
        ..small()
    };
    let tensors = canonical(&config);
    let named = |name: &str| vec![format!("teacher.backbone.{}", rename(name, &GAMMAS))];
    let mut layout = Layout::new(config, tensors, named);
    layout.other("student.module.backbone.");
    layout.add("student.module.backbone.masked_embed", &[1, 24]);
    layout.add("teacher.head.last_layer.weight_v", &[64, 16]);
    layout.add("teacher.head.last_layer2.weight_v", &[64, 16]);
    layout.add("ibot_loss.center", &[1, 64]);
    layout.add("ibot_loss.center2", &[1, 1, 64]);
    layout.is(
        Dialect::Ibot,
        &[
            ("student.", "evaluate the teacher"),
            ("teacher.head", "head"),
            ("ibot_loss.", "training"),
        ],
    );
}

#[test]
fn lightning_keeps_its_optimizer_beside_the_model() {
    let mut layout = Layout::timm(small(), "state_dict.model.");
    layout.add("optimizer_states.0.state.0.exp_avg", &[24]);
    layout.add("lr_schedulers.0.base_lr", &[]);
    let left_out = [("optimizer_states", "training"), ("lr_sched", "training")];
    layout.is(Dialect::Timm, &left_out);
}

#[test]
fn wrappers_come_in_either_order() {
    for prefix in [
        "module._orig_mod.",
        "_orig_mod.module.",
        "model_state_dict.module._orig_mod.",
        "model_ema.module.",
        "state_dict.net.vision_tower.",
    ] {
        let layout = Layout::timm(small(), prefix);
        layout.is(Dialect::Timm, &[]);
    }
}

#[test]
fn beit_v2_fine_tuned() {
    let config = VitConfig {
        final_norm: FinalNorm::MeanPatch,
        ..beit(RelativeBias::PerBlock)
    };
    let mut layout = Layout::beit(config, "model.");
    layout.linear("model.head", 10, 24);
    layout.is(Dialect::Beit, &[("model.head", "classification head")]);
}

#[test]
fn dinov2_in_chunks_with_registers_and_a_gate() {
    let config = VitConfig {
        layer_scale: true,
        registers: 4,
        mlp: MlpKind::Gated { norm: false },
        mlp_width: 64,
        activation: mimbench::engine::Activation::Silu,
        ..small()
    };
    let tensors = canonical(&config);
    let chunked = |name: &str| {
        let name = name
            .replace("blocks.0.", "blocks.0.0.")
            .replace("blocks.1.", "blocks.1.1.");
        let names = [("reg_token", "register_tokens"), ("mlp.fc2", "mlp.w3")];
        let name = rename(&name, &names);
        match name.contains("mlp.fc1") {
            true => vec![String::new()],
            false => vec![name],
        }
    };
    let mut layout = Layout::new(config, tensors, chunked);
    for block in 0..2 {
        for of in ["weight", "bias"] {
            let half = |half: &str| {
                let name = format!("blocks.{block}.mlp.fc1_{half}.{of}");
                let mut found = layout.tensors.iter().filter(|(other, _)| *other == name);
                found.next().unwrap().1.clone()
            };
            let (mut both, value) = (half("g"), half("x"));
            both.shape[0] *= 2;
            both.data.extend(value.data);
            let key = format!("blocks.{block}.{block}.mlp.w12.{of}");
            layout.file.0.insert(key, Stored::from(&both));
        }
    }
    layout.add("mask_token", &[1, 24]);
    layout.is(Dialect::Dinov2, &[("mask_token", "mask token")]);
}

/// transformers' names in files; `attention` is query, key and value, one of them empty where it is
/// without bias.
fn hf_name(prefix: &str, name: &str, keys: bool) -> Vec<String> {
    const NAMES: [(&str, &str); 13] = [
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("attn.proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("ls1.gamma", "lambda_1"),
        ("ls2.gamma", "lambda_2"),
        ("fc_norm", "pooler.layernorm"),
        ("norm", "layernorm"),
        ("attn.qkv", "attention.attention"),
    ];
    let renamed = rename(name, &NAMES).replace("blocks.", "encoder.layer.");
    let Some((attention, of)) = renamed.split_once("attention.attention.") else {
        return vec![format!("{prefix}{renamed}")];
    };
    ["query", "key", "value"]
        .map(|part| match (part, of) {
            ("key", "bias") if !keys => String::new(),
            _ => format!("{prefix}{attention}attention.attention.{part}.{of}"),
        })
        .to_vec()
}

#[test]
fn a_whole_vit_mae_as_transformers_5_writes_it() {
    let config = VitConfig {
        norm_eps: 1e-12,
        ..small()
    };
    let tensors = canonical(&config);
    let mut layout = Layout::new(config, tensors, |name| hf_name("vit.", name, true));
    layout.add("decoder.mask_token", &[1, 1, 16]);
    layout.add("decoder.decoder_pos_embed", &[1, 17, 16]);
    layout.linear("decoder.decoder_embed", 16, 24);
    let block = "decoder.decoder_encoder.layer.0";
    layout.linear(&format!("{block}.attention.attention.query"), 16, 16);
    layout.linear(&format!("{block}.output.dense"), 16, 32);
    layout.linear("decoder.decoder_norm", 16, 1);
    layout.linear("decoder.decoder_pred", 192, 16);
    layout.is(Dialect::HfVit, &[("decoder.", "decoder")]);
}

#[test]
fn beit_as_transformers_5_has_it_in_memory() {
    for tables in [RelativeBias::Shared, RelativeBias::PerBlock] {
        let config = VitConfig {
            norm_eps: 1e-12,
            ..beit(tables)
        };
        let tensors = keyless(canonical(&config));
        let layout = Layout::new(config, tensors, |name| {
            const NAMES: [(&str, &str); 3] = [
                ("rel_pos_bias.", "shared_position_bias."),
                (
                    "attn.relative_position_bias_table",
                    "relative_position_bias.relative_position_bias_table",
                ),
                ("attn.proj", "attention.o_proj"),
            ];
            let renamed = rename(name, &NAMES);
            let names = if renamed == name && !name.contains(".mlp.") {
                hf_name("", name, false)
            } else {
                vec![renamed]
            };
            let memory = |name: &String| {
                let names = [
                    ("attention.attention.query", "attention.q_proj"),
                    ("attention.attention.key", "attention.k_proj"),
                    ("attention.attention.value", "attention.v_proj"),
                ];
                let name = name
                    .replace("encoder.layer.", "layers.")
                    .replace("blocks.", "layers.");
                rename(&name, &names)
            };
            names.iter().map(memory).collect()
        });
        layout.is(Dialect::HfBeit, &[]);
    }
}

#[test]
fn beit_of_transformers_without_tables_is_known_by_its_keys_without_bias() {
    let config = VitConfig {
        norm_eps: 1e-12,
        ..small()
    };
    let tensors = keyless(canonical(&config));
    let layout = Layout::new(config, tensors, |name| hf_name("beit.", name, false));
    layout.is(Dialect::HfBeit, &[]);
}

#[test]
fn torchvision() {
    const NAMES: [(&str, &str); 12] = [
        ("cls_token", "class_token"),
        ("pos_embed", "encoder.pos_embedding"),
        ("patch_embed.proj", "conv_proj"),
        ("norm1", "ln_1"),
        ("norm2", "ln_2"),
        ("norm.", "encoder.ln."),
        ("attn.qkv.weight", "self_attention.in_proj_weight"),
        ("attn.qkv.bias", "self_attention.in_proj_bias"),
        ("attn.proj", "self_attention.out_proj"),
        ("mlp.fc1", "mlp.0"),
        ("mlp.fc2", "mlp.3"),
        ("head", "heads.head"),
    ];
    let config = small();
    let tensors = canonical(&config);
    let mut layout = Layout::new(config, tensors, |name| {
        let name = rename(name, &NAMES);
        vec![name.replace("blocks.", "encoder.layers.encoder_layer_")]
    });
    layout.linear("heads.head", 10, 24);
    let checkpoint = layout.is(Dialect::Torchvision, &[("heads.", "classification head")]);
    assert_eq!(checkpoint.classifier().unwrap().head.classes, 10);
}

#[test]
fn rotary_positions_that_only_config_json_tells_are_not_passed_over() {
    let config = VitConfig {
        layer_scale: true,
        ..small()
    };
    let layout = Layout::beit(config, "");
    let (folder, path) = layout.written();
    let json = r#"{"architecture": "vit_small_patch16_rope_ape_224", "num_heads": 3}"#;
    std::fs::write(folder.path().join("config.json"), json).unwrap();
    let refused = build(&path, &LoadOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("rope_ape"), "{refused}");
}
