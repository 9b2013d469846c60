//! Pre-training recipes by the name of whose they are.

/// A recipe that is built in, of a ViT-B where it does not say another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PretrainPreset {
    /// MAE (He et al. 2022).
    Mae,
    /// MaskDistill (Peng et al. 2022), as MEDiC's authors have made it again.
    MaskDistill,
    /// FD (Wei et al. 2022).
    Fd,
    /// MEDiC, as its paper has it.
    MedicPaper,
    /// MEDiC, as its code has it.
    MedicCode,
    /// MEDiC's paper with the masks of its table 11.
    MedicEvolved,
    /// MaskAlign, as its paper has it.
    MaskAlignPaper,
    /// MaskAlign, as its code has it.
    MaskAlignCode,
    /// MAE in miniature.
    MiniMae,
    /// MaskDistill in miniature.
    MiniMaskDistill,
    /// MEDiC in miniature.
    MiniMedic,
    /// MaskAlign in miniature.
    MiniMaskAlign,
}

impl PretrainPreset {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Mae,
        Self::MaskDistill,
        Self::Fd,
        Self::MedicPaper,
        Self::MedicCode,
        Self::MedicEvolved,
        Self::MaskAlignPaper,
        Self::MaskAlignCode,
        Self::MiniMae,
        Self::MiniMaskDistill,
        Self::MiniMedic,
        Self::MiniMaskAlign,
    ];

    /// Its word on the command line, and its file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mae => "mae",
            Self::MaskDistill => "maskdistill",
            Self::Fd => "fd",
            Self::MedicPaper => "medic-paper",
            Self::MedicCode => "medic-code",
            Self::MedicEvolved => "medic-evolved",
            Self::MaskAlignPaper => "maskalign-paper",
            Self::MaskAlignCode => "maskalign-code",
            Self::MiniMae => "mini-mae",
            Self::MiniMaskDistill => "mini-maskdistill",
            Self::MiniMedic => "mini-medic",
            Self::MiniMaskAlign => "mini-maskalign",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The recipe's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Mae => include_str!("../../protocols/pretrain/mae.toml"),
            Self::MaskDistill => include_str!("../../protocols/pretrain/maskdistill.toml"),
            Self::Fd => include_str!("../../protocols/pretrain/fd.toml"),
            Self::MedicPaper => include_str!("../../protocols/pretrain/medic-paper.toml"),
            Self::MedicCode => include_str!("../../protocols/pretrain/medic-code.toml"),
            Self::MedicEvolved => include_str!("../../protocols/pretrain/medic-evolved.toml"),
            Self::MaskAlignPaper => include_str!("../../protocols/pretrain/maskalign-paper.toml"),
            Self::MaskAlignCode => include_str!("../../protocols/pretrain/maskalign-code.toml"),
            Self::MiniMae => include_str!("../../protocols/pretrain/mini-mae.toml"),
            Self::MiniMaskDistill => include_str!("../../protocols/pretrain/mini-maskdistill.toml"),
            Self::MiniMedic => include_str!("../../protocols/pretrain/mini-medic.toml"),
            Self::MiniMaskAlign => include_str!("../../protocols/pretrain/mini-maskalign.toml"),
        }
    }
}
