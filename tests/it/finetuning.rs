//! Twenty steps of MAE's fine-tuning on a tiny ViT, with given coefficients and boxes of mixing, and
//! dropped branches, against PyTorch and timm in f64 (`tests/goldens/finetuning/generate.py`).

use mimbench::data::{Cut, MixDraw, Pick};
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::features::Token;
use mimbench::nn::{Loader, Weights};
use mimbench::train::{
    Classification, ImageBatch, LayerDecayRule, LearningRate, MixedIn, Optimizer, OptimizerKind,
    Parameter, Schedule, Share, Trainable, Trainer, TrainerSettings, layer_groups,
};
use mimbench::vit::{Classifier, DropPath, FinalNorm, HeadConfig, HeadInput, VitConfig};

use crate::training::{
    BATCH, CLASSES, DEPTH, Golden, PIXELS, STEPS, WIDTH, assert_moved, assert_near, config,
    position,
};

/// Side of an image.
const SIZE: usize = 32;

fn averaging() -> (VitConfig, HeadConfig) {
    let config = VitConfig {
        final_norm: FinalNorm::MeanPatch,
        ..config()
    };
    let head = HeadConfig {
        input: HeadInput::Pooled {
            token: Token::MeanPatch,
            norm: true,
        },
        width: WIDTH,
        classes: CLASSES,
    };
    (config, head)
}

/// Goldens of both scripts.
struct Goldens {
    known: Golden,
    own: Golden,
}

impl Goldens {
    fn read() -> Self {
        Self {
            known: Golden::read("training/training.safetensors"),
            own: Golden::read("finetuning/finetuning.safetensors"),
        }
    }

    fn weights(&self) -> Weights {
        let mut weights = self.known.weights(false);
        for part in ["weight", "bias"] {
            weights.remove(&format!("norm.{part}"));
        }
        let row = |length, value| HostTensor {
            shape: vec![length],
            data: vec![value; length],
        };
        weights.insert("fc_norm.weight".to_owned(), row(WIDTH, 1.0));
        weights.insert("fc_norm.bias".to_owned(), row(WIDTH, 0.0));
        weights.insert("head.weight".to_owned(), self.own.host("head"));
        weights.insert("head.bias".to_owned(), row(CLASSES, 0.0));
        weights
    }

    /// The mixed images of a step: timm pairs a batch's first with its last, here they are
    /// neighbours.
    fn batch(&self, step: u64) -> ImageBatch {
        let (pool, labels) = (self.known.elements("images"), self.known.elements("labels"));
        let picks = &self.known.elements("picks")[step as usize * BATCH..][..BATCH];
        let pick = |place: usize| picks[place] as usize;
        let pixels = |place: usize| -> Vec<f32> {
            let image = &pool[pick(place) * PIXELS..][..PIXELS];
            let value = |&byte: &f64| (byte as f32 / 255.0 - 0.5) / 0.5;
            image.iter().map(value).collect()
        };
        let draw = self.draw(step);
        let mut batch = ImageBatch {
            pixels: Vec::new(),
            labels: Vec::new(),
            picks: Vec::new(),
            mixed: Vec::new(),
            contents: vec![[0; 16]; BATCH],
        };
        for first in 0..BATCH / 2 {
            let pair = [first, BATCH - 1 - first];
            let mut images = pair.map(pixels);
            let [one, other] = &mut images;
            draw.apply(one, other, [3, SIZE, SIZE]);
            batch.pixels.extend(images.into_iter().flatten());
            for (place, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                batch.labels.push(labels[pick(place)] as u32);
                batch.picks.push(Pick {
                    index: pick(place),
                    pass: 0,
                    group: step,
                });
                batch.mixed.push(Some(MixedIn {
                    label: labels[pick(other)] as u32,
                    lambda: draw.lambda,
                }));
            }
        }
        batch
    }

    fn draw(&self, step: u64) -> MixDraw {
        let sides = &self.own.elements("boxes")[4 * step as usize..][..4];
        let [top, bottom, left, right] = [0, 1, 2, 3].map(|i| sides[i] as usize);
        let area = (bottom - top) * (right - left);
        match step % 2 {
            0 => MixDraw {
                lambda: self.own.elements("lambdas")[step as usize],
                cut: None,
            },
            _ => MixDraw {
                lambda: 1.0 - area as f64 / (SIZE * SIZE) as f64,
                cut: Some(Cut {
                    top,
                    bottom,
                    left,
                    right,
                }),
            },
        }
    }
}

fn parameters<E: Engine>(loader: Loader<'_, E>) -> Vec<Parameter<E>> {
    let parameters = loader.into_parameters().into_iter();
    parameters
        .map(|(name, tensor)| Parameter { name, tensor })
        .collect()
}

fn steps<E: Engine>(e: &E) {
    let goldens = Goldens::read();
    let (config, head) = averaging();
    let mut weights = goldens.weights();
    let mut loader = Loader::trainable(e, &mut weights);
    let classifier = Classifier::load(&mut loader, &config, head).unwrap();
    let parameters = parameters(loader);
    let start: Vec<_> = (parameters.iter())
        .map(|own| e.to_f64(&own.tensor).unwrap())
        .collect();
    let named: Vec<_> = (parameters.iter())
        .map(|own| (own.name.clone(), own.tensor.clone()))
        .collect();
    let mut nothing = Weights::default();
    let mut sharing = Loader::sharing(e, &mut nothing, &named).unwrap();
    let frozen = Classifier::load(&mut sharing, &config, head).unwrap();
    let shapes: Vec<_> = named.iter().map(|(_, tensor)| e.shape(tensor)).collect();
    let by_name: Vec<_> = (named.iter().zip(&shapes))
        .map(|((name, _), shape)| (name.as_str(), &shape[..]))
        .collect();
    let groups = layer_groups(LayerDecayRule::Mae, 0.65, DEPTH, &by_name);
    let kind = OptimizerKind::AdamW {
        betas: [0.9, 0.999],
        eps: 1e-8,
    };
    let optimizer = Optimizer::new(e, kind, &parameters, groups).unwrap();
    let objective = Classification {
        classifier,
        frozen,
        drop_path: vec![0.0; DEPTH],
        smoothing: 0.1,
        seed: 0,
    };
    let settings = TrainerSettings::default();
    let mut trainer = Trainer::new(e.clone(), objective, parameters, optimizer, settings);
    let schedule = Schedule::MaeCosine {
        warmup_epochs: 1.0,
        end: 1e-5,
    };
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let share = Share {
            samples: BATCH as f64,
            first: true,
        };
        losses.extend(trainer.accumulate(&goldens.batch(step), share).unwrap());
        let rate = LearningRate::constant(schedule.at(2e-3, position(step)));
        trainer.update(rate, 0.05).unwrap();
    }
    let expected = goldens.own.elements("steps/losses");
    let exact = e.precision() == Precision::F64;
    assert_near(
        "losses",
        &losses,
        &expected,
        if exact { 1e-8 } else { 1e-4 },
    );
    for ((name, tensor), start) in named.iter().zip(&start) {
        let found = e.to_f64(tensor).unwrap();
        let expected = goldens.own.elements(&format!("steps/{name}"));
        assert_moved(name, e.precision(), start, &found, &expected);
    }
    // What validates has moved along.
    let scores = trainer.validate(&goldens.batch(0)).unwrap();
    assert_eq!(scores.len(), 1);
    let images = trainer.objective();
    let logits = |classifier: &Classifier<E>| {
        let pixels = goldens.batch(0).pixels;
        let images = e.tensor(&pixels[..], &[BATCH, 3, SIZE, SIZE]).unwrap();
        e.to_f64(&classifier.forward(e, &images).unwrap()).unwrap()
    };
    assert_eq!(logits(&images.frozen), logits(&images.classifier));
}

/// Branches left out by given numbers: logits, and some gradients of a weighted sum of them.
fn dropped<E: Engine>(e: &E) {
    let goldens = Goldens::read();
    let (config, head) = averaging();
    let mut weights = goldens.weights();
    let mut loader = Loader::trainable(e, &mut weights);
    let classifier = Classifier::load(&mut loader, &config, head).unwrap();
    let parameters = parameters(loader);
    let batch = goldens.batch(0);
    let images = e
        .tensor(&batch.pixels[..], &[BATCH, 3, SIZE, SIZE])
        .unwrap();
    let numbers = goldens.own.elements("numbers");
    // timm's place of the image at each of ours.
    let place = |ours: usize| match ours % 2 {
        0 => ours / 2,
        _ => BATCH - 1 - ours / 2,
    };
    // Asked block by block, both branches of an image at once.
    let mut asked = [0; BATCH];
    let mut draw = |image: usize| {
        let block = asked[image];
        asked[image] += 1;
        [0, 1].map(|branch| numbers[(block * 2 + branch) * BATCH + place(image)])
    };
    let drops = DropPath::new(e, &[0.0, 0.2, 0.4], BATCH, &mut draw).unwrap();
    let logits = classifier.forward_dropping(e, &images, &drops).unwrap();
    let tolerance = if e.precision() == Precision::F64 {
        1e-12
    } else {
        1e-5
    };
    let reordered = |values: &[f64]| -> Vec<f64> {
        let row = |ours: usize| values[place(ours) * CLASSES..][..CLASSES].to_vec();
        (0..BATCH).flat_map(row).collect()
    };
    let expected = reordered(&goldens.own.elements("dropped/logits"));
    assert_near("logits", &e.to_f64(&logits).unwrap(), &expected, tolerance);
    let cosines: Vec<f64> = (0..BATCH * CLASSES).map(|i| (i as f64).cos()).collect();
    let cosines = e
        .tensor(&reordered(&cosines)[..], &[BATCH, CLASSES])
        .unwrap();
    let sum = e.sum(&e.mul(&logits, &cosines).unwrap(), &[0, 1]).unwrap();
    let handles: Vec<_> = parameters.iter().map(|own| &own.tensor).collect();
    let gradients = e.grad(&sum, &handles).unwrap();
    let mut compared = 0;
    for (own, gradient) in parameters.iter().zip(gradients) {
        let key = format!("dropped/{}", own.name);
        if goldens.own.has(&key) {
            let found = e.to_f64(&gradient.unwrap()).unwrap();
            assert_near(
                &own.name,
                &found,
                &goldens.own.elements(&key),
                10.0 * tolerance,
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 3);
}

#[test]
fn twenty_steps_of_fine_tuning_are_pytorchs() {
    for precision in [Precision::F64, Precision::F32] {
        steps(&Candle::new(precision));
        #[cfg(feature = "torch")]
        steps(&Torch::new(Device::Cpu, precision).unwrap());
    }
}

#[test]
fn dropped_branches_are_timms() {
    for precision in [Precision::F64, Precision::F32] {
        dropped(&Candle::new(precision));
        #[cfg(feature = "torch")]
        dropped(&Torch::new(Device::Cpu, precision).unwrap());
    }
}
