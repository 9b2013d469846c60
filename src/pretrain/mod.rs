//! Pre-training: what is hidden of an image, whom a student learns from, and the terms of its loss.

mod blank;
mod blueprint;
mod cost;
mod learner;
mod mask;
mod method;
mod objective;
mod pixels;
mod scene;
mod student;
mod target;
mod teacher;
mod term;

pub use blank::{Initialisation, sin_cos_positions};
pub use blueprint::{Blueprint, OwnAttention, PlannedTerm};
pub use cost::{Products, StepActivations, StepProducts};
pub use learner::Learner;
pub use mask::{
    AttentionLayers, AttentionSource, BlockMask, ClusterPace, ClusterSchedule, Clustering,
    Distances, EmParts, EpochCount, EpochOf, EvolvedMask, Linkage, Mask, MaskError, MaskSpec,
    Merge, PatchFeature, Sample, em_parts,
};
pub use method::{
    Method, MethodError, PositionKind, RelativeBiasKind, StudentArchitecture, StudentSize,
    StudentSpec, TeacherSpec,
};
pub use objective::{Pretraining, TeacherClock};
pub use pixels::{normalise_patches, patch_pixels};
pub use scene::{Positions, Scene};
pub use student::{Encoded, Encoding, Student};
pub use target::TargetNorm;
pub use teacher::{Conversion, Lesson, Queries, Statistics, Teacher, Wanted, WantedAttention};
pub use term::{
    Adaptor, AlignmentMatrix, AlignmentSpec, ClassDistillationSpec, ClassLoss, DecoderInput, Heads,
    MatrixPlace, PatchDistillationSpec, PixelDecoder, PixelLoss, PixelNorm, PixelReconstruction,
    PixelReconstructionSpec, Reads, Sides, Term, TermSpec,
};
