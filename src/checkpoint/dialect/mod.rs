//! Dialects: the names under which each code base saves a ViT, and what its code takes for
//! granted beyond the weights.

mod clip;
mod family;
mod names;
mod recognise;
mod transformers;

use serde::{Deserialize, Serialize};

use super::rule::Names;

pub use family::PositionResize;
pub(super) use names::{DECODER, HEAD};
pub(super) use recognise::recognise;

/// The code base whose names a checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// timm's VisionTransformer, and what is saved under the same names: DeiT, I-JEPA, SemMAE, TinyMIM
    Timm,
    /// timm's Beit
    TimmBeit,
    /// timm's Eva: EVA-02, DINOv3, ViTs with rotary positions
    TimmEva,
    /// facebookresearch/mae
    Mae,
    /// ljchang/MILAN
    Milan,
    /// OpenDriveLab/maskalign
    Maskalign,
    /// facebookresearch/moco-v3
    Moco,
    /// facebookresearch/dino
    Dino,
    /// bytedance/ibot
    Ibot,
    /// microsoft/unilm beit, beit2, and EVA-01
    Beit,
    /// microsoft/SimMIM
    Simmim,
    /// LightDXY/BootMAE
    Bootmae,
    /// Atten4Vis/CAE
    Cae,
    /// drkostas/MaskDistill-PyTorch and MEDiC
    Maskdistill,
    /// facebookresearch/dinov2
    Dinov2,
    /// facebookresearch/dinov3
    Dinov3,
    /// baaivision/EVA, EVA-02
    Eva02,
    /// mmpretrain, mmselfsup and CMAE
    Mmpretrain,
    /// openai/CLIP
    Clip,
    /// mlfoundations/open_clip
    OpenClip,
    /// transformers' ViT, DeiT, MAE, MSN and I-JEPA
    HfVit,
    /// transformers' BEiT and data2vec
    HfBeit,
    /// transformers' DINOv2
    HfDinov2,
    /// transformers' DINOv3
    HfDinov3,
    /// transformers' CLIP
    HfClip,
    /// transformers' SigLIP
    HfSiglip,
    /// torchvision
    Torchvision,
}

impl Dialect {
    /// The name used on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timm => "timm",
            Self::TimmBeit => "timm-beit",
            Self::TimmEva => "timm-eva",
            Self::Mae => "mae",
            Self::Milan => "milan",
            Self::Maskalign => "maskalign",
            Self::Moco => "moco",
            Self::Dino => "dino",
            Self::Ibot => "ibot",
            Self::Beit => "beit",
            Self::Simmim => "simmim",
            Self::Bootmae => "bootmae",
            Self::Cae => "cae",
            Self::Maskdistill => "maskdistill",
            Self::Dinov2 => "dinov2",
            Self::Dinov3 => "dinov3",
            Self::Eva02 => "eva02",
            Self::Mmpretrain => "mmpretrain",
            Self::Clip => "clip",
            Self::OpenClip => "open-clip",
            Self::HfVit => "hf-vit",
            Self::HfBeit => "hf-beit",
            Self::HfDinov2 => "hf-dinov2",
            Self::HfDinov3 => "hf-dinov3",
            Self::HfClip => "hf-clip",
            Self::HfSiglip => "hf-siglip",
            Self::Torchvision => "torchvision",
        }
    }

    /// Whether its code base builds no ViT without a class token.
    pub(super) fn needs_class_token(self) -> bool {
        !matches!(
            self,
            Self::Timm | Self::TimmEva | Self::Mmpretrain | Self::HfVit | Self::HfSiglip
        )
    }

    /// Whether a file whose keys look like `found` can be of this dialect: it has the same layers
    /// under the same names, and what tells them apart may be lost.
    pub(super) fn can_be(self, found: Self) -> bool {
        let kin = self.kin().is_some_and(|kin| found.kin() == Some(kin));
        // EVA-01 under timm's names has BEiT's keys.
        let eva = self == Self::TimmEva && found.kin() == Some(Self::TimmBeit);
        self == found || kin || eva
    }

    /// One of the dialects that share their names with others.
    fn kin(self) -> Option<Self> {
        match self {
            Self::Timm
            | Self::Mae
            | Self::Milan
            | Self::Maskalign
            | Self::Moco
            | Self::Dino
            | Self::Ibot
            | Self::Dinov2 => Some(Self::Timm),
            Self::TimmBeit
            | Self::Beit
            | Self::Simmim
            | Self::Bootmae
            | Self::Cae
            | Self::Maskdistill => Some(Self::TimmBeit),
            Self::TimmEva
            | Self::Eva02
            | Self::Dinov3
            | Self::Mmpretrain
            | Self::Clip
            | Self::OpenClip
            | Self::HfVit
            | Self::HfBeit
            | Self::HfDinov2
            | Self::HfDinov3
            | Self::HfClip
            | Self::HfSiglip
            | Self::Torchvision => None,
        }
    }

    /// Its names; DINOv3's in transformers depend on whether its MLP has a gate.
    pub(super) fn names(self, gated: bool) -> &'static Names {
        match self {
            Self::Timm
            | Self::Mae
            | Self::Milan
            | Self::Maskalign
            | Self::Moco
            | Self::Dino
            | Self::Ibot => &names::VIT,
            Self::TimmBeit
            | Self::TimmEva
            | Self::Beit
            | Self::Simmim
            | Self::Bootmae
            | Self::Cae => &names::BEIT,
            Self::Maskdistill => &names::MASKDISTILL,
            Self::Dinov2 => &names::DINOV2,
            Self::Dinov3 => &names::DINOV3,
            Self::Eva02 => &names::EVA02,
            Self::Mmpretrain => &names::MMPRETRAIN,
            Self::Clip | Self::OpenClip => &clip::CLIP,
            Self::HfVit => &transformers::VIT,
            Self::HfBeit => &transformers::BEIT,
            Self::HfDinov2 => &transformers::DINOV2,
            Self::HfDinov3 if gated => &transformers::DINOV3_GATED,
            Self::HfDinov3 => &transformers::DINOV3,
            Self::HfClip => &clip::HF_CLIP,
            Self::HfSiglip => &clip::HF_SIGLIP,
            Self::Torchvision => &names::TORCHVISION,
        }
    }

    /// The names of its linear classification head, where its code can save one, and whether they
    /// stand beside the encoder and not among its own.
    pub(super) fn head_names(self) -> Option<(&'static Names, bool)> {
        match self {
            Self::Timm
            | Self::TimmBeit
            | Self::TimmEva
            | Self::Mae
            | Self::Milan
            | Self::Maskalign
            | Self::Moco
            | Self::Dino
            | Self::Ibot
            | Self::Beit
            | Self::Simmim
            | Self::Bootmae
            | Self::Cae
            | Self::Maskdistill
            | Self::Eva02 => Some((&names::VIT_HEAD, false)),
            Self::Torchvision => Some((&names::TORCHVISION_HEAD, false)),
            Self::Dinov2 => Some((&names::DINOV2_HEAD, true)),
            Self::Mmpretrain => Some((&names::MMPRETRAIN_HEAD, true)),
            Self::HfVit | Self::HfBeit | Self::HfDinov2 | Self::HfClip | Self::HfSiglip => {
                Some((&transformers::CLASSIFIER, true))
            }
            // Their code has no classifier.
            Self::Dinov3 | Self::HfDinov3 | Self::Clip | Self::OpenClip => None,
        }
    }

    /// The names of MAE's decoder, where its code can save one.
    pub(super) fn decoder_names(self) -> Option<&'static Names> {
        match self {
            Self::Mae => Some(&names::MAE_DECODER),
            Self::HfVit => Some(&transformers::MAE_DECODER),
            _ => None,
        }
    }
}
