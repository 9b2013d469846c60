//! Python's pickles, as far as PyTorch's checkpoints need them.
//!
//! A pickle is a program for a stack machine. This one knows a closed list of opcodes and of
//! names, builds inert values, and executes nothing. Everything it keeps is bounded, by limits or
//! by the length of the file, and no nesting makes it call itself.

mod fault;
mod flatten;
mod found;
mod global;
mod heap;
mod opcode;
mod rebuild;
mod text;

pub(super) use fault::Fault;
pub(super) use found::{Found, Plain};
pub(super) use heap::Root;

use std::collections::HashMap;

use fault::damaged;
use global::Global;
use heap::{Heap, Id, Kind, Part, Value};
use rebuild::Made;
use text::{unescape, unquote};

/// Bytes of one pickle. That of a ViT has tens of kilobytes; storages are outside.
pub(super) const LONGEST: usize = 1 << 28;
/// Values of one pickle: a tensor and its name take about twenty.
const MOST_VALUES: usize = 1 << 22;
/// Opcodes obeyed, parts copied and axes of tensors.
const MOST_STEPS: usize = 1 << 23;

/// `torch/serialization.py`, MAGIC_NUMBER 0x1950a86a20f9469cfc6c, as LONG1 has it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The object of the pickle that `bytes` begin with, at most [`LONGEST`] of them, and the pickle's
/// length.
pub(super) fn unpickle(bytes: &[u8]) -> Result<(Found, usize), Fault> {
    let mut machine = Machine {
        rest: bytes,
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        steps: 0,
    };
    let before = machine.rest.len();
    let object = loop {
        if let Some(object) = machine.step()? {
            break object;
        }
    };
    let length = before - machine.rest.len();
    Ok((Found::new(machine.heap, object), length))
}

/// The stack machine.
struct Machine<'a> {
    /// What is still to be read.
    rest: &'a [u8],
    heap: Heap,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    steps: usize,
}

impl<'a> Machine<'a> {
    /// Obeys one opcode; gives the object at the end.
    fn step(&mut self) -> Result<Option<Id>, Fault> {
        self.spend(1)?;
        let [code] = self.array()?;
        match code {
            opcode::PROTO => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return damaged(format!("has protocol {protocol}"));
                }
            }
            opcode::FRAME => {
                let length = u64::from_le_bytes(self.array()?);
                self.length(length)?;
            }
            opcode::STOP => {
                let object = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(Some(object))
                } else {
                    damaged("ends before its object is complete")
                };
            }
            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::POP => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            opcode::POP_MARK => {
                self.pop_mark()?;
            }
            opcode::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            opcode::GET | opcode::BINGET | opcode::LONG_BINGET => {
                let key = self.memo_key(code)?;
                match self.memo.get(&key) {
                    Some(&id) => self.stack.push(id),
                    None => return damaged(format!("asks for value {key}, which it never kept")),
                }
            }
            opcode::PUT | opcode::BINPUT | opcode::LONG_BINPUT => {
                let key = self.memo_key(code)?;
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            opcode::MEMOIZE => {
                let top = self.top()?;
                // Not more than the steps, which are bounded.
                self.memo.insert(self.memo.len() as u32, top);
            }
            opcode::NONE => self.push(Value::None)?,
            opcode::NEWTRUE => self.push(Value::Bool(true))?,
            opcode::NEWFALSE => self.push(Value::Bool(false))?,
            opcode::INT | opcode::LONG | opcode::FLOAT => self.decimal(code)?,
            opcode::BININT => {
                let number = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            opcode::BININT1 => {
                let [number] = self.array()?;
                self.push(Value::Int(number.into()))?;
            }
            opcode::BININT2 => {
                let number = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(number.into()))?;
            }
            opcode::LONG1 => {
                let [length] = self.array()?;
                let bytes = self.take(length.into())?;
                self.push(long(bytes))?;
            }
            opcode::LONG4 => {
                let length = u32::from_le_bytes(self.array()?);
                let bytes = self.take(length.into())?;
                self.push(long(bytes))?;
            }
            opcode::BINFLOAT => {
                self.take(8)?;
                self.push(Value::Opaque)?;
            }
            opcode::STRING | opcode::UNICODE => self.escaped(code)?,
            opcode::BINSTRING | opcode::SHORT_BINSTRING => {
                // Python 2's, which are bytes or text.
                let bytes = self.counted(code)?;
                self.push(match std::str::from_utf8(bytes) {
                    Ok(text) => Value::Text(text.into()),
                    Err(_) => Value::Opaque,
                })?;
            }
            opcode::SHORT_BINUNICODE | opcode::BINUNICODE | opcode::BINUNICODE8 => {
                let bytes = self.counted(code)?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.push(Value::Text(text.into()))?,
                    Err(_) => return damaged("has a text that is no UTF-8"),
                }
            }
            opcode::SHORT_BINBYTES | opcode::BINBYTES | opcode::BINBYTES8 | opcode::BYTEARRAY8 => {
                self.counted(code)?;
                self.push(Value::Opaque)?;
            }
            opcode::EMPTY_TUPLE => self.push(Value::Tuple(Box::default()))?,
            opcode::TUPLE1 => self.tuple(1)?,
            opcode::TUPLE2 => self.tuple(2)?,
            opcode::TUPLE3 => self.tuple(3)?,
            opcode::TUPLE => {
                let ids = self.pop_mark()?;
                self.push(Value::Tuple(ids.into()))?;
            }
            opcode::EMPTY_LIST | opcode::EMPTY_DICT | opcode::EMPTY_SET => {
                self.push(Value::Container(Kind::Plain, Vec::new()))?;
            }
            opcode::LIST | opcode::FROZENSET => {
                let ids = self.pop_mark()?;
                let parts = ids.into_iter().map(Part::Element).collect();
                self.push(Value::Container(Kind::Plain, parts))?;
            }
            opcode::DICT => {
                let ids = self.pop_mark()?;
                self.push(Value::Container(Kind::Plain, items(&ids)?))?;
            }
            opcode::APPEND => {
                let id = self.pop()?;
                self.extend(&[Part::Element(id)])?;
            }
            opcode::APPENDS | opcode::ADDITEMS => {
                let ids = self.pop_mark()?;
                let parts: Vec<_> = ids.into_iter().map(Part::Element).collect();
                self.extend(&parts)?;
            }
            opcode::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend(&[Part::Item(key, value)])?;
            }
            opcode::SETITEMS => {
                let ids = self.pop_mark()?;
                self.extend(&items(&ids)?)?;
            }
            opcode::GLOBAL => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(Value::Global(Global::of(module, name)?))?;
            }
            opcode::STACK_GLOBAL => {
                let name = self.pop()?;
                let module = self.pop()?;
                let global = match (self.heap.text(module), self.heap.text(name)) {
                    (Some(module), Some(name)) => Global::of(module, name)?,
                    _ => return damaged("names something by what is no text"),
                };
                self.push(Value::Global(global))?;
            }
            opcode::REDUCE | opcode::NEWOBJ => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                match self.heap.tuple(arguments) {
                    Some(arguments) => {
                        let made = self.heap.call(callable, arguments)?;
                        self.made(made)?;
                    }
                    None => return damaged("calls a function with what are no arguments"),
                }
            }
            opcode::NEWOBJ_EX => {
                let named = self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                match self.heap.tuple(arguments) {
                    Some(arguments) => {
                        let made = self.heap.call(class, arguments)?;
                        self.made(made)?;
                        self.build(named)?;
                    }
                    None => return damaged("calls a class with what are no arguments"),
                }
            }
            opcode::INST => {
                let module = self.line()?;
                let name = self.line()?;
                let class = Value::Global(Global::of(module, name)?);
                let arguments = self.pop_mark()?;
                let class = self.add(class)?;
                let made = self.heap.call(class, &arguments)?;
                self.made(made)?;
            }
            opcode::OBJ => {
                let ids = self.pop_mark()?;
                let Some((&class, arguments)) = ids.split_first() else {
                    return damaged("makes an object of no class");
                };
                let made = self.heap.call(class, arguments)?;
                self.made(made)?;
            }
            opcode::BUILD => {
                let state = self.pop()?;
                self.build(state)?;
            }
            opcode::BINPERSID => {
                let id = self.pop()?;
                let window = self.heap.persistent(id)?;
                self.heap.windows.push(window);
                self.push(Value::Storage(self.heap.windows.len() as u32 - 1))?;
            }
            opcode::PERSID => {
                self.line()?;
                return damaged("has a persistent id that describes no storage");
            }
            _ => {
                return damaged(format!(
                    "has the opcode {code:#04x}, which no checkpoint needs"
                ));
            }
        }
        Ok(None)
    }

    fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MOST_STEPS {
            return Err(Fault::Excessive("opcodes in its pickle"));
        }
        Ok(())
    }

    /// The next bytes.
    fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        let length = self.length(length)?;
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// A length that does not exceed what is left.
    fn length(&self, length: u64) -> Result<usize, Fault> {
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(length),
            _ => Err(Fault::CutOff),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N as u64)?;
        match bytes.first_chunk() {
            Some(array) => Ok(*array),
            None => Err(Fault::CutOff),
        }
    }

    /// Up to the next line feed.
    fn line(&mut self) -> Result<&'a str, Fault> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(self.rest.len()) as u64;
        let line = self.take(length)?;
        self.take(1)?;
        match std::str::from_utf8(line) {
            Ok(line) => Ok(line.trim_end_matches('\r')),
            Err(_) => damaged("has a line that is no UTF-8"),
        }
    }

    /// Bytes after their number.
    fn counted(&mut self, code: u8) -> Result<&'a [u8], Fault> {
        let length = match code {
            opcode::SHORT_BINSTRING | opcode::SHORT_BINBYTES | opcode::SHORT_BINUNICODE => {
                let [length] = self.array()?;
                length.into()
            }
            opcode::BINUNICODE8 | opcode::BINBYTES8 | opcode::BYTEARRAY8 => {
                u64::from_le_bytes(self.array()?)
            }
            // BINSTRING's is signed; a negative one is beyond what is left all the same.
            _ => u32::from_le_bytes(self.array()?).into(),
        };
        self.take(length)
    }

    fn memo_key(&mut self, code: u8) -> Result<u32, Fault> {
        match code {
            opcode::BINGET | opcode::BINPUT => {
                let [key] = self.array()?;
                Ok(key.into())
            }
            opcode::LONG_BINGET | opcode::LONG_BINPUT => Ok(u32::from_le_bytes(self.array()?)),
            _ => match self.line()?.parse() {
                Ok(key) => Ok(key),
                Err(_) => damaged("keeps a value under what is no number"),
            },
        }
    }

    /// A number in decimal digits.
    fn decimal(&mut self, code: u8) -> Result<(), Fault> {
        let line = self.line()?;
        let digits = line.strip_suffix('L').unwrap_or(line);
        let value = match (code, line) {
            (opcode::FLOAT, _) => Value::Opaque,
            (opcode::INT, "00") => Value::Bool(false),
            (opcode::INT, "01") => Value::Bool(true),
            _ => match (digits.parse(), digits.parse::<i128>()) {
                (Ok(number), _) => Value::Int(number),
                (_, Ok(number)) => long(&number.to_le_bytes()),
                _ => Value::Opaque,
            },
        };
        self.push(value)
    }

    /// A text on a line of its own.
    fn escaped(&mut self, code: u8) -> Result<(), Fault> {
        let line = self.line()?;
        let text = match code {
            opcode::STRING => unquote(line).and_then(unescape),
            _ => unescape(line),
        };
        match text {
            Some(text) => self.push(Value::Text(text.into())),
            None => damaged("has a text with a wrong escape"),
        }
    }

    fn add(&mut self, value: Value) -> Result<Id, Fault> {
        if self.heap.values.len() >= MOST_VALUES {
            return Err(Fault::Excessive("values in its pickle"));
        }
        let id = Id(self.heap.values.len() as u32);
        self.heap.values.push(value);
        Ok(id)
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(&id)
                if self
                    .marks
                    .last()
                    .is_none_or(|&mark| mark < self.stack.len()) =>
            {
                Ok(id)
            }
            _ => damaged("takes a value from an empty stack"),
        }
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// Everything since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => damaged("goes back to a mark that it never set"),
        }
    }

    fn tuple(&mut self, length: usize) -> Result<(), Fault> {
        let mut ids = vec![Id(0); length];
        for id in ids.iter_mut().rev() {
            *id = self.pop()?;
        }
        self.push(Value::Tuple(ids.into()))
    }

    /// Adds to the container on the stack.
    fn extend(&mut self, more: &[Part]) -> Result<(), Fault> {
        let id = self.top()?;
        match &mut self.heap.values[id.0 as usize] {
            Value::Container(_, parts) => {
                parts.extend_from_slice(more);
                Ok(())
            }
            _ => damaged("adds to what holds nothing"),
        }
    }

    /// Gives attributes to the object on the stack.
    fn build(&mut self, state: Id) -> Result<(), Fault> {
        let id = self.top()?;
        match &mut self.heap.values[id.0 as usize] {
            Value::Container(Kind::Object, parts) => parts.push(Part::State(state)),
            // What attributes these have is of no interest: `_metadata` of a state dict, hooks.
            Value::Container(Kind::Plain, _) | Value::Tensor(_) | Value::Opaque => {}
            _ => return damaged("gives attributes to what has none"),
        }
        Ok(())
    }

    fn made(&mut self, made: Made) -> Result<(), Fault> {
        match made {
            Made::Same(id) => {
                self.stack.push(id);
                Ok(())
            }
            Made::Value(value) => {
                if let Value::Container(_, parts) = &value {
                    self.spend(parts.len())?;
                }
                self.push(value)
            }
            Made::Tensor(tensor) => {
                self.spend(tensor.shape.len())?;
                self.heap.tensors.push(tensor);
                self.push(Value::Tensor(self.heap.tensors.len() as u32 - 1))
            }
        }
    }
}

/// Keys and values in turn.
fn items(ids: &[Id]) -> Result<Vec<Part>, Fault> {
    match ids.as_chunks::<2>() {
        (pairs, []) => Ok(pairs
            .iter()
            .map(|&[key, value]| Part::Item(key, value))
            .collect()),
        _ => damaged("has a key without a value"),
    }
}

/// A little-endian number in two's complement.
fn long(bytes: &[u8]) -> Value {
    if bytes.starts_with(&MAGIC) && bytes[MAGIC.len()..].iter().all(|&byte| byte == 0) {
        return Value::Magic;
    }
    // A longer one may have nothing but its sign in what is beyond.
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let sign = if negative { 0xff } else { 0 };
    let mut eight = [sign; 8];
    let (low, high) = bytes.split_at(bytes.len().min(8));
    eight[..low.len()].copy_from_slice(low);
    let number = i64::from_le_bytes(eight);
    if high.iter().all(|&byte| byte == sign) && (number < 0) == negative {
        Value::Int(number)
    } else {
        Value::Opaque
    }
}
