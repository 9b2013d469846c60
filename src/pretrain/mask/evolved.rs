//! Evolved part masking: a grid of patches gives way to parts of the image.

use serde::{Deserialize, Serialize};

use super::em::{em_parts, random_means};
use super::grid::{by_noise, grid_noise};
use super::sample::kept;
use super::{AttentionSource, Distances, Linkage, MaskError, Sample};
use crate::data::stream::Stream;

/// The patches of smallest `(1 - α) grid + α part` are seen: `grid` is the same in every cell of
/// 2 x 2 patches, `part` in every part of the image, and α grows with the epochs (Feng and Zhang,
/// "Evolved Part Masking for Self-Supervised Learning", CVPR 2023; MEDiC section 3.3, equations 5
/// to 8). `int(N (1 - ratio))` are seen, in the order of this noise, and where it is equal in a
/// random order, which the papers leave open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvolvedMask {
    /// Share of the patches to hide.
    pub ratio: f64,
    /// Exponent of `α = (share of the epochs)^γ`.
    pub gamma: f64,
    /// Which epochs count in the share.
    pub epochs: EpochCount,
    /// How many parts an image has.
    pub clusters: ClusterSchedule,
    /// How they are found.
    pub clustering: Clustering,
    /// What a patch is described by.
    pub feature: PatchFeature,
    /// Whose attention.
    pub of: AttentionSource,
}

impl Default for EvolvedMask {
    /// MEDiC's (table 11; section 3.3 for the epochs and the layer, algorithm 1 for the student).
    fn default() -> Self {
        Self {
            ratio: 0.75,
            gamma: 1.7,
            epochs: EpochCount::Done,
            clusters: ClusterSchedule::default(),
            clustering: Clustering::Hierarchical { zeta: medic_zeta() },
            feature: PatchFeature::Received,
            of: AttentionSource::Student {
                layers: super::AttentionLayers::Last,
            },
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochOf {
    /// Epochs before this one.
    pub epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
}

impl EpochOf {
    /// A number of epochs as a share of the run's.
    fn share(self, epochs: usize) -> f64 {
        (epochs as f64 / self.epochs.max(1) as f64).min(1.0)
    }
}

/// Which epochs count in the share of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochCount {
    /// Those before this one, `e / E` (MEDiC equation 5): the first epoch's masks are grids.
    Done,
    /// This one too, `(e + 1) / E` (Evolved Part Masking `model/models_mae_evolved_base.py`;
    /// aicip/MEDiC `src/utils/evolved_masking_generator.py`): the last epoch's are parts alone.
    Begun,
}

/// How many parts an image has: from `first` on to `last`, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSchedule {
    /// Where the number begins.
    pub first: usize,
    /// Where it ends.
    pub last: usize,
    /// What moves it.
    pub pace: ClusterPace,
    /// As many more at most, drawn for every image.
    pub spread: usize,
}

impl Default for ClusterSchedule {
    /// MEDiC's (equation 7, table 11). Evolved Part Masking has the other direction:
    /// `{ first = 40, last = 10, pace = "epoch", spread = 2 }`.
    fn default() -> Self {
        Self {
            first: 10,
            last: 40,
            pace: ClusterPace::Alpha,
            spread: 0,
        }
    }
}

impl ClusterSchedule {
    /// Parts without the spread.
    fn number(&self, epoch: EpochOf, alpha: f64) -> usize {
        let share = match self.pace {
            ClusterPace::Alpha => alpha,
            ClusterPace::Epoch => epoch.share(epoch.epoch),
        };
        let (first, last) = (self.first as f64, self.last as f64);
        (first + (last - first) * share) as usize
    }
}

/// What moves the number of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPace {
    /// α, as the masks (MEDiC equation 7).
    Alpha,
    /// The share of the epochs before this one, `e / E` (Evolved Part Masking
    /// `model/models_mae_evolved_base.py`, `strategy_masking_eff`).
    Epoch,
}

/// How parts are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Clustering {
    /// Expectation and maximisation, see [`em_parts`], from random directions.
    Em {
        /// What similarities are multiplied by.
        #[serde(default = "epm_concentration")]
        concentration: f64,
        /// Rounds.
        #[serde(default = "epm_iterations")]
        iterations: usize,
    },
    /// Average linkage over attention and positions, see [`Distances::of_patches`] (MEDiC
    /// algorithm 1).
    Hierarchical {
        /// Share of attention in the distance.
        #[serde(default = "medic_zeta")]
        zeta: f64,
    },
}

/// Evolved Part Masking `model/models_mae_evolved_base.py`, `EM`.
fn epm_concentration() -> f64 {
    40.0
}

/// Evolved Part Masking `model/models_mae_evolved_base.py`, `unsupervised_token_classification`.
fn epm_iterations() -> usize {
    15
}

/// MEDiC table 11.
fn medic_zeta() -> f64 {
    0.9
}

/// What a patch is described by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchFeature {
    /// What every patch gives it: its column (Evolved Part Masking
    /// `model/models_mae_evolved_base.py`).
    Received,
    /// What it gives every patch: its row (aicip/MEDiC `src/utils/evolved_masking_generator.py`).
    Given,
}

impl EvolvedMask {
    pub(super) fn check(&self, grid: [usize; 2]) -> Result<(), MaskError> {
        let patches = grid[0] * grid[1];
        kept(patches, self.ratio)?;
        let wrong = |field, reason| Err(MaskError::Value { field, reason });
        if !(self.gamma > 0.0 && self.gamma.is_finite()) {
            return wrong("gamma", format!("is {}, not above 0", self.gamma));
        }
        let ClusterSchedule { first, last, .. } = self.clusters;
        let most = first.max(last) + self.clusters.spread;
        if first.min(last) == 0 {
            return wrong("clusters", "are 0 at times".to_owned());
        }
        if most > patches {
            return wrong("clusters", format!("are up to {most} of {patches} patches"));
        }
        match self.clustering {
            Clustering::Hierarchical { zeta } => {
                if !(0.0..=1.0).contains(&zeta) {
                    return wrong("clustering.zeta", format!("is {zeta}, not in [0, 1]"));
                }
            }
            Clustering::Em {
                concentration,
                iterations,
            } => {
                if !(concentration > 0.0 && concentration.is_finite()) {
                    let reason = format!("is {concentration}, not above 0");
                    return wrong("clustering.concentration", reason);
                }
                if iterations == 0 {
                    return wrong("clustering.iterations", "are 0".to_owned());
                }
            }
        }
        Ok(())
    }

    /// α of an epoch.
    fn alpha(&self, epoch: EpochOf) -> f64 {
        let counted = match self.epochs {
            EpochCount::Done => epoch.epoch,
            EpochCount::Begun => epoch.epoch + 1,
        };
        epoch.share(counted).powf(self.gamma)
    }

    /// attention: `[N, N]`, a query a row
    pub(super) fn draw(
        &self,
        grid: [usize; 2],
        epoch: EpochOf,
        attention: &[f32],
        stream: &mut Stream,
    ) -> Result<Sample, MaskError> {
        let alpha = self.alpha(epoch);
        let mut noise = grid_noise(grid, stream);
        let clusters = self.clusters.number(epoch, alpha) + stream.below(self.clusters.spread + 1);
        let parts = self.parts(grid, attention, clusters, stream);
        let values: Vec<_> = (0..clusters).map(|_| stream.unit()).collect();
        for (noise, part) in noise.iter_mut().zip(parts) {
            *noise = (1.0 - alpha) * *noise + alpha * values[part as usize];
        }
        let kept = kept(noise.len(), self.ratio)?;
        Ok(by_noise(noise, kept, stream))
    }

    /// The part of every patch, below `clusters`: `[N]`
    fn parts(
        &self,
        grid: [usize; 2],
        attention: &[f32],
        clusters: usize,
        stream: &mut Stream,
    ) -> Vec<u32> {
        let patches = grid[0] * grid[1];
        let transposed: Vec<f32>;
        let features = match self.feature {
            PatchFeature::Received => attention,
            PatchFeature::Given => {
                let columns = (0..patches).flat_map(|i| attention[i..].iter().step_by(patches));
                transposed = columns.copied().collect();
                &transposed
            }
        };
        match self.clustering {
            Clustering::Em {
                concentration,
                iterations,
            } => {
                let means = random_means(clusters, patches, stream);
                em_parts(features, &means, clusters, concentration, iterations).labels
            }
            Clustering::Hierarchical { zeta } => {
                Linkage::average(Distances::of_patches(features, grid, zeta)).cut(clusters)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: [usize; 2] = [8, 8];

    /// Attention within quarters of the grid, a little of it random; rows sum to less than 1.
    fn attention(seed: u64) -> Vec<f32> {
        let mut stream = Stream::new(b"a test..", [seed, 1, 0]);
        let mut numbers = Vec::new();
        for i in 0..64 {
            for j in 0..64 {
                let same = quarter(i) == quarter(j);
                numbers.push((f64::from(same) * 0.05 + stream.unit() * 0.001) as f32);
            }
        }
        numbers
    }

    fn quarter(patch: usize) -> usize {
        patch / 32 * 2 + patch % 8 / 4
    }

    fn evolved(clustering: Clustering, clusters: usize) -> EvolvedMask {
        EvolvedMask {
            clustering,
            clusters: ClusterSchedule {
                first: clusters,
                last: clusters,
                ..ClusterSchedule::default()
            },
            ..EvolvedMask::default()
        }
    }

    fn draw(spec: &EvolvedMask, epoch: usize, seed: u64) -> Sample {
        spec.check(GRID).unwrap();
        let mut stream = Stream::new(b"a test..", [seed, 0, 0]);
        let epoch = EpochOf { epoch, epochs: 10 };
        spec.draw(GRID, epoch, &attention(seed), &mut stream)
            .unwrap()
    }

    const HIERARCHICAL: Clustering = Clustering::Hierarchical { zeta: 0.9 };
    const EM: Clustering = Clustering::Em {
        concentration: 40.0,
        iterations: 15,
    };

    #[test]
    fn it_begins_as_a_grid() {
        for clustering in [HIERARCHICAL, EM] {
            let spec = evolved(clustering, 4);
            for seed in 0..20 {
                let sample = draw(&spec, 0, seed);
                let seen = &sample.order[..sample.kept];
                assert_eq!(seen.len(), 16);
                let place = |patch: u32| (patch / 8 % 2, patch % 2);
                assert!(seen.iter().all(|&patch| place(patch) == place(seen[0])));
                assert!(!seen.is_sorted(), "the order is that of the noise");
            }
        }
    }

    #[test]
    fn it_ends_as_whole_parts() {
        for feature in [PatchFeature::Received, PatchFeature::Given] {
            let spec = EvolvedMask {
                ratio: 0.6,
                epochs: EpochCount::Begun,
                feature,
                ..evolved(HIERARCHICAL, 4)
            };
            for seed in 0..20 {
                let sample = draw(&spec, 9, seed);
                let mut shown = [0; 4];
                for &patch in &sample.order[..sample.kept] {
                    shown[quarter(patch as usize)] += 1;
                }
                // 25 of four parts of 16.
                shown.sort_unstable();
                assert_eq!(shown, [0, 0, 9, 16]);
                let first = quarter(sample.order[0] as usize);
                let first = sample.order[..16]
                    .iter()
                    .filter(|&&p| quarter(p as usize) == first);
                assert_eq!(first.count(), 16);
            }
        }
    }

    #[test]
    fn parts_of_em_are_hidden_whole_too() {
        let spec = EvolvedMask {
            epochs: EpochCount::Begun,
            ..evolved(EM, 5)
        };
        for seed in 0..20 {
            let mut stream = Stream::new(b"a test..", [seed, 0, 0]);
            grid_noise(GRID, &mut stream);
            stream.below(1);
            let parts = spec.parts(GRID, &attention(seed), 5, &mut stream);
            let sample = draw(&spec, 9, seed);
            let mut seen = [0; 5];
            let mut all = [0; 5];
            for (place, &patch) in sample.order.iter().enumerate() {
                let part = parts[patch as usize] as usize;
                all[part] += 1;
                seen[part] += usize::from(place < sample.kept);
            }
            let cut = seen
                .iter()
                .zip(all)
                .filter(|(seen, all)| **seen > 0 && *seen != all);
            assert!(cut.count() <= 1, "{seen:?} of {all:?}");
        }
    }

    #[test]
    fn schedules_are_those_of_their_sources() {
        let at = |epoch| EpochOf { epoch, epochs: 300 };
        let paper = EvolvedMask::default();
        assert_eq!(paper.alpha(at(0)), 0.0);
        assert!((paper.alpha(at(150)) - 0.5_f64.powf(1.7)).abs() < 1e-15);
        let numbers = [0, 150, 299].map(|e| paper.clusters.number(at(e), paper.alpha(at(e))));
        // 10 + 30 α: α is 0.308 halfway, and 0.994 in the last epoch.
        assert_eq!(numbers, [10, 19, 39]);
        assert_eq!(paper.clusters.number(at(0), 1.0), 40);
        let epm = EvolvedMask {
            gamma: 0.5,
            epochs: EpochCount::Begun,
            clusters: ClusterSchedule {
                first: 40,
                last: 10,
                pace: ClusterPace::Epoch,
                spread: 2,
            },
            ..EvolvedMask::default()
        };
        assert_eq!(epm.alpha(at(299)), 1.0);
        assert!((epm.alpha(at(74)) - 0.5).abs() < 1e-15);
        let numbers = [0, 1, 10, 150, 299].map(|e| epm.clusters.number(at(e), epm.alpha(at(e))));
        // 30 (300 - e) / 300 + 10, rounded down.
        assert_eq!(numbers, [40, 39, 39, 25, 10]);
    }
}
