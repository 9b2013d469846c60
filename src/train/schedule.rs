//! How a learning rate, a weight decay or a momentum changes over a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the step, over all epochs, from 0 on.
    pub iteration: u64,
    /// Steps of an epoch.
    pub iterations_per_epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
}

impl Position {
    /// Steps of the whole run.
    fn iterations(self) -> u64 {
        self.iterations_per_epoch * self.epochs
    }
}

/// What every group learns at in one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    schedule: Schedule,
    peak: f64,
    position: Position,
}

impl LearningRate {
    /// That of a run of this schedule and peak where it stands.
    pub fn new(schedule: Schedule, peak: f64, position: Position) -> Self {
        Self {
            schedule,
            peak,
            position,
        }
    }

    /// A peak that no schedule moves.
    pub fn constant(peak: f64) -> Self {
        let position = Position {
            iteration: 0,
            iterations_per_epoch: 1,
            epochs: 1,
        };
        Self::new(Schedule::Constant {}, peak, position)
    }

    /// That of parameters with these scales: `peak_scale` moves what the schedule begins with,
    /// not the values where it starts and ends; `scale` is of whatever it gives.
    pub fn of(self, peak_scale: f64, scale: f64) -> f64 {
        self.schedule.at(self.peak * peak_scale, self.position) * scale
    }
}

/// A value as a function of the position alone, so that a resumed run sees the same bits. It goes
/// from the peak to an end; both are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak throughout.
    Constant {},
    /// Over fractional epochs: from 0 to the peak in a straight line, then half a cosine
    /// (facebookresearch/mae `util/lr_sched.py`).
    MaeCosine {
        /// Epochs of the line.
        warmup_epochs: f64,
        /// Where the cosine ends.
        end: f64,
    },
    /// Over steps: a line that has both `start` and the peak among its values, then half a cosine
    /// that begins with the peak once more and stops one step before `end` (microsoft/unilm
    /// `beit/utils.py` and facebookresearch/dino `utils.py`, `cosine_scheduler`).
    BeitCosine {
        /// Epochs of the line.
        #[serde(default)]
        warmup_epochs: u64,
        /// Steps of the line, in place of those of `warmup_epochs`.
        #[serde(default)]
        warmup_steps: Option<u64>,
        /// Where the line begins.
        #[serde(default)]
        start: f64,
        /// Where the cosine would end.
        end: f64,
    },
    /// Half a cosine that changes once an epoch: PyTorch's `CosineAnnealingLR` with `T_max` the
    /// epochs, stepped after each.
    EpochCosine {
        /// Where the cosine ends, after the last epoch.
        end: f64,
    },
    /// Half a cosine that changes at every step: PyTorch's `CosineAnnealingLR` with `T_max` the
    /// steps (facebookresearch/dinov2 `dinov2/eval/linear.py`).
    IterationCosine {
        /// Where the cosine ends, after the last step.
        end: f64,
    },
    /// A polynomial over all steps, at first times a line up to 1 (mmcv 1
    /// `mmcv/runner/hooks/lr_updater.py`: `poly` with `warmup="linear"`).
    MmcvPolynomial {
        /// Exponent of what is left of the run.
        power: f64,
        /// Where the polynomial ends.
        end: f64,
        /// Steps of the line.
        warmup_steps: u64,
        /// Where the line begins.
        warmup_ratio: f64,
    },
    /// A line up to the peak, then a polynomial over the steps behind it (mmengine
    /// `mmengine/optim/scheduler/param_scheduler.py`: `LinearLR` and `PolyLR`).
    MmenginePolynomial {
        /// Exponent of what is left of the run.
        power: f64,
        /// Where the polynomial ends.
        end: f64,
        /// Steps of the line.
        warmup_steps: u64,
        /// Of the peak, where the line begins.
        warmup_ratio: f64,
    },
    /// Half a cosine over all steps, one step ahead; at first a line up to 1 times a line down to 0
    /// (facebookresearch/dinov3 `dinov3/eval/segmentation/schedulers.py`, `WarmupOneCycleLR` with a
    /// `warmup_ratio`).
    OneCycle {
        /// Where the cosine ends.
        end: f64,
        /// Steps of the line.
        warmup_steps: u64,
        /// Where the line begins.
        warmup_ratio: f64,
    },
}

impl Schedule {
    /// Refuses numbers that mean nothing in a run of so many epochs, with what is wrong.
    pub fn check(&self, epochs: u64) -> Result<(), String> {
        let number = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(format!("{name} is {value}, not a number from 0 on")),
        };
        let warmup = |warmup: f64| match warmup < epochs as f64 {
            true => number("warmup_epochs", warmup),
            false => Err(format!(
                "a warm-up of {warmup} epochs leaves nothing of {epochs}"
            )),
        };
        match *self {
            Self::Constant {} => Ok(()),
            Self::MaeCosine { warmup_epochs, end } => {
                number("end", end)?;
                warmup(warmup_epochs)
            }
            Self::BeitCosine {
                warmup_epochs,
                start,
                end,
                ..
            } => {
                number("start", start)?;
                number("end", end)?;
                warmup(warmup_epochs as f64)
            }
            Self::EpochCosine { end } | Self::IterationCosine { end } => number("end", end),
            Self::MmcvPolynomial {
                power,
                end,
                warmup_ratio,
                ..
            }
            | Self::MmenginePolynomial {
                power,
                end,
                warmup_ratio,
                ..
            } => {
                number("power", power)?;
                number("end", end)?;
                number("warmup_ratio", warmup_ratio)
            }
            Self::OneCycle {
                end, warmup_ratio, ..
            } => {
                number("end", end)?;
                number("warmup_ratio", warmup_ratio)
            }
        }
    }

    /// Epochs of the line before the rest, in a run with so many steps an epoch.
    pub fn warmup_epochs(&self, steps: usize) -> f64 {
        let of = |warmup: u64| warmup as f64 / steps.max(1) as f64;
        match *self {
            Self::Constant {} | Self::EpochCosine { .. } | Self::IterationCosine { .. } => 0.0,
            Self::MaeCosine { warmup_epochs, .. } => warmup_epochs,
            Self::BeitCosine {
                warmup_epochs,
                warmup_steps,
                ..
            } => warmup_steps.map_or(warmup_epochs as f64, of),
            Self::MmcvPolynomial { warmup_steps, .. }
            | Self::MmenginePolynomial { warmup_steps, .. }
            | Self::OneCycle { warmup_steps, .. } => of(warmup_steps),
        }
    }

    /// The value at a position.
    pub fn at(&self, peak: f64, position: Position) -> f64 {
        let step = position.iteration;
        let all = position.iterations();
        match *self {
            Self::Constant {} => peak,
            Self::MaeCosine { warmup_epochs, end } => {
                let epoch = step as f64 / position.iterations_per_epoch as f64;
                if epoch < warmup_epochs {
                    return peak * epoch / warmup_epochs;
                }
                let rest = position.epochs as f64 - warmup_epochs;
                half_cosine(peak, end, (epoch - warmup_epochs) / rest)
            }
            Self::BeitCosine {
                warmup_epochs,
                warmup_steps,
                start,
                end,
            } => {
                let epochs = warmup_epochs * position.iterations_per_epoch;
                let warmup = warmup_steps.unwrap_or(epochs);
                if step < warmup {
                    return line(start, peak, step, warmup);
                }
                half_cosine(peak, end, part(step - warmup, all - warmup))
            }
            Self::EpochCosine { end } => {
                let epoch = step / position.iterations_per_epoch;
                half_cosine(peak, end, part(epoch, position.epochs))
            }
            Self::IterationCosine { end } => half_cosine(peak, end, part(step, all)),
            Self::MmcvPolynomial {
                power,
                end,
                warmup_steps,
                warmup_ratio,
            } => {
                let value = polynomial(peak, end, power, part(step, all));
                if step < warmup_steps {
                    let missing = (1.0 - part(step, warmup_steps)) * (1.0 - warmup_ratio);
                    value * (1.0 - missing)
                } else {
                    value
                }
            }
            Self::MmenginePolynomial {
                power,
                end,
                warmup_steps,
                warmup_ratio,
            } => {
                if step < warmup_steps {
                    return line(peak * warmup_ratio, peak, step, warmup_steps);
                }
                // The last step is at the end.
                let rest = (all - warmup_steps).saturating_sub(1).max(1);
                polynomial(peak, end, power, part(step - warmup_steps, rest))
            }
            Self::OneCycle {
                end,
                warmup_steps,
                warmup_ratio,
            } => {
                // The first update has the first value twice there.
                let step = step.saturating_sub(1);
                if step < warmup_steps {
                    let missing = (1.0 - part(step, warmup_steps)) * (1.0 - warmup_ratio);
                    return peak * (1.0 - missing) * (1.0 - part(step, all));
                }
                half_cosine(peak, end, part(step + 1, all))
            }
        }
    }
}

fn part(step: u64, of: u64) -> f64 {
    step as f64 / of as f64
}

/// Value `step` of `count` at equal distances from `start` to `end`, both included.
fn line(start: f64, end: f64, step: u64, count: u64) -> f64 {
    match count - 1 {
        0 => start,
        last if step == last => end,
        last => start + (end - start) * part(step, last),
    }
}

/// From `start` at 0 to `end` at 1.
fn half_cosine(start: f64, end: f64, part: f64) -> f64 {
    end + (start - end) * 0.5 * (1.0 + (PI * part).cos())
}

/// From `start` at 0 to `end` at 1.
fn polynomial(start: f64, end: f64, power: f64, part: f64) -> f64 {
    (start - end) * (1.0 - part).powf(power) + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(schedule: Schedule, peak: f64, epochs: u64, per_epoch: u64) -> Vec<f64> {
        (0..epochs * per_epoch)
            .map(|iteration| {
                let position = Position {
                    iteration,
                    iterations_per_epoch: per_epoch,
                    epochs,
                };
                schedule.at(peak, position)
            })
            .collect()
    }

    #[test]
    fn a_constant_stays() {
        assert_eq!(values(Schedule::Constant {}, 0.1, 2, 2), [0.1; 4]);
    }

    /// `torch.optim.lr_scheduler.CosineAnnealingLR`, stepped after each epoch and after each step.
    #[test]
    fn cosines_without_warm_up_follow_their_clock() {
        let cosine = |part: f64| 0.01 + 0.09 * (1.0 + (PI * part).cos()) / 2.0;
        let by_epoch = values(Schedule::EpochCosine { end: 0.01 }, 0.1, 4, 2);
        let by_step = values(Schedule::IterationCosine { end: 0.01 }, 0.1, 4, 2);
        for i in 0..8 {
            let epoch = cosine((i / 2) as f64 / 4.0);
            assert!((by_epoch[i] - epoch).abs() < 1e-15);
            assert!((by_step[i] - cosine(i as f64 / 8.0)).abs() < 1e-15);
        }
    }

    #[test]
    fn one_step_of_warm_up_is_its_start() {
        let schedule = Schedule::BeitCosine {
            warmup_epochs: 0,
            warmup_steps: Some(1),
            start: 0.25,
            end: 0.0,
        };
        assert_eq!(values(schedule, 1.0, 1, 3), [0.25, 1.0, 0.5]);
    }

    #[test]
    fn warm_up_may_outlast_the_run() {
        for schedule in [
            Schedule::MaeCosine {
                warmup_epochs: 5.0,
                end: 0.0,
            },
            Schedule::BeitCosine {
                warmup_epochs: 5,
                warmup_steps: None,
                start: 0.0,
                end: 0.0,
            },
            Schedule::MmenginePolynomial {
                power: 1.0,
                end: 0.0,
                warmup_steps: 100,
                warmup_ratio: 1e-6,
            },
        ] {
            let values = values(schedule, 1.0, 2, 3);
            assert!(values.is_sorted() && values[5] < 1.0, "{values:?}");
        }
    }

    #[test]
    fn one_cycle_goes_up_by_a_line_and_down_by_a_cosine() {
        let schedule = Schedule::OneCycle {
            end: 0.1,
            warmup_steps: 4,
            warmup_ratio: 0.1,
        };
        let values = values(schedule, 1.0, 1, 10);
        for (step, expected) in [
            (0, 0.1),
            (1, 0.1),
            (3, 0.55 * 0.8),
            (5, 0.55),
            (9, 0.1 + 0.45 * (1.0 - (0.1 * PI).cos())),
        ] {
            assert!(
                (values[step] - expected).abs() < 1e-12,
                "{step}: {}",
                values[step]
            );
        }
    }

    #[test]
    fn schedules_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Schedule>(text);
        let beit = read(r#"{"kind": "beit_cosine", "warmup_epochs": 5, "end": 1e-6}"#).unwrap();
        let expected = Schedule::BeitCosine {
            warmup_epochs: 5,
            warmup_steps: None,
            start: 0.0,
            end: 1e-6,
        };
        assert_eq!(beit, expected);
        let text = serde_json::to_string(&beit).unwrap();
        assert_eq!(read(&text).unwrap(), beit);
        assert!(read(r#"{"kind": "constant", "end": 0.0}"#).is_err());
        assert!(read(r#"{"kind": "epoch_cosine", "end": 0.0, "start": 0.0}"#).is_err());
    }
}
