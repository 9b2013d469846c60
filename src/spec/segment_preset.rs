//! Segmentation by the name of whose it is.

/// A segmentation recipe that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentPreset {
    /// microsoft/unilm `beit/semantic_segmentation`, ViT-B.
    Beit,
    /// microsoft/unilm `beit2/semantic_segmentation`, ViT-B.
    Beit2,
    /// implus/mae_segmentation, ViT-B.
    Mae,
    /// MEDiC, table 10.
    MedicPaper,
    /// aicip/MEDiC `src/downstream/segmentation`.
    MedicCode,
    /// A frozen encoder under one layer: bytedance/ibot `evaluation/semantic_segmentation`, ViT-B.
    Ibot,
    /// The same over the last block: facebookresearch/dinov3 `eval/segmentation`.
    Dinov3,
    /// UperNet for small encoders and images, minutes on a CPU.
    Mini,
    /// The frozen layer for small encoders and images, minutes on a CPU.
    MiniLinear,
}

impl SegmentPreset {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Beit,
        Self::Beit2,
        Self::Mae,
        Self::MedicPaper,
        Self::MedicCode,
        Self::Ibot,
        Self::Dinov3,
        Self::Mini,
        Self::MiniLinear,
    ];

    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beit => "beit",
            Self::Beit2 => "beit2",
            Self::Mae => "mae",
            Self::MedicPaper => "medic-paper",
            Self::MedicCode => "medic-code",
            Self::Ibot => "ibot",
            Self::Dinov3 => "dinov3",
            Self::Mini => "mini",
            Self::MiniLinear => "mini-linear",
        }
    }

    /// The protocol's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Beit => include_str!("../../protocols/segment-beit.toml"),
            Self::Beit2 => include_str!("../../protocols/segment-beit2.toml"),
            Self::Mae => include_str!("../../protocols/segment-mae.toml"),
            Self::MedicPaper => include_str!("../../protocols/segment-medic-paper.toml"),
            Self::MedicCode => include_str!("../../protocols/segment-medic-code.toml"),
            Self::Ibot => include_str!("../../protocols/segment-ibot.toml"),
            Self::Dinov3 => include_str!("../../protocols/segment-dinov3.toml"),
            Self::Mini => include_str!("../../protocols/segment-mini.toml"),
            Self::MiniLinear => include_str!("../../protocols/segment-mini-linear.toml"),
        }
    }
}
