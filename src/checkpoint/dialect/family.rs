//! What a code base takes for granted: nothing of it can be read off the weights.

use serde::{Deserialize, Serialize};

use super::super::facts::Facts;
use super::super::position::{AbsoluteResize, TableResize};
use super::Dialect;
use crate::data::Statistics;
use crate::engine::Activation;
use crate::vit::Pooler;

/// Whose way of bringing position tables to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PositionResize {
    /// timm, DINOv2 with registers, open_clip: antialiased bicubic; tables linear on a geometric grid
    Timm,
    /// MAE, BEiT, SimMIM, EVA: bicubic; tables by a cubic spline on a geometric grid
    Beit,
    /// DINO, iBOT, DINOv2 without registers: bicubic with a scale of (n + 0.1) / M
    Dino,
    /// transformers: bicubic; tables bilinear
    Transformers,
    /// Segmentation code over mmcv: bicubic; tables bicubic
    Mmcv,
}

impl PositionResize {
    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timm => "timm",
            Self::Beit => "beit",
            Self::Dino => "dino",
            Self::Transformers => "transformers",
            Self::Mmcv => "mmcv",
        }
    }

    /// The method for a table of absolute positions.
    pub fn absolute(self) -> AbsoluteResize {
        match self {
            Self::Timm => AbsoluteResize::BicubicAntialias,
            Self::Dino => AbsoluteResize::BicubicOffset,
            Self::Beit | Self::Transformers | Self::Mmcv => AbsoluteResize::Bicubic,
        }
    }

    /// The method for a table of relative positions.
    pub fn table(self) -> TableResize {
        match self {
            Self::Timm => TableResize::GeometricLinear,
            Self::Beit | Self::Dino => TableResize::GeometricCubic,
            Self::Transformers => TableResize::Bilinear,
            Self::Mmcv => TableResize::Bicubic,
        }
    }
}

/// A dialect's defaults.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Family {
    pub norm_eps: f64,
    pub activation: Activation,
    pub resize: PositionResize,
}

impl Dialect {
    /// Defaults of a file of this dialect; DINOv2's and DINOv3's registers and CLIP's norm before
    /// the first block tell members of a family apart.
    pub(in super::super) fn family(self, registers: bool, norm_pre: bool) -> Family {
        use PositionResize::{Beit, Dino, Timm, Transformers};
        let (norm_eps, resize) = match self {
            // timm's `vit_*_clip_*` (`timm/models/vision_transformer.py`) and `*_dinov3`
            // (`timm/models/eva.py`) pass 1e-5.
            Self::Timm if norm_pre => (1e-5, Timm),
            Self::TimmEva if registers => (1e-5, Timm),
            Self::Timm | Self::TimmBeit | Self::TimmEva | Self::Maskdistill => (1e-6, Timm),
            Self::Mae
            | Self::Milan
            | Self::Maskalign
            | Self::Moco
            | Self::Beit
            | Self::Simmim
            | Self::Bootmae
            | Self::Cae
            | Self::Eva02
            | Self::Mmpretrain
            | Self::Torchvision => (1e-6, Beit),
            Self::Dino | Self::Ibot => (1e-6, Dino),
            Self::Dinov2 | Self::HfDinov2 if registers => (1e-6, Timm),
            Self::Dinov2 => (1e-6, Dino),
            Self::Dinov3 => (1e-5, Timm),
            Self::Clip | Self::OpenClip => (1e-5, Timm),
            Self::HfVit | Self::HfBeit => (1e-12, Transformers),
            Self::HfDinov2 | Self::HfSiglip => (1e-6, Transformers),
            Self::HfDinov3 | Self::HfClip => (1e-5, Transformers),
        };
        let activation = match self {
            Self::Clip | Self::HfClip => Activation::QuickGelu,
            Self::HfSiglip => Activation::GeluTanh,
            _ => Activation::Gelu,
        };
        Family {
            norm_eps,
            activation,
            resize,
        }
    }

    /// What its inputs are normalised with; `architecture` is the name in a configuration.
    pub(in super::super) fn statistics(
        self,
        facts: &Facts,
        architecture: Option<&str>,
    ) -> Statistics {
        let imagenet = ["deit", "mae", "msn", "ijepa"];
        match self {
            Self::Timm if facts.norm_pre => Statistics::Clip,
            // SigLIP's pooling, and no class token.
            Self::Timm
                if matches!(facts.pooler, Some(Pooler::Attention { .. })) && !facts.class_token =>
            {
                Statistics::Half
            }
            Self::TimmEva if facts.registers == 0 => Statistics::Clip,
            Self::HfVit if facts.distillation_token => Statistics::Imagenet,
            Self::HfVit
                if architecture
                    .is_some_and(|name| imagenet.iter().any(|part| name.contains(part))) =>
            {
                Statistics::Imagenet
            }
            Self::Clip | Self::OpenClip | Self::HfClip | Self::Eva02 => Statistics::Clip,
            Self::TimmBeit
            | Self::Beit
            | Self::Bootmae
            | Self::HfVit
            | Self::HfBeit
            | Self::HfSiglip => Statistics::Half,
            _ => Statistics::Imagenet,
        }
    }
}
