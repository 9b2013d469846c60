//! What a checkpoint's tensors become before the first update.

use crate::nn::{TensorStore, WeightError, Weights};

/// Every tensor of a checkpoint, in memory.
pub(in crate::run) fn in_memory(mut mapped: impl TensorStore) -> Result<Weights, WeightError> {
    let mut weights = Weights::default();
    for name in mapped.left() {
        let tensor = mapped.take(&name)?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// Gives every block a copy of the table of relative positions that they share.
pub(in crate::run) fn share_out_tables(weights: &mut Weights, depth: usize) {
    const TABLE: &str = "relative_position_bias_table";
    if let Some(shared) = weights.remove(&format!("rel_pos_bias.{TABLE}")) {
        for block in 0..depth {
            weights.insert(format!("blocks.{block}.attn.{TABLE}"), shared.clone());
        }
    }
}
