//! What `torch.save` wrote before PyTorch 1.6: five pickles, then the storages.
//!
//! `torch/serialization.py`, `_legacy_save` and `_legacy_load`: magic number, protocol version,
//! facts of the system, the object, the storages' keys; then for every key the number of elements
//! in eight bytes, and the elements.

use std::collections::HashMap;

use super::format::{NO_HEADER, OTHER_PICKLE};
use super::mapped::Mapped;
use super::pickle::{Fault, Found, Plain, unpickle};
use super::{CheckpointError, Contents};

/// `torch/serialization.py`, PROTOCOL_VERSION.
const PROTOCOL: i64 = 1001;

pub(super) fn read(file: &Mapped) -> Result<Contents, CheckpointError> {
    let at = |fault: Fault| fault.at(file.path());
    let bytes = file.bytes();
    let (first, end) = match unpickle(bytes) {
        // Protocol 0 has no first bytes of its own, so that any text may have come here.
        Err(Fault::Damaged(_) | Fault::Excessive(_)) if bytes.first() != Some(&0x80) => {
            return Err(NO_HEADER.at(file.path()));
        }
        unpickled => unpickled.map_err(at)?,
    };
    if first.plain() != Plain::Magic {
        return Err(OTHER_PICKLE.at(file.path()));
    }
    contents(bytes, end).map_err(at)
}

/// What follows the magic number.
fn contents(bytes: &[u8], mut at: usize) -> Result<Contents, Fault> {
    let mut next = || -> Result<(Found, usize), Fault> {
        let (found, length) = unpickle(&bytes[at..])?;
        at += length;
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
        let shown = key.escape_debug();
        let Some(&i) = by_key.get(key) else {
            return Err(Fault::Damaged(format!(
                "it stores {shown}, and no tensor does"
            )));
        };
        let root = &found.roots[i];
        let Some(count) = bytes[at..].first_chunk::<8>() else {
            return Err(Fault::Damaged(format!(
                "it ends before the storage {shown}"
            )));
        };
        if u64::from_le_bytes(*count) != root.elements as u64 {
            return Err(Fault::Damaged(format!(
                "the storage {shown} has {} elements and should have {}",
                u64::from_le_bytes(*count),
                root.elements
            )));
        }
        let start = at + 8;
        let end = root.bytes.and_then(|length| start.checked_add(length));
        let Some(end) = end.filter(|&end| end <= bytes.len()) else {
            return Err(Fault::Damaged(format!(
                "it ends inside the storage {shown}"
            )));
        };
        if storages[i].replace(start..end).is_some() {
            return Err(Fault::Damaged(format!("it stores {shown} twice")));
        }
        at = end;
    }
    if at != bytes.len() {
        return Err(Fault::Damaged(format!(
            "{} bytes follow the last storage",
            bytes.len() - at
        )));
    }
    let missing = storages.iter().position(Option::is_none);
    if let Some(i) = missing {
        let key = found.roots[i].key.escape_debug();
        return Err(Fault::Damaged(format!("the storage {key} is missing")));
    }
    let storages: Vec<_> = storages.into_iter().flatten().collect();
    found.contents(&storages, bytes.len())
}
