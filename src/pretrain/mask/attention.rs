//! Whose attention a mask is drawn by.

use serde::{Deserialize, Serialize};

/// The network whose attention decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AttentionSource {
    /// A frozen teacher, over the whole image.
    Teacher {
        /// Its name in the recipe; it may be left out where there is one teacher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Of its layers.
        #[serde(default)]
        layers: AttentionLayers,
    },
    /// The network that learns, as it is, over the whole image.
    Student {
        /// Of its layers.
        #[serde(default)]
        layers: AttentionLayers,
    },
    /// The moving average of the network that learns, over the whole image.
    Ema {
        /// Of its layers.
        #[serde(default)]
        layers: AttentionLayers,
    },
}

impl AttentionSource {
    /// The layers that count.
    pub fn layers(&self) -> AttentionLayers {
        match self {
            Self::Teacher { layers, .. } | Self::Student { layers } | Self::Ema { layers } => {
                *layers
            }
        }
    }
}

/// Which softmax weights make the attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionLayers {
    /// The mean over the heads of the last layer (MEDiC section 3.3; aicip/MEDiC
    /// `src/utils/evolved_masking_generator.py` of a CLIP teacher; MaskAlign `models_pretrain.py`).
    #[default]
    Last,
    /// The sum over all layers and heads (Evolved Part Masking
    /// `model/models_mae_evolved_base.py`, `get_features`). Its size counts in EM.
    All,
}
