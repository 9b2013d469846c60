//! candle's storage as slices.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, WithDType, bail};

use super::tape::Value;

/// The elements of a contiguous f32 tensor, which stay as they are while this lives.
pub(super) fn elements(x: &Value) -> Result<Elements<impl Deref<Target = Storage>>> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel needs a contiguous tensor")
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Elements {
            range: start..end,
            storage,
        }),
        _ => bail!("a kernel needs f32 elements, got {:?}", x.dtype()),
    }
}

/// What [`elements`] gives: candle's read guard and the tensor's part of the storage.
pub(super) struct Elements<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Elements<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(elements)) => &elements[self.range.clone()],
            // `elements` has seen that it is not.
            _ => &[],
        }
    }
}

/// Whether two tensors are views of one storage.
pub(super) fn shared(x: &Value, y: &Value) -> bool {
    // A storage that is being read twice lies at one place.
    let place = |x: &Value| match &*x.storage_and_layout().0 {
        Storage::Cpu(CpuStorage::F32(elements)) if !elements.is_empty() => {
            Some(elements.as_ptr().addr())
        }
        Storage::Cpu(CpuStorage::F64(elements)) if !elements.is_empty() => {
            Some(elements.as_ptr().addr())
        }
        _ => None,
    };
    place(x).is_some_and(|x| Some(x) == place(y))
}

/// A tensor that takes over `elements`.
pub(super) fn from_vec(elements: Vec<f32>, shape: &[usize]) -> Result<Value> {
    Value::from_vec(elements, shape, &Device::Cpu)
}

/// Element types of the engine.
pub(super) trait Element: WithDType {
    /// The elements of a whole storage.
    fn elements(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

impl Element for f32 {
    fn elements(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(elements) => Ok(elements),
            _ => bail!("the tensor is not f32"),
        }
    }
}

impl Element for f64 {
    fn elements(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(elements) => Ok(elements),
            _ => bail!("the tensor is not f64"),
        }
    }
}

/// Gives `f` the elements of a contiguous tensor to change; every handle sees the change.
pub(super) fn change<T: Element, R>(x: &Value, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    let change = Change {
        state: Mutex::new(State::Waiting(f)),
        element: PhantomData::<T>,
    };
    x.inplace_op1(&change)?;
    match change
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        State::Done(result) => Ok(result),
        State::Waiting(_) | State::Running => bail!("the tensor was not changed"),
    }
}

/// A closure that runs once, behind the shared reference that candle hands an operation.
struct Change<F, R, T> {
    state: Mutex<State<F, R>>,
    element: PhantomData<T>,
}

enum State<F, R> {
    Waiting(F),
    Running,
    Done(R),
}

impl<F: FnOnce(&mut [T]) -> R, R, T: Element> InplaceOp1 for Change<F, R, T> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a tensor that is changed in place must be contiguous")
        };
        let elements = &mut T::elements(storage)?[start..end];
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(f) = std::mem::replace(&mut *state, State::Running) {
            *state = State::Done(f(elements));
        }
        Ok(())
    }
}
