//! Safe names for what `shim.cpp` adds to tch.
#![expect(unsafe_code, reason = "the shim is C++")]

use std::ffi::{CStr, c_char};
use std::fmt;

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::AdamW;

unsafe extern "C" {
    fn mimbench_version_built() -> u64;
    fn mimbench_version_loaded() -> u64;
    fn mimbench_keep_buffers();
    fn mimbench_load_cuda() -> *const c_char;
    fn mimbench_full_precision() -> *const c_char;
    fn mimbench_adamw(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        means: *const *const C_tensor,
        squares: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        step: u32,
    ) -> *const c_char;
    fn mimbench_peak_memory(device: i8, bytes: *mut i64) -> *const c_char;
}

/// A version of libtorch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    /// Of the headers that mimbench was compiled with.
    pub fn built() -> Self {
        // SAFETY: returns a constant.
        Self(unsafe { mimbench_version_built() })
    }

    /// Of the library that is loaded.
    pub fn loaded() -> Self {
        // SAFETY: returns a constant.
        Self(unsafe { mimbench_version_loaded() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, ..] = self.0.to_be_bytes();
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Whether a function of the shim said nothing, or what went wrong.
fn outcome(said: *const c_char) -> Result<(), String> {
    if said.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns null or a string that holds until this thread's next call.
    let said = unsafe { CStr::from_ptr(said) };
    Err(said.to_string_lossy().into_owned())
}

/// Lets the C allocator keep what tensors free.
pub(super) fn keep_buffers() {
    // SAFETY: only sets parameters of the C allocator, which is ready before `main`.
    unsafe { mimbench_keep_buffers() }
}

/// Loads libtorch's CUDA part; loading it again changes nothing.
pub(super) fn load_cuda() -> Result<(), String> {
    // SAFETY: runs only the constructors of a library that belongs to libtorch.
    outcome(unsafe { mimbench_load_cuda() })
}

/// Sets f32 products to full precision.
pub(super) fn full_precision() -> Result<(), String> {
    // SAFETY: sets a flag of libtorch's global context.
    outcome(unsafe { mimbench_full_precision() })
}

/// Tensors of one AdamW step, each list in the order of the parameters.
pub(super) struct AdamWGroup<'a> {
    /// Leaves.
    pub parameters: Vec<&'a Tensor>,
    /// Their gradients, contiguous.
    pub gradients: Vec<&'a Tensor>,
    /// Running means of the gradients.
    pub means: Vec<&'a Tensor>,
    /// Running means of their squares.
    pub squares: Vec<&'a Tensor>,
}

/// One fused AdamW step in place.
pub(super) fn adamw(settings: &AdamW, group: &AdamWGroup<'_>) -> Result<(), String> {
    let pointers = |tensors: &[&Tensor]| -> Vec<*const C_tensor> {
        tensors.iter().map(|tensor| tensor.as_ptr()).collect()
    };
    let count = group.parameters.len();
    let lists = [
        pointers(&group.parameters),
        pointers(&group.gradients),
        pointers(&group.means),
        pointers(&group.squares),
    ];
    if lists.iter().any(|list| list.len() != count) {
        return Err("lists of different lengths".to_owned());
    }
    let [parameters, gradients, means, squares] = &lists;
    // SAFETY: every list has `count` pointers to tensors that are borrowed for the call, and the
    // engine has seen that the tensors of an update have one shape. libtorch
    // changes what tensors hold behind shared handles by design, and tch's tensors cannot be
    // shared between threads.
    outcome(unsafe {
        mimbench_adamw(
            parameters.as_ptr(),
            gradients.as_ptr(),
            means.as_ptr(),
            squares.as_ptr(),
            count,
            settings.learning_rate,
            settings.betas[0],
            settings.betas[1],
            settings.weight_decay,
            settings.eps,
            settings.step,
        )
    })
}

/// Largest number of bytes that tensors have held on a CUDA device.
pub(super) fn peak_memory(device: i8) -> Result<i64, String> {
    let mut bytes = 0;
    // SAFETY: `bytes` is written before the call returns; libtorch checks the device.
    outcome(unsafe { mimbench_peak_memory(device, &raw mut bytes) })?;
    Ok(bytes)
}
