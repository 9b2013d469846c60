//! The single match on the engine.

use crate::checkpoint::{Checkpoint, CheckpointError, ClassifierCheckpoint, MappedWeights};
use crate::engine::candle::Candle;
#[cfg(feature = "torch")]
use crate::engine::torch::Torch;
use crate::engine::{Compute, Engine, EngineError, EngineKind, EngineUnavailable};
use crate::error::Error;
use crate::features::Encoder;
use crate::nn::{Loader, ModelError, TensorStore, WeightError};
use crate::vit::{Classifier, Vit, VitEncoder};

/// Work that is written once for every engine.
pub(super) trait Job {
    /// What it gives, in plain data or behind a trait object.
    type Output;

    /// Does it on an engine.
    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output;
}

/// Does the job on the engine that is asked for, or says why it cannot be had.
pub(super) fn dispatch<J: Job>(compute: Compute, job: J) -> Result<J::Output, EngineUnavailable> {
    compute.check()?;
    match compute.engine {
        EngineKind::Candle => Ok(job.run(Candle::new(compute.precision))),
        #[cfg(feature = "torch")]
        EngineKind::Torch => Ok(job.run(Torch::new(compute.device, compute.precision)?)),
        #[cfg(not(feature = "torch"))]
        EngineKind::Torch => Err(EngineUnavailable::NotBuilt),
    }
}

/// Starts the engine once, so that whatever keeps it from working is known before the first image
/// is read.
pub fn check_engine(compute: Compute) -> Result<(), EngineUnavailable> {
    dispatch(compute, Start)
}

/// The checkpoint's encoder.
pub(super) fn encoder(
    checkpoint: &Checkpoint,
    compute: Compute,
) -> Result<Box<dyn Encoder>, Error> {
    Ok(dispatch(compute, Build(checkpoint))??)
}

/// Builds the model once on the default engine and lets it go.
pub(super) fn check(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    Build(checkpoint)
        .run(Candle::new(Compute::DEFAULT.precision))
        .map(drop)
}

/// The checkpoint with its classification head, which gives [`crate::features::Tap::Logits`].
pub(super) fn classifier(
    checkpoint: &ClassifierCheckpoint<'_>,
    compute: Compute,
) -> Result<Box<dyn Encoder>, Error> {
    Ok(dispatch(compute, BuildClassifier(checkpoint))??)
}

/// Largest number of bytes that tensors held so far on a device with memory of its own.
pub(super) fn device_memory(compute: Compute) -> Result<Option<u64>, Error> {
    let peak = dispatch(compute, DeviceMemory)?;
    Ok(peak.map_err(ModelError::from)?)
}

struct DeviceMemory;

impl Job for DeviceMemory {
    type Output = Result<Option<u64>, EngineError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        engine.peak_memory()
    }
}

struct Start;

impl Job for Start {
    type Output = ();

    fn run<E: Engine + 'static>(self, _: E) {}
}

struct Build<'a>(&'a Checkpoint);

impl Job for Build<'_> {
    type Output = Result<Box<dyn Encoder>, CheckpointError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let vit = frozen(self.0, &engine)?;
        Ok(Box::new(VitEncoder::new(engine, vit)))
    }
}

struct BuildClassifier<'a>(&'a ClassifierCheckpoint<'a>);

impl Job for BuildClassifier<'_> {
    type Output = Result<Box<dyn Encoder>, CheckpointError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Self(checkpoint) = self;
        let encoder = checkpoint.encoder();
        let classifier = whole(encoder, checkpoint.weights(), |weights| {
            let mut loader = Loader::frozen(&engine, weights);
            Classifier::load(&mut loader, &encoder.config, checkpoint.head)
        })?;
        Ok(Box::new(VitEncoder::classifier(engine, classifier)))
    }
}

/// The checkpoint's ViT, none of it trainable.
pub(super) fn frozen<E: Engine>(
    checkpoint: &Checkpoint,
    engine: &E,
) -> Result<Vit<E>, CheckpointError> {
    whole(checkpoint, checkpoint.weights(), |weights| {
        Vit::load(&mut Loader::frozen(engine, weights), &checkpoint.config)
    })
}

/// A model that takes every tensor of a file that stays as it is meanwhile.
fn whole<M>(
    checkpoint: &Checkpoint,
    mut weights: MappedWeights<'_>,
    build: impl FnOnce(&mut MappedWeights<'_>) -> Result<M, WeightError>,
) -> Result<M, CheckpointError> {
    let path = || checkpoint.path.clone();
    let model = build(&mut weights).map_err(|source| CheckpointError::Weight {
        path: path(),
        source,
    })?;
    let keys = weights.left();
    if !keys.is_empty() {
        return Err(CheckpointError::Unused { path: path(), keys });
    }
    checkpoint.check_unchanged()?;
    Ok(model)
}
