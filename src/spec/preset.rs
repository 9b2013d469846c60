//! Linear probes by the name of whose they are.

use super::Kind;

/// A linear probe that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearPreset {
    /// Every block of the encoder, AdamW: microsoft/unilm `beit/run_linear_eval.py`.
    Beit,
    /// A BatchNorm and LARS at a batch of 16,384: facebookresearch/mae `main_linprobe.py`.
    Mae,
    /// Learning rates by blocks by pooling: facebookresearch/dinov2 `eval/linear.py`.
    Dinov2,
    /// facebookresearch/dino `eval_linear.py`.
    Dino,
    /// bytedance/ibot `evaluation/eval_linear.py`.
    Ibot,
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
    pub const ALL: [Self; 9] = [
        Self::Beit,
        Self::Mae,
        Self::Dinov2,
        Self::Dino,
        Self::Ibot,
        Self::Simmim,
        Self::MaskAlign,
        Self::MedicPaper,
        Self::Cached,
    ];

    /// The protocol's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Beit => include_str!("../../protocols/linear-beit.toml"),
            Self::Mae => include_str!("../../protocols/linear-mae.toml"),
            Self::Dinov2 => include_str!("../../protocols/linear-dinov2.toml"),
            Self::Dino => include_str!("../../protocols/linear-dino.toml"),
            Self::Ibot => include_str!("../../protocols/linear-ibot.toml"),
            Self::Simmim => include_str!("../../protocols/linear-simmim.toml"),
            Self::MaskAlign => include_str!("../../protocols/linear-maskalign.toml"),
            Self::MedicPaper => include_str!("../../protocols/linear-medic-paper.toml"),
            Self::Cached => include_str!("../../protocols/linear-cached.toml"),
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
