//! Learned biases of the attention scores: which row of a table belongs to which pair of tokens, and
//! what the rows make of the scores.

use super::VitConfig;
use crate::engine::{Engine, Result};
use crate::nn::{Loader, WeightError};

/// Rows of a table for a grid: one a distance, and three of the class token.
pub fn table_rows([rows, columns]: [usize; 2]) -> usize {
    (2 * rows - 1) * (2 * columns - 1) + 3
}

/// Row of a relative position table for each pair of tokens, a class token and the patches of
/// `grid` row by row: `[(1 + N)²]`, the query's index outermost.
///
/// The table has a row for each distance between patches, `[(2 h - 1)(2 w - 1)]` with vertical
/// distances outermost, and three more: from the class token to a patch, from a patch to the class
/// token, from the class token to itself (microsoft/unilm `beit/modeling_finetune.py`,
/// `RelativePositionBias`).
pub fn relative_index(grid: [usize; 2]) -> Vec<u32> {
    let [rows, columns] = grid;
    let patches = rows * columns;
    let distances = (2 * rows).saturating_sub(1) * (2 * columns).saturating_sub(1);
    let [from_class, to_class, class] = [0, 1, 2].map(|row| distances + row);
    let mut index = Vec::with_capacity((1 + patches).pow(2));
    index.push(class as u32);
    index.resize(1 + patches, from_class as u32);
    for query in 0..patches {
        index.push(to_class as u32);
        index.extend((0..patches).map(|key| {
            let down = query / columns + rows - 1 - key / columns;
            let right = query % columns + columns - 1 - key % columns;
            (down * (2 * columns - 1) + right) as u32
        }));
    }
    index
}

/// One table: `[(2 h - 1)(2 w - 1) + 3, H]`.
#[derive(Clone, Debug)]
pub(super) struct RelativeTable<E: Engine>(E::Tensor);

impl<E: Engine> RelativeTable<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        grid: [usize; 2],
        heads: usize,
    ) -> std::result::Result<Self, WeightError> {
        let name = format!("{prefix}.relative_position_bias_table");
        Ok(Self(loader.take(&name, &[table_rows(grid), heads])?))
    }

    /// index: [`relative_index`] of the grid -> `[1, H, N, N]`
    pub(super) fn bias(&self, engine: &E, config: &VitConfig, index: &[u32]) -> Result<E::Tensor> {
        let rows = engine.index_select(&self.0, 0, index)?;
        let heads = engine.shape(&self.0)[1];
        let tokens = config.tokens();
        let bias = engine.reshape(&rows, &[1, tokens, tokens, heads])?;
        engine.permute(&bias, &[0, 3, 1, 2])
    }
}

#[cfg(test)]
mod tests {
    use super::relative_index;

    #[test]
    fn one_row_of_two_patches() {
        // Distances -1, 0, 1 are rows 0, 1, 2.
        assert_eq!(relative_index([1, 2]), [5, 3, 3, 4, 1, 0, 4, 2, 1]);
    }

    #[test]
    fn every_row_of_the_table_is_used_and_distances_are_antisymmetric() {
        let (rows, columns) = (3, 5);
        let tokens = 1 + rows * columns;
        let distances = (2 * rows - 1) * (2 * columns - 1);
        let index = relative_index([rows, columns]);
        assert_eq!(index.len(), tokens * tokens);
        for row in 0..distances as u32 + 3 {
            assert!(index.contains(&row), "{row}");
        }
        for query in 1..tokens {
            for key in 1..tokens {
                let there = index[query * tokens + key] as usize;
                let back = index[key * tokens + query] as usize;
                assert_eq!(there + back, distances - 1, "{query} {key}");
            }
        }
    }
}
