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

/// Normalisation of each feature over the batch, as PyTorch's `nn.BatchNorm1d` and `nn.BatchNorm2d`
/// have it: a batch is normalised with its biased variance, and the running variance is unbiased.
#[derive(Clone, Debug)]
pub struct BatchNorm<E: Engine> {
    config: BatchNormConfig,
    affine: Option<[E::Tensor; 2]>,
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
        let affine = if config.affine {
            let weight = loader.take(&format!("{prefix}.weight"), &shape)?;
            Some([weight, loader.take(&format!("{prefix}.bias"), &shape)?])
        } else {
            None
        };
        let mut buffer = |name: &str| {
            let name = format!("{prefix}.{name}");
            let buffer = loader.constant(&name, &shape)?;
            match engine.tensor(&buffer.data[..], &shape) {
                Ok(buffer) => Ok((name, buffer)),
                Err(source) => Err(WeightError::Engine { name, source }),
            }
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

    /// With the running statistics: x `[B, D, ..]` -> `[B, D, ..]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let spread = self.spread(engine, x)?;
        let [(_, mean), (_, variance)] = &self.buffers;
        let centred = engine.sub(x, &engine.reshape(mean, &spread)?)?;
        self.scale(engine, &centred, variance, &spread)
    }

    /// With the statistics of the batch, which the running ones take in where `keep` says so:
    /// x `[B, D, ..]` -> `[B, D, ..]`
    pub fn forward_training(&self, engine: &E, x: &E::Tensor, keep: bool) -> Result<E::Tensor> {
        let spread = self.spread(engine, x)?;
        let shape = engine.shape(x);
        let count = shape.iter().product::<usize>() / self.config.width;
        if count < 2 {
            return Err(refused(format!("no variance of a batch {shape:?}")));
        }
        let axes: Vec<usize> = (0..shape.len()).filter(|&axis| axis != 1).collect();
        let mean = engine.mean(x, &axes)?;
        let centred = engine.sub(x, &engine.reshape(&mean, &spread)?)?;
        let variance = engine.mean(&engine.mul(&centred, &centred)?, &axes)?;
        let unbiased = count as f64 / (count as f64 - 1.0);
        let found = [(&mean, 1.0), (&variance, unbiased)];
        for ((_, buffer), (found, scale)) in self.buffers.iter().zip(found).filter(|_| keep) {
            let momentum = self.config.momentum;
            let old = engine.affine(buffer, 1.0 - momentum, 0.0)?;
            let new = engine.affine(&engine.detach(found)?, momentum * scale, 0.0)?;
            engine.assign(buffer, &engine.add(&old, &new)?)?;
        }
        self.scale(engine, &centred, &variance, &spread)
    }

    /// The shape under which `[D]` broadcasts to x.
    fn spread(&self, engine: &E, x: &E::Tensor) -> Result<Vec<usize>> {
        let shape = engine.shape(x);
        let width = self.config.width;
        if shape.get(1) != Some(&width) {
            return Err(refused(format!("{shape:?} for {width} features")));
        }
        let mut spread = vec![1; shape.len() - 1];
        spread[0] = width;
        Ok(spread)
    }

    fn scale(
        &self,
        engine: &E,
        centred: &E::Tensor,
        variance: &E::Tensor,
        spread: &[usize],
    ) -> Result<E::Tensor> {
        let raised = engine.affine(variance, 1.0, self.config.eps)?;
        let scale = engine.reshape(&engine.pow(&raised, -0.5)?, spread)?;
        let normed = engine.mul(centred, &scale)?;
        let Some(affine) = &self.affine else {
            return Ok(normed);
        };
        let [weight, bias] = affine.each_ref().map(|part| engine.reshape(part, spread));
        engine.add(&engine.mul(&normed, &weight?)?, &bias?)
    }
}

fn refused(message: String) -> EngineError {
    EngineError {
        op: "batch_norm",
        message,
    }
}
