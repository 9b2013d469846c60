//! Flags that several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::checkpoint::{Dialect, PositionResize};
use crate::vit::Heads;

/// How a checkpoint is read.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Whose names the keys are [default: recognised]
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    pub dialect: Option<Dialect>,
    /// The part of the file that holds the encoder, as in teacher or model.student
    #[arg(long, value_name = "PART")]
    pub key: Option<String>,
    /// Attention heads, 12 or 6x11,12 for eleven blocks of 6 and one of 12 [default: card, config.json, the weights, else the usual for the width]
    #[arg(long, value_name = "H")]
    pub heads: Option<Heads>,
    /// Epsilon of every LayerNorm [default: card, config.json, else the dialect's]
    #[arg(long, value_name = "EPS")]
    pub norm_eps: Option<f64>,
    /// Activation of the MLP [default: card, config.json, else the dialect's]
    #[arg(long, value_enum)]
    pub activation: Option<MlpActivation>,
    /// What DINOv3's rotary positions were computed in [default: f32, as its hub's models]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub rope_precision: Option<ForwardPrecision>,
    /// Input size in pixels, N or HxW; position tables are brought to it [default: card, config.json, the weights]
    #[arg(long, value_name = "SIZE", value_parser = input_size)]
    pub input_size: Option<[usize; 2]>,
    /// Whose way of bringing position tables to another size [default: the dialect's]
    #[arg(long, value_enum, value_name = "NAME")]
    pub position_resize: Option<PositionResize>,
    /// Leave out keys that match, as in head_extra.*; marks the row
    #[arg(long, value_name = "GLOB")]
    pub ignore_key: Vec<String>,
}

/// What to compute with.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// Engine
    #[arg(long, value_enum, default_value = "candle")]
    pub engine: Engine,
    /// Device: cpu, cuda or cuda:I
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Element type to compute in; bf16 on CUDA devices
    #[arg(long, value_enum, default_value = "f32")]
    pub precision: ForwardPrecision,
    /// Threads of the engine and the search [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
}

/// How to compute.
#[derive(Clone, Debug, Args)]
pub struct ComputeArgs {
    /// What to compute with.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Images in a forward pass; in fine-tuning and pre-training, auto finds the largest number that fits; in segmentation those over which BatchNorm takes its statistics [default: 32, in segmentation the protocol's batch]
    #[arg(long, value_name = "N|auto", value_parser = batch)]
    pub batch: Option<Batch>,
    /// Threads that decode images [default: as many as --threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub workers: Option<u32>,
    /// What to do with an image that does not decode
    #[arg(long, value_enum, default_value = "stop")]
    pub on_bad_image: OnBadImage,
    /// Print results only
    #[arg(long)]
    pub quiet: bool,
}

/// Where results and features go.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where records go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Where features are kept [default: store in the results folder]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Element type of stored features; f16 halves the disk and marks the row
    #[arg(long, value_enum, default_value = "f32")]
    pub store_type: StoreType,
    /// Seconds of encoding between two saved parts: what a kill can lose
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = clap::value_parser!(u16).range(0..=30))]
    pub save_every: u16,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Evaluate again although a record is up to date
    #[arg(long)]
    pub recompute: bool,
    /// Print the records as JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print every feature and k as CSV
    #[arg(long)]
    pub csv: bool,
}

/// Images in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many.
    Images(u32),
    /// As many as fit.
    Auto,
}

/// Reads a number of images or `auto`.
fn batch(text: &str) -> Result<Batch, String> {
    /// A batch of more images than anybody's memory holds is a slip of the finger.
    const MOST: u32 = 65_536;
    match text.parse() {
        _ if text == "auto" => Ok(Batch::Auto),
        Ok(images) if (1..=MOST).contains(&images) => Ok(Batch::Images(images)),
        _ => Err(format!(
            "it is a number of images from 1 to {MOST}, or auto"
        )),
    }
}

/// Engines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Engine {
    /// The embedded CPU engine
    Candle,
    /// libtorch, where it is built in
    Torch,
}

/// Element types of the forward pass.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ForwardPrecision {
    /// 32-bit floating point
    F32,
    /// f32 tensors, matrix products in bfloat16
    Bf16,
}

/// Element types of stored features.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StoreType {
    /// As computed
    F32,
    /// Rounded to half precision
    F16,
}

/// What to do with an image that does not decode.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OnBadImage {
    /// End with an error that names the file
    Stop,
    /// Count it, leave it out and say so in the row
    Skip,
}

/// Activations of an MLP.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum MlpActivation {
    /// GELU by the error function
    Gelu,
    /// GELU by its tanh approximation
    #[value(name = "gelu_tanh")]
    GeluTanh,
    /// x sigmoid(1.702 x)
    #[value(name = "quick_gelu")]
    QuickGelu,
    /// x sigmoid(x)
    Silu,
}

/// Reads `224` or `224x320`, height first.
fn input_size(text: &str) -> Result<[usize; 2], String> {
    /// Beyond this an attention map alone would not fit into memory.
    const LARGEST: usize = 16_384;
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text: &str| match text.parse() {
        Ok(side) if (1..=LARGEST).contains(&side) => Ok(side),
        _ => Err(format!(
            "a side is a number of pixels up to {LARGEST}, or HxW"
        )),
    };
    Ok([side(height)?, side(width)?])
}
