//! What the system tells of the devices and of this process.

use crate::engine::{Compute, Device};

/// The device with its name, where that is known.
pub(super) fn device(compute: Compute) -> String {
    let name = match compute.device {
        Device::Cpu => processor(),
        Device::Cuda(_) => cuda_model(),
    };
    let device = compute.device;
    name.map_or_else(|| device.to_string(), |name| format!("{device}, {name}"))
}

/// Name of the processor, where `/proc` tells.
fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Model of the CUDA devices, where the driver tells and they are all of one.
fn cuda_model() -> Option<String> {
    let model = |gpu: std::io::Result<std::fs::DirEntry>| {
        let facts = std::fs::read_to_string(gpu.ok()?.path().join("information")).ok()?;
        let model = facts.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(model.trim().to_owned())
    };
    let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").ok()?;
    let models: Option<Vec<String>> = gpus.map(model).collect();
    let mut models = models?;
    models.dedup();
    models.pop().filter(|_| models.is_empty())
}

/// Largest resident memory of this process, bytes, where `/proc` tells.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
