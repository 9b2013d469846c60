//! The kinds of masks.

use serde::{Deserialize, Serialize};

use super::sample::kept;
use super::{AttentionSource, BlockMask, EpochOf, EvolvedMask, MaskError, Sample, attentive, grid};
use crate::data::augment::SampleKey;
use crate::data::stream::Stream;

/// How it is decided which patches of an image are seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MaskSpec {
    /// All of them (feature distillation).
    None {},
    /// MAE's: any `int(N (1 - ratio))` (facebookresearch/mae `models_mae.py`, `random_masking`).
    Random {
        /// Share of the patches to hide.
        ratio: f64,
    },
    /// All but some rectangles.
    Block(BlockMask),
    /// `int(N (1 - ratio))` at the same places of every cell of 2 x 2 patches, as in MEDiC's
    /// figure 2(a): of a ratio of 0.75, one patch a cell. Which places is drawn for each image;
    /// where other ratios, or sides of odd length, need a part of the patches of a place, any.
    Grid {
        /// Share of the patches to hide.
        ratio: f64,
    },
    /// MaskAlign's: `int(N (1 - ratio))`, drawn in proportion to the class token's attention to
    /// them (OpenDriveLab/maskalign `models_pretrain.py`).
    Attentive {
        /// Share of the patches to hide.
        ratio: f64,
        /// Whose attention.
        of: AttentionSource,
    },
    /// Parts of the image that attention finds, by and by in place of a grid.
    Evolved(EvolvedMask),
}

impl MaskSpec {
    /// Refuses what gives no mask over images of `grid` rows and columns of patches.
    pub fn check(&self, grid: [usize; 2]) -> Result<(), MaskError> {
        let patches = grid[0] * grid[1];
        match self {
            Self::None {} => Ok(()),
            Self::Random { ratio } | Self::Grid { ratio } | Self::Attentive { ratio, .. } => {
                kept(patches, *ratio).map(drop)
            }
            Self::Block(block) => block.check(grid),
            Self::Evolved(evolved) => evolved.check(grid),
        }
    }

    /// Whether every image keeps the same number of patches, as sparse encoding needs.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Block(block) => block.exact,
            _ => true,
        }
    }

    /// Whose attention it is drawn by, if by any: see [`MaskSpec::draw`] for its shape.
    pub fn attention(&self) -> Option<&AttentionSource> {
        match self {
            Self::Attentive { of, .. } => Some(of),
            Self::Evolved(evolved) => Some(&evolved.of),
            Self::None {} | Self::Random { .. } | Self::Block(_) | Self::Grid { .. } => None,
        }
    }

    /// Patches of an image of `grid` that are seen; `None` where it is not the same number for
    /// every image, or where [`MaskSpec::check`] refuses.
    pub fn kept(&self, grid: [usize; 2]) -> Option<usize> {
        self.check(grid).ok()?;
        let patches = grid[0] * grid[1];
        match self {
            Self::None {} => Some(patches),
            Self::Random { ratio } | Self::Grid { ratio } | Self::Attentive { ratio, .. } => {
                kept(patches, *ratio).ok()
            }
            Self::Block(block) => block.exact.then(|| patches - block.target(grid)),
            Self::Evolved(evolved) => kept(patches, evolved.ratio).ok(),
        }
    }

    /// The mask of the image of `key` in an epoch: a function of the arguments, whatever the batch.
    /// Evolved Part Masking draws the grid's cell, the number of parts and where they begin once a
    /// batch; here every image has its own.
    ///
    /// attention: where [`MaskSpec::attention`] names some. For `attentive` the class token's to
    /// the patches, `[N]`; for `evolved` that of the patches to the patches, `[N, N]`, a query a
    /// row, without the class token's row and column and not divided by what is left.
    pub fn draw(
        &self,
        grid: [usize; 2],
        key: SampleKey,
        epoch: EpochOf,
        attention: Option<&[f32]>,
    ) -> Result<Sample, MaskError> {
        self.check(grid)?;
        let patches = grid[0] * grid[1];
        let mut stream = Stream::new(b"masking1", [key.seed, key.pass, key.index]);
        match self {
            Self::None {} => Ok(Sample::whole(patches)),
            Self::Random { ratio } => {
                let noise: Vec<_> = (0..patches).map(|_| stream.unit()).collect();
                Ok(Sample::of_noise(&noise, kept(patches, *ratio)?))
            }
            Self::Block(block) => Ok(block.draw(grid, &mut stream)),
            Self::Grid { ratio } => Ok(grid::draw(grid, kept(patches, *ratio)?, &mut stream)),
            Self::Attentive { ratio, .. } => {
                let attention = weights(attention, patches)?;
                let kept = kept(patches, *ratio)?;
                Ok(attentive::draw(attention, kept, &mut stream))
            }
            Self::Evolved(evolved) => {
                let attention = weights(attention, patches * patches)?;
                evolved.draw(grid, epoch, attention, &mut stream)
            }
        }
    }
}

/// The attention, which must be `expected` softmax weights or sums of some.
fn weights(attention: Option<&[f32]>, expected: usize) -> Result<&[f32], MaskError> {
    let attention = attention.ok_or(MaskError::NoAttention)?;
    let found = attention.len();
    if found != expected {
        return Err(MaskError::AttentionLength { found, expected });
    }
    let weight = |x: &f32| x.is_finite() && *x >= 0.0;
    match attention.iter().position(|x| !weight(x)) {
        Some(place) => Err(MaskError::AttentionValue {
            place,
            value: attention[place],
        }),
        None => Ok(attention),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pretrain::{
        AttentionLayers, ClusterPace, ClusterSchedule, Clustering, EpochCount, PatchFeature,
    };

    const EPOCH: EpochOf = EpochOf {
        epoch: 4,
        epochs: 10,
    };

    fn key(seed: u64, pass: u64, index: u64) -> SampleKey {
        SampleKey { seed, pass, index }
    }

    fn parse(text: &str) -> Result<MaskSpec, toml::de::Error> {
        toml::from_str(text)
    }

    fn teacher() -> AttentionSource {
        AttentionSource::Teacher {
            name: None,
            layers: AttentionLayers::Last,
        }
    }

    fn evolved(clustering: Clustering, clusters: usize) -> EvolvedMask {
        EvolvedMask {
            clustering,
            clusters: ClusterSchedule {
                first: clusters,
                last: 1,
                pace: ClusterPace::Alpha,
                spread: 1,
            },
            ..EvolvedMask::default()
        }
    }

    /// Every kind, over grids of at least 3 x 3.
    fn kinds(ratio: f64) -> Vec<MaskSpec> {
        let em = Clustering::Em {
            concentration: 40.0,
            iterations: 3,
        };
        let evolved = [em, Clustering::Hierarchical { zeta: 0.5 }].map(|clustering| {
            MaskSpec::Evolved(EvolvedMask {
                ratio,
                ..evolved(clustering, 5)
            })
        });
        let block = |exact| {
            MaskSpec::Block(BlockMask {
                ratio,
                minimum: 1,
                exact,
                ..BlockMask::default()
            })
        };
        let of = teacher();
        let mut kinds = vec![
            MaskSpec::None {},
            MaskSpec::Random { ratio },
            block(true),
            block(false),
            MaskSpec::Grid { ratio },
            MaskSpec::Attentive { ratio, of },
        ];
        kinds.extend(evolved);
        kinds
    }

    fn attention(spec: &MaskSpec, patches: usize) -> Option<Vec<f32>> {
        let numbers = match spec {
            MaskSpec::Evolved(_) => patches * patches,
            _ => patches,
        };
        let mut stream = Stream::new(b"a test..", [numbers as u64, 0, 0]);
        let numbers = (0..numbers).map(|_| stream.unit() as f32 / patches as f32);
        spec.attention().map(|_| numbers.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_patch_is_seen_or_hidden_and_the_count_exact(
            rows in 3usize..9,
            columns in 3usize..9,
            ratio in 0.12f64..0.85,
            seed in any::<u64>(),
        ) {
            let grid = [rows, columns];
            let patches = rows * columns;
            for spec in kinds(ratio) {
                let attention = attention(&spec, patches);
                let sample = spec.draw(grid, key(seed, 0, 0), EPOCH, attention.as_deref()).unwrap();
                let mut sorted = sample.order.clone();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..patches as u32).collect::<Vec<_>>());
                let expected = match &spec {
                    MaskSpec::None {} => patches,
                    MaskSpec::Block(_) => patches - (patches as f64 * ratio) as usize,
                    _ => (patches as f64 * (1.0 - ratio)) as usize,
                };
                prop_assert_eq!(spec.kept(grid), spec.is_exact().then_some(expected));
                match spec.kept(grid) {
                    Some(kept) => prop_assert_eq!(sample.kept, kept),
                    None => prop_assert!((expected..=patches).contains(&sample.kept)),
                }
            }
        }
    }

    #[test]
    fn a_mask_is_a_function_of_its_key() {
        let grid = [8, 8];
        for spec in kinds(0.6) {
            let attention = attention(&spec, 64);
            let draw = |key| spec.draw(grid, key, EPOCH, attention.as_deref()).unwrap();
            let first = draw(key(1, 2, 3));
            assert_eq!(first, draw(key(1, 2, 3)));
            let others = [key(0, 2, 3), key(1, 0, 3), key(1, 2, 0), key(2, 1, 3)].map(draw);
            let same = others.iter().filter(|other| **other == first).count();
            match spec {
                MaskSpec::None {} => assert_eq!(same, 4),
                // One of six pairs of places, and a part of a third.
                MaskSpec::Grid { .. } => assert!(same < 4),
                _ => assert_eq!(same, 0, "{spec:?}"),
            }
        }
    }

    #[test]
    fn a_mask_never_changes_between_versions() {
        let pinned: [&[u32]; 8] = [
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            &[7, 10, 8, 1, 9, 14],
            &[0, 1, 2, 3, 4, 5, 7],
            &[0, 1, 2, 3, 4, 5, 7],
            &[1, 3, 6, 9, 11, 12],
            &[8, 10, 9, 1, 13, 7],
            &[1, 11, 9, 3, 14, 13],
            &[9, 11, 3, 1, 14, 13],
        ];
        for (spec, pinned) in kinds(0.6).iter().zip(pinned) {
            let attention = attention(spec, 16);
            let sample = spec.draw([4, 4], key(42, 7, 1234), EPOCH, attention.as_deref());
            let sample = sample.unwrap();
            assert_eq!(&sample.order[..sample.kept], pinned, "{spec:?}");
        }
    }

    #[test]
    fn recipes_say_little_or_everything() {
        assert_eq!(parse("kind = 'none'").unwrap(), MaskSpec::None {});
        let random = MaskSpec::Random { ratio: 0.75 };
        assert_eq!(parse("kind = 'random'\nratio = 0.75").unwrap(), random);
        let block = MaskSpec::Block(BlockMask::default());
        assert_eq!(parse("kind = 'block'").unwrap(), block);
        let beit = MaskSpec::Block(BlockMask {
            ratio: 0.383,
            exact: false,
            ..BlockMask::default()
        });
        let found = parse("kind = 'block'\nratio = 0.383\nexact = false");
        assert_eq!(found.unwrap(), beit);
        // BEiT's 75 of 196.
        assert_eq!((beit.is_exact(), beit.kept([14, 14])), (false, None));
        assert_eq!(block.kept([14, 14]), Some(196 - 78));
        let attentive = MaskSpec::Attentive {
            ratio: 0.7,
            of: teacher(),
        };
        let found = parse("kind = 'attentive'\nratio = 0.7\nof = { kind = 'teacher' }");
        assert_eq!(found.unwrap(), attentive);
        assert_eq!(attentive.kept([14, 14]), Some(58));
        let medic = MaskSpec::Evolved(EvolvedMask::default());
        assert_eq!(parse("kind = 'evolved'").unwrap(), medic);
        let epm = MaskSpec::Evolved(EvolvedMask {
            ratio: 0.75,
            gamma: 0.5,
            epochs: EpochCount::Begun,
            clusters: ClusterSchedule {
                first: 40,
                last: 10,
                pace: ClusterPace::Epoch,
                spread: 2,
            },
            clustering: Clustering::Em {
                concentration: 40.0,
                iterations: 15,
            },
            feature: PatchFeature::Received,
            of: AttentionSource::Ema {
                layers: AttentionLayers::All,
            },
        });
        let found = parse(
            "kind = 'evolved'
            gamma = 0.5
            epochs = 'begun'
            clusters = { first = 40, last = 10, pace = 'epoch', spread = 2 }
            clustering = { kind = 'em' }
            of = { kind = 'ema', layers = 'all' }",
        );
        assert_eq!(found.unwrap(), epm);
        for spec in [beit, block, attentive, medic, epm, random] {
            assert_eq!(parse(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        }
    }

    #[test]
    fn what_recipes_may_not_say() {
        for text in [
            "kind = 'random'",
            "kind = 'none'\nratio = 0.1",
            "kind = 'random'\nratio = 0.5\nminimum = 3",
            "kind = 'block'\nminimal = 3",
            "kind = 'evolved'\nzeta = 0.5",
            "kind = 'evolved'\nclustering = { kind = 'em', zeta = 0.5 }",
            "kind = 'attentive'\nratio = 0.5",
            "kind = 'attentive'\nratio = 0.5\nof = { kind = 'student', name = 'a' }",
            "kind = 'spiral'",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_gives_no_mask_is_named() {
        let hierarchical = |zeta| Clustering::Hierarchical { zeta };
        let em = |concentration, iterations| Clustering::Em {
            concentration,
            iterations,
        };
        let block = |block: BlockMask| MaskSpec::Block(block);
        let medic = EvolvedMask::default;
        let cases = [
            (MaskSpec::Random { ratio: 1.0 }, "ratio of 1 leaves none"),
            (MaskSpec::Grid { ratio: 0.99 }, "leaves none of 64"),
            (MaskSpec::Grid { ratio: -0.1 }, "mask.ratio is -0.1, not"),
            (
                MaskSpec::Attentive {
                    ratio: f64::NAN,
                    of: teacher(),
                },
                "mask.ratio is NaN, not",
            ),
            (
                block(BlockMask {
                    ratio: 1.0,
                    ..BlockMask::default()
                }),
                "ratio of 1 leaves none of 64",
            ),
            (
                block(BlockMask {
                    minimum: 26,
                    ..BlockMask::default()
                }),
                "mask.minimum is 26, more than the 25 of 64",
            ),
            (
                block(BlockMask {
                    maximum: Some(3),
                    ..BlockMask::default()
                }),
                "mask.maximum is 3, less than 16",
            ),
            (
                block(BlockMask {
                    aspect: 1.5,
                    ..BlockMask::default()
                }),
                "mask.aspect is 1.5",
            ),
            (
                MaskSpec::Evolved(EvolvedMask {
                    ratio: 1.5,
                    ..medic()
                }),
                "mask.ratio is 1.5",
            ),
            (
                MaskSpec::Evolved(EvolvedMask {
                    gamma: 0.0,
                    ..medic()
                }),
                "mask.gamma is 0",
            ),
            (
                MaskSpec::Evolved(evolved(hierarchical(0.5), 64)),
                "mask.clusters are up to 65 of 64",
            ),
            (
                MaskSpec::Evolved(evolved(em(40.0, 15), 64)),
                "mask.clusters are up to 65 of 64",
            ),
            (
                MaskSpec::Evolved(evolved(em(40.0, 15), 0)),
                "mask.clusters are 0",
            ),
            (
                MaskSpec::Evolved(evolved(hierarchical(1.1), 4)),
                "mask.clustering.zeta is 1.1",
            ),
            (
                MaskSpec::Evolved(evolved(em(0.0, 15), 4)),
                "mask.clustering.concentration is 0",
            ),
            (
                MaskSpec::Evolved(evolved(em(40.0, 0), 4)),
                "mask.clustering.iterations are 0",
            ),
        ];
        for (spec, said) in cases {
            let error = spec.check([8, 8]).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.hint().is_empty());
            assert_eq!(spec.kept([8, 8]), None);
            let attention = vec![0.1; 64 * 64];
            let drawn = spec.draw([8, 8], key(0, 0, 0), EPOCH, Some(&attention));
            assert_eq!(drawn.unwrap_err().to_string(), error.to_string());
        }
    }

    #[test]
    fn attention_must_be_there_and_be_some() {
        let spec = MaskSpec::Attentive {
            ratio: 0.5,
            of: teacher(),
        };
        for (attention, said) in [
            (None, "none is given"),
            (Some(&[0.5; 5][..]), "5 numbers of attention"),
            (
                Some(&[0.1, f32::NAN, 0.1, 0.1]),
                "number 1 of the attention",
            ),
            (Some(&[0.1, 0.1, 0.1, -0.1]), "is -0.1"),
        ] {
            let error = spec
                .draw([2, 2], key(0, 0, 0), EPOCH, attention)
                .unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
