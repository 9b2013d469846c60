//! Which records are one side of a comparison.

use super::Record;

impl Record {
    /// Whether both are of one checkpoint under one protocol on one list of images, computed in one
    /// way: what then differs is the seed, and their spread is its.
    pub fn differs_by_seed_alone(&self, other: &Self) -> bool {
        let of = |record: &Self| {
            let (cell, compute) = (record.cell.clone(), record.compute.clone());
            let computed = (
                compute.engine,
                compute.precision,
                compute.stored,
                compute.numerics,
            );
            (cell.subject, cell.protocol, cell.data, computed)
        };
        self.cell.seed != other.cell.seed && of(self) == of(other)
    }
}
