//! Every container that a checkpoint comes in, and what is wrong with hostile ones.

use std::path::{Path, PathBuf};

use mimbench::checkpoint::CheckpointError;
use mimbench::checkpoint::source::TensorSource;
use tempfile::TempDir;

use crate::support::{Bench, fixture, shared, tensor, tiny};

/// Fixtures with a safetensors file of the same tensors beside them.
const FIXTURES: [&str; 10] = [
    "dtypes.pth",
    "legacy.pth",
    "legacy_protocol4.pth",
    "legacy_views.pth",
    "list.pth",
    "protocol4.pth",
    "script.pt",
    "tensor.pth",
    "views.pth",
    "zip.pth",
];

fn pickled(name: &str) -> PathBuf {
    fixture("goldens/pickle").join(name)
}

fn opened(path: &Path) -> TensorSource {
    TensorSource::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A folder to put bad files into.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Opening the file fails, and the error says all of `said`.
    #[track_caller]
    fn refused(&self, bytes: &[u8], said: &[&str]) -> CheckpointError {
        refused(&self.write("x.pth", bytes), said)
    }
}

#[track_caller]
fn refused(path: &Path, said: &[&str]) -> CheckpointError {
    let error = match TensorSource::open(path) {
        Ok(source) => panic!("{said:?}: opened, {:?}", source.entries()),
        Err(error) => error,
    };
    for said in said {
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
    assert!(error.hint().is_some(), "{error}");
    error
}

/// The same names, types, shapes and bits.
#[track_caller]
fn assert_same(found: &TensorSource, expected: &TensorSource) {
    let names = |source: &TensorSource| source.entries().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{}", found.path().display());
    for (name, entry) in expected.entries() {
        let other = &found.entries()[name];
        assert_eq!(other.dtype, entry.dtype, "{name}");
        assert_eq!(other.shape, entry.shape, "{name}");
        if entry.float.is_some() {
            let [a, b] = [found, expected].map(|source| tensor(source, name));
            assert_eq!(a.shape, b.shape, "{name}");
            assert_eq!(bits(&a.data), bits(&b.data), "{name}");
        } else {
            let error = found.tensor(name).unwrap().unwrap_err();
            assert!(matches!(error, CheckpointError::Dtype { .. }), "{error}");
        }
    }
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn what_pytorch_wrote_holds_what_safetensors_holds() {
    for name in FIXTURES {
        let expected = opened(&pickled(&format!("{name}.safetensors")));
        assert_same(&opened(&pickled(name)), &expected);
    }
}

#[test]
fn what_is_no_tensor_is_named() {
    let others = |name: &str| opened(&pickled(name)).others().to_vec();
    let training = ["args", "best", "epoch", "history", "optimizer.param_groups"];
    for name in ["zip.pth", "legacy.pth", "protocol4.pth"] {
        assert_eq!(others(name), training, "{name}");
    }
    assert!(others("script.pt").contains(&"layers.0.training".to_owned()));
    assert_eq!(others("views.pth"), [""; 0]);
}

#[test]
fn tensors_whose_numbers_are_not_read_are_listed_with_their_type() {
    let source = opened(&pickled("unusual.pth"));
    for (name, dtype, shape) in [
        ("float8", "F8_E4M3", &[2][..]),
        ("uint16", "U16", &[2]),
        ("complex", "C64", &[2]),
        ("sparse", "sparse", &[3, 3]),
        ("rows", "sparse", &[3, 3]),
        ("quantised", "quantised QINT8", &[2]),
        ("meta", "without data (meta)", &[2, 3]),
    ] {
        let entry = &source.entries()[name];
        assert_eq!((entry.dtype.as_str(), &entry.shape[..]), (dtype, shape));
        let error = source.tensor(name).unwrap().unwrap_err();
        assert!(matches!(error, CheckpointError::Dtype { .. }), "{error}");
    }
    let expected = opened(&pickled("unusual.pth.safetensors"));
    for name in ["plain", "parameter"] {
        assert_eq!(tensor(&source, name).data, tensor(&expected, name).data);
    }
    assert_eq!(source.entries().len(), 9);
    let others = [
        "big",
        "bytearray",
        "bytes",
        "complex_number",
        "counts",
        "default",
        "set",
        "slice",
    ];
    assert_eq!(source.others(), others);
}

#[test]
fn numbers_that_pytorch_has_still_to_change_are_not_read() {
    let source = opened(&pickled("lazy.pth"));
    let expected = opened(&pickled("lazy.pth.safetensors"));
    for (name, said) in [("negated", "neg"), ("conjugated", "conj")] {
        let entry = &source.entries()[name];
        assert!(
            entry.float.is_none() && entry.dtype.contains(said),
            "{name}"
        );
        let error = source.tensor(name).unwrap().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    for name in expected.entries().keys() {
        let [a, b] = [&source, &expected].map(|source| tensor(source, name));
        assert_eq!((a.shape, bits(&a.data)), (b.shape, bits(&b.data)), "{name}");
    }
    assert_eq!(source.entries().len(), 2 + expected.entries().len());
    assert_eq!(source.others(), ["queue", "rest"]);
    // The same words with protocol 0: what is set to false is not due, what is unknown is.
    let files = Files::new();
    let four = storage("FloatStorage", "0", 4);
    for (metadata, read) in [
        ("N", true),
        ("}", true),
        ("}S'neg'\nI00\ns", true),
        ("}S'neg'\nI01\ns", false),
        ("}S'conj'\nI01\ns", false),
        ("}S'other'\nI01\ns", false),
        ("I1\n", false),
    ] {
        for (function, dtype) in [
            ("_rebuild_tensor_v2", ""),
            ("_rebuild_tensor_v3", "ctorch\nfloat32\n"),
        ] {
            let pickle = format!(
                "}}S'a'\nctorch._utils\n{function}\n({four}I0\n(I4\nt(I1\ntI00\n}}{dtype}{metadata}tRs."
            );
            let source = opened(&files.write("x.pth", &archive(pickle.as_bytes())));
            assert_eq!(source.tensor("a").unwrap().is_ok(), read, "{pickle}");
        }
    }
}

#[test]
fn real_weights_of_torch_save_are_those_that_safetensors_holds() {
    let Some(folder) = shared("data/weights/mlde_vit") else {
        return;
    };
    let source = opened(&folder.join("source.pth"));
    let expected = opened(&folder.join("timm_names.safetensors"));
    for (name, theirs) in [
        ("cls_token", "class_token".to_owned()),
        ("pos_embed", "encoder.pos_embedding".to_owned()),
        ("patch_embed.proj.weight", "conv_proj.weight".to_owned()),
        ("norm.bias", "encoder.ln.bias".to_owned()),
    ]
    .into_iter()
    .chain(
        [
            ("blocks.1.attn.qkv.weight", "self_attention.in_proj_weight"),
            ("blocks.1.mlp.fc1.weight", "mlp.0.weight"),
            ("blocks.1.mlp.fc2.bias", "mlp.3.bias"),
            ("blocks.1.norm2.weight", "ln_2.weight"),
        ]
        .map(|(name, end)| (name, format!("encoder.layers.encoder_layer_1.{end}"))),
    ) {
        let [a, b] = [tensor(&source, &theirs), tensor(&expected, name)];
        assert_eq!((a.shape, bits(&a.data)), (b.shape, bits(&b.data)), "{name}");
    }
    assert_eq!(source.entries().len(), expected.entries().len());
}

/// A zip archive of stored entries; their method, and how long they claim to be once unpacked,
/// may be lies.
struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Zip {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            directory: Vec::new(),
            count: 0,
        }
    }

    fn entry(self, name: &str, data: &[u8]) -> Self {
        let length = data.len() as u32;
        self.lying(name, data, 0, length)
    }

    fn lying(mut self, name: &str, data: &[u8], method: u16, unpacked: u32) -> Self {
        let offset = self.bytes.len() as u32;
        let mut common = Vec::new();
        common.extend(
            [20u16, 0, method, 0, 0]
                .iter()
                .flat_map(|x| x.to_le_bytes()),
        );
        let numbers = [0, data.len() as u32, unpacked];
        common.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(data);
        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&common);
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.count += 1;
        self
    }

    fn end(mut self) -> Vec<u8> {
        let start = self.bytes.len() as u32;
        self.bytes.extend(&self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.count.to_le_bytes());
        self.bytes.extend(self.count.to_le_bytes());
        self.bytes
            .extend((self.directory.len() as u32).to_le_bytes());
        self.bytes.extend(start.to_le_bytes());
        self.bytes.extend([0, 0]);
        self.bytes
    }
}

/// An archive of `torch.save` around a pickle, with one storage `0` of 16 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    Zip::new()
        .entry("any name/data.pkl", pickle)
        .entry("any name/byteorder", b"little")
        .entry("any name/data/0", &[0; 16])
        .end()
}

/// Protocol 0's opcodes for the storage `key`, `("storage", torch.<class>, key, "cpu", elements)`.
fn storage(class: &str, key: &str, elements: i64) -> String {
    format!("(S'storage'\nctorch\n{class}\nS'{key}'\nS'cpu'\nI{elements}\ntQ")
}

/// A dictionary `{"a": tensor}` whose tensor is rebuilt with these arguments.
fn rebuilt(storage: &str, offset: &str, shape: &str, strides: &str) -> Vec<u8> {
    let numbers = |list: &str| {
        let each = list.split_whitespace().map(|n| format!("I{n}\n"));
        format!("({}t", each.collect::<String>())
    };
    let (shape, strides) = (numbers(shape), numbers(strides));
    format!(
        "}}S'a'\nctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{shape}{strides}I00\n}}tRs."
    )
    .into_bytes()
}

#[test]
fn views_stay_inside_their_storage() {
    let files = Files::new();
    let four = storage("FloatStorage", "0", 4);
    let view =
        |offset: &str, shape: &str, strides: &str| archive(&rebuilt(&four, offset, shape, strides));
    let fine = opened(&files.write("fine.pth", &view("0", "2 2", "1 2")));
    assert_eq!(tensor(&fine, "a").data, [0.0; 4]);
    for (offset, shape, strides) in [
        ("1", "2 2", "2 1"),
        ("4", "1", "1"),
        ("0", "2 2", "4 1"),
        ("0", "2 2", "9223372036854775807 1"),
        ("9223372036854775807", "1", "1"),
        ("0", "9223372036854775807 2", "0 0"),
        ("0", "4294967296 4294967296 4294967296", "0 0 0"),
        ("0", "0 4294967296 4294967296 4294967296", "0 0 0 0"),
        ("0", "1000000", "0"),
        ("0", "2", "1 1"),
        ("-1", "1", "1"),
        ("0", "-1", "1"),
        ("0", "2", "-1"),
        ("0", "99999999999999999999999", "1"),
        ("0", &"1 ".repeat(65), &"1 ".repeat(65)),
    ] {
        files.refused(&view(offset, shape, strides), &["x.pth is damaged"]);
    }
}

#[test]
fn storages_are_what_their_tensors_say() {
    let files = Files::new();
    let with = |storage: &str| archive(&rebuilt(storage, "0", "1", "1"));
    opened(&files.write("fine.pth", &with(&storage("DoubleStorage", "0", 2))));
    for (storage, said) in [
        (storage("FloatStorage", "0", 5), "data/0 has 16 bytes"),
        (storage("DoubleStorage", "0", 4), "data/0 has 16 bytes"),
        (storage("DoubleStorage", "0", i64::MAX), "overflows"),
        (storage("FloatStorage", "0", -4), "persistent id"),
        (storage("FloatStorage", "1", 4), "data/1 is missing"),
        (storage("FloatStorage", "../0", 4), "data/../0 is missing"),
        (storage("UntypedStorage", "0", 16), "element type"),
        (storage("Size", "0", 4), "persistent id"),
        (
            storage("FloatStorage", &"0".repeat(101), 4),
            "persistent id",
        ),
        ("I0\nQ".to_owned(), "persistent id"),
        ("N".to_owned(), "something else"),
    ] {
        files.refused(&with(&storage), &["x.pth is damaged", said]);
    }
    let two = [
        storage("FloatStorage", "0", 4),
        storage("LongStorage", "0", 2),
    ];
    let both = format!("({}{}t.", two[0], two[1]);
    files.refused(&archive(both.as_bytes()), &["in two ways"]);
}

#[test]
fn archives_that_lie_are_refused() {
    let files = Files::new();
    let four = rebuilt(&storage("FloatStorage", "0", 4), "0", "4", "1");
    let around = || Zip::new().entry("r/data.pkl", &four);
    let fine = around().entry("r/data/0", &[0; 16]).end();
    assert_eq!(opened(&files.write("fine.pth", &fine)).entries().len(), 1);
    let twice = around()
        .entry("r/data/0", &[0; 16])
        .entry("r/data/0", &[1; 16]);
    files.refused(&twice.end(), &["two entries called r/data/0"]);
    let bomb = around().lying("r/data/0", &[0; 16], 8, u32::MAX - 1);
    files.refused(&bomb.end(), &["r/data/0", "compressed"]);
    let bomb = Zip::new().lying("r/data.pkl", &four, 8, u32::MAX - 1);
    files.refused(&bomb.end(), &["r/data.pkl", "compressed"]);
    let stored_bomb = around().lying("r/data/0", &[0; 16], 0, 1 << 30);
    files.refused(&stored_bomb.end(), &["r/data/0"]);
    let big = around()
        .entry("r/data/0", &[0; 16])
        .entry("r/byteorder", b"big");
    files.refused(&big.end(), &["big-endian"]);
    let two = around().entry("s/data.pkl", b"N.").end();
    files.refused(&two, &["r/data.pkl as well as s/data.pkl"]);
    let arrays = Zip::new().entry("a.npy", b"\x93NUMPY").end();
    files.refused(&arrays, &[".npz"]);
    files.refused(&Zip::new().entry("a", b"").end(), &["without data.pkl"]);
    files.refused(&Zip::new().end(), &["without data.pkl"]);
    // The storage is claimed to be where the pickle is.
    let mut overlapping = around().entry("r/data/0", &[0; 16]).end();
    let named = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).rposition(|x| x == name);
    let offset = named(&overlapping, b"r/data/0").unwrap() - 4;
    overlapping[offset..offset + 4].fill(0);
    files.refused(&overlapping, &["another name for r/data/0"]);
    // An entry inside another's bytes.
    let mut inner = Zip::new().entry("r/data/1", &[0; 16]);
    let both = ["0", "1"].map(|key| rebuilt(&storage("FloatStorage", key, 4), "0", "4", "1"));
    let [one, two] = both.map(|pickle| pickle[..pickle.len() - 1].to_vec());
    let pickle = [b"(".to_vec(), one, two, b"t.".to_vec()].concat();
    let mut outer = Zip::new()
        .entry("r/data.pkl", &pickle)
        .entry("r/data/0", &inner.bytes);
    let offset = (outer.bytes.len() - inner.bytes.len()) as u32;
    inner.directory[42..46].copy_from_slice(&offset.to_le_bytes());
    outer.directory.extend(&inner.directory);
    outer.count += 1;
    files.refused(&outer.end(), &["zip entries 0 and 1 overlap"]);
    for offset in [fine.len() as u32, u32::MAX - 1] {
        let mut outside = fine.clone();
        let at = named(&outside, b"r/data/0").unwrap() - 4;
        outside[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        files.refused(&outside, &["zip archive"]);
    }
}

#[test]
fn nothing_that_a_pickle_asks_for_is_executed() {
    let files = Files::new();
    let mark = files.0.path().join("executed");
    let command = format!("touch {}", mark.display());
    let unicode = |text: &str| {
        let mut bytes = vec![b'X'];
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    };
    let global = format!("cposix\nsystem\n(S'{command}'\ntR.").into_bytes();
    let inst = format!("(S'{command}'\niposix\nsystem\n.").into_bytes();
    let object = format!("(cposix\nsystem\nS'{command}'\no.").into_bytes();
    let mut second = b"\x80\x02cposix\nsystem\n".to_vec();
    second.extend(unicode(&command));
    second.extend(b"\x85R.");
    let stack = [
        b"\x80\x04".to_vec(),
        unicode("posix"),
        unicode("system"),
        b"\x93".to_vec(),
        unicode(&command),
        b"\x85R.".to_vec(),
    ]
    .concat();
    for pickle in [&global, &inst, &object, &second, &stack] {
        for bytes in [archive(pickle), pickle.clone()] {
            let error = files.refused(&bytes, &["posix.system"]);
            assert!(error.hint().unwrap().contains("somewhere else"));
        }
    }
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("builtins", "__import__"),
        ("subprocess", "Popen"),
        ("collections", "OrderedDict.__init__"),
        ("torch", "load"),
        ("torch._utils", "import_dill"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("omegaconf.resolvers", "env"),
        ("mmcv", "Config.fromfile"),
        ("pathlib", "Path.unlink"),
        ("_codecs", "decode"),
        ("torch.jit._pickle", "build_tensor_from_id"),
        ("__torch_", "x"),
        ("my.models", "VisionTransformer"),
    ] {
        let pickle = format!("c{module}\n{name}\n(tR.");
        files.refused(&archive(pickle.as_bytes()), &[&format!("{module}.{name}")]);
    }
    // Only of what runs something the hint says that it may.
    for (module, name, hint) in [
        ("builtins", "eval", "somewhere else"),
        ("__builtin__", "__import__", "somewhere else"),
        ("functools", "reduce", "somewhere else"),
        ("operator", "methodcaller", "somewhere else"),
        ("builtins", "print", "torch.save"),
        ("builtins", "len", "torch.save"),
        ("__builtin__", "getattr", "torch.save"),
        ("functools", "partialmethod", "torch.save"),
        ("itertools", "count", "torch.save"),
        ("my.models", "VisionTransformer", "torch.save"),
    ] {
        let error = files.refused(format!("c{module}\n{name}\n.").as_bytes(), &[name]);
        assert!(error.hint().unwrap().contains(hint), "{module}.{name}");
    }
    let module = refused(&pickled("module.pth"), &["torch.nn.modules.linear.Linear"]);
    assert!(module.hint().unwrap().contains("state_dict()"), "{module}");
    // A name that would fill the screen is cut.
    let long = format!("cmy\n{}\n.", "x".repeat(100_000));
    assert!(
        files
            .refused(&archive(long.as_bytes()), &["my.xx"])
            .to_string()
            .len()
            < 1000
    );
    assert!(!mark.exists());
}

#[test]
fn known_names_with_hostile_arguments_are_refused() {
    let files = Files::new();
    for pickle in [
        "ctorch._utils\n_rebuild_tensor_v2\n(tR.",
        "ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        "ctorch._utils\n_rebuild_tensor_v2\nNR.",
        "ctorch._utils\n_rebuild_parameter\n(NI01\n}tR.",
        "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN(tNtR.",
        "ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nN(tNtR.",
        "ctorch\nFloatStorage\n(tR.",
        "ctorch\nSize\n(tR.",
        "ccollections\nOrderedDict\n((I1\ntp0\n((g0\ng0\ng0\nttR.",
        "ccollections\nOrderedDict\n(I1\ntR.",
        "ccollections\nOrderedDict\nI1\nb.",
        "cbuiltins\nset\n(I1\ntR.",
        "NI1\ntR.",
        "I1\n(tR.",
        "}I1\ns.",
        "I1\nI2\na.",
        "N}b.",
        "Pstorage\n.",
        "g7\n.",
        "(.",
        ".",
        "0.",
        "1.",
        "(I1\n0",
        "\u{1}",
    ] {
        files.refused(&archive(pickle.as_bytes()), &["x.pth is damaged"]);
    }
    let codes: [&[u8]; 10] = [
        b"\x82\x01.",
        b"\x97.",
        b"\x98.",
        b"\x80\x06N.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
        b"X\xff\xff\xff\x7fa.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
        b"\x8b\xff\xff\xff\xff\x01.",
        b"T\xff\xff\xff\xffa.",
        b"X\x02\x00\x00\x00\xff\xff.",
    ];
    for pickle in codes {
        files.refused(&archive(pickle), &["x.pth is damaged"]);
    }
}

#[test]
fn nesting_is_bounded() {
    let files = Files::new();
    let four = storage("FloatStorage", "0", 4);
    let tensor = format!("ctorch._utils\n_rebuild_tensor_v2\n({four}I0\n(I4\nt(I1\ntI00\n}}tR");
    // Half a million tuples inside each other, around a number and around a tensor.
    let deep = |inside: &str| [inside.as_bytes(), &b"\x85".repeat(1 << 19), b"."].concat();
    let number = files.write("deep.pth", &archive(&deep("I1\n")));
    assert_eq!(opened(&number).entries().len(), 0);
    files.refused(
        &archive(&deep(&tensor)),
        &["dictionaries inside each other"],
    );
    let marks = b"(".repeat(1 << 20);
    files.refused(&archive(&marks), &["damaged"]);
    // Forty doublings, around a number and around a tensor.
    let doubled = |inside: &str| [inside.as_bytes(), &b"2\x86".repeat(40), b"."].concat();
    let number = files.write("laughs.pth", &archive(&doubled("I1\n")));
    assert_eq!(opened(&number).entries().len(), 0);
    files.refused(&archive(&doubled(&tensor)), &["too many names"]);
    // A list that holds itself beside a tensor.
    let circle = format!("]q\0h\0a{tensor}a.");
    files.refused(&archive(circle.as_bytes()), &["inside each other"]);
    // Copies of a list, again and again.
    let list = [b"](".to_vec(), b"N".repeat(1 << 16), b"eq\0".to_vec()].concat();
    let copies = b"0cbuiltins\nlist\nh\0\x85R".repeat(200);
    files.refused(&archive(&[list, copies].concat()), &["too many opcodes"]);
    let values = b"N0".repeat(1 << 22);
    files.refused(&archive(&[values, b"NN.".to_vec()].concat()), &["too many"]);
}

#[test]
fn names_that_collide_are_refused() {
    let files = Files::new();
    let four = storage("FloatStorage", "0", 4);
    let tensor = format!("ctorch._utils\n_rebuild_tensor_v2\n({four}I0\n(I4\nt(I1\ntI00\n}}tR");
    for pickle in [
        format!("}}S'a'\n{tensor}sS'a'\n{tensor}s."),
        format!("}}I1\n{tensor}sS'1'\n{tensor}s."),
        format!("}}S'a.b'\n{tensor}sS'a'\n}}S'b'\n{tensor}ss."),
    ] {
        files.refused(&archive(pickle.as_bytes()), &["two tensors are called"]);
    }
}

/// What a damaged fixture does: an error, or tensors that can be read.
fn survives(files: &Files, bytes: &[u8]) -> bool {
    match TensorSource::open(&files.write("x.pth", bytes)) {
        Ok(source) => {
            for name in source.entries().keys() {
                let _ = source.tensor(name).unwrap();
            }
            true
        }
        Err(error) => {
            assert!(error.hint().is_some());
            false
        }
    }
}

#[test]
fn no_truncation_and_no_flipped_bit_does_worse_than_an_error() {
    let files = Files::new();
    let whole = ["dtypes.pth.safetensors", "module.pth", "unusual.pth"];
    for name in whole.into_iter().chain(FIXTURES) {
        let bytes = std::fs::read(pickled(name)).unwrap();
        for length in (0..bytes.len()).step_by(97) {
            assert!(!survives(&files, &bytes[..length]), "{name} {length}");
        }
        for at in (0..bytes.len()).step_by(89) {
            for flip in [0x01, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[at] ^= flip;
                survives(&files, &flipped);
            }
        }
        files.refused(&[&bytes[..], b"more"].concat(), &["x.pth"]);
    }
}

#[test]
fn legacy_files_that_lie_are_refused() {
    let files = Files::new();
    let bytes = std::fs::read(pickled("legacy_views.pth")).unwrap();
    let at = |what: &[u8]| bytes.windows(what.len()).position(|x| x == what).unwrap();
    let protocol = at(b"\x80\x02M\xe9\x03.") + 3;
    let endian = at(b"little_endian");
    let endian = endian + bytes[endian..].iter().position(|&x| x == 0x88).unwrap();
    for (at, byte, said) in [(protocol, 0, "protocol"), (endian, 0x89, "big-endian")] {
        let mut changed = bytes.clone();
        changed[at] = byte;
        files.refused(&changed, &[said]);
    }
    files.refused(b"\x80\x02}q\0.", &["torch.save did not write"]);
    files.refused(b"c just a text\nof two lines\n", &["no safetensors header"]);
}

/// A key and the shard that an index says it is in.
type Member = (String, String);

#[test]
fn a_checkpoint_in_several_files_is_one() {
    let bench = Bench::empty();
    bench.model("model.safetensors", &tiny(), 1);
    let whole = opened(&bench.path("model.safetensors"));
    let half = |first: bool| {
        let path = bench.path(if first {
            "a.safetensors"
        } else {
            "b.safetensors"
        });
        bench.model_with(
            path.file_name().unwrap().to_str().unwrap(),
            &tiny(),
            1,
            |name, tensor| (name.starts_with("blocks") == first).then_some(tensor),
        );
    };
    half(true);
    half(false);
    let index = |change: &dyn Fn(&str, &str) -> Vec<Member>| {
        let listed = whole.entries().keys().flat_map(|name| {
            let shard = if name.starts_with("blocks") { "a" } else { "b" };
            change(name, &format!("{shard}.safetensors"))
        });
        let members: Vec<_> = listed
            .map(|(name, shard)| format!("{name:?}: {shard:?}"))
            .collect();
        format!(
            r#"{{"metadata": {{"total_size": 1}}, "weight_map": {{{}}}}}"#,
            members.join(", ")
        )
    };
    let same = |name: &str, shard: &str| vec![(name.to_owned(), shard.to_owned())];
    let fine = index(&same);
    bench.write("sharded/model.safetensors.index.json", &fine);
    for shard in ["a.safetensors", "b.safetensors"] {
        let bytes = std::fs::read(bench.path(shard)).unwrap();
        bench.write(&format!("sharded/{shard}"), bytes);
    }
    let path = bench.path("sharded/model.safetensors.index.json");
    let source = opened(&path);
    assert_same(&source, &whole);
    let hashes = ["a.safetensors", "b.safetensors"]
        .map(|shard| blake3::hash(&std::fs::read(bench.path(shard)).unwrap()));
    let hashes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    assert_eq!(source.blake3().unwrap(), blake3::hash(&hashes).to_string());
    assert_eq!(source.files().count(), 3);
    assert_same(&opened(&bench.path("sharded")), &whole);
    let error = refused(&bench.path("sharded/model.safetensors"), &["is not there"]);
    assert!(error.hint().unwrap().contains("index.json"), "{error}");
    for (other, said) in [
        (
            fine.replace("\"a.safetensors", "\"../a.safetensors"),
            "no plain file name",
        ),
        (
            fine.replace("\"a.safetensors", "\"/etc/passwd"),
            "no plain file name",
        ),
        (
            fine.replace("\"a.safetensors", "\"c.safetensors"),
            "c.safetensors is not there",
        ),
        (
            fine.replace("\"a.safetensors", "\"model.safetensors.index.json"),
            "it is JSON",
        ),
        (
            index(&|name, shard| {
                let gone = name == "cls_token";
                if gone { Vec::new() } else { same(name, shard) }
            }),
            "holds cls_token, and the map does not say so",
        ),
        (
            index(&|name, _| same(name, "a.safetensors")),
            "cls_token should be in a.safetensors",
        ),
        (
            index(&|name, shard| [same(name, shard), same(name, shard)].concat()),
            "is there twice",
        ),
        ("{}".to_owned(), "no index of shards"),
        ("{\"weight_map\": [1]}".to_owned(), "no index of shards"),
        ("{\"weight_map\": {".to_owned(), "no index of shards"),
    ] {
        bench.write("sharded/model.safetensors.index.json", other);
        refused(&path, &[said]);
    }
    let both = index(&|name, _| {
        same(
            name,
            if name < "c" {
                "a.safetensors"
            } else {
                "c.safetensors"
            },
        )
    });
    bench.write(
        "sharded/c.safetensors",
        std::fs::read(bench.path("model.safetensors")).unwrap(),
    );
    bench.write("sharded/model.safetensors.index.json", both);
    refused(
        &path,
        &["blocks.0", "in c.safetensors as well as in a.safetensors"],
    );
    bench.write("sharded/model.safetensors.index.json", fine);
    let source = opened(&path);
    source.check_unchanged().unwrap();
    bench.write("sharded/b.safetensors", b"shorter");
    assert!(source.check_unchanged().is_err());
}

#[test]
fn names_that_a_safetensors_header_has_twice_are_refused() {
    let files = Files::new();
    let tensor =
        |shape: &str| format!(r#""a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,8]}}"#);
    let header = format!("{{{},{}}}", tensor("2"), tensor("1,2"));
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length[..], header.as_bytes(), &[0; 8]].concat();
    files.refused(&bytes, &["a is there twice"]);
}

/// A safetensors file of this header, and this many bytes after it.
fn headed(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

/// A tensor without elements under `name`.
fn nothing(name: &str) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)
}

#[test]
fn what_stands_before_the_tensors_is_bounded() {
    const MOST_NAMES: usize = 1 << 18;
    let files = Files::new();
    let before = std::time::Instant::now();
    let names = |count: usize| {
        let each: Vec<_> = (0..count).map(|i| nothing(&i.to_string())).collect();
        headed(&format!("{{{}}}", each.join(",")), 0)
    };
    let many = opened(&files.write("many.safetensors", &names(MOST_NAMES)));
    assert_eq!(many.entries().len(), MOST_NAMES);
    let error = files.refused(&names(MOST_NAMES + 1), &["too many names"]);
    assert!(matches!(error, CheckpointError::Excessive { .. }));
    let named = |name: &str| headed(&format!("{{{}}}", nothing(name)), 0);
    opened(&files.write("long.safetensors", &named(&"x".repeat(4096))));
    let long = "x".repeat(4097);
    files.refused(&named(&long), &["too many characters in one name"]);
    let axes = |count: usize| {
        let shape = vec!["1"; count].join(",");
        let tensor = format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,4]}}}}"#);
        headed(&tensor, 4)
    };
    opened(&files.write("axes.safetensors", &axes(64)));
    files.refused(&axes(65), &["more than 64 axes"]);
    files.refused(&axes(20_000_000), &["more than 64 axes"]);
    let text = r#""":"","#.repeat(1 << 20);
    let described = format!(r#"{{"__metadata__":{{{text}"a":""}},{}}}"#, nothing("a"));
    opened(&files.write("described.safetensors", &headed(&described, 0)));
    // A header of 80 MiB, which takes no space on most file systems.
    let path = files.write("header.safetensors", &headed("{", 0));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(80 << 20).unwrap();
    let length = (80u64 << 20) - 8;
    std::io::Write::write_all(&mut &file, &length.to_le_bytes()).unwrap();
    refused(&path, &["too many bytes in its header"]);

    let index = |members: &str| format!(r#"{{"weight_map":{{{members}}}}}"#);
    let each: Vec<_> = (0..=MOST_NAMES).map(|i| format!(r#""{i}":"a""#)).collect();
    files.refused(index(&each.join(",")).as_bytes(), &["too many names"]);
    let one = index(&format!(r#""{long}":"a""#));
    files.refused(one.as_bytes(), &["too many characters in one name"]);
    let path = files.write("long.index.json", b"{");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(80 << 20).unwrap();
    refused(&path, &["too many bytes for an index"]);

    let four = storage("FloatStorage", "0", 4);
    let tensor = format!("ctorch._utils\n_rebuild_tensor_v2\n({four}I0\n(I4\nt(I1\ntI00\n}}tR");
    let pickle = format!("}}S'{long}'\n{tensor}s.");
    let said = ["too many characters in one name"];
    files.refused(&archive(pickle.as_bytes()), &said);
    let took = before.elapsed();
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}

#[test]
#[cfg(unix)]
fn what_is_no_regular_file_is_not_opened() {
    let files = Files::new();
    let at = |name: &str| files.0.path().join(name);
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe.pth"))
        .status();
    assert!(made.unwrap().success());
    let said = ["no regular file"];
    refused(&at("pipe.pth"), &said);
    refused(Path::new("/dev/zero"), &said);
    refused(Path::new("/dev/null"), &said);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    refused(&at("socket"), &said);
    std::os::unix::fs::symlink(at("pipe.pth"), at("link.pth")).unwrap();
    refused(&at("link.pth"), &said);
    let index = r#"{"weight_map": {"a": "pipe.pth"}}"#;
    refused(&files.write("x.index.json", index.as_bytes()), &said);
    std::os::unix::fs::symlink(at("b"), at("a")).unwrap();
    std::os::unix::fs::symlink(at("a"), at("b")).unwrap();
    refused(&at("a"), &["a"]);
    std::os::unix::fs::symlink(pickled("zip.pth"), at("fine.pth")).unwrap();
    assert!(!opened(&at("fine.pth")).entries().is_empty());
}

#[test]
fn what_cannot_be_read_has_a_hint_of_its_kind() {
    let files = Files::new();
    let error = refused(&files.0.path().join("x.pth"), &["x.pth"]);
    assert!(error.hint().unwrap().contains("card (.toml)"), "{error}");
    let hint = |kind: std::io::ErrorKind| {
        let error = CheckpointError::Read {
            path: PathBuf::from("x"),
            source: kind.into(),
        };
        error.hint().unwrap()
    };
    assert!(hint(std::io::ErrorKind::PermissionDenied).contains("readable"));
    assert!(!hint(std::io::ErrorKind::Other).contains("card"));
}

#[test]
fn a_file_that_was_shortened_is_an_error_where_it_is_read() {
    let files = Files::new();
    let length = 8 << 20;
    let header = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{length}]}}}}"#,
        length / 4
    );
    let rows = rebuilt(&storage("FloatStorage", "0", 4), "0", "2 2", "1 2");
    for (name, bytes) in [
        ("x.safetensors", headed(&header, length)),
        ("x.pth", archive(&rows)),
    ] {
        let path = files.write(name, &bytes);
        let source = opened(&path);
        assert!(source.tensor("a").unwrap().is_ok());
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(100).unwrap();
        let changed = |error: &CheckpointError| matches!(error, CheckpointError::Changed { .. });
        assert!(changed(&source.tensor("a").unwrap().unwrap_err()), "{name}");
        assert!(changed(&source.blake3().unwrap_err()), "{name}");
        assert!(changed(&source.check_unchanged().unwrap_err()), "{name}");
    }
}

#[test]
fn a_pickle_that_is_longer_than_what_is_read_first_is_read_whole() {
    // A list of four million bytes beside the tensor of a file from before PyTorch 1.6.
    let files = Files::new();
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.}.");
    let long = 4_000_000u32;
    let four = storage("FloatStorage", "0", 4);
    let tensor = format!("ctorch._utils\n_rebuild_tensor_v2\n({four}I0\n(I4\nt(I1\ntI00\n}}tR");
    bytes.extend(b"}S'b'\nT");
    bytes.extend(long.to_le_bytes());
    bytes.extend(vec![b'x'; long as usize]);
    bytes.extend(format!("sS'a'\n{tensor}s.(S'0'\nl.").as_bytes());
    bytes.extend(4u64.to_le_bytes());
    bytes.extend([1f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
    let source = opened(&files.write("x.pth", &bytes));
    assert_eq!(tensor_of(&source), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(source.others(), ["b"]);
    let at = bytes.len() - 100;
    files.refused(&bytes[..at], &["x.pth is damaged"]);
    files.refused(&bytes[..1 << 20], &["cut off"]);
}

fn tensor_of(source: &TensorSource) -> Vec<f32> {
    tensor(source, "a").data
}

#[test]
fn a_file_cannot_write_lines_of_its_own() {
    let bench = Bench::empty();
    let key = r"optimizer.x\nerror: forged\u001b[2J\u202e";
    let bytes = headed(&format!("{{{}}}", nothing(key)), 0);
    bench.write("x.safetensors", &bytes);
    let run = bench.run(&["inspect", "x.safetensors"]);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("\nerror: forged"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    let twice = [nothing(key), nothing(key)].join(",");
    bench.write("x.safetensors", headed(&format!("{{{twice}}}"), 0));
    let run = bench.run(&["inspect", "x.safetensors"]);
    run.refused(&["is there twice", "\\nerror: forged"]);
    let dtype = nothing("a").replace("F32", key);
    bench.write("x.safetensors", headed(&format!("{{{dtype}}}"), 0));
    let run = bench.run(&["inspect", "x.safetensors"]);
    run.refused(&["\\nerror: forged"]);
    assert!(!run.stderr.contains('\u{1b}'));
    let card = format!("name = \"x\"\n\"{key}\" = 1\n[file]\npath = \"x.pth\"\n");
    bench.write("x.toml", card);
    let run = bench.run(&["inspect", "x.toml"]);
    run.refused(&["x.toml: line 2: "]);
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
}

#[test]
fn a_table_of_keys_has_room_for_any_key() {
    let bench = Bench::empty();
    bench.model_with("x.safetensors", &tiny(), 1, |_, tensor| Some(tensor));
    let long = format!(
        "{{{}}}",
        nothing(&format!("optimizer.{}", "x".repeat(4000)))
    );
    bench.write("y.safetensors", headed(&long, 0));
    let run = bench.run(&["inspect", "y.safetensors"]);
    assert!(run.code != Some(101), "{}", run.stderr);
    let longest = [&run.stdout, &run.stderr].map(|text| text.lines().map(str::len).max());
    assert!(longest < [Some(400), Some(1000)], "{longest:?}");
}

#[test]
fn tensors_over_the_same_numbers_are_not_written_without_end() {
    let bench = Bench::empty();
    // A storage of one MiB, a hundred times.
    let numbers = 1 << 18;
    let whole = storage("FloatStorage", "0", numbers);
    let tensor =
        format!("ctorch._utils\n_rebuild_tensor_v2\n({whole}I0\n(I{numbers}\nt(I1\ntI00\n}}tR");
    let aliases = |count: usize| {
        let pickle = format!("]({}e.", tensor.repeat(count));
        Zip::new()
            .entry("x/data.pkl", pickle.as_bytes())
            .entry("x/data/0", &vec![0; numbers as usize * 4])
            .end()
    };
    let convert = |count: usize| {
        bench.write("x.pth", aliases(count));
        let names = ["--names", "original", "--force"];
        bench.run(&[&["convert", "x.pth", "x.safetensors"][..], &names].concat())
    };
    convert(60).ok();
    convert(100).refused(&["too many tensors over the same numbers"]);
}

/// The highest the process's memory has been, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures the whole process: cargo test --test it sources::memory -- --ignored"]
fn memory_holds_one_tensor_at_a_time() {
    let files = Files::new();
    // 336 MiB of zeros, which take no space on most file systems.
    let (tensors, length) = (112, 3 << 20);
    let members: Vec<_> = (0..tensors)
        .map(|i| {
            let [from, to] = [i, i + 1].map(|i| i * length);
            let shape = length / 4;
            format!(r#""{i}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", members.join(","));
    let start = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let path = files.write("large.safetensors", &start);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len((start.len() + tensors * length) as u64)
        .unwrap();
    let before = peak();
    let source = opened(&path);
    source.blake3().unwrap();
    for name in source.entries().keys() {
        assert_eq!(tensor(&source, name).data.len(), length / 4);
    }
    let grown = peak() - before;
    println!("grown by {grown} KiB");
    assert!(grown < 32 << 10, "grown by {grown} KiB");
}
