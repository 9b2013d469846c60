//! What a segmentation network consists of beside its encoder.

use serde::{Deserialize, Serialize};

use super::SegmentationError;
use super::neck::{Scale, scales};
use crate::vit::{FinalNorm, VitConfig};

/// What makes classes of pixels out of an encoder's blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SegmentationHead {
    /// BEiT's neck and mmsegmentation's `UPerHead`.
    UperNet(UperNetConfig),
    /// One linear layer.
    Linear(LinearHeadConfig),
}

/// UperNet's sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UperNetConfig {
    /// Channels of every convolution.
    pub channels: usize,
    /// Bins a side of each pooling of the coarsest level.
    pub pool_scales: Vec<usize>,
    /// The second head that learning has, where it has one.
    pub auxiliary: Option<AuxiliaryConfig>,
    /// How likely a channel is left out before classes are told, in both heads.
    pub dropout: f64,
}

/// The second head, which nothing but learning sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliaryConfig {
    /// Channels of its convolution.
    pub channels: usize,
    /// What its loss counts for.
    pub weight: f64,
}

/// A linear head's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearHeadConfig {
    /// Which blocks it reads, joined.
    pub blocks: BlocksRead,
    /// Whether the encoder's last norm is applied to each.
    pub norm: bool,
    /// Whether a BatchNorm precedes the layer.
    pub batch_norm: bool,
    /// How likely a channel is left out before them.
    pub dropout: f64,
}

impl LinearHeadConfig {
    /// iBOT's (bytedance/ibot `evaluation/semantic_segmentation`, `configs/linear` with the
    /// README's `out_with_norm=true`).
    pub const IBOT: Self = Self {
        blocks: BlocksRead::Four,
        norm: true,
        batch_norm: false,
        dropout: 0.0,
    };

    /// DINOv3's (facebookresearch/dinov3 `dinov3/eval/segmentation`, `LinearHead`).
    pub const DINOV3: Self = Self {
        blocks: BlocksRead::Last,
        norm: true,
        batch_norm: true,
        dropout: 0.1,
    };
}

/// Which blocks a linear head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlocksRead {
    /// Those that UperNet reads: [`blocks_read`].
    Four,
    /// The last.
    Last,
}

/// Blocks that UperNet reads, counted from 0: 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24
/// (microsoft/unilm `beit/semantic_segmentation/configs`, `out_indices`), of other depths the ends of
/// the quarters.
pub fn blocks_read(depth: usize) -> [usize; 4] {
    match depth {
        12 => [3, 5, 7, 11],
        24 => [7, 11, 15, 23],
        _ => [1, 2, 3, 4].map(|i| (i * depth).div_ceil(4).saturating_sub(1)),
    }
}

/// A head over an encoder, known to go together.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmenterConfig {
    layout: Layout,
    classes: usize,
    width: usize,
    blocks: Vec<usize>,
}

/// What there is to build.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layout {
    UperNet(UperNetConfig, [Scale; 4]),
    Linear(LinearHeadConfig),
}

impl SegmenterConfig {
    /// A head that tells so many classes over an encoder.
    ///
    /// # Errors
    /// They do not go together.
    pub fn new(
        head: SegmentationHead,
        classes: usize,
        encoder: &VitConfig,
    ) -> Result<Self, SegmentationError> {
        at_least_one("the number of classes", classes)?;
        at_least_one("the number of blocks", encoder.depth)?;
        let four = blocks_read(encoder.depth).to_vec();
        let (layout, blocks) = match head {
            SegmentationHead::UperNet(config) => {
                config.check()?;
                let patch_size = encoder.patch_size;
                let scales =
                    scales(patch_size).ok_or(SegmentationError::PatchSize { patch_size })?;
                let coarsest = match scales[3] {
                    Scale::Eighth => 8,
                    Scale::Quarter => 4,
                    _ => 2,
                };
                let grid = encoder.grid;
                if grid.iter().any(|&side| side < coarsest) {
                    return Err(SegmentationError::Grid { grid });
                }
                (Layout::UperNet(config, scales), four)
            }
            SegmentationHead::Linear(config) => {
                check_dropout(config.dropout)?;
                if config.norm && !encoder.final_norm.over_tokens() {
                    return Err(SegmentationError::NoNorm);
                }
                let blocks = match config.blocks {
                    BlocksRead::Four => four,
                    BlocksRead::Last => vec![encoder.depth - 1],
                };
                (Layout::Linear(config), blocks)
            }
        };
        Ok(Self {
            layout,
            classes,
            width: encoder.width,
            blocks,
        })
    }

    /// The encoder as far as the head reads it: without a norm that no prediction depends on, and
    /// without a pooler.
    pub fn encoder(&self, encoder: &VitConfig) -> VitConfig {
        VitConfig {
            final_norm: match self.reads_norm() {
                true => encoder.final_norm,
                false => FinalNorm::None,
            },
            pooler: None,
            ..encoder.clone()
        }
    }

    /// Classes K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Blocks whose outputs the head reads, counted from 0.
    pub fn blocks(&self) -> &[usize] {
        &self.blocks
    }

    /// Token width D of the encoder.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the auxiliary head's loss counts for, where there is one.
    pub(super) fn auxiliary_weight(&self) -> Option<f64> {
        match &self.layout {
            Layout::UperNet(config, _) => config.auxiliary.map(|auxiliary| auxiliary.weight),
            Layout::Linear(_) => None,
        }
    }

    /// Whether the head reads tokens under the encoder's last norm.
    pub(super) fn reads_norm(&self) -> bool {
        matches!(&self.layout, Layout::Linear(config) if config.norm)
    }
}

impl UperNetConfig {
    fn check(&self) -> Result<(), SegmentationError> {
        within("channels", self.channels, MOST_CHANNELS)?;
        for &bins in &self.pool_scales {
            within("a scale of the pooling", bins, MOST_BINS)?;
        }
        if let Some(AuxiliaryConfig { channels, weight }) = self.auxiliary {
            within("channels of the auxiliary head", channels, MOST_CHANNELS)?;
            if !(weight.is_finite() && weight > 0.0) {
                return Err(SegmentationError::Setting {
                    name: "the auxiliary head's weight",
                    value: weight.to_string(),
                    range: "above 0",
                });
            }
        }
        check_dropout(self.dropout)
    }
}

fn at_least_one(name: &'static str, value: usize) -> Result<(), SegmentationError> {
    within(name, value, (usize::MAX, "at least 1"))
}

/// Channels of a head at most, ten times those of any paper: more is a slip, and asks for memory that
/// no machine has.
const MOST_CHANNELS: (usize, &str) = (8192, "from 1 to 8192");

/// Parts of a side that a pooling has, at most.
const MOST_BINS: (usize, &str) = (64, "from 1 to 64");

fn within(
    name: &'static str,
    value: usize,
    (most, range): (usize, &'static str),
) -> Result<(), SegmentationError> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(SegmentationError::Setting {
            name,
            value: value.to_string(),
            range,
        }),
    }
}

fn check_dropout(rate: f64) -> Result<(), SegmentationError> {
    match (0.0..1.0).contains(&rate) {
        true => Ok(()),
        false => Err(SegmentationError::Setting {
            name: "dropout",
            value: rate.to_string(),
            range: "from 0 to below 1",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uper_net() -> UperNetConfig {
        UperNetConfig {
            channels: 8,
            pool_scales: vec![1, 2, 3, 6],
            auxiliary: Some(AuxiliaryConfig {
                channels: 4,
                weight: 0.4,
            }),
            dropout: 0.1,
        }
    }

    #[test]
    fn other_depths_have_the_ends_of_their_quarters() {
        assert_eq!(blocks_read(12), [3, 5, 7, 11]);
        assert_eq!(blocks_read(24), [7, 11, 15, 23]);
        assert_eq!(blocks_read(32), [7, 15, 23, 31]);
        assert_eq!(blocks_read(6), [1, 2, 4, 5]);
        assert_eq!(blocks_read(2), [0, 0, 1, 1]);
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let encoder = |patch_size, grid| VitConfig::plain(patch_size, grid, (8, 4, 2));
        let new = |head: UperNetConfig, encoder: &VitConfig| {
            SegmenterConfig::new(SegmentationHead::UperNet(head), 3, encoder)
        };
        let fine = encoder(16, [2, 2]);
        assert!(new(uper_net(), &fine).is_ok());
        for (head, encoder, said) in [
            (uper_net(), encoder(32, [4, 4]), "32 pixels"),
            (uper_net(), encoder(4, [7, 9]), "7 x 9 patches"),
            (uper_net(), encoder(16, [4, 1]), "4 x 1 patches"),
            (uper_net(), encoder(8, [3, 4]), "3 x 4 patches"),
            (
                UperNetConfig {
                    dropout: 1.0,
                    ..uper_net()
                },
                encoder(16, [2, 2]),
                "dropout is 1",
            ),
            (
                UperNetConfig {
                    pool_scales: vec![1, 0],
                    ..uper_net()
                },
                encoder(16, [2, 2]),
                "pooling is 0",
            ),
        ] {
            let error = new(head, &encoder).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.hint().is_empty());
        }
        let bare = VitConfig {
            final_norm: FinalNorm::MeanPatch,
            ..encoder(14, [2, 2])
        };
        let linear = SegmentationHead::Linear(LinearHeadConfig::IBOT);
        let error = SegmenterConfig::new(linear.clone(), 3, &bare).unwrap_err();
        assert_eq!(error, SegmentationError::NoNorm);
        assert!(SegmenterConfig::new(linear, 3, &encoder(14, [1, 1])).is_ok());
    }
}
