//! Encoders that see some patches only, with relative positions, against one of all patches.

use std::collections::BTreeMap;

use mimbench::engine::candle::Candle;
use mimbench::engine::{Activation, Engine, HostTensor, Precision};
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::pretrain::{Blueprint, Mask, patch_pixels};
use mimbench::vit::relative_index;

use crate::slopes::{LINEAR, jittered, learner, method, pixels, waves};

// The students of `slopes`.
const WIDTH: usize = 12;
const DEPTH: usize = 3;
const HEADS: usize = 3;
const GRID: [usize; 2] = [3, 3];
const PATCHES: usize = 9;
const SIZE: usize = 12;
const BATCH: usize = 2;

/// Both kinds of positions, and both kinds of tables.
const STUDENTS: [&str; 3] = [
    "positions = \"learned\"\nrelative_bias = \"shared\"\nlayer_scale = 0.5",
    "positions = \"none\"\nrelative_bias = \"shared\"",
    "positions = \"sin_cos\"\nrelative_bias = \"per_block\"",
];

fn blueprint(encoding: &str, student: &str) -> Blueprint {
    let student = format!("encoding = \"{encoding}\"\n{student}");
    let on = match encoding {
        "sparse" => "visible",
        _ => "all",
    };
    let mut method = method(&student, &pixels(on, "l2", "none", LINEAR));
    if encoding == "dense" {
        method.mask = mimbench::pretrain::MaskSpec::None {};
    }
    Blueprint::new(&method, BTreeMap::new()).unwrap()
}

fn images<E: Engine>(e: &E) -> E::Tensor {
    let pixels: Vec<f32> = waves(BATCH * 3 * SIZE * SIZE, 2).collect();
    e.tensor(&pixels[..], &[BATCH, 3, SIZE, SIZE]).unwrap()
}

/// The tokens of a student under its last norm.
fn tokens<E: Engine>(
    e: &E,
    blueprint: &Blueprint,
    tensors: &BTreeMap<String, HostTensor>,
    mask: &Mask,
) -> Vec<f64> {
    let (learner, _) = learner(e, blueprint, tensors);
    let encoded = learner.encode(e, &images(e), (mask, None)).unwrap();
    e.to_f64(&encoded.normed.unwrap()).unwrap()
}

/// An encoder of all patches of all images, written out, in which nobody looks at hidden patches
/// -> `[B, 1 + N, D]`
struct Plain<'a, E: Engine> {
    e: &'a E,
    tensors: &'a BTreeMap<String, HostTensor>,
}

impl<E: Engine> Plain<'_, E> {
    fn take(&self, name: &str) -> E::Tensor {
        let HostTensor { shape, data } = &self.tensors[name];
        self.e.tensor(&data[..], shape).unwrap()
    }

    /// x: `[B, T, D]`
    fn linear(&self, name: &str, x: &E::Tensor) -> E::Tensor {
        let (e, shape) = (self.e, self.e.shape(x));
        let weight = self.take(&format!("{name}.weight"));
        let outputs = e.shape(&weight)[0];
        let inputs = e.shape(&weight).iter().product::<usize>() / outputs;
        let weight = e.reshape(&weight, &[outputs, inputs]).unwrap();
        let rows = e.reshape(x, &[shape[0] * shape[1], inputs]).unwrap();
        let product = e.matmul(&rows, &e.permute(&weight, &[1, 0]).unwrap());
        let sum = e.add(&product.unwrap(), &self.take(&format!("{name}.bias")));
        let shape = [shape[0], shape[1], outputs];
        e.reshape(&sum.unwrap(), &shape).unwrap()
    }

    fn norm(&self, name: &str, x: &E::Tensor) -> E::Tensor {
        let part = |part| self.take(&format!("{name}.{part}"));
        (self.e)
            .layer_norm(x, &part("weight"), &part("bias"), 1e-6)
            .unwrap()
    }

    fn scaled(&self, name: &str, x: &E::Tensor) -> E::Tensor {
        match self.tensors.contains_key(name) {
            true => self.e.mul(x, &self.take(name)).unwrap(),
            false => x.clone(),
        }
    }

    /// What is added to the scores: `[B, H, T, T]`
    fn bias(&self, block: usize, hidden: &[bool]) -> E::Tensor {
        let all = 1 + PATCHES;
        let shared = "rel_pos_bias.relative_position_bias_table";
        let own = format!("blocks.{block}.attn.relative_position_bias_table");
        let table = self.tensors.get(shared).or(self.tensors.get(&own)).unwrap();
        let index = relative_index(GRID);
        let mut bias = Vec::new();
        for image in 0..BATCH {
            for head in 0..HEADS {
                for (pair, row) in index.iter().enumerate() {
                    let key = pair % all;
                    let unseen = key > 0 && hidden[image * PATCHES + key - 1];
                    let own = f64::from(table.data[*row as usize * HEADS + head]);
                    bias.push(if unseen { -1e9 } else { own });
                }
            }
        }
        self.e.tensor(&bias[..], &[BATCH, HEADS, all, all]).unwrap()
    }

    fn attention(&self, block: usize, x: &E::Tensor, hidden: &[bool]) -> E::Tensor {
        let e = self.e;
        let all = 1 + PATCHES;
        let width = WIDTH / HEADS;
        let qkv = self.linear(&format!("blocks.{block}.attn.qkv"), x);
        let qkv = e.reshape(&qkv, &[BATCH, all, 3, HEADS, width]).unwrap();
        let part = |i| {
            let part = e.narrow(&qkv, 2, i, 1).unwrap();
            let part = e.reshape(&part, &[BATCH, all, HEADS, width]).unwrap();
            e.permute(&part, &[0, 2, 1, 3]).unwrap()
        };
        let keys = e.permute(&part(1), &[0, 1, 3, 2]).unwrap();
        let scores = e.matmul(&part(0), &keys).unwrap();
        let scores = e.affine(&scores, (width as f64).powf(-0.5), 0.0).unwrap();
        let scores = e.add(&scores, &self.bias(block, hidden)).unwrap();
        let mixed = e.matmul(&e.softmax(&scores).unwrap(), &part(2)).unwrap();
        let mixed = e.permute(&mixed, &[0, 2, 1, 3]).unwrap();
        let mixed = e.reshape(&mixed, &[BATCH, all, WIDTH]).unwrap();
        self.linear(&format!("blocks.{block}.attn.proj"), &mixed)
    }

    fn forward(&self, hidden: &[bool]) -> Vec<f64> {
        let e = self.e;
        // A kernel is (C, p, p), pixels of a patch are (p, p, C).
        let pixels = patch_pixels(e, &images(e), 3, 4, GRID).unwrap();
        let pixels = e.reshape(&pixels, &[BATCH * PATCHES, 16, 3]).unwrap();
        let pixels = e.permute(&pixels, &[0, 2, 1]).unwrap();
        let pixels = e.reshape(&pixels, &[BATCH, PATCHES, 48]).unwrap();
        let patches = self.linear("patch_embed.proj", &pixels);
        let class = e.expand(&self.take("cls_token"), &[BATCH, 1, WIDTH]);
        let mut x = e.cat(&[&class.unwrap(), &patches], 1).unwrap();
        if self.tensors.contains_key("pos_embed") {
            x = e.add(&x, &self.take("pos_embed")).unwrap();
        }
        for block in 0..DEPTH {
            let own = format!("blocks.{block}");
            let branch = self.norm(&format!("{own}.norm1"), &x);
            let branch = self.attention(block, &branch, hidden);
            x = e
                .add(&x, &self.scaled(&format!("{own}.ls1.gamma"), &branch))
                .unwrap();
            let branch = self.norm(&format!("{own}.norm2"), &x);
            let branch = self.linear(&format!("{own}.mlp.fc1"), &branch);
            let branch = e.activation(&branch, Activation::Gelu).unwrap();
            let branch = self.linear(&format!("{own}.mlp.fc2"), &branch);
            x = e
                .add(&x, &self.scaled(&format!("{own}.ls2.gamma"), &branch))
                .unwrap();
        }
        e.to_f64(&self.norm("norm", &x)).unwrap()
    }
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-11, "{found} {expected}");
    }
}

fn agrees<E: Engine>(e: &E) {
    for student in STUDENTS {
        let sparse = blueprint("sparse", student);
        let tensors = jittered(&sparse);
        // All patches in the order of the grid: the encoder of all of them.
        let rising: Vec<f32> = (0..BATCH * PATCHES).map(|i| i as f32).collect();
        let whole = Mask::random(&rising, PATCHES, 0.0).unwrap();
        let found = tokens(e, &sparse, &tensors, &whole);
        let dense = tokens(e, &blueprint("dense", student), &tensors, &whole);
        assert_near(&found, &dense);
        let plain = Plain {
            e,
            tensors: &tensors,
        };
        assert_near(&found, &plain.forward(&whole.hidden()));
        // Some patches, in an order of their own.
        let noise: Vec<f32> = waves(BATCH * PATCHES, 4).collect();
        let mask = Mask::random(&noise, PATCHES, 0.5).unwrap();
        let kept = mask.kept().unwrap();
        let seen = mask.seen().unwrap();
        assert!(!seen[..kept].is_sorted() && seen[..kept] != seen[kept..]);
        let all = plain.forward(&mask.hidden());
        let mut expected = Vec::new();
        for (image, seen) in seen.chunks(kept).enumerate() {
            let places = std::iter::once(0).chain(seen.iter().map(|patch| 1 + *patch as usize));
            for place in places {
                let at = (image * (1 + PATCHES) + place) * WIDTH;
                expected.extend(&all[at..at + WIDTH]);
            }
        }
        assert_near(&tokens(e, &sparse, &tensors, &mask), &expected);
    }
}

#[test]
fn a_sparse_encoder_is_one_that_looks_away_on_candle() {
    agrees(&Candle::new(Precision::F64));
}

#[cfg(feature = "torch")]
#[test]
fn a_sparse_encoder_is_one_that_looks_away_on_torch() {
    agrees(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}
