//! Optimizers over groups of parameters, each as the code that it is named after computes it.

use serde::{Deserialize, Serialize};

use super::LearningRate;
use super::group::{Group, check_members};
use super::optimizer_error::OptimizerError;
use crate::engine::{AdamW, Engine, EngineError, HostSlice, Moments, Update};

// What slots are called, before the parameter's name.
const MEAN: &str = "mean";
const SQUARE: &str = "square";
const MOMENTUM: &str = "momentum";

/// Which optimizer, with what it keeps constant over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (PyTorch, `torch/optim/adamw.py`).
    #[serde(rename = "adamw")]
    AdamW {
        /// Decay of the running mean of gradients, then of their squares.
        betas: [f64; 2],
        /// Added to the root of the mean square.
        eps: f64,
    },
    /// Stochastic gradient descent, weight decay being part of the gradient (PyTorch,
    /// `torch/optim/sgd.py`).
    Sgd {
        /// Part of the last change that goes on.
        momentum: f64,
        /// Whether the gradient is taken where the momentum leads (Nesterov).
        nesterov: bool,
    },
    /// Momentum with a rate for every matrix, in proportion to its norm (facebookresearch/mae
    /// `util/lars.py`): what has one axis is neither scaled nor decayed.
    Lars {
        /// Part of the last change that goes on.
        momentum: f64,
        /// Norm of a matrix's change, of its own norm, for one unit of learning rate.
        trust: f64,
    },
}

impl OptimizerKind {
    /// Numbers that it remembers of each that it moves.
    pub fn remembered(&self) -> usize {
        match self {
            Self::AdamW { .. } => 2,
            Self::Sgd { .. } | Self::Lars { .. } => 1,
        }
    }

    /// Refuses numbers that mean nothing, with what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, not from 0 up to 1")),
        };
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(format!("{name} is {value}, not above 0")),
        };
        match *self {
            Self::AdamW { betas, eps } => {
                betas.iter().try_for_each(|&beta| share("a beta", beta))?;
                positive("eps", eps)
            }
            Self::Sgd { momentum, nesterov } => {
                if nesterov && momentum == 0.0 {
                    return Err("nesterov needs a momentum".to_owned());
                }
                share("momentum", momentum)
            }
            Self::Lars { momentum, trust } => {
                share("momentum", momentum)?;
                positive("trust", trust)
            }
        }
    }
}

/// A leaf that is trained.
#[derive(Clone, Debug)]
pub struct Parameter<E: Engine> {
    /// Canonical name.
    pub name: String,
    /// The leaf, as [`Engine::parameter`] made it.
    pub tensor: E::Tensor,
}

/// An optimizer and what it keeps of each parameter.
#[derive(Clone, Debug)]
pub struct Optimizer<E: Engine> {
    groups: Vec<Group>,
    names: Vec<String>,
    shapes: Vec<Vec<usize>>,
    state: State<E>,
    steps: u32,
}

/// The kind, and what it keeps of the parameters in their order.
#[derive(Clone, Debug)]
enum State<E: Engine> {
    AdamW {
        betas: [f64; 2],
        eps: f64,
        moments: Vec<Moments<E::Tensor>>,
    },
    Sgd {
        momentum: f64,
        nesterov: bool,
        changes: Vec<E::Tensor>,
    },
    Lars {
        momentum: f64,
        trust: f64,
        changes: Vec<E::Tensor>,
    },
}

impl<E: Engine> Optimizer<E> {
    /// An optimizer before its first step. Every parameter is in exactly one group.
    pub fn new(
        engine: &E,
        kind: OptimizerKind,
        parameters: &[Parameter<E>],
        groups: Vec<Group>,
    ) -> Result<Self, OptimizerError> {
        let names: Vec<String> = parameters.iter().map(|p| p.name.clone()).collect();
        check_members(&names, &groups)?;
        let shapes: Vec<_> = parameters.iter().map(|p| engine.shape(&p.tensor)).collect();
        // With zeros for the change before the first, the first is the gradient, as PyTorch's is.
        let changes = || {
            let zeros = |shape: &Vec<usize>| {
                let zeros = vec![0f32; shape.iter().product()];
                engine.tensor(&zeros[..], shape)
            };
            shapes.iter().map(zeros).collect::<Result<_, _>>()
        };
        let state = match kind {
            OptimizerKind::AdamW { betas, eps } => State::AdamW {
                betas,
                eps,
                moments: parameters
                    .iter()
                    .map(|parameter| engine.moments(&parameter.tensor))
                    .collect::<Result<_, _>>()?,
            },
            OptimizerKind::Sgd { momentum, nesterov } => State::Sgd {
                momentum,
                nesterov,
                changes: changes()?,
            },
            OptimizerKind::Lars { momentum, trust } => State::Lars {
                momentum,
                trust,
                changes: changes()?,
            },
        };
        Ok(Self {
            groups,
            names,
            shapes,
            state,
            steps: 0,
        })
    }

    /// The groups, as they were given.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One step, in place: every handle to a parameter sees it, and a graph made before can no
    /// longer be walked. Parameters and gradients are in the order that the optimizer was made
    /// with.
    pub fn step(
        &mut self,
        engine: &E,
        parameters: &[Parameter<E>],
        gradients: &[E::Tensor],
        learning_rate: LearningRate,
        weight_decay: f64,
    ) -> Result<(), OptimizerError> {
        self.check_count("parameters", parameters.len())?;
        self.check_count("gradients", gradients.len())?;
        let step = self.steps + 1;
        for group in &self.groups {
            let rate = learning_rate.of(group.peak_scale, group.learning_rate_scale);
            let decay = weight_decay * group.weight_decay_scale;
            let members = || {
                let member = |&i: &usize| (i, &parameters[i].tensor, &gradients[i]);
                group.members.iter().map(member)
            };
            match &mut self.state {
                State::AdamW {
                    betas,
                    eps,
                    moments,
                } => {
                    let settings = AdamW {
                        learning_rate: rate,
                        betas: *betas,
                        eps: *eps,
                        weight_decay: decay,
                        step,
                    };
                    let updates: Vec<_> = members()
                        .map(|(i, parameter, gradient)| Update {
                            parameter,
                            gradient,
                            moments: &moments[i],
                        })
                        .collect();
                    engine.adamw(&settings, &updates)?;
                }
                State::Sgd {
                    momentum,
                    nesterov,
                    changes,
                } => {
                    for (i, parameter, gradient) in members() {
                        let value = engine.detach(parameter)?;
                        let gradient = decayed(engine, gradient, &value, decay)?;
                        changes[i] = moving(engine, &changes[i], *momentum, &gradient)?;
                        if *nesterov {
                            let ahead = moving(engine, &changes[i], *momentum, &gradient)?;
                            descend(engine, parameter, &value, &ahead, rate)?;
                        } else {
                            descend(engine, parameter, &value, &changes[i], rate)?;
                        }
                    }
                }
                State::Lars {
                    momentum,
                    trust,
                    changes,
                } => {
                    for (i, parameter, gradient) in members() {
                        let value = engine.detach(parameter)?;
                        let mut gradient = gradient.clone();
                        if self.shapes[i].len() > 1 {
                            gradient = decayed(engine, &gradient, &value, decay)?;
                            gradient = trusted(engine, &gradient, &value, *trust)?;
                        }
                        changes[i] = moving(engine, &changes[i], *momentum, &gradient)?;
                        descend(engine, parameter, &value, &changes[i], rate)?;
                    }
                }
            }
        }
        self.steps = step;
        Ok(())
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// What a state must hold besides the number of steps, in a fixed order: `mean.<parameter>`
    /// and `square.<parameter>`, or `momentum.<parameter>`, each in the parameter's shape. The next
    /// step may write into these tensors.
    pub fn slots(&self) -> Vec<(String, E::Tensor)> {
        let mut slots = Vec::new();
        let named = |slot: &str, i: usize| format!("{slot}.{}", self.names[i]);
        match &self.state {
            State::AdamW { moments, .. } => {
                for (i, moments) in moments.iter().enumerate() {
                    slots.push((named(MEAN, i), moments.mean.clone()));
                    slots.push((named(SQUARE, i), moments.square.clone()));
                }
            }
            State::Sgd { changes, .. } | State::Lars { changes, .. } => {
                for (i, change) in changes.iter().enumerate() {
                    slots.push((named(MOMENTUM, i), change.clone()));
                }
            }
        }
        slots
    }

    /// Goes on where an optimizer of the same kind over the same parameters stood: `slots` finds
    /// elements by the names of [`Optimizer::slots`]. Nothing has changed after an error.
    pub fn restore<'a>(
        &mut self,
        engine: &E,
        steps: u32,
        slots: &dyn Fn(&str) -> Option<HostSlice<'a>>,
    ) -> Result<(), OptimizerError> {
        let find = |slot: &str, i: usize| {
            let name = format!("{slot}.{}", self.names[i]);
            match slots(&name) {
                Some(elements) => Ok(engine.tensor(elements, &self.shapes[i])?),
                None => Err(OptimizerError::Missing { name }),
            }
        };
        match &mut self.state {
            State::AdamW { moments, .. } => {
                let found = |i| {
                    Ok(Moments {
                        mean: find(MEAN, i)?,
                        square: find(SQUARE, i)?,
                    })
                };
                *moments = (0..moments.len())
                    .map(found)
                    .collect::<Result<_, OptimizerError>>()?;
            }
            State::Sgd { changes, .. } | State::Lars { changes, .. } => {
                *changes = (0..changes.len())
                    .map(|i| find(MOMENTUM, i))
                    .collect::<Result<_, _>>()?;
            }
        }
        self.steps = steps;
        Ok(())
    }

    fn check_count(&self, what: &'static str, found: usize) -> Result<(), OptimizerError> {
        let expected = self.names.len();
        if found == expected {
            return Ok(());
        }
        Err(OptimizerError::Count {
            what,
            found,
            expected,
        })
    }
}

/// `gradient + decay value`
fn decayed<E: Engine>(
    engine: &E,
    gradient: &E::Tensor,
    value: &E::Tensor,
    decay: f64,
) -> Result<E::Tensor, EngineError> {
    if decay == 0.0 {
        return Ok(gradient.clone());
    }
    engine.add(gradient, &engine.affine(value, decay, 0.0)?)
}

/// The gradient at `trust` times the norm of the value, or as it is where either is zero.
fn trusted<E: Engine>(
    engine: &E,
    gradient: &E::Tensor,
    value: &E::Tensor,
    trust: f64,
) -> Result<E::Tensor, EngineError> {
    let squares = engine.square_sums(&[value, gradient])?;
    if squares.contains(&0.0) {
        return Ok(gradient.clone());
    }
    let ratio = (squares[0] / squares[1]).sqrt();
    engine.affine(gradient, trust * ratio, 0.0)
}

/// `momentum change + gradient`
fn moving<E: Engine>(
    engine: &E,
    change: &E::Tensor,
    momentum: f64,
    gradient: &E::Tensor,
) -> Result<E::Tensor, EngineError> {
    engine.add(&engine.affine(change, momentum, 0.0)?, gradient)
}

/// `value - rate change` into the parameter.
fn descend<E: Engine>(
    engine: &E,
    parameter: &E::Tensor,
    value: &E::Tensor,
    change: &E::Tensor,
    rate: f64,
) -> Result<(), EngineError> {
    let next = engine.sub(value, &engine.affine(change, rate, 0.0)?)?;
    engine.assign(parameter, &next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;

    const ADAMW: OptimizerKind = OptimizerKind::AdamW {
        betas: [0.9, 0.999],
        eps: 1e-8,
    };
    const KINDS: [OptimizerKind; 3] = [
        ADAMW,
        OptimizerKind::Sgd {
            momentum: 0.9,
            nesterov: true,
        },
        OptimizerKind::Lars {
            momentum: 0.9,
            trust: 0.001,
        },
    ];

    /// A matrix and a row.
    fn parameters(engine: &Candle) -> Vec<Parameter<Candle>> {
        let parameter = |name: &str, shape: &[usize]| {
            let count = shape.iter().product();
            let values: Vec<f32> = (1..=count).map(|i| 1.0 / i as f32).collect();
            Parameter {
                name: name.to_owned(),
                tensor: engine.parameter(&values[..], shape).unwrap(),
            }
        };
        vec![
            parameter("head.weight", &[2, 3]),
            parameter("head.bias", &[2]),
        ]
    }

    fn gradients(engine: &Candle, step: u32) -> Vec<<Candle as Engine>::Tensor> {
        [&[2usize, 3][..], &[2]]
            .map(|shape| {
                let count = shape.iter().product::<usize>() as u32;
                let values: Vec<f32> = (0..count).map(|i| ((i + 7 * step) as f32).sin()).collect();
                engine.tensor(&values[..], shape).unwrap()
            })
            .into()
    }

    fn group(members: &[usize]) -> Group {
        Group {
            name: "decay".to_owned(),
            peak_scale: 1.0,
            learning_rate_scale: 1.0,
            weight_decay_scale: 1.0,
            members: members.to_vec(),
        }
    }

    fn optimizer(engine: &Candle, kind: OptimizerKind) -> Optimizer<Candle> {
        Optimizer::new(engine, kind, &parameters(engine), vec![group(&[1, 0])]).unwrap()
    }

    fn values(engine: &Candle, parameters: &[Parameter<Candle>]) -> Vec<Vec<f64>> {
        let value = |parameter: &Parameter<Candle>| engine.to_f64(&parameter.tensor).unwrap();
        parameters.iter().map(value).collect()
    }

    #[test]
    fn a_restored_optimizer_steps_to_the_same_bits() {
        for precision in [Precision::F32, Precision::F64] {
            let engine = Candle::new(precision);
            for kind in KINDS {
                let step = |optimizer: &mut Optimizer<Candle>, trained: &[Parameter<Candle>], i| {
                    optimizer
                        .step(
                            &engine,
                            trained,
                            &gradients(&engine, i),
                            LearningRate::constant(0.01),
                            0.05,
                        )
                        .unwrap();
                };
                let (mut whole, trained) = (optimizer(&engine, kind), parameters(&engine));
                (0..3).for_each(|i| step(&mut whole, &trained, i));
                assert_eq!(whole.steps(), 3);

                let (mut first, resumed) = (optimizer(&engine, kind), parameters(&engine));
                (0..2).for_each(|i| step(&mut first, &resumed, i));
                let slots: Vec<(String, Vec<f64>)> = first
                    .slots()
                    .into_iter()
                    .map(|(name, slot)| (name, engine.to_f64(&slot).unwrap()))
                    .collect();
                let mut second = optimizer(&engine, kind);
                let find = |name: &str| {
                    let found = slots.iter().find(|(slot, _)| slot == name);
                    found.map(|(_, elements)| HostSlice::F64(elements))
                };
                second.restore(&engine, first.steps(), &find).unwrap();
                step(&mut second, &resumed, 2);
                assert_eq!(values(&engine, &trained), values(&engine, &resumed));
            }
        }
    }

    #[test]
    fn a_state_without_a_slot_changes_nothing() {
        let engine = Candle::new(Precision::F32);
        let mut optimizer = optimizer(&engine, ADAMW);
        let row = [1f32; 6];
        let find = |name: &str| (name != "square.head.bias").then_some(HostSlice::F32(&row));
        let error = optimizer.restore(&engine, 9, &|name| match name {
            "mean.head.bias" => Some(HostSlice::F32(&row[..2])),
            _ => find(name),
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("square.head.bias"), "{error}");
        assert_eq!(optimizer.steps(), 0);
        for (_, slot) in optimizer.slots() {
            assert!(engine.to_f32(&slot).unwrap().iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn every_parameter_is_in_one_group() {
        let engine = Candle::new(Precision::F32);
        for (groups, said) in [
            (vec![group(&[0])], "head.bias is in no group"),
            (
                vec![group(&[0, 1]), group(&[1])],
                "head.bias is in two groups",
            ),
            (vec![group(&[0, 1, 2])], "parameter 2 of 2"),
        ] {
            let made = Optimizer::new(&engine, ADAMW, &parameters(&engine), groups);
            let error = made.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let mut twice = parameters(&engine);
        twice[1].name = twice[0].name.clone();
        let error = Optimizer::new(&engine, ADAMW, &twice, vec![group(&[0, 1])]).unwrap_err();
        assert!(error.to_string().contains("head.weight"), "{error}");
        let short = optimizer(&engine, ADAMW).step(
            &engine,
            &parameters(&engine),
            &gradients(&engine, 0)[..1],
            LearningRate::constant(0.01),
            0.0,
        );
        assert!(short.is_err());
    }

    /// facebookresearch/mae `util/lars.py`: a ratio of 1 where a norm is zero.
    #[test]
    fn zero_norms_are_not_trusted() {
        let engine = Candle::new(Precision::F64);
        let zeros = engine.tensor(&[0f64; 2][..], &[1, 2]).unwrap();
        let ones = engine.tensor(&[3f64, 4.0][..], &[1, 2]).unwrap();
        let twice = engine.tensor(&[6f64, 8.0][..], &[1, 2]).unwrap();
        for (gradient, value, expected) in [
            (&ones, &zeros, [3.0, 4.0]),
            (&zeros, &ones, [0.0, 0.0]),
            (&ones, &twice, [0.75, 1.0]),
        ] {
            let found = trusted(&engine, gradient, value, 0.125).unwrap();
            assert_eq!(engine.to_f64(&found).unwrap(), expected);
        }
    }

    #[test]
    fn a_kind_is_read_from_its_name() {
        for kind in KINDS {
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<OptimizerKind>(&text).unwrap(), kind);
        }
        let unknown = r#"{"kind": "sgd", "momentum": 0.9, "nesterov": false, "eps": 1e-8}"#;
        assert!(serde_json::from_str::<OptimizerKind>(unknown).is_err());
    }
}
