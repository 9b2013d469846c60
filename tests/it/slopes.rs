//! The gradient of every term of pre-training against differences of its values, in f64.

use std::collections::BTreeMap;

use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::nn::{Loader, Weights};
use mimbench::pretrain::{
    Blueprint, Conversion, Learner, Lesson, Mask, Method, Statistics, Teacher,
};
use mimbench::vit::{VitConfig, random_weights};

const BATCH: usize = 2;
const PATCHES: usize = 9;
/// Side of an image of 3 x 3 patches.
const SIZE: usize = 12;
/// How far a weight moves at most.
const STEP: f32 = 2e-6;

fn teacher_config() -> VitConfig {
    VitConfig::plain(4, [3, 3], (8, 3, 2))
}

const SPARSE: &str = "encoding = \"sparse\"\npositions = \"learned\"";
const DENSE: &str =
    "encoding = \"dense\"\npositions = \"none\"\nrelative_bias = \"shared\"\nlayer_scale = 0.5";
const SPARSE_SHARED: &str =
    "encoding = \"sparse\"\npositions = \"none\"\nrelative_bias = \"shared\"";
const SPARSE_OWN: &str = "encoding = \"sparse\"\npositions = \"sin_cos\"\nrelative_bias = \"per_block\"\nlayer_scale = 0.5";

/// A recipe of one term.
pub fn method(student: &str, term: &str) -> Method {
    let teacher = match term.contains("teacher") {
        true => "[teachers.t]",
        false => "",
    };
    let text = format!(
        "[student]
        arch = {{ width = 12, depth = 3, heads = 3, mlp_width = 16, patch_size = 4, input_size = 12 }}
        initial = {{ kind = \"truncated_normal\", std = 0.3, rescale = true }}
        {student}
        [mask]
        kind = \"random\"
        ratio = 0.4
        {teacher}
        [terms.t]
        weight = 1.0
        {term}
        "
    );
    toml::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn patch(on: &str) -> String {
    format!(
        "kind = \"patch_distillation\"\nteacher = \"t\"\non = \"{on}\"\nbeta = 0.7\nnormalise = \"layer\"\nhead = \"h\""
    )
}

fn class(loss: &str) -> String {
    format!(
        "kind = \"class_distillation\"\nteacher = \"t\"\nnormalise = \"unbiased\"\nloss = {{ {loss} }}\nhead = \"h\""
    )
}

pub fn pixels(on: &str, loss: &str, normalise: &str, decoder: &str) -> String {
    format!(
        "kind = \"pixel_reconstruction\"\non = \"{on}\"\nloss = \"{loss}\"\nnormalise = \"{normalise}\"\ndecoder = {{ {decoder} }}"
    )
}

const BLOCKS: &str = "kind = \"transformer\", width = 8, depth = 1, heads = 2";
const BLOCKS_OVER_ALL: &str =
    "kind = \"transformer\", width = 8, depth = 1, heads = 2, reads = \"all\"";
pub const LINEAR: &str = "kind = \"linear\"";

fn alignment(place: &str, adaptor: &str, matrix: &str, normalise: &str) -> String {
    format!(
        "kind = \"alignment\"\nteacher = \"t\"\ntop = 2\nadaptor = \"{adaptor}\"\nmatrix = {{ {matrix} }}\nplace = \"{place}\"\nnormalise = \"{normalise}\"\nclass_token = true\non = \"visible\"\nbeta = 1.0\nfactor = 2.0"
    )
}

/// Every kind of term, over every kind of student.
fn methods() -> Vec<(&'static str, Method)> {
    let identity = "kind = \"identity\", offset = 0.01";
    let cross_entropy =
        "kind = \"cross_entropy\", student_temperature = 0.5, teacher_temperature = 0.3";
    let cosine = "kind = \"cosine\", temperature = 0.1";
    let align = |place, adaptor| alignment(place, adaptor, identity, "layer");
    let by_layer = alignment("before_adaptor", "linear", "kind = \"layer_wise\"", "batch");
    let equal = alignment("before_adaptor", "linear", "kind = \"equal\"", "whole");
    vec![
        (
            "patches behind mask tokens",
            method(DENSE, &patch("masked")),
        ),
        ("all patches", method(DENSE, &patch("all"))),
        (
            "a teacher's last norm",
            method(
                SPARSE,
                &(patch("visible") + "\nfinal_norm = true\nclass_token = true"),
            ),
        ),
        ("seen patches", method(SPARSE, &patch("visible"))),
        ("a shared table", method(SPARSE_SHARED, &patch("visible"))),
        ("tables of blocks", method(SPARSE_OWN, &patch("visible"))),
        ("cross entropy", method(SPARSE, &class(cross_entropy))),
        ("cosine", method(DENSE, &class(cosine))),
        (
            "MAE",
            method(SPARSE, &pixels("masked", "l2", "target", BLOCKS)),
        ),
        (
            "L1 of a linear layer",
            method(DENSE, &pixels("masked", "l1", "none", LINEAR)),
        ),
        (
            "a normalised prediction",
            method(DENSE, &pixels("masked", "l2", "prediction", BLOCKS)),
        ),
        (
            "a decoder of all tokens",
            method(DENSE, &pixels("all", "l2", "prediction", BLOCKS_OVER_ALL)),
        ),
        (
            "mixtures first",
            method(SPARSE, &align("before_adaptor", "linear")),
        ),
        (
            "adaptors first",
            method(SPARSE, &align("after_adaptor", "linear")),
        ),
        (
            "MLPs over mixtures",
            method(SPARSE, &align("before_adaptor", "mlp")),
        ),
        ("MLPs first", method(DENSE, &align("after_adaptor", "mlp"))),
        ("layer by layer", method(SPARSE, &by_layer)),
        ("equal shares", method(SPARSE, &equal)),
    ]
}

/// Numbers between -1 and 1 without a pattern that layers know.
pub fn waves(count: usize, phase: usize) -> impl Iterator<Item = f32> {
    (0..count).map(move |i| ((i * 37 + 11) as f32 * 0.73 + phase as f32 * 1.9).sin())
}

/// Weights at their beginnings, moved so that none is zero or the identity.
pub fn jittered(blueprint: &Blueprint) -> BTreeMap<String, HostTensor> {
    let start = blueprint.initial_weights(5).unwrap();
    let moved = |(at, (name, tensor)): (usize, (&str, &HostTensor))| {
        let mut tensor = tensor.clone();
        let waves = waves(tensor.data.len(), at);
        for (x, wave) in tensor.data.iter_mut().zip(waves) {
            *x += 0.15 * wave;
        }
        (name.to_owned(), tensor)
    };
    start.iter().enumerate().map(moved).collect()
}

/// A learner of these weights, and its parameters.
pub fn learner<E: Engine>(
    e: &E,
    blueprint: &Blueprint,
    tensors: &BTreeMap<String, HostTensor>,
) -> (Learner<E>, Vec<(String, E::Tensor)>) {
    let mut weights = Weights::default();
    for (name, tensor) in tensors {
        weights.insert(name.clone(), tensor.clone());
    }
    let fixed = tensors.keys().filter(|name| blueprint.is_fixed(name));
    let mut loader = Loader::trainable(e, &mut weights).fixing(fixed.map(String::as_str));
    let learner = Learner::load(&mut loader, blueprint).unwrap();
    (learner, loader.into_parameters())
}

fn lessons<E: Engine>(
    e: &E,
    blueprint: &Blueprint,
    images: &E::Tensor,
) -> BTreeMap<String, Lesson<E>> {
    let Some(wanted) = blueprint.wanted().get("t") else {
        return BTreeMap::new();
    };
    let mut weights = Weights::default();
    for (name, tensor) in random_weights(&teacher_config(), 3).iter() {
        let mut tensor = tensor.clone();
        if tensor.shape.len() > 1 {
            tensor.data.iter_mut().for_each(|x| *x *= 10.0);
        }
        weights.insert(name.to_owned(), tensor);
    }
    let same = Statistics {
        mean: vec![0.5; 3],
        std: vec![0.5; 3],
    };
    let size = ([SIZE; 2], &same);
    let conversion = Conversion::new(e, size, size).unwrap();
    let mut loader = Loader::frozen(e, &mut weights);
    let teacher = Teacher::load(&mut loader, &teacher_config(), conversion).unwrap();
    let lesson = teacher.teach(e, images, wanted).unwrap();
    BTreeMap::from([("t".to_owned(), lesson)])
}

fn slopes<E: Engine>(e: &E) {
    let pixels: Vec<f32> = waves(BATCH * 3 * SIZE * SIZE, 7).collect();
    let images = e.tensor(&pixels[..], &[BATCH, 3, SIZE, SIZE]).unwrap();
    let noise: Vec<f32> = waves(BATCH * PATCHES, 3).collect();
    let mask = Mask::random(&noise, PATCHES, 0.4).unwrap();
    for (name, method) in methods() {
        let teachers = match method.teachers.is_empty() {
            true => BTreeMap::new(),
            false => BTreeMap::from([("t".to_owned(), teacher_config())]),
        };
        let blueprint = Blueprint::new(&method, teachers).unwrap();
        let lessons = lessons(e, &blueprint, &images);
        let start = jittered(&blueprint);
        let loss = |tensors: &BTreeMap<String, HostTensor>| {
            let (learner, parameters) = learner(e, &blueprint, tensors);
            let mut terms = learner.terms(e, &images, (&mask, None), &lessons).unwrap();
            assert_eq!(terms.len(), 1);
            (terms.remove(0), parameters)
        };
        let value = |tensors: &_| e.to_f64(&loss(tensors).0).unwrap()[0];
        let (at_start, parameters) = loss(&start);
        let inputs: Vec<_> = parameters.iter().map(|(_, x)| x).collect();
        let gradients = e.grad(&at_start, &inputs).unwrap();
        let fixed = start.keys().filter(|name| blueprint.is_fixed(name));
        assert_eq!(parameters.len(), start.len() - fixed.count(), "{name}");
        for ((parameter, _), gradient) in parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else {
                panic!("{name}: no gradient reaches {parameter}");
            };
            let gradient = e.to_f64(&gradient).unwrap();
            let moved = |sign: f32| {
                let mut tensors = start.clone();
                let tensor = tensors.get_mut(parameter).unwrap();
                let waves = waves(tensor.data.len(), 1);
                for (x, wave) in tensor.data.iter_mut().zip(waves) {
                    *x += sign * STEP * wave;
                }
                tensors
            };
            let (forth, back) = (moved(1.0), moved(-1.0));
            let ends = forth[parameter].data.iter().zip(&back[parameter].data);
            let steps: Vec<f64> = ends.map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
            let slope: f64 = gradient.iter().zip(&steps).map(|(g, step)| g * step).sum();
            let difference = value(&forth) - value(&back);
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let size = length(&gradient) * length(&steps);
            assert!(
                size > 0.0 && (slope - difference).abs() <= 1e-6 * size + 1e-14,
                "{name}, {parameter}: {slope:e} and {difference:e} of {size:e}"
            );
        }
    }
}

#[test]
fn gradients_are_slopes_on_candle() {
    slopes(&Candle::new(Precision::F64));
}

#[cfg(feature = "torch")]
#[test]
fn gradients_are_slopes_on_torch() {
    slopes(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}
