//! Means and standard deviations that inputs are normalised with.

/// Statistics that inputs are normalised with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// ImageNet's: MAE, DINO, iBOT, MaskAlign, MEDiC and most others.
    Imagenet,
    /// 0.5 and 0.5: BEiT, SigLIP, transformers' ViT.
    Half,
    /// OpenAI's over CLIP's images.
    Clip,
}

impl Statistics {
    /// Mean and standard deviation a channel: `timm/data/constants.py` and openai/CLIP's
    /// `clip/clip.py`, `_transform`.
    pub const fn values(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Imagenet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Self::Half => ([0.5; 3], [0.5; 3]),
            Self::Clip => (
                [0.481_454_66, 0.457_827_5, 0.408_210_73],
                [0.268_629_55, 0.261_302_6, 0.275_777_1],
            ),
        }
    }

    /// Whose they are, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imagenet => "ImageNet's",
            Self::Half => "0.5",
            Self::Clip => "CLIP's",
        }
    }
}
