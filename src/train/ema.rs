//! The exponential moving average of a model's weights.

use serde::{Deserialize, Serialize};

use super::Parameter;
use super::optimizer_error::OptimizerError;
use crate::engine::{Engine, HostSlice};

/// How slowly an average follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaSettings {
    /// Part of the average that an update leaves (timm `timm/utils/model_ema.py`, `ModelEmaV2`).
    pub decay: f64,
    /// Follows faster at first, where given.
    #[serde(default)]
    pub warmup: Option<EmaWarmup>,
}

/// After `n` updates the decay is at most `1 - (1 + n / gamma)^-power`: the first takes the weights
/// as they are (timm `timm/utils/model_ema.py`, `ModelEmaV3`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaWarmup {
    /// Updates that count as one.
    pub gamma: f64,
    /// Exponent.
    pub power: f64,
}

impl EmaSettings {
    /// The decay of an update after `updates` others.
    pub fn decay_after(&self, updates: u32) -> f64 {
        match self.warmup {
            None => self.decay,
            Some(EmaWarmup { gamma, power }) => {
                let decay = 1.0 - (1.0 + f64::from(updates) / gamma).powf(-power);
                decay.min(self.decay)
            }
        }
    }
}

/// Averages of parameters: constants of the engine in memory of their own, which every handle to
/// them sees change.
#[derive(Debug)]
pub struct Ema<E: Engine> {
    settings: EmaSettings,
    averages: Vec<Parameter<E>>,
    updates: u32,
}

impl<E: Engine> Ema<E> {
    /// Averages that begin at the parameters' values.
    pub fn new(
        engine: &E,
        settings: EmaSettings,
        parameters: &[Parameter<E>],
    ) -> Result<Self, OptimizerError> {
        // A detached leaf would change with the leaf.
        let copy = |parameter: &Parameter<E>| {
            Ok(Parameter {
                name: parameter.name.clone(),
                tensor: engine.affine(&engine.detach(&parameter.tensor)?, 1.0, 0.0)?,
            })
        };
        Ok(Self {
            settings,
            averages: parameters
                .iter()
                .map(copy)
                .collect::<Result<_, OptimizerError>>()?,
            updates: 0,
        })
    }

    /// `decay average + (1 - decay) parameter`, over the parameters in the order of
    /// [`Ema::new`].
    pub fn update(
        &mut self,
        engine: &E,
        parameters: &[Parameter<E>],
    ) -> Result<(), OptimizerError> {
        if parameters.len() != self.averages.len() {
            return Err(OptimizerError::Count {
                what: "parameters",
                found: parameters.len(),
                expected: self.averages.len(),
            });
        }
        let decay = self.settings.decay_after(self.updates);
        for (average, parameter) in self.averages.iter().zip(parameters) {
            let old = engine.affine(&average.tensor, decay, 0.0)?;
            let new = engine.affine(&engine.detach(&parameter.tensor)?, 1.0 - decay, 0.0)?;
            engine.assign(&average.tensor, &engine.add(&old, &new)?)?;
        }
        self.updates += 1;
        Ok(())
    }

    /// Names and averages, in the order of [`Ema::new`]. A model that is built over them
    /// ([`crate::nn::Loader::sharing`]) follows every update.
    pub fn averages(&self) -> &[Parameter<E>] {
        &self.averages
    }

    /// Updates so far.
    pub fn updates(&self) -> u32 {
        self.updates
    }

    /// What a state must hold besides the number of updates, in a fixed order:
    /// `average.<parameter>`, each in the parameter's shape.
    pub fn slots(&self) -> Vec<(String, E::Tensor)> {
        let slot = |average: &Parameter<E>| (slot_name(&average.name), average.tensor.clone());
        self.averages.iter().map(slot).collect()
    }

    /// Goes on where averages of the same parameters stood: `slots` finds elements by the names of
    /// [`Ema::slots`]. Nothing has changed after an error.
    pub fn restore<'a>(
        &mut self,
        engine: &E,
        updates: u32,
        slots: &dyn Fn(&str) -> Option<HostSlice<'a>>,
    ) -> Result<(), OptimizerError> {
        let find = |average: &Parameter<E>| {
            let name = slot_name(&average.name);
            let elements = slots(&name).ok_or(OptimizerError::Missing { name })?;
            Ok(engine.tensor(elements, &engine.shape(&average.tensor))?)
        };
        let found: Vec<_> = (self.averages.iter())
            .map(find)
            .collect::<Result<_, OptimizerError>>()?;
        for (average, found) in self.averages.iter().zip(&found) {
            engine.assign(&average.tensor, found)?;
        }
        self.updates = updates;
        Ok(())
    }
}

fn slot_name(parameter: &str) -> String {
    format!("average.{parameter}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;
    #[cfg(feature = "torch")]
    use crate::engine::{Device, torch::Torch};

    fn parameter(engine: &Candle) -> Parameter<Candle> {
        Parameter {
            name: "x".to_owned(),
            tensor: engine.parameter(&[1f32, -2.0][..], &[2]).unwrap(),
        }
    }

    fn set(engine: &Candle, x: &Parameter<Candle>, value: f32) {
        let value = engine.tensor(&[value; 2][..], &[2]).unwrap();
        engine.assign(&x.tensor, &value).unwrap();
    }

    fn values(engine: &Candle, ema: &Ema<Candle>) -> Vec<f64> {
        engine.to_f64(&ema.averages()[0].tensor).unwrap()
    }

    #[test]
    fn the_average_follows_at_its_pace() {
        let engine = Candle::new(Precision::F64);
        let x = [parameter(&engine)];
        let settings = EmaSettings {
            decay: 0.75,
            warmup: None,
        };
        let mut ema = Ema::new(&engine, settings, &x).unwrap();
        set(&engine, &x[0], 5.0);
        assert_eq!(values(&engine, &ema), [1.0, -2.0]);
        ema.update(&engine, &x).unwrap();
        assert_eq!(values(&engine, &ema), [2.0, -0.25]);
        assert_eq!(ema.updates(), 1);
        assert!(ema.update(&engine, &[]).is_err());
    }

    fn seen_by_handles<E: Engine>(engine: &E) {
        let parameter = Parameter {
            name: "x".to_owned(),
            tensor: engine.parameter(&[1f32, -2.0][..], &[2]).unwrap(),
        };
        let x = [parameter];
        let settings = EmaSettings {
            decay: 0.5,
            warmup: None,
        };
        let mut ema = Ema::new(engine, settings, &x).unwrap();
        let handles = [
            ema.averages()[0].tensor.clone(),
            engine.detach(&ema.averages()[0].tensor).unwrap(),
            ema.slots()[0].1.clone(),
        ];
        let seen = |expected: [f32; 2]| {
            for handle in &handles {
                assert_eq!(engine.to_f32(handle).unwrap(), expected);
            }
        };
        let fives = engine.tensor(&[5f32; 2][..], &[2]).unwrap();
        engine.assign(&x[0].tensor, &fives).unwrap();
        seen([1.0, -2.0]);
        ema.update(engine, &x).unwrap();
        seen([3.0, 1.5]);
        let stored = |_: &str| Some(HostSlice::F32(&[7.0, 8.0]));
        ema.restore(engine, 1, &stored).unwrap();
        seen([7.0, 8.0]);
        // The weights are others' memory.
        assert_eq!(engine.to_f32(&x[0].tensor).unwrap(), [5.0, 5.0]);
    }

    #[test]
    fn a_handle_sees_what_comes_after_it() {
        for precision in [Precision::F32, Precision::F64] {
            seen_by_handles(&Candle::new(precision));
            #[cfg(feature = "torch")]
            seen_by_handles(&Torch::new(Device::Cpu, precision).unwrap());
        }
    }

    #[test]
    fn warm_up_begins_at_the_weights_and_ends_at_the_decay() {
        let settings = EmaSettings {
            decay: 0.9,
            warmup: Some(EmaWarmup {
                gamma: 1.0,
                power: 2.0 / 3.0,
            }),
        };
        assert_eq!(settings.decay_after(0), 0.0);
        assert!((settings.decay_after(7) - 0.75).abs() < 1e-15);
        assert_eq!(settings.decay_after(1000), 0.9);
    }

    #[test]
    fn a_restored_average_goes_on_to_the_same_bits() {
        let engine = Candle::new(Precision::F32);
        let x = [parameter(&engine)];
        let settings = EmaSettings {
            decay: 0.3,
            warmup: None,
        };
        let mut ema = Ema::new(&engine, settings, &x).unwrap();
        set(&engine, &x[0], 0.1);
        ema.update(&engine, &x).unwrap();
        let slots = ema.slots();
        assert_eq!(slots[0].0, "average.x");
        let kept = engine.to_f32(&slots[0].1).unwrap();
        let mut resumed = Ema::new(&engine, settings, &x).unwrap();
        let find = |name: &str| (name == "average.x").then_some(HostSlice::F32(&kept));
        resumed.restore(&engine, ema.updates(), &find).unwrap();
        ema.update(&engine, &x).unwrap();
        resumed.update(&engine, &x).unwrap();
        assert_eq!(values(&engine, &ema), values(&engine, &resumed));
        let error = resumed.restore(&engine, 0, &|_| None).unwrap_err();
        assert!(error.to_string().contains("average.x"));
        assert_eq!(resumed.updates(), 2);
    }
}
