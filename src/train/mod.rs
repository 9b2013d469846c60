//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.

mod classification;
mod clip;
mod curves;
mod decay;
mod dropped;
mod ema;
mod error;
mod events;
mod exact;
mod fit;
mod group;
mod image_batch;
mod lbfgs;
mod linear_probe;
mod logistic;
mod objective;
mod optimizer;
mod optimizer_error;
mod recipe;
mod sampler;
mod schedule;
mod segmentation;
mod state;
mod trainer;
mod world;

pub use classification::Classification;
pub use clip::{clip, global_norm};
pub use curves::{CurveLengths, Curves, CurvesError};
pub use decay::{DecayExclusion, LayerDecayRule, layer_groups, plain_groups};
pub use dropped::dropped_paths;
pub use ema::{Ema, EmaSettings, EmaWarmup};
pub use error::TrainError;
pub use fit::{Monitor, Progress, Source, Stage, Take, Update, fit};
pub use group::Group;
pub use image_batch::{HeadScores, ImageBatch, MixedIn};
pub use lbfgs::{Iterate, LbfgsOptions, Minimum, Stop, minimise};
pub use linear_probe::LinearProbe;
pub use logistic::{Logistic, LogisticData, LogisticError, LogisticOptions, Scaling};
pub use objective::{GroupSummary, Objective, Share, Terms, Trainable};
pub use optimizer::{Optimizer, OptimizerKind, Parameter};
pub use optimizer_error::OptimizerError;
pub use recipe::Recipe;
pub use sampler::{EpochLength, Sampler, Step};
pub use schedule::{LearningRate, Position, Schedule};
pub use segmentation::{SceneBatch, SceneView, Segmentation};
pub use state::{AT_ONCE, Identity, Saved, Standing, StateFolder};
pub use trainer::{Trainer, TrainerSettings};
pub use world::{AllReduce, Solo, World};

/// Version of everything that can change a bit of trained weights beside the encoder's features:
/// part of every trained cell's key.
pub const TRAINING_VERSION: u32 = 2;
