//! What the system tells of the devices and of this process.

use crate::engine::{Compute, Device};

/// The device with its name, where that is known.
pub(super) fn device(compute: Compute) -> String {
    let name = match compute.device {
        Device::Cpu => processor(),
        Device::Cuda(_) => compute.cuda_name(),
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

/// Largest resident memory of this process, bytes, where `/proc` tells.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
