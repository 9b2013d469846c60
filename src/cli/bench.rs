//! `mimbench bench`.

use clap::{Args, ValueEnum};

use super::EngineArgs;

/// Arguments of `mimbench bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to time
    #[arg(value_enum)]
    pub work: BenchWork,
    /// Architecture by timm's name, with random weights
    #[arg(long, value_name = "NAME")]
    pub arch: String,
    /// How it is pre-trained, of pretrain-step: by the built-in recipe mae or medic-code without drop path
    #[arg(long, value_enum, default_value = "mae")]
    pub method: BenchMethod,
    /// Architecture of medic's teacher, with random weights
    #[arg(long, value_name = "NAME", default_value = "vit_tiny_patch16_224")]
    pub teacher_arch: String,
    /// Channels of UperNet, of segment-step
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub channels: u32,
    /// Side of a crop in pixels, of segment-step
    #[arg(long, value_name = "PIXELS", default_value = "256", value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub crop: u32,
    /// Images in a round
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// Rounds that count
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100000))]
    pub rounds: u32,
    /// Rounds before them that do not
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(0..=100000))]
    pub warmup: u32,
    /// Seed of weights, images and classes
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// What to compute with.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print results only
    #[arg(long)]
    pub quiet: bool,
}

/// What `mimbench bench` can time.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BenchWork {
    /// Images to normalised tokens
    Forward,
    /// The same with the attention statistics of every block
    Attention,
    /// Forward, cross entropy over 1000 classes, every gradient, AdamW
    TrainStep,
    /// Masks, teacher, student, every term, every gradient, AdamW
    PretrainStep,
    /// Encoder, UperNet and its second head, cross entropy over 150 classes of every pixel, every gradient, AdamW
    SegmentStep,
}

/// Methods of pre-training that `mimbench bench pretrain-step` can time.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BenchMethod {
    /// 75 % of the patches hidden, pixels by a decoder
    Mae,
    /// 40 % of the patches hidden, a teacher's patches and class, pixels by a decoder
    Medic,
}
