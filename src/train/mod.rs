//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.
