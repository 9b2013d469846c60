//! Sweeps of pre-training by the names of the tables that they are.

/// A sweep that is built in: a table of ablations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PretrainSweep {
    /// MEDiC's terms, alone and together (table 4).
    Medic4,
    /// MEDiC with sparse and with dense encoding (table 6).
    Medic6,
    /// MEDiC's weights (table 12).
    Medic12,
    /// MEDiC's evolved masks (table 13).
    Medic13,
    /// MaskAlign's alignments (table 3).
    MaskAlign3,
    /// MaskAlign's masks (table 4).
    MaskAlign4,
    /// MaskAlign's teachers (table 5).
    MaskAlign5,
    /// MaskAlign's adaptors and targets (table 6).
    MaskAlign6,
}

impl PretrainSweep {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Medic4,
        Self::Medic6,
        Self::Medic12,
        Self::Medic13,
        Self::MaskAlign3,
        Self::MaskAlign4,
        Self::MaskAlign5,
        Self::MaskAlign6,
    ];

    /// Its word on the command line: that of its table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medic4 => "medic-4",
            Self::Medic6 => "medic-6",
            Self::Medic12 => "medic-12",
            Self::Medic13 => "medic-13",
            Self::MaskAlign3 => "maskalign-3",
            Self::MaskAlign4 => "maskalign-4",
            Self::MaskAlign5 => "maskalign-5",
            Self::MaskAlign6 => "maskalign-6",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The sweep's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Medic4 => include_str!("../../protocols/pretrain/sweeps/medic-4.toml"),
            Self::Medic6 => include_str!("../../protocols/pretrain/sweeps/medic-6.toml"),
            Self::Medic12 => include_str!("../../protocols/pretrain/sweeps/medic-12.toml"),
            Self::Medic13 => include_str!("../../protocols/pretrain/sweeps/medic-13.toml"),
            Self::MaskAlign3 => include_str!("../../protocols/pretrain/sweeps/maskalign-3.toml"),
            Self::MaskAlign4 => include_str!("../../protocols/pretrain/sweeps/maskalign-4.toml"),
            Self::MaskAlign5 => include_str!("../../protocols/pretrain/sweeps/maskalign-5.toml"),
            Self::MaskAlign6 => include_str!("../../protocols/pretrain/sweeps/maskalign-6.toml"),
        }
    }
}
