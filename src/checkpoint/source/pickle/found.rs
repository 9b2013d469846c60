//! What a pickle held, once it has been read.

use std::collections::btree_map;
use std::ops::Range;

use super::super::printable::shown;
use super::super::view::elements;
use super::super::{Contents, Entry};
use super::Fault;
use super::flatten::flatten;
use super::heap::{Heap, Id, Part, Root, Value};

/// An unpickled object and the storages that it needs.
#[derive(Debug)]
pub(in crate::checkpoint::source) struct Found {
    /// The storages, in the order in which the pickle names them.
    pub(in crate::checkpoint::source) roots: Vec<Root>,
    heap: Heap,
    object: Id,
}

/// A value without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint::source) enum Plain {
    /// The number that files of `torch.save` before PyTorch 1.6 begin with.
    Magic,
    Int(i64),
    Bool(bool),
    Other,
}

impl Found {
    pub(super) fn new(mut heap: Heap, object: Id) -> Self {
        Self {
            roots: std::mem::take(&mut heap.roots),
            heap,
            object,
        }
    }

    /// The object itself.
    pub(in crate::checkpoint::source) fn plain(&self) -> Plain {
        plain(self.heap.get(self.object))
    }

    /// What a dictionary has under `name`.
    pub(in crate::checkpoint::source) fn member(&self, name: &str) -> Option<Plain> {
        let Value::Container(_, parts) = self.heap.get(self.object) else {
            return None;
        };
        parts.iter().rev().find_map(|&part| match part {
            Part::Item(key, value) if self.heap.text(key) == Some(name) => {
                Some(plain(self.heap.get(value)))
            }
            _ => None,
        })
    }

    /// The members of a list of texts.
    pub(in crate::checkpoint::source) fn texts(&self) -> Option<Vec<&str>> {
        let Value::Container(_, parts) = self.heap.get(self.object) else {
            return None;
        };
        parts
            .iter()
            .map(|part| self.heap.text(part.value()))
            .collect()
    }

    /// The tensors under their names; `storages` are the roots' bytes in a file of `length` bytes.
    pub(in crate::checkpoint::source) fn contents(
        &self,
        storages: &[Range<usize>],
        length: usize,
    ) -> Result<Contents, Fault> {
        let flat = flatten(&self.heap, self.object)?;
        let mut contents = Contents {
            others: flat.others,
            ..Contents::default()
        };
        let mut under = std::collections::BTreeMap::new();
        for (name, index) in flat.tensors {
            match under.entry(name) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(index);
                }
                // An object that is a dictionary too may hold its items twice.
                btree_map::Entry::Occupied(known) if *known.get() == index => {}
                btree_map::Entry::Occupied(known) => {
                    return Err(Fault::Damaged(format!(
                        "two tensors are called {}",
                        shown(known.key())
                    )));
                }
            }
        }
        for (name, index) in under {
            let tensor = &self.heap.tensors[index as usize];
            let (range, strides) = match &tensor.place {
                Some(place) => {
                    let start = storages[place.root].start;
                    let range = start + place.range.start..start + place.range.end;
                    (range, place.strides.clone())
                }
                None => (0..0, None),
            };
            // A view that repeats its elements could ask for any amount of memory.
            if strides.is_some() && elements(&tensor.shape).is_none_or(|n| n > length) {
                return Err(Fault::Damaged(format!(
                    "{} has shape {:?}, more elements than the file has bytes",
                    shown(&name),
                    tensor.shape
                )));
            }
            let entry = Entry {
                float: tensor.float,
                dtype: tensor.dtype.to_owned(),
                shape: tensor.shape.clone(),
                file: 0,
                range,
                strides,
            };
            contents.entries.insert(name, entry);
        }
        Ok(contents)
    }
}

fn plain(value: &Value) -> Plain {
    match value {
        Value::Magic => Plain::Magic,
        Value::Int(n) => Plain::Int(*n),
        Value::Bool(b) => Plain::Bool(*b),
        _ => Plain::Other,
    }
}
