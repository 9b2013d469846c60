//! Where the teachers of a student come from.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::error::Error;
use crate::vit::{Architecture, VitConfig, random_elements};

/// What an architecture's name follows where a file could be.
const ARCHITECTURE: &str = "arch:";

/// A network that a student looks at.
#[derive(Clone, Debug)]
pub enum TeacherOrigin {
    /// A checkpoint.
    Checkpoint(Arc<Checkpoint>),
    /// An architecture of random weights, to be counted and timed.
    Architecture {
        /// timm's name.
        name: &'static str,
        /// At the input that it will see.
        config: Box<VitConfig>,
    },
}

impl TeacherOrigin {
    /// A file, or `arch:NAME`.
    pub(super) fn open(path: &Path, options: &LoadOptions) -> Result<Self, Error> {
        let name = path
            .to_str()
            .and_then(|text| text.strip_prefix(ARCHITECTURE));
        let Some(name) = name else {
            let checkpoint = Checkpoint::open(path, options)?;
            return Ok(Self::Checkpoint(Arc::new(checkpoint)));
        };
        let architecture = Architecture::named(name)?;
        Ok(Self::architecture(architecture, options.input_size))
    }

    /// An architecture at its own input, or at one of another height and width.
    pub fn architecture(architecture: Architecture, input_size: Option<[usize; 2]>) -> Self {
        let mut config = architecture.config();
        if let Some(size) = input_size {
            config.grid = size.map(|side| side / config.patch_size);
            config.margin = size.map(|side| side % config.patch_size);
        }
        Self::Architecture {
            name: architecture.name(),
            config: Box::new(config),
        }
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Checkpoint(checkpoint) => &checkpoint.name,
            Self::Architecture { name, .. } => name,
        }
    }

    /// Its architecture at the input that it will see.
    pub fn config(&self) -> &VitConfig {
        match self {
            Self::Checkpoint(checkpoint) => &checkpoint.config,
            Self::Architecture { config, .. } => config,
        }
    }

    /// Numbers in its tensors.
    pub fn elements(&self) -> usize {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.elements(),
            Self::Architecture { config, .. } => random_elements(config),
        }
    }
}
