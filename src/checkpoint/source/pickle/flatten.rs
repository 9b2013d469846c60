//! Dotted names for the tensors that nested dictionaries, lists and objects hold.

use super::super::bounds::Names;
use super::Fault;
use super::heap::{Heap, Id, Part, Value};

/// Dictionaries and objects inside each other. Lightning, an optimizer and a module of modules
/// together need fewer than twenty.
const DEEPEST: usize = 64;

/// Names of what a value holds.
#[derive(Debug, Default)]
pub(super) struct Flat {
    /// Names, and indices among [`Heap::tensors`].
    pub(super) tensors: Vec<(String, u32)>,
    /// Names of outermost values that hold no tensor.
    pub(super) others: Vec<String>,
}

/// A value that is still to be looked into.
struct Open {
    id: Id,
    /// `None` for the outermost value.
    name: Option<String>,
    depth: usize,
}

pub(super) fn flatten(heap: &Heap, root: Id) -> Result<Flat, Fault> {
    let holds = holds_tensor(heap);
    let mut flat = Flat::default();
    // A few bytes can give one tensor any number of names.
    let mut names = Names::default();
    let mut open = vec![Open {
        id: root,
        name: None,
        depth: 0,
    }];
    while let Some(Open { id, name, depth }) = open.pop() {
        if depth > DEEPEST {
            return Err(Fault::Excessive("dictionaries inside each other"));
        }
        let inside = |key: &str| {
            Some(match &name {
                Some(name) => format!("{name}.{key}"),
                None => key.to_owned(),
            })
        };
        let mut push = |id, name: Option<String>| -> Result<(), Fault> {
            let rank = match heap.get(id) {
                Value::Tensor(tensor) => heap.tensors[*tensor as usize].shape.len(),
                _ => 0,
            };
            names.take(name.as_ref().map_or(0, String::len), rank)?;
            open.push(Open {
                id,
                name,
                depth: depth + 1,
            });
            Ok(())
        };
        match heap.get(id) {
            Value::Tensor(tensor) => {
                flat.tensors
                    .push((name.unwrap_or_else(|| "0".to_owned()), *tensor));
            }
            _ if name.is_some() && !holds[id.0 as usize] => flat.others.extend(name),
            Value::Tuple(ids) => {
                for (i, &id) in ids.iter().enumerate() {
                    push(id, inside(&i.to_string()))?;
                }
            }
            Value::Container(_, parts) => {
                for (i, &part) in parts.iter().enumerate() {
                    match part {
                        Part::Element(id) => push(id, inside(&i.to_string()))?,
                        Part::Item(key, id) => push(id, inside(&key_name(heap, key, i)))?,
                        Part::State(id) => match heap.tuple(id) {
                            // Attributes, and those that have slots.
                            Some(pair) => {
                                for &id in pair {
                                    push(id, name.clone())?;
                                }
                            }
                            None => push(id, name.clone())?,
                        },
                    }
                }
            }
            _ => flat.others.extend(name),
        }
    }
    flat.others.sort_unstable();
    flat.others.dedup();
    Ok(flat)
}

fn key_name(heap: &Heap, key: Id, position: usize) -> String {
    match heap.get(key) {
        Value::Text(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => position.to_string(),
    }
}

/// For every value whether a tensor can be reached from it: found from the tensors upwards, since
/// lists may hold themselves.
fn holds_tensor(heap: &Heap) -> Vec<bool> {
    let inside = |value: &Value, f: &mut dyn FnMut(Id)| match value {
        Value::Tuple(ids) => ids.iter().copied().for_each(f),
        Value::Container(_, parts) => parts.iter().for_each(|part| f(part.value())),
        _ => {}
    };
    // Who holds a value: `holders[starts[value]..starts[value + 1]]`.
    let mut starts = vec![0usize; heap.values.len() + 1];
    for value in &heap.values {
        inside(value, &mut |id| starts[id.0 as usize + 1] += 1);
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut holders = vec![0u32; starts.last().copied().unwrap_or_default()];
    let mut next = starts.clone();
    for (holder, value) in (0u32..).zip(&heap.values) {
        inside(value, &mut |id| {
            let at = &mut next[id.0 as usize];
            holders[*at] = holder;
            *at += 1;
        });
    }
    let mut holds: Vec<bool> = heap
        .values
        .iter()
        .map(|value| matches!(value, Value::Tensor(_)))
        .collect();
    let mut found: Vec<usize> = (0..holds.len()).filter(|&i| holds[i]).collect();
    while let Some(i) = found.pop() {
        for &holder in &holders[starts[i]..starts[i + 1]] {
            let holder = holder as usize;
            if !std::mem::replace(&mut holds[holder], true) {
                found.push(holder);
            }
        }
    }
    holds
}
