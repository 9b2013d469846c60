//! MAE's pre-training model against transformers' and facebookresearch's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, CheckpointError, Fate, LoadOptions, MaeCheckpoint, save};
use mimbench::decoders::MaeDecoderConfig;
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::nn::{Loader, TensorStore, WeightError, Weights};
use mimbench::pretrain::{
    Blueprint, DecoderInput, Encoded, Encoding, Initialisation, Learner, Mask, MaskSpec, Method,
    MethodError, PixelDecoder, PixelLoss, PixelNorm, PixelReconstructionSpec, PositionKind,
    Positions, Scene, StudentArchitecture, StudentSize, StudentSpec, Term, TermSpec,
    normalise_patches, patch_pixels, sin_cos_positions,
};
use mimbench::vit::VitConfig;
use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::support::{assert_close, fixture, shared, tensor};

/// The ratio of every golden.
const RATIO: f64 = 0.75;

/// Golden gradients: name there, canonical name. `q` is the first third of `qkv`.
const GRADIENTS: [(&str, &str); 10] = [
    (
        "vit.embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.weight",
    ),
    ("vit.embeddings.cls_token", "cls_token"),
    ("blocks.0.q.weight", "blocks.0.attn.qkv.weight"),
    ("blocks.0.fc2.weight", "blocks.0.mlp.fc2.weight"),
    ("blocks.1.q.weight", "blocks.1.attn.qkv.weight"),
    ("blocks.1.fc2.weight", "blocks.1.mlp.fc2.weight"),
    ("vit.layernorm.weight", "norm.weight"),
    ("decoder.decoder_embed.weight", "decoder.embed.weight"),
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.decoder_pred.weight", "decoder.pred.weight"),
];

/// transformers' golden whose targets are normalised.
const NORMPIX: &str = "hf_vit_mae_pretrain_normpix";

fn golden(name: &str) -> PathBuf {
    fixture("goldens").join(name)
}

fn file(folder: &Path, name: &str) -> TensorSource {
    TensorSource::open(&folder.join(name)).unwrap()
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// MAE as a method, for networks of these sizes.
fn method(encoder: &VitConfig, decoder: MaeDecoderConfig, normalise: PixelNorm) -> Method {
    assert_eq!(encoder.grid[0], encoder.grid[1]);
    let size = StudentSize {
        width: encoder.width,
        depth: encoder.depth,
        heads: encoder.heads.of(0),
        mlp_width: encoder.mlp_width,
        patch_size: encoder.patch_size,
        input_size: encoder.patch_size * encoder.grid[0],
    };
    let pixels = PixelReconstructionSpec {
        weight: 1.0,
        on: Positions::Masked,
        loss: PixelLoss::L2,
        normalise,
        decoder: PixelDecoder::Transformer {
            width: decoder.width,
            depth: decoder.depth,
            heads: decoder.heads,
            mlp_width: Some(decoder.mlp_width),
            reads: DecoderInput::Visible,
        },
    };
    Method {
        student: StudentSpec {
            arch: StudentArchitecture::Sized(size),
            encoding: Encoding::Sparse,
            positions: PositionKind::SinCos,
            relative_bias: None,
            layer_scale: None,
            key_bias: true,
            initial: Initialisation::Xavier {},
            drop_path: 0.0,
        },
        mask: MaskSpec::Random { ratio: RATIO },
        teachers: BTreeMap::new(),
        terms: BTreeMap::from([(PIXELS.to_owned(), TermSpec::PixelReconstruction(pixels))]),
    }
}

/// The only term's name.
const PIXELS: &str = "pixels";

/// MAE of a file's weights on an engine.
struct Model<E: Engine> {
    learner: Learner<E>,
    parameters: Vec<(String, E::Tensor)>,
}

impl<E: Engine> Model<E> {
    fn load(
        engine: &E,
        blueprint: &Blueprint,
        weights: &mut dyn TensorStore,
    ) -> Result<Self, WeightError> {
        let names = weights.left();
        let fixed = names.iter().filter(|name| blueprint.is_fixed(name));
        let fixed: Vec<_> = fixed.map(String::as_str).collect();
        let mut loader = Loader::trainable(engine, weights).fixing(fixed);
        let learner = Learner::load(&mut loader, blueprint)?;
        let parameters = loader.into_parameters();
        Ok(Self {
            learner,
            parameters,
        })
    }

    fn of(engine: &E, mae: &MaeCheckpoint<'_>, checkpoint: &Checkpoint, norm: PixelNorm) -> Self {
        let blueprint = blueprint(mae, checkpoint, norm);
        let mut weights = mae.weights();
        let model = Self::load(engine, &blueprint, &mut weights).unwrap();
        assert_eq!(weights.left(), [""; 0]);
        model
    }

    fn encode(&self, engine: &E, images: &E::Tensor, mask: &Mask) -> Encoded<E> {
        self.learner.encode(engine, images, (mask, None)).unwrap()
    }

    /// Pixels of every patch: `[B, N, p p C]`
    fn decode(
        &self,
        engine: &E,
        (images, mask): (&E::Tensor, &Mask),
        encoded: &Encoded<E>,
    ) -> E::Tensor {
        let scene = Scene {
            images,
            mask,
            encoding: Encoding::Sparse,
            student: encoded,
            lessons: &BTreeMap::new(),
        };
        let Some(Term::PixelReconstruction(term)) = self.learner.term(PIXELS) else {
            panic!("{:?}", self.learner.names().collect::<Vec<_>>());
        };
        let rows = term.decode(engine, &scene).unwrap();
        let numbers = engine.shape(&rows)[1];
        let shape = [mask.batch(), mask.patches(), numbers];
        engine.reshape(&rows, &shape).unwrap()
    }

    fn loss(&self, engine: &E, images: &E::Tensor, mask: &Mask) -> E::Tensor {
        let terms = self
            .learner
            .terms(engine, images, (mask, None), &BTreeMap::new());
        terms.unwrap().remove(0)
    }
}

fn blueprint(mae: &MaeCheckpoint<'_>, checkpoint: &Checkpoint, norm: PixelNorm) -> Blueprint {
    let method = method(&checkpoint.config, mae.decoder, norm);
    Blueprint::new(&method, BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn on_engine<E: Engine>(engine: &E, x: &HostTensor) -> E::Tensor {
    engine.tensor(&x.data[..], &x.shape).unwrap()
}

fn on_host<E: Engine>(engine: &E, x: &E::Tensor) -> HostTensor {
    HostTensor {
        shape: engine.shape(x),
        data: engine.to_f32(x).unwrap(),
    }
}

/// The golden's mask as PyTorch has it: one where a patch is hidden.
fn hidden(mask: &Mask) -> HostTensor {
    let mut data = vec![0.0; mask.batch() * mask.patches()];
    for row in mask.hidden_rows() {
        data[row as usize] = 1.0;
    }
    HostTensor {
        shape: vec![mask.batch(), mask.patches()],
        data,
    }
}

/// `max|a-b| <= 2e-5 max|b|`: gradients are far below one.
#[track_caller]
fn assert_gradient(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let difference = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        difference <= 2e-5 * largest && found.iter().all(|x| x.is_finite()),
        "{what}: differs by {difference}, largest {largest}"
    );
}

/// transformers' `ViTMAEForPreTraining`: everything on the way and the gradients of the loss.
fn transformers_agrees<E: Engine>(engine: &E, folder: &Path, normalise: PixelNorm) {
    let golden = folder.display();
    let checkpoint = open(&folder.join("model.safetensors"));
    let mae = checkpoint.mae(None).unwrap();
    assert_eq!(
        mae.decoder,
        MaeDecoderConfig {
            width: 24,
            depth: 2,
            heads: 2,
            mlp_width: 48,
        }
    );
    assert_eq!(mae.heads.from, "config.json");
    let model = Model::of(engine, &mae, &checkpoint, normalise);
    let parameters = &model.parameters;
    let input = file(folder, "input.safetensors");
    let expected = file(folder, "expected.safetensors");
    let images = on_engine(engine, &tensor(&input, "pixels"));
    let mask = Mask::random(&tensor(&input, "noise").data, 16, RATIO).unwrap();
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let bytes = SafeTensors::deserialize(&bytes).unwrap();
    let restore = bytes.tensor("ids_restore").unwrap().data().as_chunks().0;
    let restore: Vec<_> = restore
        .iter()
        .map(|x| i64::from_le_bytes(*x) as u32)
        .collect();
    assert_eq!(mask.restore(), restore);
    let check = |what: &str, found: &HostTensor| {
        assert_close(&format!("{golden} {what}"), found, &tensor(&expected, what));
    };
    check("mask", &hidden(&mask));
    let encoded = model.encode(engine, &images, &mask);
    check("latent", &on_host(engine, encoded.normed.as_ref().unwrap()));
    let prediction = model.decode(engine, (&images, &mask), &encoded);
    check("pred", &on_host(engine, &prediction));
    let loss = model.loss(engine, &images, &mask);
    let known = tensor(&expected, "loss").data[0];
    let found = engine.to_f32(&loss).unwrap()[0];
    assert!(
        (found - known).abs() <= 1e-5,
        "{golden}: {found} for {known}"
    );
    let inputs: Vec<_> = parameters.iter().map(|(_, x)| x).collect();
    let gradients = engine.grad(&loss, &inputs).unwrap();
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        assert!(gradient.is_some(), "no gradient reaches {name}");
    }
    for (there, here) in GRADIENTS {
        let at = parameters.iter().position(|(name, _)| name == here);
        let found = gradients[at.unwrap()].as_ref().unwrap();
        let expected = tensor(&expected, &format!("grad.{there}"));
        let found = engine.to_f32(found).unwrap();
        let found = if there.contains(".q.") {
            &found[..found.len() / 3]
        } else {
            &found
        };
        assert_gradient(&format!("{golden} {there}"), found, &expected.data);
    }
}

/// facebookresearch's `MaskedAutoencoderViT` with `norm_pix_loss`.
fn facebookresearch_agrees<E: Engine>(
    engine: &E,
    folder: &Path,
    input: &TensorSource,
    expected: &TensorSource,
) {
    let checkpoint = open(&folder.join("model.safetensors"));
    let mae = checkpoint.mae(Some(ORIGINAL_HEADS)).unwrap();
    let model = Model::of(engine, &mae, &checkpoint, PixelNorm::Target);
    let images = on_engine(engine, &tensor(input, "r1.pixels"));
    let mask = Mask::random(&tensor(input, "pretrain.noise").data, 16, RATIO).unwrap();
    let check = |what: &str, found: &HostTensor| {
        let what = format!("pretrain.{what}");
        assert_close(&what, found, &tensor(expected, &what));
    };
    check("mask", &hidden(&mask));
    let target = patch_pixels(engine, &images, 3, 8, [4, 4]).unwrap();
    if expected.entries().contains_key("pretrain.target_patchify") {
        check("target_patchify", &on_host(engine, &target));
    }
    let encoded = model.encode(engine, &images, &mask);
    let prediction = model.decode(engine, (&images, &mask), &encoded);
    check("pred", &on_host(engine, &prediction));
    let loss = model.loss(engine, &images, &mask);
    check("loss", &on_host(engine, &loss));
    // The same loss by the letter: over every patch, weighted by the mask.
    let difference = engine
        .sub(&prediction, &normalise_patches(engine, &target).unwrap())
        .unwrap();
    let squares = engine.mul(&difference, &difference).unwrap();
    let means = engine.mean(&squares, &[2]).unwrap();
    let weights = on_engine(engine, &hidden(&mask));
    let sum = engine
        .sum(&engine.mul(&means, &weights).unwrap(), &[0, 1])
        .unwrap();
    let count = mask.hidden_rows().len() as f64;
    check(
        "loss",
        &on_host(engine, &engine.affine(&sum, 1.0 / count, 0.0).unwrap()),
    );
}

/// Heads of the golden's decoder, which its files do not say.
const ORIGINAL_HEADS: usize = 2;

/// The fixtures, and what is too large for them.
fn every_golden<E: Engine>(engine: &E) {
    transformers_agrees(engine, &golden(NORMPIX), PixelNorm::Target);
    let original = golden("mae_original");
    let pretraining = file(&original, "pretrain.safetensors");
    facebookresearch_agrees(engine, &original, &pretraining, &pretraining);
    let Some(goldens) = shared("goldens") else {
        return;
    };
    transformers_agrees(
        engine,
        &goldens.join("hf_vit_mae_pretrain"),
        PixelNorm::None,
    );
    let original = goldens.join("mae_original");
    let input = file(&original, "input.safetensors");
    let expected = file(&original, "expected.safetensors");
    facebookresearch_agrees(engine, &original, &input, &expected);
}

#[test]
fn the_goldens_agree_on_candle() {
    every_golden(&Candle::new(Precision::F32));
    every_golden(&Candle::new(Precision::F64));
}

#[cfg(feature = "torch")]
#[test]
fn the_goldens_agree_on_torch() {
    every_golden(&Torch::new(Device::Cpu, Precision::F32).unwrap());
    every_golden(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}

/// Images, a mask and the tensors of a golden, to be changed.
struct Fixture {
    checkpoint: Checkpoint,
    images: HostTensor,
    mask: Mask,
}

impl Fixture {
    fn new() -> Self {
        let folder = golden(NORMPIX);
        let input = file(&folder, "input.safetensors");
        Self {
            checkpoint: open(&folder.join("model.safetensors")),
            images: tensor(&input, "pixels"),
            mask: Mask::random(&tensor(&input, "noise").data, 16, RATIO).unwrap(),
        }
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let Fixture {
        checkpoint,
        images,
        mask,
    } = Fixture::new();
    let engine = Candle::new(Precision::F64);
    let mae = checkpoint.mae(None).unwrap();
    let blueprint = blueprint(&mae, &checkpoint, PixelNorm::Target);
    let mut source = mae.weights();
    let mut start = Weights::default();
    for name in source.left() {
        let tensor = source.take(&name).unwrap();
        start.insert(name, tensor);
    }
    // Every weight moves by its own small step, forth and back.
    let moved = |sign: f32| {
        let mut moved = Weights::default();
        for (at, (name, tensor)) in start.iter().enumerate() {
            let mut tensor = tensor.clone();
            let steps = if blueprint.is_fixed(name) { 0.0 } else { sign };
            for (i, x) in tensor.data.iter_mut().enumerate() {
                *x += steps * 5e-5 * ((i * 31 + at * 17) as f32 * 0.7).sin();
            }
            moved.insert(name.to_owned(), tensor);
        }
        moved
    };
    let images = on_engine(&engine, &images);
    let loss = |mut weights: Weights| {
        let model = Model::load(&engine, &blueprint, &mut weights).unwrap();
        (model.loss(&engine, &images, &mask), model.parameters)
    };
    let (at_start, parameters) = loss(start.clone());
    let inputs: Vec<_> = parameters.iter().map(|(_, x)| x).collect();
    let gradients = engine.grad(&at_start, &inputs).unwrap();
    let (forth, back) = (moved(1.0), moved(-1.0));
    let step = |name: &str| {
        let of = |weights: &Weights| {
            let found = weights.iter().find(|(other, _)| *other == name);
            found.unwrap().1.data.clone()
        };
        of(&forth)
            .into_iter()
            .zip(of(&back))
            .map(|(a, b)| f64::from(a) - f64::from(b))
            .collect::<Vec<_>>()
    };
    let slope: f64 = parameters
        .iter()
        .zip(&gradients)
        .map(|((name, _), gradient)| {
            let gradient = engine.to_f64(gradient.as_ref().unwrap()).unwrap();
            let steps = step(name);
            gradient.iter().zip(steps).map(|(g, x)| g * x).sum::<f64>()
        })
        .sum();
    let value = |weights| engine.to_f64(&loss(weights).0).unwrap()[0];
    let difference = value(forth.clone()) - value(back.clone());
    assert!(
        (slope - difference).abs() <= 1e-5 * difference.abs(),
        "{slope:e} {difference:e}"
    );
}

#[test]
fn a_mask_that_hides_nothing_is_the_encoder() {
    let Fixture {
        checkpoint, images, ..
    } = Fixture::new();
    let engine = Candle::new(Precision::F32);
    let mae = checkpoint.mae(None).unwrap();
    let model = Model::of(&engine, &mae, &checkpoint, PixelNorm::Target);
    let images = on_engine(&engine, &images);
    let rising: Vec<f32> = (0..2 * 16).map(|i| i as f32).collect();
    let mask = Mask::random(&rising, 16, 0.0).unwrap();
    let encoded = model.encode(&engine, &images, &mask);
    let vit = model.learner.student().vit();
    let tokens = vit
        .forward(&engine, &images, 2, &|_| false, &mut |_, _| Ok(()))
        .unwrap();
    let tokens = vit.normalise(&engine, &tokens).unwrap();
    assert_close(
        "tokens",
        &on_host(&engine, encoded.normed.as_ref().unwrap()),
        &on_host(&engine, &tokens),
    );
    let prediction = model.decode(&engine, (&images, &mask), &encoded);
    assert_eq!(engine.shape(&prediction), [2, 16, 192]);
    // There is nothing to predict.
    let mut method = method(&checkpoint.config, mae.decoder, PixelNorm::Target);
    method.mask = MaskSpec::Random { ratio: 0.0 };
    let error = Blueprint::new(&method, BTreeMap::new()).unwrap_err();
    assert!(matches!(error, MethodError::Term { .. }), "{error}");
    assert!(error.to_string().contains("hides nothing"), "{error}");
}

#[test]
fn one_image_is_predicted_as_among_others() {
    let Fixture {
        checkpoint,
        images,
        mask,
    } = Fixture::new();
    let engine = Candle::new(Precision::F32);
    let mae = checkpoint.mae(None).unwrap();
    let model = Model::of(&engine, &mae, &checkpoint, PixelNorm::Target);
    let predict = |images: &HostTensor, mask: &Mask| {
        let images = on_engine(&engine, images);
        let encoded = model.encode(&engine, &images, mask);
        on_host(&engine, &model.decode(&engine, (&images, mask), &encoded))
    };
    let both = predict(&images, &mask);
    let input = file(&golden(NORMPIX), "input.safetensors");
    let noise = tensor(&input, "noise").data;
    let second = HostTensor {
        shape: vec![1, 3, 32, 32],
        data: images.data[3 * 32 * 32..].to_vec(),
    };
    let alone = Mask::random(&noise[16..], 16, RATIO).unwrap();
    let expected = HostTensor {
        shape: vec![1, 16, 192],
        data: both.data[16 * 192..].to_vec(),
    };
    assert_close("alone", &predict(&second, &alone), &expected);
    let images = on_engine(&engine, &images);
    let error = (model.learner)
        .encode(&engine, &images, (&alone, None))
        .unwrap_err();
    assert!(error.to_string().contains("1 samples"), "{error}");
}

/// A golden's model file with its keys changed.
fn rewritten(name: &str, change: impl Fn(&str) -> Option<String>) -> TempDir {
    let source = file(&golden(name), "model.safetensors");
    let mut weights = Weights::default();
    for key in source.entries().keys() {
        if let Some(changed) = change(key) {
            weights.insert(changed, tensor(&source, key));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    save(&folder.path().join("model.safetensors"), &weights).unwrap();
    let json = golden(name).join("config.json");
    std::fs::copy(json, folder.path().join("config.json")).unwrap();
    folder
}

/// The loss of a changed [`NORMPIX`].
fn loss_of(folder: &TempDir) -> f32 {
    let Fixture { images, mask, .. } = Fixture::new();
    let checkpoint = open(&folder.path().join("model.safetensors"));
    let engine = Candle::new(Precision::F32);
    let mae = checkpoint.mae(None).unwrap();
    let model = Model::of(&engine, &mae, &checkpoint, PixelNorm::Target);
    let images = on_engine(&engine, &images);
    let loss = model.loss(&engine, &images, &mask);
    engine.to_f32(&loss).unwrap()[0]
}

#[test]
fn other_names_are_the_same_model() {
    let same = loss_of(&rewritten(NORMPIX, |key| Some(key.to_owned())));
    let saved_by_5 = rewritten(NORMPIX, |key| {
        Some(key.replace("decoder.decoder_layers.", "decoder.decoder_encoder.layer."))
    });
    assert_eq!(loss_of(&saved_by_5), same);
    let wrapped = rewritten(NORMPIX, |key| Some(format!("module.{key}")));
    assert_eq!(loss_of(&wrapped), same);
}

#[test]
fn an_encoder_leaves_the_decoder_and_the_model_takes_it() {
    for (name, heads) in [(NORMPIX, None), ("mae_original", Some(ORIGINAL_HEADS))] {
        let checkpoint = open(&golden(name).join("model.safetensors"));
        let decoder = |key: &str| key.contains("decoder") || key.contains("mask_token");
        for line in &checkpoint.audit.lines {
            let dropped = matches!(line.fate, Fate::Dropped { .. });
            assert_eq!(dropped, decoder(&line.key), "{}", line.key);
        }
        let mae = checkpoint.mae(heads).unwrap();
        assert_eq!(mae.audit.counts(), (checkpoint.audit.lines.len(), 0));
        assert_eq!(mae.audit.lines.len(), checkpoint.audit.lines.len());
        for line in &mae.audit.lines {
            let to = match &line.fate {
                Fate::Renamed { to } => std::slice::from_ref(to),
                Fate::Mapped { to, .. } => to,
                _ => std::slice::from_ref(&line.key),
            };
            let of_decoder = to.iter().all(|name| name.starts_with("decoder."));
            assert_eq!(of_decoder, decoder(&line.key), "{line:?}");
        }
    }
}

#[test]
fn decoders_that_cannot_be_loaded() {
    // An encoder alone: the first tensor that is missing.
    let encoder = open(&golden("timm_vit").join("model.safetensors"));
    let without = rewritten(NORMPIX, |key| {
        (!key.starts_with("decoder")).then(|| key.to_owned())
    });
    let without = open(&without.path().join("model.safetensors"));
    for checkpoint in [encoder, without] {
        let error = checkpoint.mae(Some(2)).unwrap_err();
        let said = "decoder.embed.weight is missing";
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().is_some());
    }
    // A tensor of the decoder's last block.
    let lost = rewritten(NORMPIX, |key| {
        (key != "decoder.decoder_layers.1.output.dense.weight").then(|| key.to_owned())
    });
    let lost = open(&lost.path().join("model.safetensors"));
    let mae = lost.mae(None).unwrap();
    let blueprint = blueprint(&mae, &lost, PixelNorm::None);
    let engine = Candle::new(Precision::F32);
    let Err(WeightError::Missing { name }) =
        Model::load(&engine, &blueprint, &mut mae.weights()).map(drop)
    else {
        panic!("a decoder without one of its tensors");
    };
    assert_eq!(name, "decoder.blocks.1.mlp.fc2.weight");
    // A third of a packed projection.
    let third = "decoder.decoder_layers.0.attention.attention.key.weight";
    let lost = rewritten(NORMPIX, |key| (key != third).then(|| key.to_owned()));
    let lost = open(&lost.path().join("model.safetensors"));
    let error = lost.mae(None).unwrap_err().to_string();
    let said = "decoder.blocks.0.attention.attention.key.weight is missing";
    assert!(error.contains(said), "{error}");
    // A decoder of another kind.
    let other = rewritten(NORMPIX, |key| {
        Some(key.replace("decoder.decoder_norm", "decoder.decoder_gate"))
    });
    let other = open(&other.path().join("model.safetensors"));
    let error = other.mae(None).unwrap_err();
    let CheckpointError::NotMae { keys, .. } = &error else {
        panic!("{error}");
    };
    let gates = ["decoder.decoder_gate.bias", "decoder.decoder_gate.weight"];
    assert_eq!(keys, &gates);
    assert!(error.hint().is_some());
    // Heads that nothing tells, and that cannot be.
    let original = open(&golden("mae_original").join("model.safetensors"));
    for (heads, said) in [
        (None, "heads of a decoder of width 24"),
        (Some(5), "5 heads"),
    ] {
        let error = original.mae(heads).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn another_input_size_has_positions_in_the_decoder_too() {
    let options = LoadOptions {
        input_size: Some([48, 48]),
        ..LoadOptions::default()
    };
    let path = golden(NORMPIX).join("model.safetensors");
    let checkpoint = Checkpoint::open(&path, &options).unwrap();
    let engine = Candle::new(Precision::F32);
    let mae = checkpoint.mae(None).unwrap();
    let model = Model::of(&engine, &mae, &checkpoint, PixelNorm::Target);
    let images = engine.tensor(&vec![0.5f32; 3 * 48 * 48][..], &[1, 3, 48, 48]);
    let images = images.unwrap();
    let noise: Vec<f32> = (0..36).map(|i| (i as f32).cos()).collect();
    let mask = Mask::random(&noise, 36, RATIO).unwrap();
    let encoded = model.encode(&engine, &images, &mask);
    let latent = encoded.normed.as_ref().unwrap();
    assert_eq!(engine.shape(latent), [1, 10, 24]);
    let prediction = model.decode(&engine, (&images, &mask), &encoded);
    assert_eq!(engine.shape(&prediction), [1, 36, 192]);
    let loss = model.loss(&engine, &images, &mask);
    assert!(engine.to_f32(&loss).unwrap()[0].is_finite());
}

#[test]
fn fixed_positions_are_transformers_own() {
    let source = file(&golden(NORMPIX), "model.safetensors");
    for key in [
        "vit.embeddings.position_embeddings",
        "decoder.decoder_pos_embed",
    ] {
        let expected = tensor(&source, key);
        let found = sin_cos_positions(24, [4, 4], 1);
        assert_eq!(found.shape, expected.shape, "{key}");
        for (found, expected) in found.data.iter().zip(&expected.data) {
            assert!(
                (found - expected).abs() <= 2e-7,
                "{key}: {found} for {expected}"
            );
        }
    }
    // Rows and columns are told apart.
    let wide = sin_cos_positions(4, [2, 3], 0);
    assert_eq!(wide.shape, [1, 6, 4]);
    let last: Vec<f32> = [2f32.sin(), 2f32.cos(), 1f32.sin(), 1f32.cos()].into();
    for (found, expected) in wide.data[20..].iter().zip(last) {
        assert!((found - expected).abs() <= 1e-7, "{:?}", &wide.data[20..]);
    }
}
