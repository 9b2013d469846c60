//! The names of Python's that a checkpoint may mention, and what each stands for here.

use super::super::element::Element;
use super::super::printable::shown;
use super::Fault;
use super::fault::damaged;

/// What stands for a class or a function. None is ever called: a call makes an inert value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// A function that makes a tensor.
    Rebuild(Rebuild),
    /// A storage class; without a type, one of bytes.
    Storage(Option<&'static Element>),
    /// `torch.float32` and others.
    Dtype(&'static Element),
    /// Dictionaries.
    Mapping,
    /// Lists, sets, tuples.
    Sequence,
    /// Functions that give back their first argument, or nearly.
    Identity,
    /// Objects whose contents are looked through for tensors.
    Object,
    /// Values that hold no tensor: numbers, dates, bytes, NumPy's arrays.
    Opaque,
}

/// Functions of `torch/_utils.py` and what they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// Storage, offset, shape, strides.
    Tensor,
    /// The same, then two settings, then a dtype.
    TensorV3,
    /// A tensor.
    Parameter,
    /// One of the others, a class, its arguments.
    FromType,
    /// Storage, offset, shape.
    Quantised,
    /// Layout, then parts with the shape among them.
    Sparse,
    /// Dtype and shape.
    Meta,
    /// Tensors whose elements are elsewhere or have no common shape.
    Other,
}

const SAVE_STATE: &str = "where you trust the file, in Python: x = torch.load(FILE, weights_only=False); torch.save(x[\"model\"], NEW), with the key that the weights are under, and .state_dict() where they are a module";
const SAVE_MODULE: &str = "where you trust the file, in Python: torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW)";
const HOSTILE: &str = "no checkpoint needs it, and loading the file in Python may run it: get the weights from somewhere else";

/// Modules through which a pickle reaches the system or the interpreter.
const REACHING: [&str; 32] = [
    "os",
    "posix",
    "nt",
    "ntpath",
    "posixpath",
    "sys",
    "subprocess",
    "commands",
    "popen2",
    "pty",
    "runpy",
    "importlib",
    "imp",
    "shutil",
    "socket",
    "ctypes",
    "code",
    "codeop",
    "marshal",
    "pickle",
    "cPickle",
    "_pickle",
    "operator",
    "_operator",
    "types",
    "webbrowser",
    "platform",
    "urllib",
    "http",
    "asyncio",
    "multiprocessing",
    "pip",
];

/// Built-in functions that run what they are given, or open files.
const RUNNING: [&str; 15] = [
    "__build_class__",
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "execfile",
    "file",
    "filter",
    "input",
    "map",
    "open",
    "raw_input",
    "reduce",
];

/// Whether loading a pickle that mentions `module.name` may run something of its author's.
fn runs(module: &str, name: &str) -> bool {
    match module.split('.').next().unwrap_or(module) {
        "builtins" | "__builtin__" => RUNNING.contains(&name),
        "functools" => name == "reduce",
        package => REACHING.contains(&package),
    }
}

/// Packages whose configurations are saved beside weights; a class is known by its package and
/// its name, so that no function of theirs is.
const CONFIGURATIONS: [(&str, &[&str]); 9] = [
    (
        "omegaconf",
        &[
            "DictConfig",
            "ListConfig",
            "Metadata",
            "ContainerMetadata",
            "Node",
            "AnyNode",
            "IntegerNode",
            "FloatNode",
            "BooleanNode",
            "StringNode",
            "BytesNode",
            "PathNode",
            "EnumNode",
            "UnionNode",
            "SCMode",
        ],
    ),
    ("yacs", &["CfgNode"]),
    ("fvcore", &["CfgNode"]),
    ("detectron2", &["CfgNode"]),
    ("easydict", &["EasyDict"]),
    ("addict", &["Dict"]),
    ("mmcv", &["Config", "ConfigDict"]),
    ("mmengine", &["Config", "ConfigDict"]),
    ("ml_collections", &["ConfigDict", "FrozenConfigDict"]),
];

impl Global {
    /// What `module.name` stands for.
    pub(super) fn of(module: &str, name: &str) -> Result<Self, Fault> {
        if let Some(global) = Self::known(module, name) {
            return Ok(global);
        }
        // `<locals>` and `<lambda>` are parts of names, too.
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>');
        if module.is_empty() || !module.chars().chain(name.chars()).all(part) {
            return damaged("names something by what is no name");
        }
        Err(Fault::Global {
            name: shown(&format!("{module}.{name}")),
            hint: if runs(module, name) {
                HOSTILE
            } else if module.starts_with("torch.nn") {
                SAVE_MODULE
            } else {
                SAVE_STATE
            },
        })
    }

    fn known(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("torch._utils", _) => Self::Rebuild(Rebuild::of(name)?),
            ("torch._tensor", "_rebuild_from_type_v2" | "_rebuild_from_type")
            | ("torch.tensor", "_rebuild_from_type") => Self::Rebuild(Rebuild::FromType),
            ("torch.nn.parameter" | "torch.nn", "Parameter" | "Buffer") => {
                Self::Rebuild(Rebuild::Parameter)
            }
            ("torch" | "torch.cuda" | "torch.storage", _) => Self::of_torch(name)?,
            ("torch.torch_version", "TorchVersion") | ("torch.serialization", "_get_layout") => {
                Self::Opaque
            }
            // Lists that know their type; `torch/jit/_pickle.py`.
            (
                "torch.jit._pickle",
                "build_intlist" | "build_tensorlist" | "build_doublelist" | "build_boollist"
                | "restore_type_tag",
            ) => Self::Identity,
            ("collections", "OrderedDict" | "defaultdict" | "Counter") => Self::Mapping,
            ("builtins" | "__builtin__", "dict") => Self::Mapping,
            ("builtins" | "__builtin__", "list" | "set" | "frozenset" | "tuple")
            | ("collections", "deque") => Self::Sequence,
            // What a `partial` would call is named, and refused where it is no part of weights.
            ("functools", "partial") => Self::Opaque,
            (
                "builtins" | "__builtin__",
                "Ellipsis" | "NotImplemented" | "bool" | "bytearray" | "bytes" | "complex"
                | "float" | "int" | "long" | "object" | "range" | "xrange" | "slice" | "str"
                | "unicode",
            )
            | ("_codecs", "encode")
            | ("datetime", "date" | "datetime" | "time" | "timedelta" | "timezone")
            | (
                "pathlib" | "pathlib._local",
                "Path" | "PosixPath" | "WindowsPath" | "PurePath" | "PurePosixPath"
                | "PureWindowsPath",
            )
            | ("uuid", "UUID")
            | ("decimal", "Decimal")
            | ("fractions", "Fraction")
            | ("typing", "Any") => Self::Opaque,
            ("numpy" | "numpy.dtypes", _) => Self::of_numpy(name)?,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
            | ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::Opaque,
            ("argparse", "Namespace")
            | ("types", "SimpleNamespace")
            | ("copyreg" | "copy_reg", "_reconstructor")
            | (
                "pytorch_lightning.utilities.parsing"
                | "lightning.fabric.utilities.data"
                | "lightning_fabric.utilities.data",
                "AttributeDict",
            ) => Self::Object,
            _ if module == "__torch__" || module.starts_with("__torch__.") => Self::Object,
            _ => {
                let package = module.split('.').next()?;
                let (_, classes) = CONFIGURATIONS.iter().find(|(of, _)| *of == package)?;
                classes.contains(&name).then_some(Self::Object)?
            }
        })
    }

    fn of_torch(name: &str) -> Option<Self> {
        Some(match name {
            "Size" => Self::Identity,
            "device"
            | "Tensor"
            | "strided"
            | "sparse_coo"
            | "sparse_csr"
            | "per_tensor_affine"
            | "per_tensor_symmetric"
            | "per_channel_affine"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams"
            | "contiguous_format"
            | "channels_last"
            | "preserve_format" => Self::Opaque,
            "UntypedStorage" | "_UntypedStorage" | "TypedStorage" | "_TypedStorage" => {
                Self::Storage(None)
            }
            _ => match (Element::of_storage(name), Element::of_dtype(name)) {
                (Some(element), _) => Self::Storage(Some(element)),
                (None, element) => Self::Dtype(element?),
            },
        })
    }

    fn of_numpy(name: &str) -> Option<Self> {
        let number = |name: &str| {
            ["bool", "int", "uint", "float", "complex"]
                .iter()
                .any(|kind| {
                    name.strip_prefix(kind)
                        .is_some_and(|bits| bits.bytes().all(|c| c.is_ascii_digit() || c == b'_'))
                })
        };
        let dtype = name
            .strip_suffix("DType")
            .map(str::to_ascii_lowercase)
            .is_some_and(|name| number(&name) || matches!(name.as_str(), "str" | "bytes"));
        let known = matches!(name, "dtype" | "ndarray" | "str_" | "bytes_" | "longlong");
        (known || dtype || number(name)).then_some(Self::Opaque)
    }
}

impl Rebuild {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "_rebuild_tensor" | "_rebuild_tensor_v2" => Self::Tensor,
            "_rebuild_tensor_v3" => Self::TensorV3,
            "_rebuild_parameter" | "_rebuild_parameter_with_state" => Self::Parameter,
            "_rebuild_qtensor" => Self::Quantised,
            "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => Self::Sparse,
            "_rebuild_meta_tensor_no_storage" => Self::Meta,
            "_rebuild_nested_tensor"
            | "_rebuild_wrapper_subclass"
            | "_rebuild_device_tensor_from_numpy"
            | "_rebuild_device_tensor_from_cpu_tensor" => Self::Other,
            _ => return None,
        })
    }
}
