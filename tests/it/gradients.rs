//! A whole small ViT on every engine: logits, loss, the gradient of every parameter and steps of
//! AdamW, against timm and PyTorch in f64 (`tests/goldens/engine/generate_vit.py`).

use mimbench::engine::candle::Candle;
use mimbench::engine::{AdamW, Engine, HostTensor, Moments, Precision, Targets, Update};
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::nn::{Loader, TensorStore, Weights};
use mimbench::vit::{Classifier, HeadConfig, VitConfig, random_classifier_weights};
use safetensors::SafeTensors;

use crate::support::fixture;

const CLASSES: usize = 10;
const BATCH: usize = 3;

/// The golden's architecture.
fn config() -> VitConfig {
    VitConfig::plain(8, [4, 4], (24, 3, 3))
}

/// The golden file.
struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn read() -> Self {
        let bytes = std::fs::read(fixture("goldens/engine/tiny_vit.safetensors")).unwrap();
        Self { bytes }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn f32(&self, key: &str) -> Vec<f32> {
        let file = self.file();
        let words = file.tensor(key).unwrap().data().as_chunks::<4>().0;
        words.iter().map(|x| f32::from_le_bytes(*x)).collect()
    }

    fn f64(&self, key: &str) -> Vec<f64> {
        let file = self.file();
        let words = file.tensor(key).unwrap().data().as_chunks::<8>().0;
        words.iter().map(|x| f64::from_le_bytes(*x)).collect()
    }

    fn classes(&self) -> Vec<u32> {
        let file = self.file();
        let words = file.tensor("classes").unwrap().data().as_chunks::<8>().0;
        words
            .iter()
            .map(|x| i64::from_le_bytes(*x) as u32)
            .collect()
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        for (key, view) in self.file().iter() {
            if let Some(name) = key.strip_prefix("weights/") {
                let shape = view.shape().to_vec();
                let data = self.f32(key);
                weights.insert(name.to_owned(), HostTensor { shape, data });
            }
        }
        weights
    }
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
        "{what}: differs by {difference}, largest {largest}"
    );
}

/// The golden's model as a trainable one.
struct Model<'a, E: Engine> {
    engine: &'a E,
    classifier: Classifier<E>,
    parameters: Vec<(String, E::Tensor)>,
    images: E::Tensor,
}

impl<'a, E: Engine> Model<'a, E> {
    fn new(engine: &'a E, golden: &Golden) -> Self {
        Self::load(engine, &config(), golden.weights(), &golden.f32("images"))
    }

    fn load(engine: &'a E, config: &VitConfig, mut weights: Weights, images: &[f32]) -> Self {
        let mut loader = Loader::trainable(engine, &mut weights);
        let classifier =
            Classifier::load(&mut loader, config, HeadConfig::usual(config, CLASSES)).unwrap();
        let parameters = loader.into_parameters();
        assert_eq!(weights.left(), [""; 0]);
        let images = engine.tensor(images, &[BATCH, 3, 32, 32]).unwrap();
        Self {
            engine,
            classifier,
            parameters,
            images,
        }
    }

    fn logits(&self) -> E::Tensor {
        self.classifier.forward(self.engine, &self.images).unwrap()
    }

    /// The loss and the gradient of every parameter, in the parameters' order.
    fn gradients(
        &self,
        logits: &E::Tensor,
        targets: Targets<'_, E::Tensor>,
    ) -> (f64, Vec<E::Tensor>) {
        let loss = self.engine.cross_entropy(logits, targets).unwrap();
        let value = self.engine.to_f64(&loss).unwrap()[0];
        let inputs: Vec<_> = self.parameters.iter().map(|(_, x)| x).collect();
        let gradients = self.engine.grad(&loss, &inputs).unwrap().into_iter();
        let gradients = gradients
            .zip(&self.parameters)
            .map(|(gradient, (name, _))| gradient.unwrap_or_else(|| panic!("{name} is cut")));
        (value, gradients.collect())
    }
}

/// Logits, both losses and their gradients.
fn gradients_agree<E: Engine>(engine: &E, tolerance: f64) {
    let golden = Golden::read();
    let model = Model::new(engine, &golden);
    let classes = golden.classes();
    let soft = golden.f32("targets");
    let soft = engine.tensor(&soft[..], &[BATCH, CLASSES]).unwrap();
    for (kind, targets) in [
        ("hard", Targets::Classes(&classes)),
        ("soft", Targets::Soft(&soft)),
    ] {
        let logits = model.logits();
        let found = engine.to_f64(&logits).unwrap();
        assert_near("logits", &found, &golden.f64("logits"), tolerance);
        let (loss, gradients) = model.gradients(&logits, targets);
        let expected = golden.f64(&format!("{kind}/loss"));
        assert_near(&format!("{kind} loss"), &[loss], &expected, tolerance);
        assert_eq!(gradients.len(), 4 + 3 * 12 + 4);
        for (gradient, (name, parameter)) in gradients.iter().zip(&model.parameters) {
            let what = format!("{kind} gradient of {name}");
            assert_eq!(engine.shape(gradient), engine.shape(parameter), "{what}");
            let found = engine.to_f64(gradient).unwrap();
            let expected = golden.f64(&format!("{kind}/grad/{name}"));
            assert_near(&what, &found, &expected, tolerance);
        }
    }
}

/// Three steps on the hard loss.
fn train<E: Engine>(model: &Model<'_, E>, classes: &[u32]) {
    let engine = model.engine;
    let moments: Vec<Moments<_>> = model
        .parameters
        .iter()
        .map(|(_, x)| engine.moments(x).unwrap())
        .collect();
    for step in 1..=3 {
        let (_, gradients) = model.gradients(&model.logits(), Targets::Classes(classes));
        let settings = AdamW {
            learning_rate: 1e-2,
            betas: [0.9, 0.999],
            eps: 1e-3,
            weight_decay: 0.05,
            step,
        };
        let group: Vec<_> = model
            .parameters
            .iter()
            .zip(&gradients)
            .zip(&moments)
            .map(|(((_, parameter), gradient), moments)| Update {
                parameter,
                gradient,
                moments,
            })
            .collect();
        engine.adamw(&settings, &group).unwrap();
    }
}

/// Every parameter after three steps.
fn adamw_steps_agree<E: Engine>(engine: &E, tolerance: f64) {
    let golden = Golden::read();
    let model = Model::new(engine, &golden);
    train(&model, &golden.classes());
    for (name, parameter) in &model.parameters {
        let found = engine.to_f64(parameter).unwrap();
        let expected = golden.f64(&format!("adamw/{name}"));
        assert_near(&format!("{name} after AdamW"), &found, &expected, tolerance);
    }
}

#[test]
fn candle_in_f64() {
    let engine = Candle::new(Precision::F64);
    gradients_agree(&engine, 1e-10);
    adamw_steps_agree(&engine, 1e-10);
}

#[test]
fn candle_in_f32() {
    let engine = Candle::new(Precision::F32);
    gradients_agree(&engine, 1e-5);
    adamw_steps_agree(&engine, 1e-5);
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_f64_and_f32() {
    for (precision, tolerance) in [(Precision::F64, 1e-10), (Precision::F32, 1e-5)] {
        let engine = Torch::new(Device::Cpu, precision).unwrap();
        gradients_agree(&engine, tolerance);
        adamw_steps_agree(&engine, tolerance);
    }
}

#[test]
fn threads_change_no_bit_of_a_trained_model() {
    // Wide enough that the matrix products take several threads.
    let config = VitConfig::plain(8, [4, 4], (192, 2, 3));
    let images: Vec<f32> = (0..BATCH * 3 * 32 * 32)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let trained = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let engine = Candle::new(Precision::F32);
            let weights = random_classifier_weights(&config, CLASSES, 1);
            let model = Model::load(&engine, &config, weights, &images);
            train(&model, &[1, 7, 4]);
            let parameters = model.parameters.iter();
            let bits = parameters.flat_map(|(_, x)| engine.to_f32(x).unwrap());
            bits.map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = trained(1);
    assert!(trained(2) == one && trained(3) == one);
}
