//! What `torch.save` writes since PyTorch 1.6, and TorchScript archives: a zip archive with a
//! pickle and one entry a storage.
//!
//! `torch/serialization.py`, `_save` and `_load`; `caffe2/serialize/inline_container.cc` for the
//! names of the entries.

use std::ops::Range;

use super::format::{Foreign, NPZ, OTHER_ZIP};
use super::mapped::Mapped;
use super::pickle::{Fault, LONGEST, Root, unpickle};
use super::printable::shown;
use super::zip::Archive;
use super::{CheckpointError, Contents};

const OBJECT: &str = "/data.pkl";
/// What the entry `byteorder` holds.
const LITTLE: &[u8] = b"little";

pub(super) fn read(file: &Mapped) -> Result<Contents, CheckpointError> {
    let at = |fault: Fault| fault.at(file.path());
    let archive = Archive::open(file).map_err(at)?;
    let folder = folder(&archive)
        .map_err(at)?
        .map_err(|foreign| foreign.at(file.path()))?;
    contents(file, &archive, folder).map_err(at)
}

fn contents(file: &Mapped, archive: &Archive<'_>, folder: &str) -> Result<Contents, Fault> {
    if let Some(order) = archive.range(&format!("{folder}/byteorder"))?
        && (order.len() != LITTLE.len() || file.bytes_at(order)? != LITTLE)
    {
        return Err(Fault::Unsupported {
            reason: "its numbers are big-endian".to_owned(),
            hint: "load and save it again with PyTorch on a little-endian computer",
        });
    }
    let object = archive
        .range(&format!("{folder}{OBJECT}"))?
        .unwrap_or_default();
    if object.len() > LONGEST {
        return Err(Fault::Excessive("bytes in its pickle"));
    }
    let (found, _) = unpickle(&file.bytes_at(object.clone())?)?;
    let mut taken = vec![(object, "data.pkl")];
    let mut storages = Vec::new();
    for root in &found.roots {
        let range = storage(archive, folder, root)?;
        taken.push((range.clone(), &root.key));
        storages.push(range);
    }
    taken.sort_by_key(|(range, _)| (range.start, range.end));
    if let Some([(_, a), (_, b)]) = taken
        .array_windows()
        .find(|[(before, _), (after, _)]| before.end > after.start)
    {
        return Err(Fault::Damaged(format!(
            "its zip entries {a} and {b} overlap"
        )));
    }
    found.contents(&storages, file.len())
}

/// Where a storage's bytes lie.
fn storage(archive: &Archive<'_>, folder: &str, root: &Root) -> Result<Range<usize>, Fault> {
    let key = shown(&root.key);
    let Some(range) = archive.range(&format!("{folder}/data/{}", root.key))? else {
        return Err(Fault::Damaged(format!("the storage data/{key} is missing")));
    };
    match root.bytes {
        Some(bytes) if bytes <= range.len() => Ok(range),
        _ => Err(Fault::Damaged(format!(
            "the storage data/{key} has {} bytes, {} elements do not fit",
            range.len(),
            root.elements
        ))),
    }
}

/// The folder inside the archive that everything is in.
fn folder<'a>(archive: &'a Archive<'_>) -> Result<Result<&'a str, Foreign>, Fault> {
    let mut folders = archive.names().filter_map(|name| {
        let folder = name.strip_suffix(OBJECT)?;
        (!folder.contains('/')).then_some(folder)
    });
    let inside = |end: &str| archive.names().any(|name| name.ends_with(end));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(Ok(folder)),
        (Some(one), Some(other)) => Err(Fault::Damaged(format!(
            "its zip archive holds {}{OBJECT} as well as {}{OBJECT}",
            shown(one),
            shown(other)
        ))),
        (None, _) if inside("/model.json") => Err(Fault::Unsupported {
            reason: "it is a TorchScript archive from before PyTorch 1.4".to_owned(),
            hint: "in Python: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        }),
        (None, _) if inside(".npy") => Ok(Err(NPZ)),
        (None, _) => Ok(Err(OTHER_ZIP)),
    }
}
