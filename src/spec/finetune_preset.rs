//! Fine-tuning by the name of whose it is.

/// A fine-tuning recipe that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinetunePreset {
    /// facebookresearch/mae `FINETUNE.md`, ViT-B.
    Mae,
    /// The same, ViT-L.
    MaeLarge,
    /// The same, ViT-H.
    MaeHuge,
    /// microsoft/unilm `beit`, ViT-B.
    Beit,
    /// microsoft/unilm `beit2`, ViT-B of 300 epochs; MaskDistill's too.
    Beit2,
    /// MaskAlign, section 4.1.
    MaskAlignPaper,
    /// OpenDriveLab/maskalign README.
    MaskAlignCode,
    /// OliverRensu/TinyMIM README.
    TinyMim,
    /// liuxingbin/dbot `DOWNSTREAM.md`, ViT-B.
    Dbot,
    /// MEDiC, table 9.
    MedicPaper,
    /// aicip/MEDiC `scripts/finetune.sh`.
    MedicCode,
    /// Small encoders on small images, minutes on a CPU.
    Mini,
}

impl FinetunePreset {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Mae,
        Self::MaeLarge,
        Self::MaeHuge,
        Self::Beit,
        Self::Beit2,
        Self::MaskAlignPaper,
        Self::MaskAlignCode,
        Self::TinyMim,
        Self::Dbot,
        Self::MedicPaper,
        Self::MedicCode,
        Self::Mini,
    ];

    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mae => "mae",
            Self::MaeLarge => "mae-large",
            Self::MaeHuge => "mae-huge",
            Self::Beit => "beit",
            Self::Beit2 => "beit2",
            Self::MaskAlignPaper => "maskalign-paper",
            Self::MaskAlignCode => "maskalign-code",
            Self::TinyMim => "tinymim",
            Self::Dbot => "dbot",
            Self::MedicPaper => "medic-paper",
            Self::MedicCode => "medic-code",
            Self::Mini => "mini",
        }
    }

    /// The protocol's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Mae => include_str!("../../protocols/finetune-mae.toml"),
            Self::MaeLarge => include_str!("../../protocols/finetune-mae-large.toml"),
            Self::MaeHuge => include_str!("../../protocols/finetune-mae-huge.toml"),
            Self::Beit => include_str!("../../protocols/finetune-beit.toml"),
            Self::Beit2 => include_str!("../../protocols/finetune-beit2.toml"),
            Self::MaskAlignPaper => include_str!("../../protocols/finetune-maskalign-paper.toml"),
            Self::MaskAlignCode => include_str!("../../protocols/finetune-maskalign-code.toml"),
            Self::TinyMim => include_str!("../../protocols/finetune-tinymim.toml"),
            Self::Dbot => include_str!("../../protocols/finetune-dbot.toml"),
            Self::MedicPaper => include_str!("../../protocols/finetune-medic-paper.toml"),
            Self::MedicCode => include_str!("../../protocols/finetune-medic-code.toml"),
            Self::Mini => include_str!("../../protocols/finetune-mini.toml"),
        }
    }
}
