//! A file of weights and its card, which appear together.

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, ConvertError, LoadOptions};
use crate::store::{StoreError, remove_leftovers, write_atomic};

/// Weights and their card under names of their own, beside those that they are to have; what is
/// still there at the end is deleted.
pub(super) struct Pair {
    weights: PathBuf,
    card: PathBuf,
}

impl Pair {
    /// Names that no other process takes.
    pub(super) fn beside(output: &Path) -> Self {
        let stem = output.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!(".{stem}.{}.partial.safetensors", std::process::id());
        Self::named(output.with_file_name(name))
    }

    /// Names in a folder that no other process writes to: what a killed one left there is written
    /// over.
    pub(super) fn locked(output: &Path) -> Result<Self, StoreError> {
        let folder = output.parent().unwrap_or(Path::new("."));
        let stem = output.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!(".{stem}.partial");
        remove_leftovers(folder, &name)?;
        Ok(Self::named(folder.join(name + ".safetensors")))
    }

    fn named(weights: PathBuf) -> Self {
        Self {
            card: weights.with_extension("toml"),
            weights,
        }
    }

    /// Writes both, opens them as anyone would, and gives them their names, in place of what was
    /// there.
    ///
    /// # Errors
    /// They cannot be written, or `difference` says what is not read back as it is.
    pub(super) fn write(
        self,
        output: &Path,
        weights: &dyn Fn(&Path) -> Result<(), ConvertError>,
        card: &dyn Fn(&Path) -> Result<String, ConvertError>,
        difference: &dyn Fn(&Checkpoint) -> Option<&'static str>,
    ) -> Result<(), ConvertError> {
        weights(&self.weights)?;
        // A card stands beside the file that it names.
        write_atomic(&self.card, card(&self.weights)?.as_bytes())?;
        let differs = match Checkpoint::open(&self.weights, &LoadOptions::default()) {
            Err(error) => Some(error.to_string()),
            Ok(again) => difference(&again).map(|what| format!("its {what} differs")),
        };
        if let Some(reason) = differs {
            return Err(ConvertError::NotTheSame {
                path: output.to_owned(),
                reason,
            });
        }
        write_atomic(&self.card, card(output)?.as_bytes())?;
        let its_card = output.with_extension("toml");
        for (from, to) in [(&self.weights, output), (&self.card, &its_card)] {
            std::fs::rename(from, to).map_err(|source| StoreError::Io {
                action: "write",
                path: to.to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for path in [&self.weights, &self.card] {
            let _ = std::fs::remove_file(path);
        }
    }
}
