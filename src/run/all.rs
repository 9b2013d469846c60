//! Every missing cell of a plan, cheapest first.

use super::Terminal;
use super::cells::{self, Finished, groups};
use super::overview::Estimate;
use crate::plan::Plan;

/// Evaluates the plan's cells, those that share their passes together, in the order of what they
/// cost; records come back in the order of the plan.
pub fn run(plan: &Plan, estimates: &[Estimate], terminal: &mut Terminal) -> Finished {
    let mut groups = groups(plan);
    groups.sort_by_key(|group| {
        group
            .iter()
            .map(|&place| estimates[place].time)
            .sum::<std::time::Duration>()
    });
    cells::run_groups(plan, groups, terminal)
}
