//! Models as they are pre-trained: masks, targets and losses.

mod mae;
mod mask;
mod pixels;

pub use mae::{Mae, MaeConfig};
pub use mask::{
    AttentionLayers, AttentionSource, BlockMask, ClusterPace, ClusterSchedule, Clustering,
    Distances, EmParts, EpochCount, EpochOf, EvolvedMask, Linkage, Mask, MaskError, MaskSpec,
    Merge, PatchFeature, Sample, em_parts,
};
pub use pixels::{normalise_patches, patch_pixels};
