//! The directory of a zip archive whose entries are stored as they are, and where each lies.
//!
//! PKWARE's APPNOTE.TXT 6.3.10: 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16
//! (its end, also in zip64), 4.5.3 (zip64 extra field).

use std::collections::BTreeMap;
use std::ops::Range;

use super::bounds::{LONGEST, MOST_NAMES};
use super::mapped::Mapped;
use super::pickle::Fault;
use super::printable::shown;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// Length of the end record without its comment.
const END_LENGTH: usize = 22;
/// Length of the record that says where the end record of zip64 is.
const LOCATOR_64_LENGTH: usize = 20;
/// Length of the end record of zip64 as far as it is read.
const END_64_LENGTH: usize = 56;
/// Length of a local header without its name.
const LOCAL_LENGTH: usize = 30;
/// Extra field with 64-bit sizes.
const EXTRA_64: u16 = 1;
/// What a 32-bit field holds when the extra field has its value.
const IN_EXTRA: u64 = u32::MAX as u64;

/// An archive's entries by name.
pub(super) struct Archive<'a> {
    file: &'a Mapped,
    entries: BTreeMap<String, Listed>,
    /// Where the central directory begins.
    directory: usize,
}

/// An entry as the central directory has it.
struct Listed {
    encrypted: bool,
    method: u16,
    packed: u64,
    size: u64,
    header: u64,
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(format!("its zip archive {}", reason.into())))
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        match self.0.split_at_checked(length) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => damaged("has a record that is cut off"),
        }
    }

    fn number(&mut self, length: usize) -> Result<u64, Fault> {
        let bytes = self.take(length)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn short(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.take(N)?.first_chunk() {
            Some(bytes) => Ok(*bytes),
            None => damaged("has a record that is cut off"),
        }
    }

    fn signature(&mut self, expected: &[u8]) -> Result<(), Fault> {
        if self.take(4)? == expected {
            Ok(())
        } else {
            damaged("has a record without its signature")
        }
    }
}

/// The `length` bytes from an offset that the archive gives, which end before `end`.
fn at(file: &Mapped, offset: u64, length: usize, end: usize) -> Result<Vec<u8>, Fault> {
    let start = usize::try_from(offset).ok().filter(|&at| at <= end);
    match start.map(|start| (start, start.checked_add(length))) {
        Some((start, Some(stop))) if stop <= end => Ok(file.bytes_at(start..stop)?),
        Some(_) => damaged("has a record that is cut off"),
        None => damaged("points outside the file"),
    }
}

impl<'a> Archive<'a> {
    pub(super) fn open(file: &'a Mapped) -> Result<Self, Fault> {
        let (count, size, directory) = directory(file)?;
        let Some(end) = directory
            .checked_add(size)
            .filter(|&end| end <= file.len() as u64)
        else {
            return damaged("has a directory outside the file");
        };
        if size > LONGEST as u64 {
            return Err(Fault::Excessive("bytes in its zip archive's directory"));
        }
        let bytes = at(file, directory, size as usize, end as usize)?;
        let mut fields = Fields(&bytes);
        let mut entries = BTreeMap::new();
        while !fields.0.is_empty() {
            let (name, entry) = listed(&mut fields)?;
            if entries.insert(name.to_owned(), entry).is_some() {
                return damaged(format!("has two entries called {}", shown(name)));
            }
            if entries.len() > MOST_NAMES {
                return Err(Fault::Excessive("entries in its zip archive"));
            }
        }
        if entries.len() as u64 != count {
            return damaged(format!("lists {} entries of {count}", entries.len()));
        }
        Ok(Self {
            file,
            entries,
            directory: directory as usize,
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where an entry's bytes lie in the file; `None` where there is no such entry.
    pub(super) fn range(&self, name: &str) -> Result<Option<Range<usize>>, Fault> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let shown = shown(name);
        if entry.encrypted || entry.method != 0 || entry.packed != entry.size {
            let how = if entry.encrypted {
                "encrypted"
            } else {
                "compressed"
            };
            return Err(Fault::Unsupported {
                reason: format!("{shown} in its zip archive is {how}"),
                hint: "torch.save stores entries as they are: unpack the archive and save the weights with it",
            });
        }
        let header = at(self.file, entry.header, LOCAL_LENGTH, self.directory)?;
        let mut fields = Fields(&header);
        fields.signature(LOCAL)?;
        fields.take(22)?;
        let name_length = usize::from(fields.short()?);
        let extra_length = u64::from(fields.short()?);
        // The header was read there, so that this is inside the file.
        let after = entry.header + LOCAL_LENGTH as u64;
        if at(self.file, after, name_length, self.directory)? != name.as_bytes() {
            return damaged(format!("has another name for {shown} beside its bytes"));
        }
        let start = after + name_length as u64 + extra_length;
        let end = start.checked_add(entry.size);
        match end.filter(|&end| end <= self.directory as u64) {
            Some(end) => Ok(Some(start as usize..end as usize)),
            None => damaged(format!("has {shown} reach outside the file")),
        }
    }
}

/// Number of entries, size and offset of the central directory.
fn directory(file: &Mapped) -> Result<(u64, u64, u64), Fault> {
    let longest = LOCATOR_64_LENGTH + END_LENGTH + usize::from(u16::MAX);
    let bytes = &file.bytes_at(file.len().saturating_sub(longest)..file.len())?[..];
    let end = (0..(bytes.len() + 1).saturating_sub(END_LENGTH))
        .rev()
        .find(|&at| {
            let comment = [bytes[at + 20], bytes[at + 21]];
            bytes[at..].starts_with(END)
                && at + END_LENGTH + usize::from(u16::from_le_bytes(comment)) == bytes.len()
        });
    let Some(end) = end else {
        return damaged("has no directory at its end: it is cut off");
    };
    let mut fields = Fields(&bytes[end + 4..]);
    let disks = [fields.short()?, fields.short()?];
    let count = [fields.number(2)?, fields.number(2)?];
    let small = (count[1], fields.number(4)?, fields.number(4)?);
    let locator = end
        .checked_sub(LOCATOR_64_LENGTH)
        .map(|at| &bytes[at..end])
        .filter(|locator| locator.starts_with(LOCATOR_64));
    let Some(locator) = locator else {
        return if disks == [0, 0] && count[0] == count[1] {
            Ok(small)
        } else {
            damaged("is in several parts")
        };
    };
    let mut fields = Fields(&locator[8..]);
    let record = at(file, fields.number(8)?, END_64_LENGTH, file.len())?;
    let mut fields = Fields(&record);
    fields.signature(END_64)?;
    fields.take(20)?;
    let here = fields.number(8)?;
    let count = fields.number(8)?;
    if here != count {
        return damaged("is in several parts");
    }
    Ok((count, fields.number(8)?, fields.number(8)?))
}

/// The next entry of the central directory.
fn listed<'a>(fields: &mut Fields<'a>) -> Result<(&'a str, Listed), Fault> {
    fields.signature(CENTRAL)?;
    fields.take(4)?;
    let flags = fields.short()?;
    let method = fields.short()?;
    fields.take(8)?;
    let mut packed = fields.number(4)?;
    let mut size = fields.number(4)?;
    let lengths = [fields.short()?, fields.short()?, fields.short()?];
    fields.take(8)?;
    let mut header = fields.number(4)?;
    let name = fields.take(lengths[0].into())?;
    let mut extras = Fields(fields.take(lengths[1].into())?);
    fields.take(lengths[2].into())?;
    while extras.0.len() >= 4 {
        let id = extras.short()?;
        let length = usize::from(extras.short()?);
        let mut extra = Fields(extras.take(length)?);
        if id == EXTRA_64 {
            for field in [&mut size, &mut packed, &mut header] {
                if *field == IN_EXTRA {
                    *field = extra.number(8)?;
                }
            }
        }
    }
    let Ok(name) = std::str::from_utf8(name) else {
        return damaged("has a name that is no UTF-8");
    };
    let entry = Listed {
        encrypted: flags & 1 != 0,
        method,
        packed,
        size,
        header,
    };
    Ok((name, entry))
}
