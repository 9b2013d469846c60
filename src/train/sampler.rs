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
    /// Samples that go through the network together: what BatchNorm sees.
    pub local_batch: usize,
    /// Samples of one update whose mixture has one coefficient: a reference's batch per device.
    pub mixed: usize,
    /// Times that a sample comes in a row, each augmented anew; an epoch has as many samples as
    /// without, so that it sees a part of them (facebookresearch/deit `samplers.py`, `RASampler`).
    pub repeats: usize,
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
            let groups = self.batch.div_ceil(self.mixed);
            let before = (epoch * self.steps() + step) * groups;
            let row: Vec<_> = (first..end).map(|place| order.pick(place)).collect();
            let dealt = self.dealt(row.len()).into_iter().enumerate();
            let pick = |(place, of_row): (usize, usize)| Pick {
                group: (before + place / self.mixed) as u64,
                ..row[of_row]
            };
            let picks: Vec<_> = dealt.map(pick).collect();
            let local = picks.chunks(self.local_batch).enumerate();
            let own = local.filter(|(j, _)| j % world.size() == world.rank());
            Step {
                local: own.map(|(_, picks)| picks.to_vec()).collect(),
            }
        };
        (0..self.steps()).map(step).collect()
    }

    /// The order that an update has its samples in. Copies of a sample are in a row: half an update
    /// lies between partners in a mixture, and the pairs are dealt out to those that have a
    /// coefficient, as the original deals copies out to devices.
    fn dealt(&self, samples: usize) -> Vec<usize> {
        if self.repeats == 1 {
            return (0..samples).collect();
        }
        let half = samples.div_ceil(2);
        let groups = self.batch.div_ceil(self.mixed);
        (0..groups)
            .flat_map(|group| (group..half).step_by(groups))
            .flat_map(|place| [place, place + half])
            .filter(|place| *place < samples)
            .collect()
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
        let Sampler {
            samples, repeats, ..
        } = self.sampler;
        let (pass, place) = (place / samples, place % samples);
        if self.pass != Some(pass) {
            let mut rng = ChaCha8Rng::seed_from_u64(self.sampler.seed);
            rng.set_stream(pass as u64);
            self.places = (0..samples).collect();
            self.places.shuffle(&mut rng);
            self.pass = Some(pass);
        }
        Pick {
            index: self.places[place / repeats],
            // A copy has the pass that no other copy of its sample has.
            pass: pass * repeats + place % repeats,
            group: 0,
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
        mixed: 4,
        repeats: 1,
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

    #[test]
    fn a_group_is_a_part_of_one_update_of_the_run() {
        let groups = |sampler: &Sampler, epoch| -> Vec<u64> {
            let picks = picks(&sampler.epoch(epoch, &Solo));
            picks.iter().map(|pick| pick.group).collect()
        };
        let [whole, short] = [0, 1].map(|at| [at; 4]);
        assert_eq!(groups(&SAMPLER, 0)[..8], [whole, short].concat());
        assert_eq!(groups(&SAMPLER, 0)[16..], [4, 4, 4, 4, 5, 5, 5]);
        // The epoch before had three updates of two groups.
        assert_eq!(groups(&SAMPLER, 1)[..8], [6, 6, 6, 6, 7, 7, 7, 7]);
        for epoch in [EpochLength::WholeBatches, EpochLength::Updates(2)] {
            let sampler = Sampler { epoch, ..SAMPLER };
            assert_eq!(groups(&sampler, 3)[..8], [12, 12, 12, 12, 13, 13, 13, 13]);
        }
        // Neither the local batches nor the processes decide who shares a coefficient.
        let cut = |local_batch| Sampler {
            local_batch,
            ..SAMPLER
        };
        assert_eq!(
            picks(&cut(8).epoch(1, &Solo)),
            picks(&cut(2).epoch(1, &Solo))
        );
    }

    #[test]
    fn copies_are_augmented_apart_and_meet_in_no_pair() {
        const REPEATS: usize = 3;
        for (samples, batch, mixed) in [(96, 12, 4), (96, 12, 12), (97, 12, 2), (54, 24, 6)] {
            for epoch in [
                EpochLength::Samples,
                EpochLength::WholeBatches,
                EpochLength::Updates(2 * samples / batch),
            ] {
                let sampler = Sampler {
                    samples,
                    batch,
                    mixed,
                    local_batch: 2,
                    repeats: REPEATS,
                    epoch,
                    seed: 1,
                };
                let once = Sampler {
                    repeats: 1,
                    ..sampler
                };
                let steps = sampler.epoch(1, &Solo);
                let lengths = |steps: &[Step]| steps.iter().map(Step::samples).collect::<Vec<_>>();
                assert_eq!(lengths(&steps), lengths(&once.epoch(1, &Solo)));
                let seen = picks(&steps);
                let mut apart: Vec<_> = seen.iter().map(|pick| (pick.index, pick.pass)).collect();
                apart.sort_unstable();
                apart.dedup();
                assert_eq!(apart.len(), seen.len());
                let local = steps.iter().flat_map(|step| &step.local);
                for pair in local.filter(|local| local.len() == 2) {
                    assert_ne!(pair[0].index, pair[1].index, "{sampler:?}");
                }
                for step in steps.iter().filter(|step| step.samples() == batch) {
                    for group in step.local.concat().chunks(mixed) {
                        assert!(group.iter().all(|pick| pick.group == group[0].group));
                        let images = group.iter().map(|pick| pick.index);
                        let images: std::collections::BTreeSet<_> = images.collect();
                        let copies = if mixed == batch { REPEATS } else { 1 };
                        assert!(images.len() * copies >= mixed, "{sampler:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_epoch_of_copies_is_the_beginning_of_its_permutation() {
        let sampler = Sampler {
            repeats: 3,
            ..SAMPLER
        };
        for epoch in [0, 4] {
            let first = picks(&SAMPLER.epoch(epoch, &Solo));
            let mut expected: Vec<_> = (0..23)
                .map(|place| (first[place / 3].index, 3 * epoch + place % 3))
                .collect();
            let copies = picks(&sampler.epoch(epoch, &Solo));
            let mut copies: Vec<_> = copies.iter().map(|pick| (pick.index, pick.pass)).collect();
            expected.sort_unstable();
            copies.sort_unstable();
            assert_eq!(copies, expected);
        }
    }
}
