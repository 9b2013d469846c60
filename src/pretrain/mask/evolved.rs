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
        if first.min(last) == 0 {
            return wrong("clusters", "are 0 at times".to_owned());
        }
        match self.clustering {
            Clustering::Hierarchical { zeta } => {
                let most = first.max(last) + self.clusters.spread;
                if most > patches {
                    return wrong("clusters", format!("are up to {most} of {patches} patches"));
                }
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
