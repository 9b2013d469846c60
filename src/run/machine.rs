//! What the system tells of the devices and of this process.

use std::path::Path;

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
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Resident memory of this process, bytes, where `/proc` tells.
pub(super) fn resident_memory() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// Lets [`peak_memory`] begin anew; whether the system can (proc(5), `clear_refs`).
pub(super) fn forget_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Memory that this process can still have, bytes: what is left of the machine's, or of a control
/// group's where that is less; where `/proc` tells.
pub(super) fn available_memory() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:")?;
    Some(group_memory().map_or(machine, |group| machine.min(group)))
}

/// The number behind a word in a file of `/proc`, there in kilobytes, in bytes.
fn kilobytes(file: &str, word: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// What the tightest of the control groups around this process leaves, bytes, where one has a limit
/// (Linux `Documentation/admin-guide/cgroup-v1/memory.rst` and `cgroup-v2.rst`).
fn group_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let left = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next(), fields.next());
        let (root, files) = match controllers {
            Some("") => (
                "/sys/fs/cgroup",
                ["memory.max", "memory.current", "inactive_file "],
            ),
            Some("memory") => (
                "/sys/fs/cgroup/memory",
                [
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file ",
                ],
            ),
            _ => return Vec::new(),
        };
        let path = Path::new(path.unwrap_or_default().trim_start_matches('/'));
        let group = |path: &Path| left_of(&Path::new(root).join(path), files);
        path.ancestors().filter_map(group).collect()
    });
    left.min()
}

/// What a control group's limit leaves beside what is in use and cannot be dropped.
fn left_of(group: &Path, [limit, used, cached]: [&str; 3]) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        let text = std::fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let statistics = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = statistics
        .lines()
        .find_map(|line| line.strip_prefix(cached));
    let cached: u64 = cached.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(cached)))
}
