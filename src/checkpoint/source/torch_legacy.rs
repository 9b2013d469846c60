//! What `torch.save` wrote before PyTorch 1.6: five pickles, then the storages.
//!
//! `torch/serialization.py`, `_legacy_save` and `_legacy_load`: magic number, protocol version,
//! facts of the system, the object, the storages' keys; then for every key the number of elements
//! in eight bytes, and the elements.

use std::collections::HashMap;

use super::format::{NO_HEADER, OTHER_PICKLE};
use super::mapped::Mapped;
use super::pickle::{Fault, Found, LONGEST, Plain, unpickle};
use super::printable::shown;
use super::{CheckpointError, Contents};

/// `torch/serialization.py`, PROTOCOL_VERSION.
const PROTOCOL: i64 = 1001;
/// Bytes that a pickle is looked for in before more are read.
const FIRST: usize = 1 << 20;

/// The pickle that begins at `at`, and its end. Nothing says how long it is, so that ever more of
/// the file is read until it is complete.
fn pickle(file: &Mapped, at: usize) -> Result<(Found, usize), Fault> {
    let left = file.len() - at;
    let mut length = FIRST;
    loop {
        let bytes = file.bytes_at(at..at + length.min(left))?;
        match unpickle(&bytes) {
            Err(Fault::CutOff) if bytes.len() < left => {
                if length >= LONGEST {
                    return Err(Fault::Excessive("bytes in its pickle"));
                }
                length *= 4;
            }
            unpickled => {
                let (found, taken) = unpickled?;
                return Ok((found, at + taken));
            }
        }
    }
}

pub(super) fn read(file: &Mapped) -> Result<Contents, CheckpointError> {
    let at = |fault: Fault| fault.at(file.path());
    let (first, end) = match pickle(file, 0) {
        // Protocol 0 has no first bytes of its own, so that any text may have come here.
        Err(Fault::Damaged(_) | Fault::CutOff | Fault::Excessive(_))
            if file.head()?.first() != Some(&0x80) =>
        {
            return Err(NO_HEADER.at(file.path()));
        }
        unpickled => unpickled.map_err(at)?,
    };
    if first.plain() != Plain::Magic {
        return Err(OTHER_PICKLE.at(file.path()));
    }
    contents(file, end).map_err(at)
}

/// What follows the magic number.
fn contents(file: &Mapped, mut at: usize) -> Result<Contents, Fault> {
    let mut next = || -> Result<(Found, usize), Fault> {
        let (found, end) = pickle(file, at)?;
        at = end;
        Ok((found, at))
    };
    let (protocol, _) = next()?;
    if protocol.plain() != Plain::Int(PROTOCOL) {
        return Err(Fault::Unsupported {
            reason: format!("its protocol is not {PROTOCOL}"),
            hint: "load and save it again with PyTorch",
        });
    }
    let (system, _) = next()?;
    if system.member("little_endian") == Some(Plain::Bool(false)) {
        return Err(Fault::Unsupported {
            reason: "its numbers are big-endian".to_owned(),
            hint: "load and save it again with PyTorch on a little-endian computer",
        });
    }
    let (found, _) = next()?;
    let (keys, mut at) = next()?;
    let keys = keys
        .texts()
        .ok_or_else(|| Fault::Damaged("its list of storages is no list of names".to_owned()))?;
    let by_key: HashMap<&str, usize> = found
        .roots
        .iter()
        .enumerate()
        .map(|(i, root)| (root.key.as_str(), i))
        .collect();
    let mut storages = vec![None; found.roots.len()];
    for key in keys {
        let shown = shown(key);
        let Some(&i) = by_key.get(key) else {
            return Err(Fault::Damaged(format!(
                "it stores {shown}, and no tensor does"
            )));
        };
        let root = &found.roots[i];
        let count = file.bytes_at(at..file.len().min(at + 8))?;
        let Some(&count) = count.first_chunk::<8>() else {
            return Err(Fault::Damaged(format!(
                "it ends before the storage {shown}"
            )));
        };
        let count = u64::from_le_bytes(count);
        if count != root.elements as u64 {
            return Err(Fault::Damaged(format!(
                "the storage {shown} has {count} elements and should have {}",
                root.elements
            )));
        }
        let start = at + 8;
        let end = root.bytes.and_then(|length| start.checked_add(length));
        let Some(end) = end.filter(|&end| end <= file.len()) else {
            return Err(Fault::Damaged(format!(
                "it ends inside the storage {shown}"
            )));
        };
        if storages[i].replace(start..end).is_some() {
            return Err(Fault::Damaged(format!("it stores {shown} twice")));
        }
        at = end;
    }
    if at != file.len() {
        return Err(Fault::Damaged(format!(
            "{} bytes follow the last storage",
            file.len() - at
        )));
    }
    let missing = storages.iter().position(Option::is_none);
    if let Some(i) = missing {
        let key = shown(&found.roots[i].key);
        return Err(Fault::Damaged(format!("the storage {key} is missing")));
    }
    let storages: Vec<_> = storages.into_iter().flatten().collect();
    found.contents(&storages, file.len())
}
