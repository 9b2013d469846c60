//! What a pickle describes: values that name each other by number, so that no depth of nesting
//! costs any depth of calls, neither to walk nor to drop.

use std::collections::HashMap;
use std::ops::Range;

use super::super::Float;
use super::super::element::Element;
use super::global::Global;

/// A value's place on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(pub(super) u32);

/// A value of Python's, as far as tensors may be found through it.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// The number that files of `torch.save` before PyTorch 1.6 begin with.
    Magic,
    Text(Box<str>),
    /// Floats, bytes, very long integers and inert objects.
    Opaque,
    Tuple(Box<[Id]>),
    Container(Kind, Vec<Part>),
    Global(Global),
    /// Index among [`Heap::windows`].
    Storage(u32),
    /// Index among [`Heap::tensors`].
    Tensor(u32),
}

/// What a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lists, sets and dictionaries; attributes that they have are of no interest.
    Plain,
    /// An object: its attributes are what it consists of.
    Object,
}

/// Something in a container.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// Of a list or a set; an argument of an object.
    Element(Id),
    /// Key and value.
    Item(Id, Id),
    /// A dictionary of attributes, or a pair of such.
    State(Id),
}

impl Part {
    /// The value that is not a key.
    pub(super) fn value(self) -> Id {
        match self {
            Self::Element(id) | Self::Item(_, id) | Self::State(id) => id,
        }
    }
}

/// A storage as the file has it.
#[derive(Debug)]
pub(in crate::checkpoint::source) struct Root {
    /// Its name in the file.
    pub(in crate::checkpoint::source) key: String,
    pub(super) element: Option<&'static Element>,
    pub(in crate::checkpoint::source) elements: usize,
    /// Its length, unless that overflows.
    pub(in crate::checkpoint::source) bytes: Option<usize>,
}

impl Root {
    pub(super) fn new(key: &str, element: Option<&'static Element>, elements: usize) -> Self {
        Self {
            key: key.to_owned(),
            element,
            elements,
            bytes: elements.checked_mul(element.map_or(1, |element| element.size)),
        }
    }
}

/// A storage, or the part of one that another storage is a view of; in elements.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) root: usize,
    pub(super) range: Range<usize>,
}

/// A tensor before it is known where its storage lies.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) dtype: &'static str,
    pub(super) float: Option<Float>,
    pub(super) shape: Vec<usize>,
    /// `None` where its elements cannot be read.
    pub(super) place: Option<Place>,
}

/// Where a tensor's elements are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) root: usize,
    /// Bytes of the storage.
    pub(super) range: Range<usize>,
    pub(super) strides: Option<Box<[usize]>>,
}

/// Every value of a pickle.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pub(super) values: Vec<Value>,
    pub(super) roots: Vec<Root>,
    /// Which root has which key.
    pub(super) by_key: HashMap<String, usize>,
    pub(super) windows: Vec<Window>,
    pub(super) tensors: Vec<Tensor>,
}

impl Heap {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(ids) => Some(ids),
            _ => None,
        }
    }

    /// A number of things.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    /// Numbers of things, at most `most` of them.
    pub(super) fn counts(&self, id: Id, most: usize) -> Option<Vec<usize>> {
        let counts = |ids: &mut dyn Iterator<Item = Id>| ids.map(|id| self.count(id)).collect();
        match self.get(id) {
            Value::Tuple(ids) if ids.len() <= most => counts(&mut ids.iter().copied()),
            Value::Container(Kind::Plain, parts) if parts.len() <= most => {
                counts(&mut parts.iter().map(|part| part.value()))
            }
            _ => None,
        }
    }
}
