//! Which patches of an image an encoder sees: the kinds of masks and how each is drawn.

mod attention;
mod attentive;
mod batch;
mod block;
mod distances;
mod em;
mod error;
mod evolved;
mod grid;
mod linkage;
mod sample;
mod spec;

pub use attention::{AttentionLayers, AttentionSource};
pub use batch::Mask;
pub use block::BlockMask;
pub use distances::Distances;
pub use em::{EmParts, em_parts};
pub use error::MaskError;
pub use evolved::{
    ClusterPace, ClusterSchedule, Clustering, EpochCount, EpochOf, EvolvedMask, PatchFeature,
};
pub use linkage::{Linkage, Merge};
pub use sample::Sample;
pub use spec::MaskSpec;
