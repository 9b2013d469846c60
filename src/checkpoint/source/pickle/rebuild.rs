//! What a call in a pickle makes. Nothing is called: a few functions of PyTorch's are known to
//! make tensors, the rest make values that hold their arguments.

use super::super::element::Element;
use super::super::printable::shown;
use super::super::view::{MAX_RANK, View, elements};
use super::Fault;
use super::fault::damaged;
use super::global::{Global, Rebuild};
use super::heap::{Heap, Id, Kind, Part, Place, Root, Tensor, Value, Window};

/// Keys are numbers; before PyTorch 1.6, addresses in decimal.
const LONGEST_KEY: usize = 100;
/// Element type of a tensor whose metadata says something that no PyTorch is known to say.
const UNKNOWN: &str = "with unknown metadata";

impl Heap {
    /// What `callable(*arguments)` makes.
    pub(super) fn call(&self, callable: Id, arguments: &[Id]) -> Result<Made, Fault> {
        let Value::Global(global) = self.get(callable) else {
            return damaged("calls something that is no function");
        };
        Ok(match global {
            Global::Rebuild(rebuild) => return self.rebuild(*rebuild, arguments),
            Global::Mapping => Made::Value(Value::Container(Kind::Plain, self.items(arguments)?)),
            Global::Sequence => {
                let parts = match arguments {
                    [] => Vec::new(),
                    // A deque has the most that it may hold beside its elements.
                    [one] | [one, _] => self.elements(*one)?,
                    _ => return damaged("makes a list of several arguments"),
                };
                Made::Value(Value::Container(Kind::Plain, parts))
            }
            Global::Identity => match arguments.first() {
                Some(&first) => Made::Same(first),
                None => return damaged("calls a function without its argument"),
            },
            Global::Object => {
                let parts = arguments.iter().copied().map(Part::Element);
                Made::Value(Value::Container(Kind::Object, parts.collect()))
            }
            Global::Opaque | Global::Dtype(_) => Made::Value(Value::Opaque),
            Global::Storage(_) => return damaged("calls a storage class"),
        })
    }

    fn rebuild(&self, rebuild: Rebuild, arguments: &[Id]) -> Result<Made, Fault> {
        let wrong = || damaged("rebuilds a tensor from something else than a tensor's parts");
        let unreadable = |dtype, shape| {
            let shape: Vec<usize> = shape;
            match elements(&shape) {
                Some(_) => Ok(Made::Tensor(Tensor {
                    dtype,
                    float: None,
                    shape,
                    place: None,
                })),
                None => damaged("has a tensor whose shape overflows"),
            }
        };
        match (rebuild, arguments) {
            (Rebuild::Tensor, &[storage, offset, shape, strides, ref rest @ ..]) => {
                let made = self.tensor(storage, [offset, shape, strides], None)?;
                Ok(Made::Tensor(match rest {
                    [_requires_grad, _hooks, metadata, ..] => self.pending(made, *metadata),
                    _ => made,
                }))
            }
            (
                Rebuild::TensorV3,
                &[
                    storage,
                    offset,
                    shape,
                    strides,
                    _requires_grad,
                    _hooks,
                    dtype,
                    ref rest @ ..,
                ],
            ) => match self.get(dtype) {
                Value::Global(Global::Dtype(element)) => {
                    let made = self.tensor(storage, [offset, shape, strides], Some(element))?;
                    Ok(Made::Tensor(match rest {
                        [metadata, ..] => self.pending(made, *metadata),
                        _ => made,
                    }))
                }
                _ => wrong(),
            },
            (Rebuild::Parameter, &[tensor, ..]) => match self.get(tensor) {
                Value::Tensor(_) => Ok(Made::Same(tensor)),
                _ => wrong(),
            },
            (Rebuild::FromType, &[function, _class, arguments, ..]) => {
                match (self.get(function), self.tuple(arguments)) {
                    // Once, so that nothing is nested without end.
                    (Value::Global(Global::Rebuild(inner)), Some(arguments))
                        if *inner != Rebuild::FromType =>
                    {
                        self.rebuild(*inner, arguments)
                    }
                    _ => wrong(),
                }
            }
            (Rebuild::Quantised, &[storage, _offset, shape, ..]) => {
                match (self.root(storage), self.counts(shape, MAX_RANK)) {
                    (Some((_, root)), Some(shape)) => {
                        unreadable(root.element.map_or("quantised", |x| x.name), shape)
                    }
                    _ => wrong(),
                }
            }
            (Rebuild::Sparse, &[_layout, parts, ..]) => {
                let parts = self.tuple(parts).unwrap_or_default().iter();
                // Indices and values are tensors; compressed rows come with two of indices.
                let shape = parts
                    .take(4)
                    .filter_map(|&part| self.counts(part, MAX_RANK))
                    .next();
                unreadable("sparse", shape.unwrap_or_default())
            }
            (Rebuild::Meta, &[_dtype, shape, ..]) => unreadable(
                "without data (meta)",
                self.counts(shape, MAX_RANK).unwrap_or_default(),
            ),
            (Rebuild::Other, _) => unreadable("of a tensor subclass", Vec::new()),
            _ => wrong(),
        }
    }

    fn tensor(
        &self,
        storage: Id,
        [offset, shape, strides]: [Id; 3],
        dtype: Option<&'static Element>,
    ) -> Result<Tensor, Fault> {
        let (Some((window, root)), Some(offset), Some(shape), Some(strides)) = (
            self.root(storage),
            self.count(offset),
            self.counts(shape, MAX_RANK),
            self.counts(strides, MAX_RANK),
        ) else {
            return damaged("rebuilds a tensor from something else than a tensor's parts");
        };
        let Some(element) = dtype.or(root.element) else {
            return damaged("has a tensor without an element type");
        };
        let stored_size = root.element.map_or(1, |element| element.size);
        // The root's length in bytes was checked not to overflow, and the window is inside.
        let bytes = window.range.start * stored_size..window.range.end * stored_size;
        let view = View::new(&shape, &strides, offset, bytes.len() / element.size);
        let view = match view {
            Ok(view) => view,
            Err(reason) => {
                let key = shown(&root.key);
                return damaged(format!("has a tensor in the storage {key}: {reason}"));
            }
        };
        let start = bytes.start + view.span.start * element.size;
        let end = bytes.start + view.span.end * element.size;
        Ok(Tensor {
            dtype: element.name,
            float: element.float,
            shape,
            place: Some(Place {
                root: window.root,
                range: start..end,
                strides: view.strides,
            }),
        })
    }

    /// `tensor`, unless its metadata says that PyTorch has still to do something to the stored
    /// numbers: then they are not the tensor's, and it is listed as one that is not read
    /// (`torch/_utils.py`, `get_tensor_metadata` and `set_tensor_metadata`).
    fn pending(&self, tensor: Tensor, metadata: Id) -> Tensor {
        let dtype = match self.get(metadata) {
            Value::None => None,
            Value::Container(_, parts) => {
                let mut due = parts.iter().filter_map(|&part| match part {
                    Part::Item(_, set) if matches!(self.get(set), Value::Bool(false)) => None,
                    Part::Item(key, _) => Some(match self.text(key) {
                        Some("neg") => "negated when it is used (neg)",
                        Some("conj") => "conjugated when it is used (conj)",
                        _ => UNKNOWN,
                    }),
                    Part::Element(_) | Part::State(_) => Some(UNKNOWN),
                });
                due.next()
            }
            _ => Some(UNKNOWN),
        };
        match dtype {
            None => tensor,
            Some(dtype) => Tensor {
                dtype,
                float: None,
                place: None,
                ..tensor
            },
        }
    }

    fn root(&self, storage: Id) -> Option<(&Window, &Root)> {
        match self.get(storage) {
            Value::Storage(window) => {
                let window = &self.windows[*window as usize];
                Some((window, &self.roots[window.root]))
            }
            _ => None,
        }
    }

    /// The storage that a persistent id describes: `("storage", class, key, location, elements)`
    /// and, before PyTorch 1.6, the part of it that is meant.
    pub(super) fn persistent(&mut self, id: Id) -> Result<Window, Fault> {
        let wrong = || damaged("has a persistent id that describes no storage");
        let Some(parts) = self.tuple(id) else {
            return wrong();
        };
        let (&[kind, class, key, _location, elements], view) = match parts.split_first_chunk() {
            Some((five, view)) => (five, view),
            None => return wrong(),
        };
        let (Some("storage"), Value::Global(Global::Storage(element)), Some(elements)) =
            (self.text(kind), self.get(class), self.count(elements))
        else {
            return wrong();
        };
        let key = match self.get(key) {
            Value::Text(text) => text.to_string(),
            Value::Int(n) => n.to_string(),
            _ => return wrong(),
        };
        if key.len() > LONGEST_KEY {
            return wrong();
        }
        let range = match view {
            [] => 0..elements,
            &[view] => match (self.get(view), self.tuple(view)) {
                (Value::None, _) => 0..elements,
                (_, Some(&[_key, offset, length])) => {
                    let range = self
                        .count(offset)
                        .zip(self.count(length))
                        .and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
                    match range {
                        Some(range) if range.end <= elements => range,
                        _ => {
                            let key = shown(&key);
                            return damaged(format!("views outside the storage {key}"));
                        }
                    }
                }
                _ => return wrong(),
            },
            _ => return wrong(),
        };
        let element = *element;
        let root = Root::new(&key, element, elements);
        if root
            .bytes
            .is_none_or(|bytes| isize::try_from(bytes).is_err())
        {
            let key = shown(&key);
            return damaged(format!("has a storage {key} whose length overflows"));
        }
        let root = match self.by_key.get(&key) {
            Some(&known) => {
                let same = &self.roots[known];
                let element = |root: &Root| root.element.map(|element| element.name);
                if same.elements != elements || element(same) != element(&root) {
                    let key = shown(&key);
                    return damaged(format!("describes the storage {key} in two ways"));
                }
                known
            }
            None => {
                self.by_key.insert(key, self.roots.len());
                self.roots.push(root);
                self.roots.len() - 1
            }
        };
        Ok(Window { root, range })
    }

    /// The items of a dictionary made of `arguments`: a dictionary, or a list of pairs; what
    /// makes the missing values of a `defaultdict` may stand before.
    fn items(&self, arguments: &[Id]) -> Result<Vec<Part>, Fault> {
        let mut items = Vec::new();
        if arguments.len() > 2 {
            return damaged("makes a dictionary of several arguments");
        }
        for &argument in arguments {
            let parts = match self.get(argument) {
                Value::None | Value::Global(_) => continue,
                _ => self.elements(argument)?,
            };
            for part in parts {
                items.push(match part {
                    Part::Item(..) => part,
                    _ => match self.pair(part.value()) {
                        Some((key, value)) => Part::Item(key, value),
                        None => return damaged("makes a dictionary of what are no pairs"),
                    },
                });
            }
        }
        Ok(items)
    }

    fn pair(&self, id: Id) -> Option<(Id, Id)> {
        match self.get(id) {
            Value::Tuple(ids) => match ids.as_ref() {
                &[key, value] => Some((key, value)),
                _ => None,
            },
            Value::Container(Kind::Plain, parts) => match parts.as_slice() {
                &[Part::Element(key), Part::Element(value)] => Some((key, value)),
                _ => None,
            },
            _ => None,
        }
    }

    fn elements(&self, id: Id) -> Result<Vec<Part>, Fault> {
        match self.get(id) {
            Value::Tuple(ids) => Ok(ids.iter().copied().map(Part::Element).collect()),
            Value::Container(_, parts) => Ok(parts.clone()),
            _ => damaged("makes a list of what is none"),
        }
    }
}

/// What a call made.
pub(super) enum Made {
    /// A value that was there.
    Same(Id),
    Value(Value),
    Tensor(Tensor),
}
