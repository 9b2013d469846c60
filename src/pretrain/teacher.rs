//! A frozen network and what a student learns from it.

use std::collections::BTreeMap;

use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, Resize, WeightError};
use crate::vit::{Site, Vit, VitConfig};

/// How images are normalised: `(x - mean) / std` of numbers from 0 to 1, a number a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by.
    pub std: Vec<f32>,
}

/// From a student's inputs to a teacher's: another size, other statistics.
#[derive(Clone, Debug)]
pub struct Conversion<E: Engine> {
    resize: Option<Resize<E>>,
    /// Scale and shift of every channel, each `[1, C, 1, 1]`.
    statistics: Option<[E::Tensor; 2]>,
}

impl<E: Engine> Conversion<E> {
    /// Between inputs of these sizes, height and width in pixels, and statistics. The size is
    /// changed by the cubic convolution that MaskAlign gives its larger teacher
    /// (OpenDriveLab/maskalign `models_pretrain.py`).
    pub fn new(
        engine: &E,
        (from_size, from): ([usize; 2], &Statistics),
        (to_size, to): ([usize; 2], &Statistics),
    ) -> Result<Self> {
        let resize = (from_size != to_size).then(|| Resize::bicubic(engine, from_size, to_size));
        let channels = from.mean.len();
        let number = |x: f32| f64::from(x);
        let statistics = || {
            let scale: Vec<f64> = (from.std.iter().zip(&to.std))
                .map(|(&from, &to)| number(from) / number(to))
                .collect();
            let means = from.mean.iter().zip(&to.mean).zip(&to.std);
            let shift: Vec<f64> = means
                .map(|((&from, &to), &std)| (number(from) - number(to)) / number(std))
                .collect();
            let shape = [1, channels, 1, 1];
            Ok([
                engine.tensor(&scale[..], &shape)?,
                engine.tensor(&shift[..], &shape)?,
            ])
        };
        Ok(Self {
            resize: resize.transpose()?,
            statistics: (from != to).then(statistics).transpose()?,
        })
    }

    /// images: `[B, C, H, W]` as the student has them -> as the teacher has them
    pub fn apply(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let mut images = images.clone();
        if let Some([scale, shift]) = &self.statistics {
            images = engine.add(&engine.mul(&images, scale)?, shift)?;
        }
        match &self.resize {
            Some(resize) => resize.forward(engine, &images),
            None => Ok(images),
        }
    }
}

/// What is wanted of a teacher, or of a student that looks at whole images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Outputs of these blocks.
    pub blocks: Vec<usize>,
    /// The last block's output under the final normalisation.
    pub normed: bool,
    /// Attention between tokens, as it is.
    pub attention: Option<WantedAttention>,
}

/// Which attention is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedAttention {
    /// Whose attention.
    pub queries: Queries,
    /// Of every block, summed over blocks and heads; else of the last block, the mean over heads.
    pub every_block: bool,
}

/// Whose attention to the patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// The class token's.
    Class,
    /// Every patch's.
    Patches,
}

/// What a teacher says of images, all of it constant.
#[derive(Clone, Debug)]
pub struct Lesson<E: Engine> {
    /// Tokens before the patches.
    pub prefix: usize,
    /// `[B, P + N, D]`
    pub blocks: BTreeMap<usize, E::Tensor>,
    /// `[B, P + N, D]`
    pub normed: Option<E::Tensor>,
    /// `[B, N]` of the class token, `[B, N, N]` of the patches, query by query.
    pub attention: Vec<f32>,
}

impl<E: Engine> Lesson<E> {
    /// The output of a block.
    pub(super) fn block(&self, block: usize) -> Result<&E::Tensor> {
        self.blocks.get(&block).ok_or_else(|| EngineError {
            op: "teacher",
            message: format!("the output of block {block} was not kept"),
        })
    }

    /// The last block's output under the final normalisation.
    pub(super) fn final_norm(&self) -> Result<&E::Tensor> {
        self.normed.as_ref().ok_or_else(|| EngineError {
            op: "teacher",
            message: "its normalised tokens were not kept".to_owned(),
        })
    }
}

/// A frozen encoder.
#[derive(Clone, Debug)]
pub struct Teacher<E: Engine> {
    vit: Vit<E>,
    conversion: Conversion<E>,
}

impl<E: Engine> Teacher<E> {
    /// From the encoder's tensors under timm's names, all of them constants.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
        conversion: Conversion<E>,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            vit: Vit::load(loader, config)?,
            conversion,
        })
    }

    /// images: `[B, C, H, W]` as the student has them
    pub fn teach(&self, engine: &E, images: &E::Tensor, wanted: &Wanted) -> Result<Lesson<E>> {
        look(
            engine,
            &self.vit,
            &self.conversion.apply(engine, images)?,
            wanted,
        )
    }
}

/// What an encoder without gradients says of whole images: `[B, C, H, W]`, normalised
pub(super) fn look<E: Engine>(
    engine: &E,
    vit: &Vit<E>,
    images: &E::Tensor,
    wanted: &Wanted,
) -> Result<Lesson<E>> {
    let config = vit.config();
    let last = config.depth.saturating_sub(1);
    let depth = wanted.depth(config);
    let attends = |block: usize| {
        (wanted.attention).is_some_and(|attention| attention.every_block || block == last)
    };
    let wants = |site: Site| match site {
        Site::Block(block) => wanted.blocks.contains(&block),
        Site::Attention(block) => attends(block),
        _ => false,
    };
    let mut blocks = BTreeMap::new();
    let mut attention: Option<E::Tensor> = None;
    let mut visit = |site: Site, x: &E::Tensor| {
        match (site, wanted.attention) {
            (Site::Block(block), _) => {
                blocks.insert(block, x.clone());
            }
            (Site::Attention(_), Some(asked)) => {
                let own = of_patches(engine, config, x, asked)?;
                attention = Some(match attention.take() {
                    Some(sum) => engine.add(&sum, &own)?,
                    None => own,
                });
            }
            _ => {}
        }
        Ok(())
    };
    let tokens = vit.forward(engine, images, depth, &wants, &mut visit)?;
    Ok(Lesson {
        prefix: config.prefix(),
        normed: wanted
            .normed
            .then(|| vit.normalise(engine, &tokens))
            .transpose()?,
        blocks,
        attention: match attention {
            Some(attention) => engine.to_f32(&attention)?,
            None => Vec::new(),
        },
    })
}

/// weights: `[B, H, T, T]` -> `[B, N]` or `[B, N, N]`, over the heads
fn of_patches<E: Engine>(
    engine: &E,
    config: &VitConfig,
    weights: &E::Tensor,
    asked: WantedAttention,
) -> Result<E::Tensor> {
    let (prefix, patches) = (config.prefix(), config.patches());
    let keys = engine.narrow(weights, 3, prefix, patches)?;
    let queries = match asked.queries {
        Queries::Class if !config.class_token => {
            return Err(EngineError {
                op: "attention",
                message: "an encoder without a class token has none of its attention".to_owned(),
            });
        }
        Queries::Class => engine.narrow(&keys, 2, 0, 1)?,
        Queries::Patches => engine.narrow(&keys, 2, prefix, patches)?,
    };
    match asked.every_block {
        true => engine.sum(&queries, &[1]),
        false => engine.mean(&queries, &[1]),
    }
}
