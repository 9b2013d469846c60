//! Which records are one side of a comparison.

use super::Record;

impl Record {
    /// Whether both are of one checkpoint under one protocol, computed in one way, with another seed.
    pub fn is_another_seed_of(&self, other: &Self) -> bool {
        let of = |record: &Self| {
            let (cell, compute) = (record.cell.clone(), record.compute.clone());
            let computed = (
                compute.engine,
                compute.precision,
                compute.stored,
                compute.numerics,
            );
            (cell.subject, cell.protocol, computed)
        };
        self.cell.seed != other.cell.seed && of(self) == of(other)
    }

    /// Whether the images are the same, too, so that the spread of both is that of their seeds.
    pub fn differs_by_seed_alone(&self, other: &Self) -> bool {
        self.cell.data == other.cell.data && self.is_another_seed_of(other)
    }
}
