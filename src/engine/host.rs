//! Tensors as plain data, outside any engine.

/// Borrowed row-major elements on their way into an engine, in either precision.
#[derive(Clone, Copy, Debug)]
pub enum HostSlice<'a> {
    /// 32-bit elements.
    F32(&'a [f32]),
    /// 64-bit elements.
    F64(&'a [f64]),
}

impl<'a> From<&'a [f32]> for HostSlice<'a> {
    fn from(data: &'a [f32]) -> Self {
        Self::F32(data)
    }
}

impl<'a> From<&'a [f64]> for HostSlice<'a> {
    fn from(data: &'a [f64]) -> Self {
        Self::F64(data)
    }
}

/// A row-major f32 tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements; as many as the product of the dimensions.
    pub data: Vec<f32>,
}
