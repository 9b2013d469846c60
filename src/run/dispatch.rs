//! The single match on the engine.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::engine::candle::Candle;
use crate::engine::{Engine, EngineKind, Precision};
use crate::features::Encoder;
use crate::nn::{Loader, WeightError};
use crate::vit::{Vit, VitEncoder};

/// Work that is written once for every engine.
pub(super) trait Job {
    /// What it gives, in plain data or behind a trait object.
    type Output;

    /// Does it on an engine.
    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output;
}

/// Does the job on an engine.
pub(super) fn dispatch<J: Job>(engine: EngineKind, precision: Precision, job: J) -> J::Output {
    match engine {
        EngineKind::Candle => job.run(Candle::new(precision)),
    }
}

/// The checkpoint's encoder on an engine; takes the weights out of the checkpoint.
pub(super) fn encoder(
    checkpoint: &mut Checkpoint,
    engine: EngineKind,
    precision: Precision,
) -> Result<Box<dyn Encoder>, CheckpointError> {
    match engine {
        EngineKind::Candle => build(Candle::new(precision), checkpoint),
    }
}

/// Builds the model once on the default engine and lets it go, weights and all.
pub(super) fn check(checkpoint: &mut Checkpoint) -> Result<(), CheckpointError> {
    encoder(checkpoint, EngineKind::Candle, Precision::F32).map(drop)
}

fn build<E: Engine + 'static>(
    engine: E,
    checkpoint: &mut Checkpoint,
) -> Result<Box<dyn Encoder>, CheckpointError> {
    let mut weights = std::mem::take(&mut checkpoint.weights);
    let mut loader = Loader::frozen(&engine, &mut weights);
    let vit = Vit::load(&mut loader, &checkpoint.config).map_err(|source: WeightError| {
        CheckpointError::Weight {
            path: checkpoint.path.clone(),
            source,
        }
    })?;
    if !weights.is_empty() {
        return Err(CheckpointError::Unused {
            path: checkpoint.path.clone(),
            keys: weights.iter().map(|(name, _)| name.to_owned()).collect(),
        });
    }
    Ok(Box::new(VitEncoder::new(engine, vit)))
}
