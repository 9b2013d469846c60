//! Neck, heads, objective and windows of segmentation: forward against vectors that mmsegmentation
//! made (`../shared/goldens/seg`), losses and gradients against PyTorch in f64
//! (`tests/goldens/segmentation/generate.py`) and against differences.

use mimbench::checkpoint::source::TensorSource;
use mimbench::data::Pick;
use mimbench::decoders::segmentation::{
    AuxiliaryConfig, LinearHeadConfig, Pass, SegmentationDecoder, SegmentationHead, Segmenter,
    SegmenterConfig, Sliding, Statistics, UperNetConfig, initial_weights,
};
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, IGNORED, Precision, Targets};
use mimbench::nn::{Loader, TensorStore, Weights};
use mimbench::train::{Objective, SceneBatch, SceneView, Segmentation, Share};
use mimbench::vit::{FinalNorm, Vit, VitConfig, random_weights};

use crate::support::{assert_close, shared, tensor};
use crate::training::{Golden, assert_near};

fn uper_net(channels: usize, auxiliary: usize, dropout: f64) -> SegmentationHead {
    SegmentationHead::UperNet(UperNetConfig {
        channels,
        pool_scales: vec![1, 2, 3, 6],
        auxiliary: Some(AuxiliaryConfig {
            channels: auxiliary,
            weight: 0.4,
        }),
        dropout,
    })
}

fn encoder(patch_size: usize, grid: [usize; 2], width: usize) -> VitConfig {
    VitConfig::plain(patch_size, grid, (width, 4, 1))
}

/// `[B, C, H, W]` with channels last.
pub fn channels_last(images: &HostTensor) -> HostTensor {
    let &[batch, channels, height, width] = images.shape.as_slice() else {
        panic!("{:?}", images.shape);
    };
    let plane = height * width;
    let mut data = Vec::with_capacity(images.data.len());
    for image in images.data.chunks(channels * plane) {
        data.extend((0..plane).flat_map(|at| (0..channels).map(move |c| image[c * plane + at])));
    }
    HostTensor {
        shape: vec![batch, height, width, channels],
        data,
    }
}

fn host<E: Engine>(e: &E, x: &E::Tensor) -> HostTensor {
    HostTensor {
        shape: e.shape(x),
        data: e.to_f32(x).unwrap(),
    }
}

/// mmsegmentation's own forward pass, from the neck to the resized logits.
fn forward<E: Engine>(e: &E) {
    let Some(folder) = shared("goldens/seg") else {
        return;
    };
    for (name, patch_size, grid) in [("p16", 16, [10, 14]), ("p8", 8, [9, 7])] {
        let open = |kind: &str| {
            let path = folder.join(format!("upernet_{name}.{kind}.safetensors"));
            TensorSource::open(&path).unwrap()
        };
        let (file, io) = (open("weights"), open("io"));
        let mut weights = Weights::default();
        for key in file.entries().keys() {
            if !key.ends_with("num_batches_tracked") {
                weights.insert(key.clone(), tensor(&file, key));
            }
        }
        let head = uper_net(12, 12, 0.1);
        let config = SegmenterConfig::new(head, 5, &encoder(patch_size, grid, 20)).unwrap();
        let mut loader = Loader::frozen(e, &mut weights);
        let decoder = SegmentationDecoder::load(&mut loader, &config).unwrap();
        assert_eq!(weights.iter().next().map(|(name, _)| name), None);
        let SegmentationDecoder::UperNet(net) = &decoder else {
            panic!("{name} has no neck");
        };
        let blocks: Vec<_> = (0..4)
            .map(|i| {
                let block = channels_last(&tensor(&io, &format!("in.{i}")));
                e.tensor(&block.data[..], &block.shape).unwrap()
            })
            .collect();
        let check = |what: &str, found: &E::Tensor| {
            let expected = channels_last(&tensor(&io, what));
            assert_close(&format!("{name} {what}"), &host(e, found), &expected);
        };
        let pyramid = net.neck.forward(e, &blocks, Statistics::Running).unwrap();
        for (i, level) in pyramid.iter().enumerate() {
            check(&format!("pyramid.{i}"), level);
        }
        let pooled = net.head.pooled(e, &pyramid[3], Statistics::Running);
        check("psp", &pooled.unwrap());
        let predictions = decoder.forward(e, &blocks, &mut Pass::Evaluation).unwrap();
        assert!(predictions.auxiliary.is_none());
        check("logits", &predictions.logits);
        let auxiliary = net.auxiliary.as_ref().unwrap();
        let logits = auxiliary.forward(e, &pyramid[2], &mut Pass::Evaluation);
        check("aux_logits", &logits.unwrap());
        if io.entries().contains_key("resized") {
            let size = &tensor(&io, "resized").shape;
            let resized = e.resize_bilinear(&predictions.logits, [size[2], size[3]]);
            check("resized", &resized.unwrap());
        }
    }
}

#[test]
fn forward_is_that_of_mmsegmentation() {
    forward(&Candle::new(Precision::F32));
    forward(&Candle::new(Precision::F64));
    #[cfg(feature = "torch")]
    forward(&Torch::new(Device::Cpu, Precision::F32).unwrap());
}

/// Losses, gradients and running statistics of one batch.
fn learning<E: Engine>(e: &E, tolerance: f64) {
    let golden = Golden::read("segmentation/segmentation.safetensors");
    let dinov3 = LinearHeadConfig {
        dropout: 0.3,
        ..LinearHeadConfig::DINOV3
    };
    let linear = SegmentationHead::Linear;
    for (case, head, patch_size, grid) in [
        ("p16", uper_net(4, 3, 0.3), 16, [3, 5]),
        ("p8", uper_net(4, 3, 0.3), 8, [5, 6]),
        ("ibot", linear(LinearHeadConfig::IBOT), 8, [2, 3]),
        ("dinov3", linear(dinov3), 14, [3, 2]),
    ] {
        let key = |name: &str| format!("{case}/{name}");
        let config = SegmenterConfig::new(head, 3, &encoder(patch_size, grid, 5)).unwrap();
        // Names and shapes are those that a head begins with.
        let mut weights = initial_weights(&config, 0);
        let names: Vec<_> = weights.iter().map(|(name, _)| name.to_owned()).collect();
        for name in &names {
            let own = golden.host(&key(&format!("w/{name}")));
            assert_eq!(own.shape, weights.find(name).unwrap().shape, "{name}");
            weights.insert(name.clone(), own);
        }
        let mut loader = Loader::trainable(e, &mut weights);
        let decoder = SegmentationDecoder::load(&mut loader, &config).unwrap();
        let parameters = loader.into_parameters();
        assert_eq!(weights.iter().next().map(|(name, _)| name), None);
        // `[4, B, D, h, w]`, of which the blocks that are read.
        let blocks = golden.host(&key("blocks"));
        let (batch, each) = (blocks.shape[1], blocks.data.len() / 4);
        let places: Vec<usize> = config.blocks().to_vec();
        let blocks: Vec<_> = (places.iter())
            .map(|&place| {
                let block = channels_last(&HostTensor {
                    shape: blocks.shape[1..].to_vec(),
                    data: blocks.data[place * each..][..each].to_vec(),
                });
                e.parameter(&block.data[..], &block.shape).unwrap()
            })
            .collect();
        let evaluated = decoder.forward(e, &blocks, &mut Pass::Evaluation).unwrap();
        let found = host(e, &evaluated.logits);
        let expected = channels_last(&golden.host(&key("evaluated")));
        assert_close(&key("evaluated"), &found, &expected);
        // Learning.
        let uniform = match golden.has(&key("uniform")) {
            true => golden.elements(&key("uniform")),
            false => Vec::new(),
        };
        let mut taken = vec![0; batch];
        let mut pass = Pass::Training {
            keep: true,
            uniform: &mut |image| {
                taken[image] += 1;
                uniform[image * uniform.len() / batch + taken[image] - 1]
            },
        };
        let predictions = decoder.forward(e, &blocks, &mut pass).unwrap();
        assert!(taken.iter().all(|&n| n == uniform.len() / batch));
        let labels = golden.elements(&key("labels"));
        let labels: Vec<_> = (labels.iter())
            .map(|&label| match label {
                255.0 => IGNORED,
                label => label as u32,
            })
            .collect();
        let size = grid.map(|side| side * patch_size);
        let auxiliary = predictions.auxiliary.iter().map(|logits| (logits, 0.4));
        let mut terms = Vec::new();
        for (logits, weight) in [(&predictions.logits, 1.0)].into_iter().chain(auxiliary) {
            let logits = e.resize_bilinear(logits, size).unwrap();
            let logits = e.reshape(&logits, &[labels.len(), 3]).unwrap();
            let loss = e.cross_entropy(&logits, Targets::Classes(&labels)).unwrap();
            terms.push(e.affine(&loss, weight, 0.0).unwrap());
        }
        let losses: Vec<_> = terms.iter().map(|x| e.to_f64(x).unwrap()[0]).collect();
        assert_near(
            &key("losses"),
            &losses,
            &golden.elements(&key("losses")),
            tolerance,
        );
        let sum = terms[1..]
            .iter()
            .fold(terms[0].clone(), |sum, term| e.add(&sum, term).unwrap());
        let named = parameters.iter().map(|(_, tensor)| tensor);
        let inputs: Vec<_> = named.chain(&blocks).collect();
        let gradients = e.grad(&sum, &inputs).unwrap();
        let largest = |x: &[f64]| x.iter().fold(0f64, |m, x| m.max(x.abs()));
        let mut found = Vec::new();
        for (i, gradient) in gradients.iter().enumerate() {
            let gradient = gradient
                .as_ref()
                .unwrap_or_else(|| panic!("{case}: none of {i}"));
            found.push(e.to_f64(gradient).unwrap());
        }
        let all = found.iter().fold(0f64, |m, x| m.max(largest(x)));
        for ((name, _), found) in parameters.iter().zip(&found) {
            let expected = golden.elements(&key(&format!("g/{name}")));
            // A bias before a BatchNorm moves nothing: what its gradient is made of cancels.
            let scale = largest(&expected).max(1e-2 * all);
            let worst = found.iter().zip(&expected);
            let worst = worst.fold(0f64, |m, (a, b)| m.max((a - b).abs())) / scale;
            assert!(worst <= tolerance, "{case} {name}: {worst:.1e}");
        }
        let theirs = golden.host(&key("gradient"));
        let theirs64 = golden.elements(&key("gradient"));
        let [_, batch, width, rows, columns] = theirs.shape[..] else {
            panic!("{:?}", theirs.shape);
        };
        for (found, place) in found[parameters.len()..].iter().zip(&places) {
            let own = &theirs64[place * each..][..each];
            let mut expected = Vec::new();
            for image in 0..batch {
                for at in 0..rows * columns {
                    let of = |c| own[(image * width + c) * rows * columns + at];
                    expected.extend((0..width).map(of));
                }
            }
            assert_near(&key("gradient"), found, &expected, tolerance);
        }
        for (name, buffer) in decoder.buffers() {
            let found = e.to_f64(&buffer).unwrap();
            let expected = golden.elements(&key(&format!("b/{name}")));
            assert_near(&name, &found, &expected, tolerance);
        }
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    learning(&Candle::new(Precision::F64), 1e-9);
    learning(&Candle::new(Precision::F32), 1e-5);
    #[cfg(feature = "torch")]
    {
        learning(&Torch::new(Device::Cpu, Precision::F64).unwrap(), 1e-9);
        learning(&Torch::new(Device::Cpu, Precision::F32).unwrap(), 1e-5);
    }
}

const CLASSES: usize = 3;

fn small(patch_size: usize) -> VitConfig {
    VitConfig {
        mlp_width: 16,
        ..VitConfig::plain(patch_size, [4, 4], (8, 4, 2))
    }
}

/// A network over an untrained encoder, what learns of it, and its tensors as they are now.
struct Trained<E: Engine> {
    objective: Segmentation<E>,
    parameters: Vec<(String, E::Tensor)>,
}

impl<E: Engine> Trained<E> {
    fn new(e: &E, head: SegmentationHead, vit: &VitConfig, freeze: bool) -> Self {
        let config = SegmenterConfig::new(head, CLASSES, vit).unwrap();
        let vit = config.encoder(vit);
        let mut own = random_weights(&vit, 3);
        // Larger than usual, so that tokens differ.
        let names: Vec<_> = own.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let mut tensor = own.remove(&name).unwrap();
            if tensor.shape.len() > 1 {
                tensor.data.iter_mut().for_each(|x| *x *= 10.0);
            }
            own.insert(name, tensor);
        }
        let mut same = own.clone();
        let mut heads = initial_weights(&config, 5);
        let mut loader = Loader::trainable(e, &mut heads);
        let mut parameters = Vec::new();
        let encoder = if freeze {
            Vit::load(&mut Loader::frozen(e, &mut own), &vit).unwrap()
        } else {
            let mut loader = Loader::trainable(e, &mut own);
            let encoder = Vit::load(&mut loader, &vit).unwrap();
            parameters = loader.into_parameters();
            encoder
        };
        if vit.final_norm == FinalNorm::None {
            assert_eq!(own.left(), ["norm.bias", "norm.weight"]);
        }
        let segmenter = Segmenter::load(&mut loader, encoder, &config).unwrap();
        parameters.extend(loader.into_parameters());
        let tensors = [parameters.clone(), segmenter.buffers()].concat();
        let mut sharing = Loader::sharing(e, &mut same, &tensors).unwrap();
        let encoder = Vit::load(&mut sharing, &vit).unwrap();
        let frozen = Segmenter::load(&mut sharing, encoder, &config).unwrap();
        let objective = Segmentation {
            segmenter,
            frozen,
            drop_path: vec![0.2; 4],
            seed: 7,
            sliding: Sliding::new(vit.input_size(), vit.input_size()).unwrap(),
            windows: 1,
        };
        Self {
            objective,
            parameters,
        }
    }

    fn loss(&mut self, e: &E, batch: &SceneBatch, share: Share) -> Vec<E::Tensor> {
        self.objective.loss(e, batch, share).unwrap()
    }

    fn sum(&mut self, e: &E, batch: &SceneBatch) -> E::Tensor {
        let share = Share {
            samples: batch.picks.len() as f64,
            first: false,
        };
        let terms = self.loss(e, batch, share);
        let mut terms = terms.into_iter();
        let first = terms.next().unwrap();
        terms.fold(first, |sum, term| e.add(&sum, &term).unwrap())
    }
}

/// One image of a batch.
fn part_of(batch: &SceneBatch, i: usize) -> SceneBatch {
    let images = batch.picks.len();
    let view = &batch.views[0];
    let (pixels, labels) = (view.pixels.len() / images, batch.labels.len() / images);
    SceneBatch {
        views: vec![SceneView {
            pixels: view.pixels[i * pixels..][..pixels].to_vec(),
            ..view.clone()
        }],
        original: batch.original,
        labels: batch.labels[i * labels..][..labels].to_vec(),
        picks: vec![batch.picks[i]],
        contents: vec![[0; 16]],
    }
}

fn scenes(vit: &VitConfig, images: usize) -> SceneBatch {
    let [height, width] = vit.input_size();
    let wave = |i: usize| ((i * i % 977) as f32 * 0.37).sin();
    SceneBatch {
        views: vec![SceneView {
            pixels: (0..images * 3 * height * width).map(wave).collect(),
            size: [height, width],
            mirrored: false,
        }],
        original: [height, width],
        labels: (0..images * height * width)
            .map(|i| match i / 50 % 4 {
                3 => IGNORED,
                class => class as u32,
            })
            .collect(),
        picks: (0..images)
            .map(|index| Pick {
                index,
                pass: 1,
                group: 0,
            })
            .collect(),
        contents: vec![[0; 16]; images],
    }
}

/// The derivative along a direction of all parameters, and its difference quotient.
fn differences<E: Engine>(e: &E, head: SegmentationHead, vit: &VitConfig) {
    const STEP: f64 = 1e-7;
    let batch = scenes(vit, 2);
    let mut trained = Trained::new(e, head, vit, false);
    let loss = trained.sum(e, &batch);
    let inputs: Vec<_> = trained
        .parameters
        .iter()
        .map(|(_, tensor)| tensor)
        .collect();
    let gradients = e.grad(&loss, &inputs).unwrap();
    let parameters = trained.parameters.clone();
    let mut slope = 0.0;
    let mut directions = Vec::new();
    for (i, ((name, tensor), gradient)) in parameters.iter().zip(gradients).enumerate() {
        let gradient = gradient.unwrap_or_else(|| panic!("no gradient reaches {name}"));
        let gradient = e.to_f64(&gradient).unwrap();
        let start = e.to_f64(tensor).unwrap();
        // Uphill, so that no part cancels another, and a little aside.
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-6);
        let aside = |at: usize| ((at * 31 + i * 17) as f64).sin() * 0.1;
        let direction: Vec<_> = (gradient.iter().enumerate())
            .map(|(at, g)| g / norm + aside(at))
            .collect();
        slope += gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| g * d)
            .sum::<f64>();
        directions.push((start, direction));
    }
    let mut value = |step: f64| {
        for ((_, tensor), (start, direction)) in parameters.iter().zip(&directions) {
            let moved: Vec<_> = start
                .iter()
                .zip(direction)
                .map(|(x, d)| x + step * d)
                .collect();
            let moved = e.tensor(&moved[..], &e.shape(tensor)).unwrap();
            e.assign(tensor, &moved).unwrap();
        }
        e.to_f64(&trained.sum(e, &batch)).unwrap()[0]
    };
    let quotient = (value(STEP) - value(-STEP)) / (2.0 * STEP);
    let error = (quotient - slope).abs() / slope.abs();
    assert!(error < 1e-5, "{slope} is {quotient} by differences");
}

#[test]
fn slopes_are_those_of_differences() {
    let e = Candle::new(Precision::F64);
    differences(&e, uper_net(4, 3, 0.1), &small(16));
    differences(&e, uper_net(4, 3, 0.1), &small(8));
    differences(&e, uper_net(4, 3, 0.1), &small(14));
    let linear = SegmentationHead::Linear;
    differences(&e, linear(LinearHeadConfig::IBOT), &small(14));
    differences(&e, linear(LinearHeadConfig::DINOV3), &small(14));
}

#[test]
fn a_batch_counts_for_its_part_of_the_update() {
    let e = Candle::new(Precision::F64);
    let vit = small(16);
    let mut trained = Trained::new(&e, uper_net(4, 3, 0.1), &vit, false);
    assert_eq!(trained.objective.terms(), ["segmentation", "auxiliary"]);
    let batch = scenes(&vit, 2);
    let values = |trained: &mut Trained<Candle>, samples, first| {
        let terms = trained.loss(&e, &batch, Share { samples, first });
        let value = |term| e.to_f64(term).unwrap()[0];
        terms.iter().map(value).collect::<Vec<_>>()
    };
    let buffers = |trained: &Trained<Candle>| {
        let buffers = trained.objective.buffers();
        let values = buffers.iter().map(|(_, buffer)| e.to_f64(buffer).unwrap());
        values.collect::<Vec<_>>()
    };
    let before = buffers(&trained);
    let whole = values(&mut trained, 2.0, false);
    assert_eq!(buffers(&trained), before);
    let quarter = values(&mut trained, 8.0, true);
    for (whole, quarter) in whole.iter().zip(&quarter) {
        assert!((whole / quarter - 4.0).abs() < 1e-12);
    }
    // Another pass leaves out other channels and branches.
    let mut other = batch.clone();
    other.picks.iter_mut().for_each(|pick| pick.pass = 2);
    let share = Share {
        samples: 2.0,
        first: false,
    };
    let terms = trained.loss(&e, &other, share);
    assert_ne!(e.to_f64(&terms[0]).unwrap()[0], whole[0]);
    // What validates sees the statistics that learning leaves.
    let after = buffers(&trained);
    assert!(before.iter().zip(&after).all(|(a, b)| a != b));
    let shared = trained.objective.frozen.buffers();
    let shared: Vec<_> = (shared.iter())
        .map(|(_, buffer)| e.to_f64(buffer).unwrap())
        .collect();
    assert_eq!(shared, after);
    let image = part_of(&batch, 0);
    let classes = trained.objective.validate(&e, &image).unwrap();
    let pixels = e
        .tensor(&image.views[0].pixels[..], &[1, 3, 64, 64])
        .unwrap();
    let own = trained.objective.segmenter.logits(&e, &pixels).unwrap();
    assert_eq!(e.shape(&own), [1, 16, 16, CLASSES]);
    let own = e
        .to_f32(&e.resize_bilinear(&own, [64, 64]).unwrap())
        .unwrap();
    let largest = |logits: &[f32]| {
        let places = 0..logits.len();
        places
            .rev()
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap() as u32
    };
    let expected: Vec<_> = own.chunks_exact(CLASSES).map(largest).collect();
    let other = expected
        .iter()
        .zip(&classes)
        .filter(|(a, b)| a != b)
        .count();
    // Two resizes round differently where logits are nearly equal.
    assert!(other <= expected.len() / 200, "{other}");
    // A mirrored view of the mirrored image says the same, and so do both together.
    let mut mirrored = image.clone();
    let view = &mut mirrored.views[0];
    view.pixels.chunks_exact_mut(64).for_each(<[f32]>::reverse);
    let found = trained.objective.validate(&e, &mirrored).unwrap();
    mirrored.views[0].mirrored = true;
    mirrored.views.push(mirrored.views[0].clone());
    let twice = trained.objective.validate(&e, &mirrored).unwrap();
    let turned: Vec<_> = (found.chunks_exact(64))
        .flat_map(|line| line.iter().rev().copied())
        .collect();
    let other = turned.iter().zip(&twice).filter(|(a, b)| a != b).count();
    assert!(other <= twice.len() / 200, "{other}");
}

#[test]
fn what_is_left_out_depends_on_no_neighbour() {
    // A linear head without statistics of the batch: an image's loss is its own.
    let e = Candle::new(Precision::F64);
    let vit = small(8);
    let head = LinearHeadConfig {
        dropout: 0.5,
        ..LinearHeadConfig::IBOT
    };
    let mut trained = Trained::new(&e, SegmentationHead::Linear(head), &vit, true);
    assert!(
        trained
            .parameters
            .iter()
            .all(|(name, _)| name.starts_with("decode_head.conv_seg"))
    );
    let batch = scenes(&vit, 3);
    let mut value = |batch: &SceneBatch| {
        let share = Share {
            samples: 3.0,
            first: true,
        };
        let terms = trained.loss(&e, batch, share);
        assert_eq!(terms.len(), 1);
        e.to_f64(&terms[0]).unwrap()[0]
    };
    let parts: f64 = (0..3).map(|i| value(&part_of(&batch, i))).sum();
    assert!((parts - value(&batch)).abs() < 1e-12);
}

#[test]
fn layers_begin_as_mmcv_and_pytorch_begin_them() {
    let vit = VitConfig::plain(16, [4, 4], (64, 4, 2));
    let config = SegmenterConfig::new(uper_net(32, 16, 0.1), 150, &vit).unwrap();
    let weights = initial_weights(&config, 1);
    let deviation = |name: &str| {
        let data = &weights.find(name).unwrap().data;
        let square: f64 = data.iter().map(|&x| f64::from(x).powi(2)).sum();
        (square / data.len() as f64).sqrt()
    };
    let uniform = 1.0 / f64::from(4 * 64).sqrt() / 3f64.sqrt();
    for (name, expected) in [
        (
            "decode_head.bottleneck.conv.weight",
            (2f64 / (32.0 * 9.0)).sqrt(),
        ),
        (
            "decode_head.lateral_convs.1.conv.weight",
            (2f64 / 32.0).sqrt(),
        ),
        (
            "auxiliary_head.convs.0.conv.weight",
            (2f64 / (16.0 * 9.0)).sqrt(),
        ),
        ("decode_head.conv_seg.weight", 0.01),
        ("backbone.fpn2.0.weight", uniform),
    ] {
        let found = deviation(name);
        assert!(
            (found / expected - 1.0).abs() < 0.05,
            "{name}: {found} {expected}"
        );
    }
    assert!(deviation("backbone.fpn1.3.bias") > 0.0);
    let other = initial_weights(&config, 2);
    let name = "decode_head.conv_seg.weight";
    assert_ne!(weights.find(name).unwrap(), other.find(name).unwrap());
}
