//! What is done with untrusted bytes, one function a kind of input. The fuzz targets call these,
//! and so does `tests/it/corpora.rs`: it replays the corpora on the stable toolchain.
//!
//! An input may be refused or accepted; a panic is a fault, and so are tensors that do not have
//! their shape.

use std::path::Path;
use std::sync::LazyLock;

use mimbench::checkpoint::card::Card;
use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, CheckpointError, LoadOptions, audit_file, save};
use mimbench::data::segmentation::{IGNORED_LABEL, LabelMap, MaskSpec};
use mimbench::data::{
    Colour, Dataset, ImageError, InputSpec, Interpolation, Limits, OpenOptions, Preprocessor,
    Resize, decode,
};
use mimbench::engine::HostTensor;
use mimbench::nn::{TensorStore, Weights};
use mimbench::spec::{Kind, Protocol, Setting, SpecError};
use mimbench::vit::{RelativeBias, VitConfig, random_weights};
use tempfile::TempDir;

/// A target and its name, which its folder of `fuzz/corpus` has too.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("card", card),
    ("config", config),
    ("image", image),
    ("index", index),
    ("mask", mask),
    ("pickle", pickle),
    ("protocol", protocol),
    ("safetensors", safetensors),
    ("shard", shard),
    ("torch", torch),
];

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("x.safetensors", bytes);
    folder.load("x.safetensors");
}

/// A file that `torch.save` or `torch.jit.save` wrote: a zip archive, or pickles in a row.
pub fn torch(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("x.pth", bytes);
    folder.load("x.pth");
}

/// The pickle in an archive of `torch.save`, beside storages of 64 bytes called 0 and 1.
pub fn pickle(bytes: &[u8]) {
    let storage = [0x3f; 64];
    torch(&archive(&[
        ("x/data.pkl", bytes),
        ("x/data/0", &storage),
        ("x/data/1", &storage),
    ]));
}

/// The index of a checkpoint whose tensors are in `a.safetensors` and `b.safetensors`.
pub fn index(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("a.safetensors", &MODEL.blocks);
    folder.write("b.safetensors", &MODEL.rest);
    folder.write("x.index.json", bytes);
    folder.load("x.index.json");
}

/// The `config.json` beside the weights.
pub fn config(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("x.safetensors", &MODEL.whole);
    folder.write("config.json", bytes);
    folder.load("x.safetensors");
}

/// The card of `x.safetensors`.
pub fn card(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("x.safetensors", &MODEL.whole);
    folder.write("x.toml", bytes);
    match Card::read(&folder.path("x.toml")) {
        Ok(card) => {
            for published in &card.published {
                std::hint::black_box(published.to_string());
            }
            if let Err(error) = card.weights(&folder.path("x.toml")) {
                explain(&error);
            }
            folder.load("x.safetensors");
        }
        Err(error) => explain(&error),
    }
}

/// A protocol, and settings in lines that begin with `--set `.
pub fn protocol(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let setting = |line: &str| line.strip_prefix("--set ").map(str::to_owned);
    let settings: Vec<_> = text.lines().filter_map(setting).map(Setting).collect();
    let lines = text.split_inclusive('\n');
    let text: String = lines.filter(|line| setting(line).is_none()).collect();
    let folder = Folder::new();
    folder.write("base.toml", Kind::Knn.builtin().as_bytes());
    folder.write("x.toml", text.as_bytes());
    let read = |path: &Path, settings: &[Setting]| Protocol::read(path, None, settings);
    match read(&folder.path("x.toml"), &settings) {
        Ok(protocol) => {
            folder.write("y.toml", protocol.text.as_bytes());
            let again: Result<_, SpecError> = read(&folder.path("y.toml"), &[]);
            let again = again
                .map(|again| again.hash)
                .map_err(|error| error.to_string());
            assert_eq!(
                again,
                Ok(protocol.hash),
                "what a record keeps is the protocol"
            );
        }
        Err(error) => {
            std::hint::black_box((error.to_string(), error.hint()));
        }
    }
}

/// An image file, decoded and made an input.
pub fn image(bytes: &[u8]) {
    let limits = Limits {
        max_pixels: 1 << 16,
    };
    let sound = |error: ImageError| {
        std::hint::black_box(error.hint());
        // What `decode` makes of a decoder's panic.
        assert!(
            !error.to_string().contains("make sense"),
            "a decoder panicked"
        );
    };
    for (colour, channels) in [(Colour::Rgb, 3), (Colour::Grey, 1)] {
        match decode(bytes, colour, &limits) {
            Ok(pixels) => assert_eq!(pixels.data.len(), pixels.width * pixels.height * channels),
            Err(error) => sound(error),
        }
    }
    let (size, interpolation) = match bytes.len() % 2 {
        0 => (Resize::Shorter(24), Interpolation::Bicubic),
        _ => (Resize::Exact, Interpolation::Bilinear),
    };
    let spec = InputSpec {
        height: 16,
        width: 20,
        channels: 3,
        resize: size,
        interpolation,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    match Preprocessor::new(spec, limits) {
        Ok(mut preprocessor) => {
            let mut input = vec![f32::NAN; 3 * 16 * 20];
            match preprocessor.apply(bytes, &mut input) {
                Ok(()) => assert!(input.iter().all(|x| x.abs() <= 2.0)),
                Err(error) => sound(error),
            }
        }
        Err(error) => sound(error),
    }
}

/// The mask of a scene, whatever its values mean.
pub fn mask(bytes: &[u8]) {
    let limits = Limits {
        max_pixels: 1 << 16,
    };
    for (classes, ignore, reduce_zero_label) in [
        (5, None, true),
        (5, Some(255), false),
        (256, None, false),
        (2, Some(1), false),
    ] {
        let spec = MaskSpec {
            classes,
            ignore,
            reduce_zero_label,
        };
        match LabelMap::read(bytes, &spec, &limits, || "m.png".to_owned()) {
            Ok(map) => {
                assert_eq!(map.labels.len(), map.width * map.height);
                let known = |&label: &u16| label == IGNORED_LABEL || u32::from(label) < classes;
                assert!(map.labels.iter().all(known), "a label without a class");
            }
            Err(error) => {
                std::hint::black_box(error.hint());
            }
        }
    }
}

/// A tar shard, as both splits of a dataset.
pub fn shard(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("train-0.tar", bytes);
    folder.write("val-0.tar", bytes);
    match Dataset::open(folder.0.path(), &OpenOptions::default()) {
        Ok(dataset) => {
            for (i, sample) in dataset.train.samples.iter().enumerate() {
                assert!((sample.label as usize) < dataset.classes.len());
                if let Ok(bytes) = dataset.train.read(i) {
                    assert_eq!(bytes.len() as u64, sample.bytes);
                }
            }
        }
        Err(error) => {
            std::hint::black_box((error.to_string(), error.hint()));
        }
    }
}

/// A ViT of one block, whole and in two shards, as safetensors files.
struct Model {
    whole: Vec<u8>,
    blocks: Vec<u8>,
    rest: Vec<u8>,
}

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let config = VitConfig {
        mlp_width: 16,
        relative_bias: Some(RelativeBias::PerBlock),
        ..VitConfig::plain(2, [2, 2], (8, 1, 2))
    };
    let weights = random_weights(&config, 1);
    let folder = Folder::new();
    let file = |holds: &dyn Fn(&str) -> bool| {
        let mut part = Weights::default();
        for (name, tensor) in weights.iter().filter(|(name, _)| holds(name)) {
            part.insert(name.to_owned(), tensor.clone());
        }
        save(&folder.path("x"), &part).expect("a model is saved");
        std::fs::read(folder.path("x")).expect("a file that was just written is read")
    };
    Model {
        whole: file(&|_| true),
        blocks: file(&|name| name.starts_with("blocks")),
        rest: file(&|name| !name.starts_with("blocks")),
    }
});

/// A folder of its own for every input.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder is made"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("an input is written");
    }

    /// Does with a file what `inspect` and loading a model do.
    fn load(&self, name: &str) {
        let path = self.path(name);
        match TensorSource::open(&path) {
            Ok(source) => {
                if let Err(error) = source.blake3() {
                    explain(&error);
                }
                for (name, entry) in source.entries() {
                    match source.tensor(name) {
                        Some(Ok(tensor)) => {
                            assert_eq!(tensor.shape, entry.shape, "{name}");
                            whole(name, &tensor);
                        }
                        Some(Err(error)) => explain(&error),
                        None => panic!("{name} is listed and not there"),
                    }
                }
            }
            Err(error) => explain(&error),
        }
        if let Err(error) = audit_file(&path, &LoadOptions::default()) {
            explain(&error);
        }
        match Checkpoint::open(&path, &LoadOptions::default()) {
            Ok(checkpoint) => {
                // Larger tables cost what they must.
                if checkpoint.config.grid.iter().any(|&side| side > 64) {
                    return;
                }
                let mut weights = checkpoint.weights();
                for name in weights.left() {
                    if let Ok(tensor) = weights.take(&name) {
                        whole(&name, &tensor);
                    }
                }
            }
            Err(error) => explain(&error),
        }
    }
}

/// As many numbers as the shape says.
fn whole(name: &str, tensor: &HostTensor) {
    let elements: usize = tensor.shape.iter().product();
    assert_eq!(tensor.data.len(), elements, "{name}");
}

/// What the program would print.
fn explain(error: &CheckpointError) {
    std::hint::black_box((error.to_string(), error.hint()));
}

/// A zip archive of stored entries (PKWARE's APPNOTE.TXT 6.3.10: 4.3.7, 4.3.12, 4.3.16), its
/// checksums zero.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let offset = bytes.len() as u32;
        let length = (data.len() as u32).to_le_bytes();
        // Version, flags, method, time, date, checksum; lengths of the data, name and extra field.
        let mut common = vec![0; 14];
        common[0] = 20;
        common.extend(length);
        common.extend(length);
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = bytes.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}
