//! Losses of a classification against timm's own, and the terms of pre-training, over tokens that are
//! given, against PyTorch's functions and what is made of them in published code
//! (`tests/goldens/losses`). `maskalign_l2` has no term here.

use std::collections::BTreeMap;

use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision, Targets};
use mimbench::nn::{Loader, Weights};
use mimbench::pretrain::{
    Blueprint, Encoded, Encoding, Learner, Lesson, Mask, Method, Sample, Scene, patch_pixels,
};
use mimbench::vit::VitConfig;
use safetensors::SafeTensors;

use crate::support::fixture;
use crate::training::Golden;

/// Loss and gradient of a case, in the f32 that the golden was computed in.
fn check<E: Engine>(e: &E, case: &str, targets: Targets<'_, E::Tensor>) {
    let logits = floats(&format!("{case}/in.logits"));
    let logits = e.parameter(&logits[..], &[4, 7]).unwrap();
    let loss = e.cross_entropy(&logits, targets).unwrap();
    let gradient = e.grad(&loss, &[&logits]).unwrap().remove(0).unwrap();
    for (found, key) in [(loss, "loss"), (gradient, "grad.logits")] {
        let expected = floats(&format!("{case}/{key}"));
        let found = e.to_f64(&found).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            let expected = f64::from(expected);
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error <= 5e-7, "{case} {key}: {found} for {expected}");
        }
    }
}

fn floats(key: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture("goldens/losses/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = file.tensor(key).unwrap().data().as_chunks::<4>().0;
    words.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn cross_entropies<E: Engine>(e: &E) {
    let soft = floats("soft_target_ce/in.target");
    let soft = e.tensor(&soft[..], &[4, 7]).unwrap();
    check(e, "soft_target_ce", Targets::Soft(&soft));
    let bytes = std::fs::read(fixture("goldens/losses/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("ce_label_smoothing_0.1/in.target").unwrap();
    let ids = ids.data().as_chunks::<8>().0.iter();
    let ids: Vec<u32> = ids.map(|x| i64::from_le_bytes(*x) as u32).collect();
    let smoothed = Targets::Smoothed {
        ids: &ids,
        smoothing: 0.1,
    };
    check(e, "ce_label_smoothing_0.1", smoothed);
}

/// A term over tokens that no network made.
struct Given<'a, E: Engine> {
    e: &'a E,
    case: &'a str,
    golden: &'a Golden,
    /// Parameters by their names in the golden.
    parameters: BTreeMap<String, E::Tensor>,
}

/// One batch of tokens: of the student, of a teacher's blocks, and what is hidden.
struct Tokens<'a, E: Engine> {
    encoding: Encoding,
    prefix: usize,
    normed: Option<E::Tensor>,
    blocks: BTreeMap<usize, E::Tensor>,
    taught: BTreeMap<usize, E::Tensor>,
    images: Option<&'a E::Tensor>,
    mask: Mask,
}

impl<'a, E: Engine> Given<'a, E> {
    fn new(e: &'a E, golden: &'a Golden, case: &'a str) -> Self {
        Self {
            e,
            case,
            golden,
            parameters: BTreeMap::new(),
        }
    }

    fn input(&self, name: &str) -> HostTensor {
        self.golden.host(&format!("{}/in.{name}", self.case))
    }

    /// An input whose gradient is compared.
    fn parameter(&mut self, name: &str) -> E::Tensor {
        let HostTensor { shape, data } = self.input(name);
        let parameter = self.e.parameter(&data[..], &shape).unwrap();
        self.parameters.insert(name.to_owned(), parameter.clone());
        parameter
    }

    fn constant(&self, name: &str) -> E::Tensor {
        let HostTensor { shape, data } = self.input(name);
        self.e.tensor(&data[..], &shape).unwrap()
    }

    /// `[B, N]` of ones where a patch is hidden.
    fn mask(&self, patches: usize) -> Mask {
        let samples = self.input("mask").data;
        let samples = samples.chunks(patches).map(|hidden| {
            let side = |value| (0..patches as u32).filter(move |&i| hidden[i as usize] == value);
            Sample {
                order: side(0.0).chain(side(1.0)).collect(),
                kept: side(0.0).count(),
            }
        });
        Mask::new(patches, samples.collect()).unwrap()
    }

    /// The term, and that its value and the gradients are the golden's.
    fn check(
        &self,
        (term, widths): (&str, [usize; 2]),
        weights: Vec<(String, HostTensor)>,
        tokens: Tokens<'_, E>,
    ) {
        let (e, case) = (self.e, self.case);
        let hides = match tokens.mask.hidden_rows()[..] {
            [] => "kind = \"none\"",
            _ => "kind = \"random\"\nratio = 0.5",
        };
        let encoding = match tokens.encoding {
            Encoding::Sparse => "sparse",
            Encoding::Dense => "dense",
        };
        let text = format!(
            "[student]
            arch = {{ width = {}, depth = 3, heads = 1, mlp_width = 4, patch_size = 4, input_size = {} }}
            encoding = \"{encoding}\"
            positions = \"learned\"
            initial = {{ kind = \"xavier\" }}
            [mask]
            {hides}
            {}
            [terms.t]
            weight = 1.0
            {term}
            ",
            widths[0],
            if tokens.images.is_some() { 16 } else { 8 },
            if term.contains("teacher") { "[teachers.t]" } else { "" },
        );
        let method: Method =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let teacher = VitConfig::plain(4, [2, 2], (widths[1], 2, 1));
        let teachers = method
            .teachers
            .keys()
            .map(|name| (name.clone(), teacher.clone()));
        let blueprint = Blueprint::new(&method, teachers.collect()).unwrap();
        let mut store = blueprint.initial_weights(0).unwrap();
        for (name, tensor) in weights {
            assert_eq!(store.find(&name).unwrap().shape, tensor.shape, "{name}");
            store.insert(name, tensor);
        }
        let learned = |store: &mut Weights| {
            let mut loader = Loader::trainable(e, store);
            let learner = Learner::load(&mut loader, &blueprint).unwrap();
            (learner, loader.into_parameters())
        };
        let (learner, own) = learned(&mut store);
        let nothing = e.tensor(&[0f32; 1][..], &[1]).unwrap();
        let lesson = Lesson {
            prefix: tokens.prefix,
            blocks: tokens.taught,
            normed: None,
            attention: Vec::new(),
        };
        let scene = Scene {
            images: tokens.images.unwrap_or(&nothing),
            mask: &tokens.mask,
            encoding: tokens.encoding,
            student: &Encoded {
                prefix: tokens.prefix,
                normed: tokens.normed,
                blocks: tokens.blocks,
            },
            lessons: &BTreeMap::from([("t".to_owned(), lesson)]),
        };
        let loss = learner.terms_of(e, &scene).unwrap().remove(0);
        let expected = self.golden.elements(&format!("{case}/loss"));
        assert_near(
            &format!("{case} loss"),
            &e.to_f64(&loss).unwrap(),
            &expected,
        );
        let named: Vec<_> = self.parameters.iter().collect();
        let inputs = named.iter().map(|(_, x)| *x);
        let inputs: Vec<_> = inputs.chain(own.iter().map(|(_, x)| x)).collect();
        let gradients = e.grad(&loss, &inputs).unwrap();
        let (given, learned) = gradients.split_at(named.len());
        for ((name, _), gradient) in named.iter().zip(given) {
            let what = format!("{case}/grad.{name}");
            let found = e.to_f64(gradient.as_ref().unwrap()).unwrap();
            assert_near(&what, &found, &self.golden.elements(&what));
        }
        // Adaptors and their matrix.
        let of_term = |name: &str| -> Vec<f64> {
            let found = own
                .iter()
                .zip(learned)
                .filter(|((own, _), _)| own.starts_with("terms.t.") && own.ends_with(name));
            let found = found.map(|(_, gradient)| e.to_f64(gradient.as_ref().unwrap()).unwrap());
            found.flatten().collect()
        };
        for (name, key) in [
            ("matrix", "align"),
            (".weight", "head_w"),
            (".bias", "head_b"),
        ] {
            let what = format!("{case}/grad.{key}");
            if self.golden.has(&what) {
                assert_near(&what, &of_term(name), &self.golden.elements(&what));
            }
        }
    }
}

/// `max|a-b| <= 1e-6 max(1, max|b|)`
#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let difference = pairs.fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        difference <= 1e-6 * largest,
        "{what}: differs by {difference:e}"
    );
}

/// A linear layer that changes nothing.
fn identity(name: &str, width: usize) -> Vec<(String, HostTensor)> {
    let entry = |i: usize| {
        if i.is_multiple_of(width + 1) {
            1.0
        } else {
            0.0
        }
    };
    let weight = HostTensor {
        shape: vec![width, width],
        data: (0..width * width).map(entry).collect(),
    };
    vec![(format!("{name}.weight"), weight)]
}

/// Every patch seen, in the order of the grid.
fn whole(batch: usize, patches: usize) -> Mask {
    let sample = || Sample {
        order: (0..patches as u32).collect(),
        kept: patches,
    };
    Mask::new(patches, (0..batch).map(|_| sample()).collect()).unwrap()
}

fn patches<E: Engine>(e: &E, golden: &Golden) {
    let term = |on: &str, beta: f64, normalise: &str| {
        format!(
            "kind = \"patch_distillation\"
            teacher = \"t\"
            on = \"{on}\"
            beta = {beta:?}
            normalise = \"{normalise}\"
            head = \"h\""
        )
    };
    let plain = [0.5, 1.0, 2.0].map(|beta| {
        let case = format!("smooth_l1_beta{beta:.1}");
        (case, term("all", beta, "none"), false)
    });
    let masked = (
        "smooth_l1_masked_lnorm_target".to_owned(),
        term("masked", 1.0, "layer"),
        true,
    );
    for (case, term, masked) in plain.into_iter().chain([masked]) {
        let mut given = Given::new(e, golden, &case);
        let target = match masked {
            true => given.constant("target"),
            false => given.parameter("target"),
        };
        let tokens = Tokens {
            encoding: Encoding::Dense,
            prefix: 0,
            normed: Some(given.parameter("pred")),
            blocks: BTreeMap::new(),
            taught: BTreeMap::from([(1, target)]),
            images: None,
            mask: match masked {
                true => given.mask(5),
                false => whole(2, 5),
            },
        };
        given.check((&term, [12, 12]), identity("heads.h", 12), tokens);
    }
}

fn pixels<E: Engine>(e: &E, golden: &Golden) {
    for (case, loss, normalise) in [
        ("mae_norm_pix", "l2", "target"),
        ("mae_pix", "l2", "none"),
        ("simmim_l1", "l1", "none"),
    ] {
        let term = format!(
            "kind = \"pixel_reconstruction\"
            on = \"masked\"
            loss = \"{loss}\"
            normalise = \"{normalise}\"
            decoder = {{ kind = \"linear\" }}"
        );
        let mut given = Given::new(e, golden, case);
        let (images, predicted) = match case {
            // Its prediction is an image.
            "simmim_l1" => {
                let image = given.parameter("rec");
                let patches = patch_pixels(e, &image, 3, 4, [4, 4]).unwrap();
                (given.constant("x"), patches)
            }
            _ => (given.constant("img"), given.parameter("pred")),
        };
        let tokens = Tokens {
            encoding: Encoding::Dense,
            prefix: 0,
            normed: Some(predicted),
            blocks: BTreeMap::new(),
            taught: BTreeMap::new(),
            images: Some(&images),
            mask: given.mask(16),
        };
        given.check((&term, [48, 48]), identity("decoder.pred", 48), tokens);
    }
}

fn classes<E: Engine>(e: &E, golden: &Golden) {
    let term = |loss: &str| {
        format!(
            "kind = \"class_distillation\"
            teacher = \"t\"
            normalise = \"none\"
            loss = {{ {loss} }}
            head = \"h\""
        )
    };
    // One token an image.
    let tokens = |student: &E::Tensor, teacher: &E::Tensor| {
        let shape = e.shape(student);
        let width = *shape.last().unwrap();
        let batch = shape.iter().product::<usize>() / width;
        let alone = |x| e.reshape(x, &[batch, 1, width]).unwrap();
        Tokens {
            encoding: Encoding::Dense,
            prefix: 1,
            normed: Some(alone(student)),
            blocks: BTreeMap::new(),
            taught: BTreeMap::from([(1, alone(teacher))]),
            images: None,
            mask: whole(batch, 4),
        }
    };
    // The golden is 2 - 2 cos.
    let mut given = Given::new(e, golden, "cosine");
    let given_tokens = tokens(&given.parameter("pred"), &given.constant("target"));
    let term_of = term("kind = \"cosine\", temperature = 0.5");
    given.check((&term_of, [12, 12]), identity("heads.h", 12), given_tokens);
    // DINO subtracts a centre from the teacher's logits.
    let mut given = Given::new(e, golden, "dino_ce_temp");
    let centred = e
        .sub(&given.constant("teacher"), &given.constant("center"))
        .unwrap();
    let given_tokens = tokens(&given.parameter("student"), &centred);
    let term_of =
        term("kind = \"cross_entropy\", student_temperature = 0.1, teacher_temperature = 0.04");
    given.check((&term_of, [9, 9]), identity("heads.h", 9), given_tokens);
}

fn alignments<E: Engine>(e: &E, golden: &Golden) {
    for (case, beta, factor) in [("maskalign_l1", 0.0, 1.0), ("maskalign_smoothl1", 1.0, 2.0)] {
        let term = format!(
            "kind = \"alignment\"
            teacher = \"t\"
            top = 2
            adaptor = \"linear\"
            matrix = {{ kind = \"equal\" }}
            place = \"before_adaptor\"
            normalise = \"layer\"
            class_token = true
            on = \"visible\"
            beta = {beta:?}
            factor = {factor:?}"
        );
        let mut given = Given::new(e, golden, case);
        // `[S, B, 1 + K, D]`, `[T, B, 1 + N, D]`
        let block = |tokens: &E::Tensor, block| {
            let shape = e.shape(tokens);
            let own = e.narrow(tokens, 0, block, 1).unwrap();
            (block, e.reshape(&own, &shape[1..]).unwrap())
        };
        let (student, teacher) = (given.parameter("student"), given.constant("teacher"));
        let seen = golden.elements(&format!("{case}/in.ids_keep"));
        let sample = |seen: &[f64]| {
            let seen: Vec<u32> = seen.iter().map(|&patch| patch as u32).collect();
            let hidden = (0..8).filter(|patch| !seen.contains(patch));
            Sample {
                order: seen.iter().copied().chain(hidden).collect(),
                kept: seen.len(),
            }
        };
        let tokens = Tokens {
            encoding: Encoding::Sparse,
            prefix: 1,
            normed: None,
            blocks: (0..3).map(|i| block(&student, i)).collect(),
            taught: (0..2).map(|i| block(&teacher, i)).collect(),
            images: None,
            mask: Mask::new(8, seen.chunks(4).map(sample).collect()).unwrap(),
        };
        let mut weights = vec![("terms.t.matrix".to_owned(), given.input("align"))];
        for (part, key, shape) in [
            ("weight", "head_w", vec![10, 8]),
            ("bias", "head_b", vec![10]),
        ] {
            let all = given.input(key).data;
            for (i, data) in all.chunks(all.len() / 2).enumerate() {
                let (shape, data) = (shape.clone(), data.to_vec());
                let name = format!("terms.t.adaptors.{i}.{part}");
                weights.push((name, HostTensor { shape, data }));
            }
        }
        given.check((&term, [8, 10]), weights, tokens);
    }
}

fn every_case<E: Engine>(e: &E) {
    cross_entropies(e);
    let golden = Golden::read("losses/data.safetensors");
    patches(e, &golden);
    pixels(e, &golden);
    classes(e, &golden);
    alignments(e, &golden);
}

#[test]
fn candle() {
    every_case(&Candle::new(Precision::F32));
    every_case(&Candle::new(Precision::F64));
}

#[cfg(feature = "torch")]
#[test]
fn torch() {
    every_case(&Torch::new(Device::Cpu, Precision::F32).unwrap());
    every_case(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}
