//! Many runs, one after the other.

use super::super::Terminal;
use super::pretrain;
use super::standing::{Standing, standing};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::PretrainPlan;
use crate::report::PretrainingRecord;
use crate::train::TrainError;

/// What became of several runs.
#[derive(Debug)]
pub struct Swept {
    /// Those that have ended, with their places among the plans.
    pub records: Vec<(usize, PretrainingRecord)>,
    /// Those whose losses or gradients became no numbers.
    pub diverged: Vec<Error>,
}

/// Carries out every plan that has not been, whatever becomes of the others' losses.
///
/// # Errors
/// A folder that holds something else, before the first step of any; whatever else ends a run, the
/// user's wish included.
pub fn sweep(plans: &[PretrainPlan], terminal: &mut Terminal) -> Result<Swept, Error> {
    let mut finished = 0;
    for plan in plans {
        if let Standing::Finished(_) = standing(plan)? {
            finished += 1;
        }
    }
    if plans.len() > 1 {
        let runs = plans.len();
        terminal.notice(&format!("{runs} runs, {finished} of them finished before"));
    }
    let mut swept = Swept {
        records: Vec::new(),
        diverged: Vec::new(),
    };
    for (place, plan) in plans.iter().enumerate() {
        if plans.len() > 1 {
            terminal.notice(&format!(
                "run {} of {}: {}",
                place + 1,
                plans.len(),
                plan.name
            ));
        }
        match pretrain(plan, terminal) {
            Ok(record) => swept.records.push((place, record)),
            Err(error) if diverged(&error) => swept.diverged.push(Error::Cell {
                cell: plan.name.clone(),
                source: Box::new(error),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

/// Whether a run has ended by itself: others can go on.
fn diverged(error: &Error) -> bool {
    matches!(
        error,
        Error::Train(
            TrainError::NotFinite { .. }
                | TrainError::GradientNotFinite { .. }
                | TrainError::ValidationNotFinite { .. }
        )
    )
}
