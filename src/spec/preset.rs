//! Linear probes by the name of whose they are.

use super::Kind;

/// Width of ViT-B (Dosovitskiy et al. 2021, table 1).
const BASE_WIDTH: usize = 768;

/// A linear probe that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearPreset {
    /// Every block of the encoder, AdamW: microsoft/unilm `beit/run_linear_eval.py`.
    Beit,
    /// A BatchNorm and LARS at a batch of 16,384: facebookresearch/mae `main_linprobe.py`.
    Mae,
    /// Learning rates by blocks by pooling: facebookresearch/dinov2 `eval/linear.py`.
    Dinov2,
    /// facebookresearch/dino `eval_linear.py`, as for ViT-S.
    Dino,
    /// The same, as for ViT-B.
    DinoBase,
    /// bytedance/ibot `evaluation/eval_linear.py`, as for ViT-S.
    Ibot,
    /// The same, as for ViT-B and ViT-L.
    IbotBase,
    /// The mean patch of the eighth block: microsoft/SimMIM, issue 14.
    Simmim,
    /// MAE's at a smaller learning rate: OpenDriveLab/maskalign README.
    MaskAlign,
    /// MEDiC, table 8.
    MedicPaper,
    /// Logistic regression of stored features.
    Cached,
}

impl LinearPreset {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Beit,
        Self::Mae,
        Self::Dinov2,
        Self::Dino,
        Self::DinoBase,
        Self::Ibot,
        Self::IbotBase,
        Self::Simmim,
        Self::MaskAlign,
        Self::MedicPaper,
        Self::Cached,
    ];

    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beit => "beit",
            Self::Mae => "mae",
            Self::Dinov2 => "dinov2",
            Self::Dino => "dino",
            Self::DinoBase => "dino-base",
            Self::Ibot => "ibot",
            Self::IbotBase => "ibot-base",
            Self::Simmim => "simmim",
            Self::MaskAlign => "maskalign",
            Self::MedicPaper => "medic-paper",
            Self::Cached => "cached",
        }
    }

    /// The protocol's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Beit => include_str!("../../protocols/linear-beit.toml"),
            Self::Mae => include_str!("../../protocols/linear-mae.toml"),
            Self::Dinov2 => include_str!("../../protocols/linear-dinov2.toml"),
            Self::Dino => include_str!("../../protocols/linear-dino.toml"),
            Self::DinoBase => include_str!("../../protocols/linear-dino-base.toml"),
            Self::Ibot => include_str!("../../protocols/linear-ibot.toml"),
            Self::IbotBase => include_str!("../../protocols/linear-ibot-base.toml"),
            Self::Simmim => include_str!("../../protocols/linear-simmim.toml"),
            Self::MaskAlign => include_str!("../../protocols/linear-maskalign.toml"),
            Self::MedicPaper => include_str!("../../protocols/linear-medic-paper.toml"),
            Self::Cached => include_str!("../../protocols/linear-cached.toml"),
        }
    }

    /// The one that the same repository has for encoders of this width.
    pub fn for_width(self, width: usize) -> Self {
        match self {
            Self::Dino if width >= BASE_WIDTH => Self::DinoBase,
            Self::Ibot if width >= BASE_WIDTH => Self::IbotBase,
            Self::DinoBase if width < BASE_WIDTH => Self::Dino,
            Self::IbotBase if width < BASE_WIDTH => Self::Ibot,
            other => other,
        }
    }

    /// What it is carried out as.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Cached => Kind::LinearCached,
            _ => Kind::Linear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_repositories_have_a_recipe_for_vit_b() {
        let pairs = [
            (LinearPreset::Dino, LinearPreset::DinoBase),
            (LinearPreset::Ibot, LinearPreset::IbotBase),
        ];
        for (small, base) in pairs {
            for preset in [small, base] {
                assert_eq!(preset.for_width(384), small);
                assert_eq!(preset.for_width(768), base);
                assert_eq!(preset.for_width(1024), base);
            }
        }
        for preset in [LinearPreset::Beit, LinearPreset::Cached] {
            assert_eq!(preset.for_width(768), preset);
            assert_eq!(preset.for_width(192), preset);
        }
    }
}
