//! PyTorch's element types.

use super::Float;

/// An element type: PyTorch's names, and the one that safetensors has for it.
#[derive(Debug)]
pub(super) struct Element {
    /// `float32` of `torch.float32`.
    pub(super) dtype: &'static str,
    /// `FloatStorage` of `torch.FloatStorage`, where there is one.
    storage: Option<&'static str>,
    /// What [`super::Entry::dtype`] says.
    pub(super) name: &'static str,
    /// Bytes.
    pub(super) size: usize,
    pub(super) float: Option<Float>,
}

const fn row(
    dtype: &'static str,
    storage: Option<&'static str>,
    name: &'static str,
    size: usize,
    float: Option<Float>,
) -> Element {
    Element {
        dtype,
        storage,
        name,
        size,
        float,
    }
}

/// `torch/storage.py`, `_dtype_to_storage_type_map` and `_new_dtypes`; names after safetensors,
/// for quantised types after PyTorch.
static ELEMENTS: [Element; 28] = [
    row("float64", Some("DoubleStorage"), "F64", 8, Some(Float::F64)),
    row("float32", Some("FloatStorage"), "F32", 4, Some(Float::F32)),
    row("float16", Some("HalfStorage"), "F16", 2, Some(Float::F16)),
    row(
        "bfloat16",
        Some("BFloat16Storage"),
        "BF16",
        2,
        Some(Float::Bf16),
    ),
    row("int64", Some("LongStorage"), "I64", 8, None),
    row("int32", Some("IntStorage"), "I32", 4, None),
    row("int16", Some("ShortStorage"), "I16", 2, None),
    row("int8", Some("CharStorage"), "I8", 1, None),
    row("uint8", Some("ByteStorage"), "U8", 1, None),
    row("bool", Some("BoolStorage"), "BOOL", 1, None),
    row("complex128", Some("ComplexDoubleStorage"), "C128", 16, None),
    row("complex64", Some("ComplexFloatStorage"), "C64", 8, None),
    row("complex32", None, "C32", 4, None),
    row("uint16", None, "U16", 2, None),
    row("uint32", None, "U32", 4, None),
    row("uint64", None, "U64", 8, None),
    row("float8_e4m3fn", None, "F8_E4M3", 1, None),
    row("float8_e4m3fnuz", None, "F8_E4M3FNUZ", 1, None),
    row("float8_e5m2", None, "F8_E5M2", 1, None),
    row("float8_e5m2fnuz", None, "F8_E5M2FNUZ", 1, None),
    row("float8_e8m0fnu", None, "F8_E8M0", 1, None),
    row("float4_e2m1fn_x2", None, "F4", 1, None),
    row("qint8", Some("QInt8Storage"), "quantised QINT8", 1, None),
    row("quint8", Some("QUInt8Storage"), "quantised QUINT8", 1, None),
    row("qint32", Some("QInt32Storage"), "quantised QINT32", 4, None),
    row(
        "quint4x2",
        Some("QUInt4x2Storage"),
        "quantised QUINT4X2",
        1,
        None,
    ),
    row(
        "quint2x4",
        Some("QUInt2x4Storage"),
        "quantised QUINT2X4",
        1,
        None,
    ),
    row("bits8", None, "BITS8", 1, None),
];

impl Element {
    /// The type of `torch.<dtype>`.
    pub(super) fn of_dtype(dtype: &str) -> Option<&'static Self> {
        ELEMENTS.iter().find(|element| element.dtype == dtype)
    }

    /// The type that safetensors calls so.
    pub(super) fn of_name(name: &str) -> Option<&'static Self> {
        ELEMENTS.iter().find(|element| element.name == name)
    }

    /// The type of `torch.<storage>`.
    pub(super) fn of_storage(storage: &str) -> Option<&'static Self> {
        ELEMENTS
            .iter()
            .find(|element| element.storage == Some(storage))
    }
}
