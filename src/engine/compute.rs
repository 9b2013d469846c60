//! What a command asks to compute with, and why it cannot be had.

use super::{Device, EngineKind, Precision};

/// Engine, device and element type of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compute {
    /// The engine.
    pub engine: EngineKind,
    /// Where it computes.
    pub device: Device,
    /// Element type it computes in.
    pub precision: Precision,
}

impl Compute {
    /// What is built in and needs nothing: candle on the processor, f32.
    pub const DEFAULT: Self = Self {
        engine: EngineKind::Candle,
        device: Device::Cpu,
        precision: Precision::F32,
    };

    /// Name of what decides the bits of a result beside the precision: part of the keys of cells
    /// and stored features.
    pub fn backend(&self) -> &'static str {
        match (self.engine, self.device) {
            (EngineKind::Candle, _) => "candle",
            (EngineKind::Torch, Device::Cpu) => "torch",
            (EngineKind::Torch, Device::Cuda(_)) => "torch cuda",
        }
    }

    /// Refuses what no build and no machine can do.
    pub fn check(&self) -> Result<(), EngineUnavailable> {
        match (self.engine, self.device, self.precision) {
            (EngineKind::Candle, Device::Cuda(_), _) => Err(EngineUnavailable::CandleOnCuda),
            (_, Device::Cpu, Precision::Bf16) => Err(EngineUnavailable::Bf16OnCpu),
            _ => Ok(()),
        }
    }
}

/// An engine cannot be had on the device, in the precision, or at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineUnavailable {
    /// `--device` is none of its forms.
    #[error("{text:?} is no device")]
    NoDeviceName {
        /// What was given.
        text: String,
    },
    /// The feature `torch` is off.
    #[error("this mimbench was built without the torch engine")]
    NotBuilt,
    /// The embedded engine has no CUDA.
    #[error("the candle engine computes on the CPU only")]
    CandleOnCuda,
    /// bf16 is slower than f32 on processors and less exact.
    #[error("bf16 is for CUDA devices; on the CPU it is slower than f32 and less exact")]
    Bf16OnCpu,
    /// libtorch is a CPU build, or its CUDA part does not load.
    #[error("libtorch {version} has no CUDA: {reason}")]
    NoCuda {
        /// libtorch's version.
        version: String,
        /// What the dynamic loader said.
        reason: String,
    },
    /// libtorch has CUDA, and the machine has no device that it can use.
    #[error("libtorch {version} finds no CUDA device")]
    NoDevice {
        /// libtorch's version.
        version: String,
    },
    /// The machine has fewer devices.
    #[error("there is no cuda:{index}: this machine has {count} CUDA device(s)")]
    NoSuchDevice {
        /// The index asked for.
        index: usize,
        /// Devices there are.
        count: usize,
    },
    /// The library that is loaded is not the one that was compiled against.
    #[error("libtorch {found} is loaded, this mimbench was built for {expected}")]
    Version {
        /// Version of the library that is loaded.
        found: String,
        /// Version of the headers.
        expected: String,
    },
    /// libtorch failed while the engine was made.
    #[error("the torch engine does not start: {message}")]
    Start {
        /// What libtorch said.
        message: String,
    },
}

impl EngineUnavailable {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDeviceName { .. } => "devices are cpu, cuda (the first) and cuda:I",
            Self::NotBuilt => {
                "with PyTorch 2.11.0 in the active Python environment: LIBTORCH_USE_PYTORCH=1 cargo install --path . --features torch; or leave --engine out"
            }
            Self::CandleOnCuda => "--engine torch computes on CUDA devices",
            Self::Bf16OnCpu => "leave --precision out, or add --engine torch --device cuda",
            Self::NoCuda { .. } => {
                "use --device cpu, or point LD_LIBRARY_PATH at the torch/lib folder of a CUDA build of PyTorch 2.11.0"
            }
            Self::NoDevice { .. } => {
                "use --device cpu; nvidia-smi shows the devices and the driver, and CUDA_VISIBLE_DEVICES may hide them"
            }
            Self::NoSuchDevice { .. } => {
                "devices count from cuda:0; nvidia-smi lists them, CUDA_VISIBLE_DEVICES chooses among them"
            }
            Self::Version { .. } => {
                "point LD_LIBRARY_PATH at the libtorch it was built with, or build it again: cargo install --path . --features torch"
            }
            Self::Start { .. } => "--engine candle needs no libtorch",
        };
        Some(hint.to_owned())
    }
}
