//! A segmentation network in training, on any engine.

use super::super::dispatch::{Job, dispatch};
use super::super::training::without_key_bias;
use super::SceneTraining;
use super::start::Start;
use crate::decoders::segmentation::{Segmenter, Sliding};
use crate::engine::{Compute, Engine};
use crate::error::Error;
use crate::nn::{Loader, ModelError, Weights};
use crate::spec::SegmentTask;
use crate::train::{
    Optimizer, Parameter, Segmentation, TrainError, Trainer, TrainerSettings, layer_groups,
};
use crate::vit::{Vit, drop_path_rates, stays_untrained};

/// A network before its first update; of a whole image so many windows go through it together.
pub(in crate::run) fn build(
    start: Start,
    task: &SegmentTask,
    (seed, windows): (u64, usize),
    compute: Compute,
) -> Result<Box<SceneTraining>, Error> {
    dispatch(
        compute,
        Build {
            start,
            task,
            seed,
            windows,
        },
    )?
}

struct Build<'a> {
    start: Start,
    task: &'a SegmentTask,
    seed: u64,
    windows: usize,
}

impl Job for Build<'_> {
    type Output = Result<Box<SceneTraining>, Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Start {
            encoder,
            segmenter: config,
            mut weights,
            key_bias,
        } = self.start;
        let task = self.task;
        // What no parameter is made of is read again by the network that validates.
        let mut constants = Weights::default();
        for (name, tensor) in weights.iter().filter(|(name, _)| stays_untrained(name)) {
            constants.insert(name.to_owned(), tensor.clone());
        }
        let model = ModelError::from;
        let mut loader = match task.frozen {
            true => Loader::frozen(&engine, &mut weights),
            false => Loader::trainable(&engine, &mut weights),
        };
        let vit = Vit::load(&mut loader, &encoder).map_err(model)?;
        let mut parameters = loader.into_parameters();
        let mut loader = Loader::trainable(&engine, &mut weights);
        let segmenter = Segmenter::load(&mut loader, vit, &config).map_err(model)?;
        parameters.extend(loader.into_parameters());
        let shared: Vec<_> = (parameters.iter().cloned())
            .chain(segmenter.buffers())
            .collect();
        let mut sharing =
            Loader::sharing(&engine, &mut constants, &shared).map_err(TrainError::from)?;
        let vit = match task.frozen {
            true => segmenter.vit().clone(),
            false => Vit::load(&mut sharing, &encoder).map_err(model)?,
        };
        let frozen = Segmenter::load(&mut sharing, vit, &config).map_err(model)?;
        let parameters: Vec<_> = (parameters.into_iter())
            .map(|(name, tensor)| Parameter { name, tensor })
            .collect();
        let shapes: Vec<_> = (parameters.iter())
            .map(|own| engine.shape(&own.tensor))
            .collect();
        let named: Vec<_> = (parameters.iter().zip(&shapes))
            .map(|(own, shape)| (own.name.as_str(), &shape[..]))
            .collect();
        let groups = layer_groups(
            task.layer_decay_rule,
            task.layer_decay,
            encoder.depth,
            &named,
        );
        let optimizer = Optimizer::new(&engine, task.optimizer, &parameters, groups);
        let optimizer = optimizer.map_err(TrainError::from)?;
        let crop = [task.crop(); 2];
        let objective = Segmentation {
            segmenter,
            frozen,
            // Frozen blocks are as in an evaluation.
            drop_path: match task.frozen {
                true => Vec::new(),
                false => drop_path_rates(task.drop_path, encoder.depth),
            },
            seed: self.seed,
            sliding: Sliding::new(crop, [task.test.stride; 2])?,
            windows: self.windows,
        };
        let masks = match key_bias || task.frozen {
            true => Vec::new(),
            false => without_key_bias(&engine, &parameters).map_err(TrainError::from)?,
        };
        let with = TrainerSettings {
            clip_norm: task.clip_norm,
            masks,
            ..TrainerSettings::default()
        };
        let trainer = Trainer::new(engine, objective, parameters, optimizer, with);
        Ok(Box::new(trainer))
    }
}
