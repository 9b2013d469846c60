//! Terms of pre-training and their gradients against PyTorch and timm in f64, transcribed from the
//! papers' equations and from their code (`tests/goldens/pretraining/generate.py`).

use std::collections::BTreeMap;

use mimbench::checkpoint::source::TensorSource;
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::nn::{Loader, Resize, Weights};
use mimbench::pretrain::{
    Blueprint, Conversion, Learner, Lesson, Mask, Method, Sample, Statistics, Teacher, em_parts,
};
use mimbench::vit::VitConfig;
use serde_json::Value;

use crate::support::{fixture, tensor};
use crate::training::Golden;

// The networks of generate.py.
const BATCH: usize = 2;
const SIZE: usize = 16;
const PATCHES: usize = 16;
const WIDTH: usize = 24;
const DEPTH: usize = 3;

/// Its teacher.
fn teacher_config() -> VitConfig {
    VitConfig {
        mlp_width: 40,
        ..VitConfig::plain(4, [4, 4], (20, DEPTH, 2))
    }
}

/// Student and mask of a recipe, up to the teachers.
fn recipe(student: &str, mask: &str) -> String {
    format!(
        "[student]
        arch = {{ width = 24, depth = 3, heads = 3, mlp_width = 48, patch_size = 4, input_size = 16 }}
        initial = {{ kind = \"xavier\" }}
        {student}
        [mask]
        {mask}
        [teachers.clip]
        "
    )
}

fn sparse() -> String {
    let student = "encoding = \"sparse\"\npositions = \"learned\"";
    recipe(student, "kind = \"random\"\nratio = 0.4")
}

fn dense(mask: &str) -> String {
    let student = "encoding = \"dense\"\npositions = \"none\"\nrelative_bias = \"shared\"\nlayer_scale = 0.1\nkey_bias = false";
    recipe(student, mask)
}

const HIDING: &str = "kind = \"block\"\nratio = 0.4\nminimum = 1";

fn patch(on: &str, beta: f64, normalise: &str) -> String {
    format!(
        "[terms.patch]
        kind = \"patch_distillation\"
        weight = 1.0
        teacher = \"clip\"
        on = \"{on}\"
        beta = {beta:?}
        normalise = \"{normalise}\"
        head = \"distill\"
        "
    )
}

fn class(weight: f64, normalise: &str, loss: &str) -> String {
    format!(
        "[terms.cls]
        kind = \"class_distillation\"
        weight = {weight:?}
        teacher = \"clip\"
        normalise = \"{normalise}\"
        loss = {{ {loss} }}
        head = \"distill\"
        "
    )
}

fn cross_entropy(student: f64, teacher: f64) -> String {
    format!(
        "kind = \"cross_entropy\", student_temperature = {student:?}, teacher_temperature = {teacher:?}"
    )
}

fn pixels(weight: f64, normalise: &str, reads: &str) -> String {
    format!(
        "[terms.pixels]
        kind = \"pixel_reconstruction\"
        weight = {weight:?}
        on = \"masked\"
        loss = \"l2\"
        normalise = \"{normalise}\"
        decoder = {{ kind = \"transformer\", width = 16, depth = 2, heads = 2, mlp_width = 32, reads = \"{reads}\" }}
        "
    )
}

/// What the alignments differ in.
struct Aligned {
    top: usize,
    adaptor: &'static str,
    matrix: &'static str,
    place: &'static str,
    normalise: &'static str,
    class_token: bool,
    factor: f64,
}

/// As the code has it; its "bn" is `whole`.
const CODE: Aligned = Aligned {
    top: 2,
    adaptor: "linear",
    matrix: "kind = \"identity\", offset = 0.01",
    place: "before_adaptor",
    normalise: "layer",
    class_token: true,
    factor: 2.0,
};

/// As the paper has it.
const PAPER: Aligned = Aligned {
    top: 3,
    place: "after_adaptor",
    class_token: false,
    factor: 1.0,
    ..CODE
};

impl Aligned {
    fn recipe(&self) -> String {
        let Self {
            top,
            adaptor,
            matrix,
            place,
            normalise,
            class_token,
            factor,
        } = self;
        sparse()
            + &format!(
                "[terms.align]
                kind = \"alignment\"
                weight = 1.0
                teacher = \"clip\"
                top = {top}
                adaptor = \"{adaptor}\"
                matrix = {{ {matrix} }}
                place = \"{place}\"
                normalise = \"{normalise}\"
                class_token = {class_token}
                on = \"visible\"
                beta = 1.0
                factor = {factor:?}
                "
            )
    }

    /// Adaptors of the golden that belong to none of the compared blocks.
    fn skipped(&self) -> usize {
        match self.place {
            "after_adaptor" => 0,
            _ => DEPTH - self.top,
        }
    }
}

/// A case of the golden.
struct Case {
    name: &'static str,
    method: String,
    /// Its mask.
    mask: Option<&'static str>,
    aligned: Option<Aligned>,
}

fn cases() -> Vec<Case> {
    let medic = |name, method: String| Case {
        name,
        method,
        mask: Some("medic"),
        aligned: None,
    };
    let dense_medic = |reads| {
        dense(HIDING)
            + &patch("masked", 1.0, "layer")
            + &class(0.3, "layer", &cross_entropy(1.0, 0.5))
            + &pixels(0.01, "target", reads)
    };
    let sparse_cosine = sparse()
        + &patch("visible", 1.0, "unbiased")
        + &class(1.0, "unbiased", "kind = \"cosine\", temperature = 0.1")
        + &pixels(1.0, "target", "visible");
    let sparse_ce = sparse()
        + &patch("visible", 1.0, "layer")
        + &class(0.3, "layer", &cross_entropy(0.1, 0.1))
        + &pixels(0.01, "prediction", "visible");
    let mut cases = vec![
        medic("medic_sparse_cosine", sparse_cosine),
        medic("medic_sparse_ce", sparse_ce),
        medic("medic_dense", dense_medic("all")),
        medic("medic_dense_replaced", dense_medic("visible")),
        medic(
            "maskdistill",
            dense(HIDING) + &patch("masked", 2.0, "layer"),
        ),
        Case {
            name: "fd",
            method: dense("kind = \"none\"") + &patch("all", 2.0, "layer"),
            mask: None,
            aligned: None,
        },
    ];
    let equal = "kind = \"equal\"";
    for (name, aligned) in [
        ("maskalign_code", CODE),
        ("maskalign_paper", PAPER),
        (
            "maskalign_mlp",
            Aligned {
                top: 1,
                adaptor: "mlp",
                class_token: true,
                ..PAPER
            },
        ),
        (
            "maskalign_layer_wise",
            Aligned {
                matrix: "kind = \"layer_wise\"",
                ..CODE
            },
        ),
        (
            "maskalign_bn",
            Aligned {
                normalise: "batch",
                ..CODE
            },
        ),
        (
            "maskalign_bn_code",
            Aligned {
                normalise: "whole",
                ..CODE
            },
        ),
        (
            "maskalign_raw",
            Aligned {
                normalise: "none",
                ..CODE
            },
        ),
        (
            "maskalign_sum",
            Aligned {
                matrix: equal,
                ..CODE
            },
        ),
    ] {
        cases.push(Case {
            name,
            method: aligned.recipe(),
            mask: Some("maskalign"),
            aligned: Some(aligned),
        });
    }
    cases
}

/// Where numbers of the golden are in a tensor of ours.
struct Place {
    name: String,
    /// The first of them, there and here.
    from: [usize; 2],
    length: usize,
}

impl Case {
    /// Where a parameter of the golden, of so many numbers, is here.
    fn place(&self, key: &str, length: usize) -> Option<Place> {
        let whole = |name: String| {
            Some(Place {
                name,
                from: [0, 0],
                length,
            })
        };
        if key == "matrix" {
            let rows = self.aligned.as_ref()?.top;
            return Some(Place {
                name: "terms.align.matrix".to_owned(),
                from: [(DEPTH - rows) * DEPTH, 0],
                length: rows * DEPTH,
            });
        }
        if let Some(name) = key.strip_prefix("student.") {
            return whole(name.to_owned());
        }
        if let Some(name) = key.strip_prefix("dense.") {
            let third = ["q_bias", "k_bias", "v_bias"];
            let third = third.iter().position(|end| name.ends_with(end));
            let Some(third) = third else {
                let name = name.replace("gamma_1", "ls1.gamma");
                return whole(name.replace("gamma_2", "ls2.gamma"));
            };
            let (block, _) = name.rsplit_once('.').unwrap();
            return Some(Place {
                name: format!("{block}.qkv.bias"),
                from: [0, third * WIDTH],
                length,
            });
        }
        for adaptors in ["heads.align.", "heads.align_mlp."] {
            if let Some(rest) = key.strip_prefix(adaptors) {
                let (number, layer) = rest.split_once('.').unwrap();
                let skipped = self.aligned.as_ref()?.skipped();
                let number = number.parse::<usize>().unwrap().checked_sub(skipped)?;
                return whole(format!("terms.align.adaptors.{number}.{layer}"));
            }
        }
        whole(key.to_owned())
    }

    fn blueprint(&self) -> Blueprint {
        let method: Method =
            toml::from_str(&self.method).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let teachers = BTreeMap::from([("clip".to_owned(), teacher_config())]);
        Blueprint::new(&method, teachers).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Everything that generate.py writes.
struct Goldens {
    numbers: Golden,
    source: TensorSource,
    meta: Value,
}

impl Goldens {
    fn read() -> Self {
        let folder = fixture("goldens/pretraining");
        let meta = std::fs::read(folder.join("meta.json")).unwrap();
        Self {
            numbers: Golden::read("pretraining/pretraining.safetensors"),
            source: TensorSource::open(&folder.join("pretraining.safetensors")).unwrap(),
            meta: serde_json::from_slice(&meta).unwrap(),
        }
    }

    /// Names of what a case trains, in the order of its probes.
    fn parameters(&self, case: &str) -> Vec<String> {
        let mut names = Vec::new();
        for network in strings(&self.meta["cases"][case]["trained"]) {
            match &self.meta["parameters"][&network] {
                Value::Null => names.push(network),
                own => names.extend(strings(own).iter().map(|name| format!("{network}.{name}"))),
            }
        }
        names
    }

    /// A parameter as it begins.
    fn weight(&self, case: &str, key: &str) -> HostTensor {
        match key {
            "matrix" => self.numbers.host(&format!("{case}/matrix")),
            key => tensor(&self.source, key),
        }
    }

    fn mask(&self, name: Option<&str>) -> Mask {
        let Some(name) = name else {
            let rising = (0..PATCHES).map(|i| i as f32).collect::<Vec<_>>();
            return Mask::random(&rising.repeat(BATCH), PATCHES, 0.0).unwrap();
        };
        let seen = self.numbers.elements(&format!("masks/{name}/seen"));
        let hidden = self.numbers.elements(&format!("masks/{name}/hidden"));
        let kept = seen.len() / BATCH;
        let sample = |i: usize| {
            let hidden = &hidden[i * PATCHES..][..PATCHES];
            let hidden = (0..PATCHES).filter(|&patch| hidden[patch] == 1.0);
            let seen = seen[i * kept..][..kept].iter().map(|&patch| patch as usize);
            Sample {
                order: seen.chain(hidden).map(|patch| patch as u32).collect(),
                kept,
            }
        };
        Mask::new(PATCHES, (0..BATCH).map(sample).collect()).unwrap()
    }

    fn images<E: Engine>(&self, e: &E) -> E::Tensor {
        let images = self.numbers.elements("images");
        e.tensor(&images[..], &[BATCH, 3, SIZE, SIZE]).unwrap()
    }

    fn teacher<E: Engine>(&self, e: &E) -> Teacher<E> {
        let mut weights = Weights::default();
        for key in self.source.entries().keys() {
            if let Some(name) = key.strip_prefix("teacher.") {
                weights.insert(name.to_owned(), tensor(&self.source, key));
            }
        }
        let same = Statistics {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        };
        let size = ([SIZE; 2], &same);
        let conversion = Conversion::new(e, size, size).unwrap();
        let mut loader = Loader::frozen(e, &mut weights);
        Teacher::load(&mut loader, &teacher_config(), conversion).unwrap()
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// `max|a-b| <= tolerance max|b|`
#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let difference = pairs.fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        difference <= tolerance * largest && found.iter().all(|x| x.is_finite()),
        "{what}: differs by {difference:e}, largest {largest}"
    );
}

/// What generate.py keeps of a gradient: its products with cosines and sines, and its norm.
fn probes(gradient: &[f64]) -> [f64; 3] {
    let product = |wave: fn(f64) -> f64| {
        let products = gradient.iter().enumerate().map(|(i, g)| g * wave(i as f64));
        products.sum::<f64>()
    };
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    [product(f64::cos), product(f64::sin), norm]
}

fn check<E: Engine>(e: &E, goldens: &Goldens, case: &Case, tolerance: f64) {
    let name = case.name;
    let expected = &goldens.meta["cases"][name];
    let blueprint = case.blueprint();
    // The golden's tensors in the places of ours.
    let keys = goldens.parameters(name);
    let start = blueprint.initial_weights(0).unwrap();
    let mut start: BTreeMap<String, HostTensor> = (start.iter())
        .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
        .collect();
    let names: Vec<_> = start.keys().cloned().collect();
    let mut filled: Vec<String> = Vec::new();
    let fixed = start.contains_key("decoder.pos_embed");
    let fixed = fixed.then(|| "decoder.pos_embed".to_owned());
    for key in keys.iter().chain(&fixed) {
        let theirs = goldens.weight(name, key);
        let Some(place) = case.place(key, theirs.data.len()) else {
            continue;
        };
        let Some(ours) = start.get_mut(&place.name) else {
            continue;
        };
        let [there, here] = place.from;
        ours.data[here..here + place.length]
            .copy_from_slice(&theirs.data[there..there + place.length]);
        filled.push(place.name);
    }
    for tensor in &names {
        assert!(filled.contains(tensor), "{name}: {tensor}");
    }
    let mut weights = Weights::default();
    for (name, tensor) in start {
        weights.insert(name, tensor);
    }
    let fixed = names.iter().filter(|name| blueprint.is_fixed(name));
    let mut loader = Loader::trainable(e, &mut weights).fixing(fixed.map(String::as_str));
    let learner = Learner::load(&mut loader, &blueprint).unwrap();
    let parameters = loader.into_parameters();
    // Terms.
    let images = goldens.images(e);
    let mask = goldens.mask(case.mask);
    let lesson = goldens
        .teacher(e)
        .teach(e, &images, &blueprint.wanted()["clip"])
        .unwrap();
    let blocks = goldens.numbers.elements("blocks/teacher");
    let each = blocks.len() / DEPTH;
    for (block, tokens) in &lesson.blocks {
        let found = e.to_f64(tokens).unwrap();
        let expected = &blocks[block * each..][..each];
        assert_near("the teacher", &found, expected, tolerance);
    }
    let lessons: BTreeMap<String, Lesson<E>> = BTreeMap::from([("clip".to_owned(), lesson)]);
    let encoded = learner.encode(e, &images, (&mask, None)).unwrap();
    if let (Some(tokens), Some("medic")) = (&encoded.normed, case.mask) {
        let kind = match blueprint.has_mask_token() {
            true => "dense",
            false => "sparse",
        };
        let expected = goldens.numbers.elements(&format!("tokens/{kind}"));
        let found = e.to_f64(tokens).unwrap();
        assert_near(&format!("{name}: tokens"), &found, &expected, tolerance);
    }
    let blocks = goldens.numbers.elements("blocks/student");
    let each = blocks.len() / DEPTH;
    for (block, tokens) in &encoded.blocks {
        let found = e.to_f64(tokens).unwrap();
        let expected = &blocks[block * each..][..each];
        let what = format!("{name}: block {block} of the student");
        assert_near(&what, &found, expected, tolerance);
    }
    let terms = learner.terms(e, &images, (&mask, None), &lessons).unwrap();
    let mut total: Option<E::Tensor> = None;
    for ((term, value), weight) in learner.names().zip(&terms).zip(learner.weights()) {
        let number = |key: &str| expected[key][term].as_f64().unwrap();
        assert_eq!(weight, number("weights"), "{name} {term}");
        let found = e.to_f64(value).unwrap();
        let what = format!("{name} {term}");
        assert_near(&what, &found, &[number("terms")], tolerance);
        let weighted = e.affine(value, weight, 0.0).unwrap();
        total = Some(match total {
            Some(total) => e.add(&total, &weighted).unwrap(),
            None => weighted,
        });
    }
    assert_eq!(terms.len(), expected["terms"].as_object().unwrap().len());
    let total = total.unwrap();
    let found = e.to_f64(&total).unwrap();
    let sum = expected["total"].as_f64().unwrap();
    assert_near(&format!("{name} total"), &found, &[sum], tolerance);
    // Gradients.
    let inputs: Vec<_> = parameters.iter().map(|(_, x)| x).collect();
    let gradients = e.grad(&total, &inputs).unwrap();
    let gradients: BTreeMap<&str, Option<E::Tensor>> = (parameters.iter())
        .map(|(name, _)| name.as_str())
        .zip(gradients)
        .collect();
    let unreached = strings(&expected["unreached"]);
    let rows = goldens.numbers.elements(&format!("{name}/probes"));
    assert_eq!(rows.len(), 3 * keys.len(), "{name}");
    let mut compared = 0;
    for (key, row) in keys.iter().zip(rows.chunks_exact(3)) {
        let numbers = goldens.weight(name, key).data.len();
        let place = case.place(key, numbers);
        let own = place
            .as_ref()
            .and_then(|place| gradients.get(place.name.as_str()));
        let own = own.and_then(Option::as_ref);
        if unreached.contains(key) {
            assert!(own.is_none(), "{name}: a gradient reaches {key}");
            continue;
        }
        let (Some(own), Some(place)) = (own, place) else {
            panic!("{name}: no gradient reaches {key}");
        };
        let own = e.to_f64(own).unwrap();
        let [there, here] = place.from;
        let mut found = vec![0.0; numbers];
        found[there..there + place.length].copy_from_slice(&own[here..here + place.length]);
        let what = format!("{name}: gradient of {key}");
        // A probe is a sum over a gradient whose size is the norm.
        let (size, found_probes) = (row[2], probes(&found));
        for (found, expected) in found_probes.iter().zip(row) {
            let difference = (found - expected).abs();
            assert!(
                difference <= tolerance * size,
                "{what}: {difference:e} of {size}"
            );
        }
        let whole = format!("{name}/gradients/{key}");
        if goldens.numbers.has(&whole) {
            assert_near(&what, &found, &goldens.numbers.elements(&whole), tolerance);
        }
        compared += 1;
    }
    assert_eq!(compared, keys.len() - unreached.len());
}

fn every_case<E: Engine>(e: &E) {
    let goldens = Goldens::read();
    let tolerance = match e.precision() {
        Precision::F64 => 1e-10,
        _ => 2e-5,
    };
    let cases = cases();
    for case in &cases {
        check(e, &goldens, case, tolerance);
    }
    // Those left are of no network.
    let known = goldens.meta["cases"].as_object().unwrap().keys();
    let left: Vec<_> = known
        .filter(|name| cases.iter().all(|case| case.name != **name))
        .collect();
    assert_eq!(left, ["em", "teacher_input"]);
}

#[test]
fn every_case_on_candle() {
    every_case(&Candle::new(Precision::F64));
    every_case(&Candle::new(Precision::F32));
}

#[cfg(feature = "torch")]
#[test]
fn every_case_on_torch() {
    every_case(&Torch::new(Device::Cpu, Precision::F64).unwrap());
    every_case(&Torch::new(Device::Cpu, Precision::F32).unwrap());
}

#[test]
fn clusters_are_those_of_evolved_part_maskings_equations() {
    let goldens = Goldens::read();
    for image in 0..2 {
        let of = |what: &str| goldens.numbers.elements(&format!("em/{image}/{what}"));
        let features: Vec<f32> = of("x").iter().map(|&x| x as f32).collect();
        let labels = of("labels");
        let parts = of("shares").len() / labels.len();
        let found = em_parts(&features, &of("means"), parts, 40.0, 15);
        assert_near("shares", &found.shares, &of("shares"), 1e-9);
        let expected: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
        assert_eq!(found.labels, expected);
    }
}

/// `x * std + mean` by some statistics, normalised by others, all in f64.
fn converted(images: &[f64], [from, to]: [[[f64; 3]; 2]; 2]) -> Vec<f64> {
    let channel = images.len() / 3;
    let pixel = |(i, x): (usize, &f64)| {
        let c = i / channel;
        (x * from[1][c] + from[0][c] - to[0][c]) / to[1][c]
    };
    images.iter().enumerate().map(pixel).collect()
}

fn teacher_input<E: Engine>(e: &E, tolerance: f64) {
    let goldens = Goldens::read();
    let numbers = |key: &str| -> [[f64; 3]; 2] {
        let value = goldens.meta["cases"]["teacher_input"][key].clone();
        serde_json::from_value(value).unwrap()
    };
    let [from, to] = ["from", "to"].map(numbers);
    let first = &goldens.numbers.elements("images")[..3 * SIZE * SIZE];
    let images = e.tensor(first, &[1, 3, SIZE, SIZE]).unwrap();
    // The resizing alone.
    let resize = Resize::bicubic(e, [SIZE; 2], [12; 2]).unwrap();
    let smaller = e.to_f64(&resize.forward(e, &images).unwrap()).unwrap();
    let clip_12 = goldens.numbers.elements("teacher_input/clip_12");
    assert_near("12", &converted(&smaller, [from, to]), &clip_12, tolerance);
    // With the statistics, which are f32.
    let statistics = |[mean, std]: [[f64; 3]; 2]| Statistics {
        mean: mean.map(|x| x as f32).to_vec(),
        std: std.map(|x| x as f32).to_vec(),
    };
    for (size, key) in [(SIZE, "clip"), (12, "clip_12")] {
        let from = ([SIZE; 2], &statistics(from));
        let conversion = Conversion::new(e, from, ([size; 2], &statistics(to))).unwrap();
        let found = e.to_f64(&conversion.apply(e, &images).unwrap()).unwrap();
        let expected = goldens.numbers.elements(&format!("teacher_input/{key}"));
        assert_near(key, &found, &expected, tolerance.max(2e-7));
    }
}

#[test]
fn a_teacher_is_given_what_it_was_trained_with() {
    teacher_input(&Candle::new(Precision::F64), 1e-12);
    teacher_input(&Candle::new(Precision::F32), 1e-6);
    #[cfg(feature = "torch")]
    teacher_input(&Torch::new(Device::Cpu, Precision::F64).unwrap(), 1e-12);
}
