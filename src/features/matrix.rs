//! Stored features of one tap over one split.

use crate::metric::Rows;
use crate::store::Part;

/// Rows in image order over memory-mapped parts; images that could not be decoded have none.
#[derive(Debug)]
pub struct FeatureMatrix {
    dim: usize,
    /// Sorted by first image, without gaps or overlap.
    parts: Vec<Part>,
    /// Images that have a row, ascending.
    kept: Vec<u32>,
}

impl FeatureMatrix {
    /// `parts` are sorted and cover every image once.
    pub(super) fn new(dim: usize, parts: Vec<Part>) -> Self {
        let mut kept = Vec::new();
        for part in &parts {
            let mut skipped = part
                .header
                .skipped
                .iter()
                .map(|&(image, _)| image)
                .peekable();
            for image in part.header.start..part.header.end {
                if skipped.next_if_eq(&image).is_none() {
                    kept.push(image as u32);
                }
            }
        }
        Self { dim, parts, kept }
    }

    /// Images that have a row, ascending.
    pub fn kept(&self) -> &[u32] {
        &self.kept
    }

    /// First half of the blake3 of every image's bytes, in image order.
    pub fn contents(&self) -> impl Iterator<Item = [u8; 16]> {
        self.parts
            .iter()
            .flat_map(|part| part.stamps().map(|stamp| stamp.content))
    }
}

impl Rows for FeatureMatrix {
    fn len(&self) -> usize {
        self.kept.len()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn copy(&self, start: usize, out: &mut [f32]) {
        let mut part = 0;
        for (row, &image) in out.chunks_exact_mut(self.dim).zip(&self.kept[start..]) {
            let image = image as usize;
            if self.parts[part].header.end <= image {
                part = self.parts.partition_point(|part| part.header.end <= image);
            }
            self.parts[part].copy_row(image, row);
        }
    }
}
