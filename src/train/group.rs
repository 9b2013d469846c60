//! Parameters that share their settings.

use std::collections::BTreeSet;

use super::optimizer_error::OptimizerError;

/// Parameters with one learning rate and one weight decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What a person reads: `layer 3, decay`.
    pub name: String,
    /// Times the peak of the run's learning rate, before its schedule.
    pub peak_scale: f64,
    /// Times the learning rate that the schedule gives.
    pub learning_rate_scale: f64,
    /// Times the run's weight decay: 0 or 1.
    pub weight_decay_scale: f64,
    /// Places of the parameters in the list of all.
    pub members: Vec<usize>,
}

/// Refuses groups that leave a parameter out or have it twice, and parameters of one name.
pub(super) fn check_members(names: &[String], groups: &[Group]) -> Result<(), OptimizerError> {
    let mut seen = BTreeSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(OptimizerError::SameName { name: name.clone() });
    }
    let mut grouped = vec![false; names.len()];
    for group in groups {
        for &member in &group.members {
            match grouped.get_mut(member) {
                Some(grouped) if !*grouped => *grouped = true,
                Some(_) => {
                    return Err(OptimizerError::TwoGroups {
                        name: names[member].clone(),
                    });
                }
                None => {
                    return Err(OptimizerError::NoSuchMember {
                        group: group.name.clone(),
                        member,
                        parameters: names.len(),
                    });
                }
            }
        }
    }
    match grouped.iter().position(|&grouped| !grouped) {
        None => Ok(()),
        Some(left) => Err(OptimizerError::NoGroup {
            name: names[left].clone(),
        }),
    }
}
