//! Which samples a step looks at: a function of seed, epoch and the size of the world.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::World;
use crate::data::Pick;

/// How samples are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Samples there are.
    pub samples: usize,
    /// Samples of one update, over all processes.
    pub batch: usize,
    /// Samples that go through the network together: what BatchNorm and mixup see.
    pub local_batch: usize,
    /// How long an epoch is.
    pub epoch: EpochLength,
    /// Seed of the order.
    pub seed: u64,
}

/// How long an epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochLength {
    /// Every sample once; the last update may have fewer.
    Samples,
    /// As many whole updates as the samples give; what is left over differs from epoch to epoch.
    WholeBatches,
    /// This many updates, out of an endless stream of passes over the samples
    /// (facebookresearch/dinov2 `eval/linear.py`).
    Updates(usize),
}

/// What one process does for one update: its local batches, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The samples of each.
    pub local: Vec<Vec<Pick>>,
}

impl Step {
    /// Samples that this process looks at.
    pub fn samples(&self) -> usize {
        self.local.iter().map(Vec::len).sum()
    }
}

impl Sampler {
    /// Updates of one epoch.
    pub fn steps(&self) -> usize {
        match self.epoch {
            EpochLength::Samples => self.samples.div_ceil(self.batch),
            EpochLength::WholeBatches => self.samples / self.batch,
            EpochLength::Updates(updates) => updates,
        }
    }

    /// The updates of an epoch, counted from 0. Local batch `j` of an update is the same whoever
    /// computes it: process `j` modulo the size of the world.
    pub fn epoch(&self, epoch: usize, world: &dyn World) -> Vec<Step> {
        let mut order = Order {
            sampler: *self,
            pass: None,
            places: Vec::new(),
        };
        let step = |step: usize| {
            let [first, end] = match self.epoch {
                EpochLength::Updates(updates) => {
                    let first = (epoch * updates + step) * self.batch;
                    [first, first + self.batch]
                }
                EpochLength::Samples | EpochLength::WholeBatches => {
                    let base = epoch * self.samples;
                    let first = step * self.batch;
                    [base + first, base + self.samples.min(first + self.batch)]
                }
            };
            let picks: Vec<_> = (first..end).map(|place| order.pick(place)).collect();
            let local = picks.chunks(self.local_batch).enumerate();
            let own = local.filter(|(j, _)| j % world.size() == world.rank());
            Step {
                local: own.map(|(_, picks)| picks.to_vec()).collect(),
            }
        };
        (0..self.steps()).map(step).collect()
    }
}

/// The endless sequence of passes, one permutation in memory at a time.
struct Order {
    sampler: Sampler,
    pass: Option<usize>,
    places: Vec<usize>,
}

impl Order {
    fn pick(&mut self, place: usize) -> Pick {
        let pass = place / self.sampler.samples;
        if self.pass != Some(pass) {
            let mut rng = ChaCha8Rng::seed_from_u64(self.sampler.seed);
            rng.set_stream(pass as u64);
            self.places = (0..self.sampler.samples).collect();
            self.places.shuffle(&mut rng);
            self.pass = Some(pass);
        }
        Pick {
            index: self.places[place % self.sampler.samples],
            pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Solo;

    const SAMPLER: Sampler = Sampler {
        samples: 23,
        batch: 8,
        local_batch: 3,
        epoch: EpochLength::Samples,
        seed: 7,
    };

    struct Part(usize, usize);

    impl World for Part {
        fn rank(&self) -> usize {
            self.0
        }

        fn size(&self) -> usize {
            self.1
        }

        fn sum(&self, counts: &[f64]) -> Vec<f64> {
            counts.to_vec()
        }
    }

    fn picks(steps: &[Step]) -> Vec<Pick> {
        let local = steps.iter().flat_map(|step| &step.local);
        local.flatten().copied().collect()
    }

    #[test]
    fn an_epoch_has_every_sample_once_in_an_order_of_its_own() {
        let steps = SAMPLER.epoch(2, &Solo);
        let sizes: Vec<_> = steps.iter().map(Step::samples).collect();
        assert_eq!(sizes, [8, 8, 7]);
        let lengths = |step: &Step| step.local.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&steps[0]), [3, 3, 2]);
        assert_eq!(lengths(&steps[2]), [3, 3, 1]);
        let mut seen: Vec<_> = picks(&steps).iter().map(|pick| pick.index).collect();
        assert!(picks(&steps).iter().all(|pick| pick.pass == 2));
        assert!(!seen.is_sorted());
        seen.sort_unstable();
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
        assert_ne!(picks(&steps), picks(&SAMPLER.epoch(1, &Solo)));
        assert_eq!(steps, SAMPLER.epoch(2, &Solo));
        let other = Sampler { seed: 8, ..SAMPLER };
        assert_ne!(steps, other.epoch(2, &Solo));
    }

    #[test]
    fn whole_batches_leave_the_rest_out() {
        let sampler = Sampler {
            epoch: EpochLength::WholeBatches,
            ..SAMPLER
        };
        let steps = sampler.epoch(0, &Solo);
        assert_eq!((steps.len(), picks(&steps).len()), (2, 16));
        assert_eq!(picks(&steps), picks(&SAMPLER.epoch(0, &Solo))[..16]);
    }

    #[test]
    fn an_endless_stream_goes_on_where_the_epoch_before_ended() {
        let sampler = Sampler {
            epoch: EpochLength::Updates(4),
            ..SAMPLER
        };
        let all = [
            picks(&sampler.epoch(0, &Solo)),
            picks(&sampler.epoch(1, &Solo)),
        ]
        .concat();
        assert_eq!(all.len(), 64);
        for pass in 0..2 {
            let mut of_pass: Vec<_> = all.iter().filter(|pick| pick.pass == pass).collect();
            of_pass.sort_by_key(|pick| pick.index);
            let places: Vec<_> = of_pass.iter().map(|pick| pick.index).collect();
            assert_eq!(places, (0..23).collect::<Vec<_>>());
        }
    }

    #[test]
    fn several_processes_share_what_one_would_do() {
        let alone = SAMPLER.epoch(0, &Solo);
        let parts: Vec<_> = (0..2)
            .map(|rank| SAMPLER.epoch(0, &Part(rank, 2)))
            .collect();
        for (step, whole) in alone.iter().enumerate() {
            assert_eq!(whole.local[0], parts[0][step].local[0]);
            assert_eq!(whole.local[1], parts[1][step].local[0]);
            assert_eq!(whole.local[2], parts[0][step].local[1]);
            let shared = parts.iter().map(|part| part[step].samples());
            assert_eq!(shared.sum::<usize>(), whole.samples());
        }
    }
}
