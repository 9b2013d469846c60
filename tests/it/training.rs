//! Twenty steps of each optimizer on a tiny ViT against PyTorch and timm in f64
//! (`tests/goldens/training/generate.py`), batch normalisation, and accumulated gradients.

use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision, Targets};
use mimbench::features::Token;
use mimbench::nn::{BatchNorm, BatchNormConfig, Linear, Loader, Weights};
use mimbench::train::{
    DecayExclusion, Group, LayerDecayRule, LearningRate, Optimizer, OptimizerKind, Parameter,
    Position, Schedule, clip, layer_groups, plain_groups,
};
use mimbench::vit::{Classifier, HeadConfig, Vit, VitConfig};
use safetensors::{Dtype, SafeTensors};

use crate::support::fixture;

// What generate.py trains, and how long.
pub const CLASSES: usize = 7;
pub const WIDTH: usize = 16;
pub const DEPTH: usize = 3;
pub const STEPS: u64 = 20;
const EPOCHS: u64 = 4;
pub const BATCH: usize = 8;
pub const PIXELS: usize = 3 * 32 * 32;

pub fn config() -> VitConfig {
    VitConfig::plain(8, [4, 4], (WIDTH, DEPTH, 2))
}

pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let path = fixture("goldens").join(name);
        let bytes = std::fs::read(path).unwrap();
        Self { bytes }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// Shape and elements, whatever their type.
    #[track_caller]
    fn tensor(&self, key: &str) -> (Vec<usize>, Vec<f64>) {
        let file = self.file();
        let view = file.tensor(key).unwrap_or_else(|_| panic!("no {key}"));
        let data = view.data();
        let words = |bytes: &[u8]| -> [u8; 8] { bytes.try_into().unwrap() };
        let elements = match view.dtype() {
            Dtype::U8 => data.iter().map(|&x| x.into()).collect(),
            Dtype::F32 => {
                let words = data.as_chunks::<4>().0.iter();
                words.map(|&x| f32::from_le_bytes(x).into()).collect()
            }
            Dtype::F64 => {
                let parts = data.chunks_exact(8);
                parts.map(|x| f64::from_le_bytes(words(x))).collect()
            }
            Dtype::I64 => {
                let parts = data.chunks_exact(8);
                parts.map(|x| i64::from_le_bytes(words(x)) as f64).collect()
            }
            other => panic!("{key} is {other:?}"),
        };
        (view.shape().to_vec(), elements)
    }

    pub fn has(&self, key: &str) -> bool {
        self.file().tensor(key).is_ok()
    }

    pub fn elements(&self, key: &str) -> Vec<f64> {
        self.tensor(key).1
    }

    pub fn host(&self, key: &str) -> HostTensor {
        let (shape, elements) = self.tensor(key);
        let data = elements.iter().map(|&x| x as f32).collect();
        HostTensor { shape, data }
    }

    fn on<E: Engine>(&self, e: &E, key: &str) -> E::Tensor {
        let (shape, elements) = self.tensor(key);
        e.tensor(&elements[..], &shape).unwrap()
    }

    /// The ViT's weights before training; those of the head where `head`.
    pub fn weights(&self, head: bool) -> Weights {
        let mut weights = Weights::default();
        for key in self.file().names() {
            if let Some(name) = key.strip_prefix("weights/")
                && (head || !name.starts_with("head."))
            {
                weights.insert(name.to_owned(), self.host(key));
            }
        }
        weights
    }

    /// Images `[B, 3, 32, 32]` and classes of a step.
    fn batch<E: Engine>(&self, e: &E, step: u64) -> (E::Tensor, Vec<u32>) {
        let (pool, labels) = (self.elements("images"), self.elements("labels"));
        let start = step as usize * BATCH;
        let picks = &self.elements("picks")[start..start + BATCH];
        let image = |&pick: &f64| pool[pick as usize * PIXELS..][..PIXELS].iter();
        let pixels = picks.iter().flat_map(image);
        let pixels: Vec<f64> = pixels.map(|x| (x - 127.5) / 127.5).collect();
        let classes = picks.iter().map(|&pick| labels[pick as usize] as u32);
        let images = e.tensor(&pixels[..], &[BATCH, 3, 32, 32]).unwrap();
        (images, classes.collect())
    }
}

/// A model's parameters with the values they began with.
struct Trained<E: Engine> {
    parameters: Vec<Parameter<E>>,
    start: Vec<Vec<f64>>,
    losses: Vec<f64>,
}

impl<E: Engine> Trained<E> {
    fn new(e: &E, loader: Loader<'_, E>) -> Self {
        let parameter = |(name, tensor)| Parameter { name, tensor };
        let parameters: Vec<_> = loader
            .into_parameters()
            .into_iter()
            .map(parameter)
            .collect();
        let value = |parameter: &Parameter<E>| e.to_f64(&parameter.tensor).unwrap();
        Self {
            start: parameters.iter().map(value).collect(),
            parameters,
            losses: Vec::new(),
        }
    }

    fn optimizer(
        &self,
        e: &E,
        kind: OptimizerKind,
        groups: impl FnOnce(&[(&str, &[usize])]) -> Vec<Group>,
    ) -> Optimizer<E> {
        let shapes: Vec<_> = self.parameters.iter().map(|p| e.shape(&p.tensor)).collect();
        let named: Vec<(&str, &[usize])> = self
            .parameters
            .iter()
            .zip(&shapes)
            .map(|(parameter, shape)| (parameter.name.as_str(), &shape[..]))
            .collect();
        Optimizer::new(e, kind, &self.parameters, groups(&named)).unwrap()
    }

    /// The gradient of every parameter; the loss is noted.
    fn gradients(&mut self, e: &E, loss: &E::Tensor) -> Vec<E::Tensor> {
        let handles: Vec<_> = self.parameters.iter().map(|p| &p.tensor).collect();
        let gradients = e.grad(loss, &handles).unwrap();
        self.losses.push(e.to_f64(loss).unwrap()[0]);
        gradients.into_iter().map(Option::unwrap).collect()
    }

    fn compare(&self, e: &E, golden: &Golden, case: &str) {
        let losses = golden.elements(&format!("{case}/losses"));
        assert_eq!(losses.len() as u64, STEPS);
        match e.precision() {
            Precision::F64 => assert_near("losses", &self.losses, &losses, 1e-8),
            _ => assert_near("losses", &self.losses, &losses, 1e-4),
        }
        for (parameter, start) in self.parameters.iter().zip(&self.start) {
            let what = format!("{case} {}", parameter.name);
            let found = e.to_f64(&parameter.tensor).unwrap();
            let expected = golden.elements(&format!("{case}/{}", parameter.name));
            assert_moved(&what, e.precision(), start, &found, &expected);
        }
    }
}

/// In f64 the values themselves, in f32 how far a parameter has come from where it began.
#[track_caller]
pub fn assert_moved(
    what: &str,
    precision: Precision,
    start: &[f64],
    found: &[f64],
    expected: &[f64],
) {
    if precision == Precision::F64 {
        return assert_near(what, found, expected, 1e-8);
    }
    // A key's bias has no true gradient: what moves it is rounding.
    let keys = match what.ends_with("attn.qkv.bias") {
        true => WIDTH..2 * WIDTH,
        false => 0..0,
    };
    let distance = |x: &[f64], y: &[f64]| -> f64 {
        let pairs = x.iter().zip(y).enumerate();
        let counted = pairs.filter(|(i, _)| !keys.contains(i));
        counted
            .map(|(_, (x, y))| (x - y).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let error = distance(found, expected) / distance(expected, start);
    assert!(error <= 1e-3, "{what}: {error:.1e} of its way");
}

/// `max|a-b| <= tolerance max|b|`
#[track_caller]
pub fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let difference = pairs.fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        difference <= tolerance * largest && found.iter().all(|x| x.is_finite()),
        "{what}: differs by {:.1e} of its largest",
        difference / largest
    );
}

pub fn position(iteration: u64) -> Position {
    Position {
        iteration,
        iterations_per_epoch: STEPS / EPOCHS,
        epochs: EPOCHS,
    }
}

fn classifier<E: Engine>(e: &E, golden: &Golden) -> (Classifier<E>, Trained<E>) {
    let mut weights = golden.weights(true);
    let mut loader = Loader::trainable(e, &mut weights);
    let model = Classifier::load(
        &mut loader,
        &config(),
        HeadConfig::usual(&config(), CLASSES),
    )
    .unwrap();
    (model, Trained::new(e, loader))
}

/// MAE's fine-tuning.
fn adamw<E: Engine>(e: &E) {
    let golden = Golden::read("training/training.safetensors");
    let (model, mut trained) = classifier(e, &golden);
    let kind = OptimizerKind::AdamW {
        betas: [0.9, 0.999],
        eps: 1e-8,
    };
    let mut optimizer = trained.optimizer(e, kind, |parameters| {
        layer_groups(LayerDecayRule::Mae, 0.65, DEPTH, parameters)
    });
    // Each layer with and without decay; block by block, and what is before and behind them.
    assert_eq!(optimizer.groups().len(), 2 * (DEPTH + 2));
    let schedule = Schedule::MaeCosine {
        warmup_epochs: 1.0,
        end: 1e-5,
    };
    for step in 0..STEPS {
        let (images, classes) = golden.batch(e, step);
        let targets = Targets::Smoothed {
            ids: &classes,
            smoothing: 0.1,
        };
        let logits = model.forward(e, &images).unwrap();
        let gradients = trained.gradients(e, &e.cross_entropy(&logits, targets).unwrap());
        let rate = schedule.at(2e-3, position(step));
        optimizer
            .step(
                e,
                &trained.parameters,
                &gradients,
                LearningRate::constant(rate),
                0.05,
            )
            .unwrap();
    }
    trained.compare(e, &golden, "adamw");
}

/// MAE's linear probe: the ViT is constant.
fn lars<E: Engine>(e: &E) {
    let golden = Golden::read("training/training.safetensors");
    let mut frozen = golden.weights(false);
    let vit = Vit::load(&mut Loader::frozen(e, &mut frozen), &config()).unwrap();
    let mut weights = Weights::default();
    let row = |length, value| HostTensor {
        shape: vec![length],
        data: vec![value; length],
    };
    weights.insert("norm.running_mean".to_owned(), row(WIDTH, 0.0));
    weights.insert("norm.running_var".to_owned(), row(WIDTH, 1.0));
    weights.insert("head.weight".to_owned(), golden.host("lars/start"));
    weights.insert("head.bias".to_owned(), row(CLASSES, 0.0));
    let mut loader = Loader::trainable(e, &mut weights);
    let settings = BatchNormConfig {
        width: WIDTH,
        eps: 1e-6,
        momentum: 0.1,
        affine: false,
    };
    let norm = BatchNorm::load(&mut loader, "norm", settings).unwrap();
    let head = Linear::load(&mut loader, "head", WIDTH, CLASSES).unwrap();
    let mut trained = Trained::new(e, loader);
    let kind = OptimizerKind::Lars {
        momentum: 0.9,
        trust: 0.001,
    };
    let mut optimizer = trained.optimizer(e, kind, |parameters| {
        plain_groups(DecayExclusion::Nothing, parameters)
    });
    let schedule = Schedule::MaeCosine {
        warmup_epochs: 1.0,
        end: 0.0,
    };
    let features = |images: &E::Tensor| {
        let nothing = &mut |_, _: &E::Tensor| Ok(());
        let tokens = vit.forward(e, images, DEPTH, &|_| false, nothing).unwrap();
        vit.pool(e, &tokens, Token::Cls, true).unwrap()
    };
    for step in 0..STEPS {
        let (images, classes) = golden.batch(e, step);
        let normed = norm.forward_training(e, &features(&images), true).unwrap();
        let logits = head.forward(e, &normed).unwrap();
        let loss = e.cross_entropy(&logits, Targets::Classes(&classes));
        let gradients = trained.gradients(e, &loss.unwrap());
        let rate = schedule.at(6.4, position(step));
        optimizer
            .step(
                e,
                &trained.parameters,
                &gradients,
                LearningRate::constant(rate),
                0.01,
            )
            .unwrap();
    }
    trained.compare(e, &golden, "lars");
    let tolerance = match e.precision() {
        Precision::F64 => 1e-8,
        _ => 1e-4,
    };
    let near = |name: &str, x: &E::Tensor| {
        let expected = golden.elements(&format!("lars/{name}"));
        assert_near(name, &e.to_f64(x).unwrap(), &expected, tolerance);
    };
    for (name, buffer) in norm.buffers() {
        near(name, buffer);
    }
    let normed = norm.forward(e, &features(&golden.batch(e, STEPS - 1).0));
    near("logits", &head.forward(e, &normed.unwrap()).unwrap());
}

/// Nesterov's momentum over clipped gradients.
fn sgd<E: Engine>(e: &E) {
    let golden = Golden::read("training/training.safetensors");
    let (model, mut trained) = classifier(e, &golden);
    let kind = OptimizerKind::Sgd {
        momentum: 0.9,
        nesterov: true,
    };
    let mut optimizer = trained.optimizer(e, kind, |parameters| {
        plain_groups(DecayExclusion::Nothing, parameters)
    });
    let norms: Vec<f64> = (0..STEPS)
        .map(|step| {
            let (images, classes) = golden.batch(e, step);
            let logits = model.forward(e, &images).unwrap();
            let loss = e.cross_entropy(&logits, Targets::Classes(&classes));
            let mut gradients = trained.gradients(e, &loss.unwrap());
            let norm = clip(e, &mut gradients, 2.0).unwrap();
            optimizer
                .step(
                    e,
                    &trained.parameters,
                    &gradients,
                    LearningRate::constant(0.1),
                    1e-4,
                )
                .unwrap();
            norm
        })
        .collect();
    // Some steps are clipped, some are not.
    assert!(norms.iter().any(|&norm| norm < 2.0) && norms.iter().any(|&norm| norm > 2.0));
    let tolerance = match e.precision() {
        Precision::F64 => 1e-8,
        _ => 1e-4,
    };
    assert_near("norms", &norms, &golden.elements("sgd/norms"), tolerance);
    trained.compare(e, &golden, "sgd");
}

/// `[B, D, ..]` -> `[B, .., D]`
fn features_last<E: Engine>(e: &E, x: &E::Tensor) -> E::Tensor {
    let mut axes: Vec<usize> = (0..e.shape(x).len()).collect();
    axes[1..].rotate_left(1);
    e.permute(x, &axes).unwrap()
}

/// `torch.nn.BatchNorm1d` and `2d`: outputs, gradients, running statistics.
fn batch_norm<E: Engine>(e: &E, tolerance: f64) {
    let golden = Golden::read("training/batch_norm.safetensors");
    for case in ["rows", "maps"] {
        let key = |name: &str| format!("{case}/{name}");
        let mut weights = Weights::default();
        for (name, value) in [("running_mean", 0.0), ("running_var", 1.0)] {
            let data = vec![value; 4];
            let shape = vec![4];
            weights.insert(key(name).replace('/', "."), HostTensor { shape, data });
        }
        for name in ["weight", "bias"] {
            weights.insert(key(name).replace('/', "."), golden.host(&key(name)));
        }
        let settings = BatchNormConfig {
            width: 4,
            eps: 1e-5,
            momentum: 0.1,
            affine: true,
        };
        let mut loader = Loader::trainable(e, &mut weights);
        let norm = BatchNorm::load(&mut loader, case, settings).unwrap();
        let affine = loader.into_parameters();
        assert_eq!(affine.len(), 2);
        let near = |name: &str, x: &E::Tensor| {
            let expected = golden.elements(&key(name));
            assert_near(&key(name), &e.to_f64(x).unwrap(), &expected, tolerance);
        };
        for batch in 0..2 {
            let part = |name: &str| format!("{batch}/{name}");
            let (shape, x) = golden.tensor(&key(&part("x")));
            let x = e.parameter(&x[..], &shape).unwrap();
            let last = |x: &E::Tensor| features_last(e, x);
            let y = norm.forward_training(e, &last(&x), true).unwrap();
            let cotangent = last(&golden.on(e, &key(&part("cotangent"))));
            let expected = last(&golden.on(e, &key(&part("out"))));
            assert_near(
                &key(&part("out")),
                &e.to_f64(&y).unwrap(),
                &e.to_f64(&expected).unwrap(),
                tolerance,
            );
            let axes: Vec<usize> = (0..shape.len()).collect();
            let loss = e.sum(&e.mul(&y, &cotangent).unwrap(), &axes).unwrap();
            let inputs = [&x, &affine[0].1, &affine[1].1];
            let gradients = e.grad(&loss, &inputs).unwrap();
            for (name, gradient) in ["x", "weight", "bias"].iter().zip(gradients) {
                near(&part(&format!("grad.{name}")), &gradient.unwrap());
            }
            if batch == 1 {
                let evaluated = norm.forward(e, &last(&x)).unwrap();
                let expected = last(&golden.on(e, &key("evaluated")));
                let [evaluated, expected] = [evaluated, expected].map(|x| e.to_f64(&x).unwrap());
                assert_near(&key("evaluated"), &evaluated, &expected, tolerance);
            }
        }
        let [(mean_name, mean), (_, variance)] = norm.buffers();
        assert_eq!(*mean_name, format!("{case}.running_mean"));
        near("running_mean", mean);
        near("running_var", variance);
        // A single row has no variance.
        let one = e.tensor(&[0f32; 4][..], &[1, 4]).unwrap();
        assert!(norm.forward_training(e, &one, true).is_err());
        assert!(norm.forward(e, &one).is_ok());
        let narrow = e.tensor(&[0f32; 4][..], &[2, 2]).unwrap();
        assert!(norm.forward(e, &narrow).is_err());
    }
}

/// Halves of a batch, their gradients added up, make the step that the batch makes.
fn accumulation<E: Engine>(e: &E) {
    let golden = Golden::read("training/training.safetensors");
    let run = |parts: usize| {
        let (model, mut trained) = classifier(e, &golden);
        let kind = OptimizerKind::Sgd {
            momentum: 0.9,
            nesterov: false,
        };
        let mut optimizer = trained.optimizer(e, kind, |parameters| {
            plain_groups(DecayExclusion::Vectors, parameters)
        });
        for step in 0..3 {
            let (images, classes) = golden.batch(e, step);
            let size = BATCH / parts;
            let mut sums: Option<Vec<E::Tensor>> = None;
            for part in 0..parts {
                let images = e.narrow(&images, 0, part * size, size).unwrap();
                let classes = &classes[part * size..][..size];
                let logits = model.forward(e, &images).unwrap();
                let loss = e.cross_entropy(&logits, Targets::Classes(classes)).unwrap();
                let share = e.affine(&loss, 1.0 / parts as f64, 0.0).unwrap();
                let gradients = trained.gradients(e, &share);
                sums = Some(match sums {
                    None => gradients,
                    Some(sums) => {
                        let pairs = sums.iter().zip(&gradients);
                        pairs.map(|(x, y)| e.add(x, y).unwrap()).collect()
                    }
                });
            }
            optimizer
                .step(
                    e,
                    &trained.parameters,
                    &sums.unwrap(),
                    LearningRate::constant(0.1),
                    0.05,
                )
                .unwrap();
        }
        let value = |parameter: &Parameter<E>| e.to_f64(&parameter.tensor).unwrap();
        trained.parameters.iter().map(value).collect::<Vec<_>>()
    };
    let whole = run(1);
    for parts in [2, 4] {
        for (found, expected) in run(parts).iter().zip(&whole) {
            assert_near("accumulated", found, expected, 1e-12);
        }
    }
}

fn in_f64<E: Engine>(e: &E) {
    adamw(e);
    lars(e);
    sgd(e);
    batch_norm(e, 1e-12);
    accumulation(e);
}

fn in_f32<E: Engine>(e: &E) {
    adamw(e);
    lars(e);
    sgd(e);
    batch_norm(e, 1e-5);
}

#[test]
fn candle_in_f64() {
    in_f64(&Candle::new(Precision::F64));
}

#[test]
fn candle_in_f32() {
    in_f32(&Candle::new(Precision::F32));
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_f64() {
    in_f64(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_f32() {
    in_f32(&Torch::new(Device::Cpu, Precision::F32).unwrap());
}
