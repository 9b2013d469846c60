//! How much a file may say before its first tensor is read.

use super::pickle::Fault;

/// Bytes of a safetensors header, of an index of shards and of a zip archive's directory. A name
/// with its type, its shape and its place takes about 120 bytes, so that the most names that are
/// read need 32 MiB; a ViT with its optimizer needs less than one.
pub(super) const LONGEST: usize = 1 << 26;
/// Names, of tensors and of what holds none. A ViT with its optimizer has a few thousand.
pub(super) const MOST_NAMES: usize = 1 << 18;
/// Bytes of one name. Names of modules inside each other have fewer than two hundred.
pub(super) const LONGEST_NAME: usize = 1 << 12;
/// Bytes of all names, with those of the shapes kept under them.
const LONGEST_NAMES: usize = 1 << 26;
/// Bytes of an axis: its length and its stride.
const AXIS: usize = 2 * size_of::<usize>();

/// Names counted while they are found.
#[derive(Debug, Default)]
pub(super) struct Names {
    count: usize,
    length: usize,
}

impl Names {
    /// Takes one more name, of `length` bytes, and of a tensor with `rank` axes; what there is too
    /// much of, where it is beyond a bound.
    pub(super) fn take(&mut self, length: usize, rank: usize) -> Result<(), &'static str> {
        self.count += 1;
        self.length = self.length.saturating_add(length + AXIS * rank);
        if length > LONGEST_NAME {
            return Err("characters in one name");
        }
        if self.count > MOST_NAMES || self.length > LONGEST_NAMES {
            return Err("names");
        }
        Ok(())
    }
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::Excessive(what)
    }
}
