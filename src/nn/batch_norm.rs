//! Batch normalisation.

use super::{Loader, WeightError};
use crate::engine::{Engine, EngineError, Result};

/// What a batch normalisation consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Features D.
    pub width: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Part of the running statistics that a batch replaces.
    pub momentum: f64,
    /// Whether a learned scale and shift follow.
    pub affine: bool,
}

/// Normalisation of each feature, which lie last, over all the other axes, as PyTorch's
/// `nn.BatchNorm1d` and `nn.BatchNorm2d` have it: a batch is normalised with its biased variance, and
/// the running variance is unbiased.
#[derive(Clone, Debug)]
pub struct BatchNorm<E: Engine> {
    config: BatchNormConfig,
    /// Scale and shift; 1 and 0 where none is learned.
    affine: [E::Tensor; 2],
    buffers: [(String, E::Tensor); 2],
}

impl<E: Engine> BatchNorm<E> {
    /// From `prefix.running_mean` and `prefix.running_var`, which are never parameters, and
    /// `prefix.weight` and `prefix.bias` where there are such, all `[D]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        config: BatchNormConfig,
    ) -> std::result::Result<Self, WeightError> {
        let shape = [config.width];
        let engine = loader.engine();
        let fixed = |value: f32| {
            let tensor = engine.tensor(&vec![value; config.width][..], &shape);
            tensor.map_err(|source| WeightError::Engine {
                name: prefix.to_owned(),
                source,
            })
        };
        let affine = match config.affine {
            true => {
                let weight = loader.take(&format!("{prefix}.weight"), &shape)?;
                [weight, loader.take(&format!("{prefix}.bias"), &shape)?]
            }
            false => [fixed(1.0)?, fixed(0.0)?],
        };
        let mut buffer = |name: &str| {
            let name = format!("{prefix}.{name}");
            let buffer = loader.buffer(&name, &shape)?;
            Ok((name, buffer))
        };
        Ok(Self {
            config,
            affine,
            buffers: [buffer("running_mean")?, buffer("running_var")?],
        })
    }

    /// Names and handles of the running mean and variance, `[D]`; a state keeps them, and
    /// [`Engine::assign`] restores them.
    pub fn buffers(&self) -> &[(String, E::Tensor); 2] {
        &self.buffers
    }

    /// With the running statistics: x `[.., D]` -> `[.., D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        self.check(engine, x)?;
        let [(_, mean), (_, variance)] = &self.buffers;
        let raised = engine.affine(variance, 1.0, self.config.eps)?;
        let scale = engine.mul(&engine.pow(&raised, -0.5)?, &self.affine[0])?;
        let shift = engine.sub(&self.affine[1], &engine.mul(mean, &scale)?)?;
        engine.add(&engine.mul(x, &scale)?, &shift)
    }

    /// With the statistics of the batch, which the running ones take in where `keep` says so:
    /// x `[.., D]` -> `[.., D]`
    pub fn forward_training(&self, engine: &E, x: &E::Tensor, keep: bool) -> Result<E::Tensor> {
        let count = self.check(engine, x)?;
        if count < 2 {
            let shape = engine.shape(x);
            return Err(refused(format!("no variance of a batch {shape:?}")));
        }
        let [weight, bias] = &self.affine;
        let (normed, mean, variance) = engine.batch_norm(x, weight, bias, self.config.eps)?;
        let unbiased = count as f64 / (count as f64 - 1.0);
        let found = [(&mean, 1.0), (&variance, unbiased)];
        for ((_, buffer), (found, scale)) in self.buffers.iter().zip(found).filter(|_| keep) {
            let momentum = self.config.momentum;
            let old = engine.affine(buffer, 1.0 - momentum, 0.0)?;
            let new = engine.affine(found, momentum * scale, 0.0)?;
            engine.assign(buffer, &engine.add(&old, &new)?)?;
        }
        Ok(normed)
    }

    /// Places that have each feature.
    fn check(&self, engine: &E, x: &E::Tensor) -> Result<usize> {
        let shape = engine.shape(x);
        let width = self.config.width;
        match shape.split_last() {
            Some((&last, places)) if last == width => Ok(places.iter().product()),
            _ => Err(refused(format!("{shape:?} for {width} features"))),
        }
    }
}

fn refused(message: String) -> EngineError {
    EngineError {
        op: "batch_norm",
        message,
    }
}
