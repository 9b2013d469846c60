//! What several tests need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mimbench::checkpoint::save;
use mimbench::checkpoint::source::TensorSource;
use mimbench::engine::HostTensor;
use mimbench::nn::Weights;
use mimbench::vit::{VitConfig, random_weights};
use serde_json::Value;
use tempfile::TempDir;

/// A folder of fixtures that is part of the repository.
pub fn fixture(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder)
}

/// A folder beside the repository, or a printed reason why the test is skipped.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(folder);
    if path.exists() {
        Some(path)
    } else {
        println!("skipped: {} is absent", path.display());
        None
    }
}

/// A tensor of a safetensors file, in f32.
pub fn tensor(source: &TensorSource, key: &str) -> HostTensor {
    source
        .tensor(key)
        .unwrap_or_else(|| panic!("{key} in {}", source.path().display()))
        .unwrap()
}

/// `max|a-b| / max(1, max|b|)` of tensors of one shape.
#[track_caller]
pub fn relative_error(what: &str, found: &HostTensor, expected: &HostTensor) -> f64 {
    assert_eq!(found.shape, expected.shape, "{what}");
    let expected = || expected.data.iter().map(|x| f64::from(*x));
    let largest = expected().fold(1f64, |m, x| m.max(x.abs()));
    let pairs = found.data.iter().zip(expected());
    pairs.fold(0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs())) / largest
}

/// A [`relative_error`] of at most 2e-5, the tolerance of every golden; it is returned.
#[track_caller]
pub fn assert_close(what: &str, found: &HostTensor, expected: &HostTensor) -> f64 {
    let error = relative_error(what, found, expected);
    assert!(error <= 2e-5, "{what}: differs by {error:.1e}");
    assert!(found.data.iter().all(|x| x.is_finite()), "{what}");
    error
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// The run, which must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Exit code 2, nothing on stdout, and on stderr one error that says every one of `said` and
    /// one hint.
    #[track_caller]
    pub fn refused(&self, said: &[&str]) {
        assert_eq!(self.code, Some(2), "{said:?}: {self:?}");
        self.one_error(said);
    }

    #[track_caller]
    pub fn one_error(&self, said: &[&str]) {
        assert_eq!(self.stdout, "", "{said:?}");
        assert!(self.stderr.starts_with("error: "), "{said:?}: {self:?}");
        for word in ["error: ", "hint: "] {
            let lines = self.stderr.lines().filter(|line| line.starts_with(word));
            assert_eq!(lines.count(), 1, "{said:?}: {}", self.stderr);
        }
        let hint = self.stderr.find("\nhint: ").unwrap();
        for said in said {
            assert!(
                self.stderr[..hint].contains(said),
                "{said}: {}",
                self.stderr
            );
        }
    }

    /// The records of a run with `--json`.
    #[track_caller]
    pub fn records(self) -> Vec<Value> {
        serde_json::from_str(&self.ok().stdout).unwrap()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The values of one measure of the headline k, one a feature.
pub fn headline(record: &Value, name: &str) -> Vec<f64> {
    let measures = record["measures"].as_array().unwrap().iter();
    measures
        .filter(|measure| measure["headline"] == true && measure["name"] == name)
        .map(|measure| measure["value"].as_f64().unwrap())
        .collect()
}

/// Top-1 over k, in the order of the protocol.
pub fn curve(record: &Value) -> Vec<f64> {
    let measures = record["measures"].as_array().unwrap().iter();
    measures
        .filter(|measure| measure["name"] == "top1")
        .map(|measure| measure["value"].as_f64().unwrap())
        .collect()
}

/// A folder with a made-up dataset and an untrained ViT, and the program run in it.
pub struct Bench {
    folder: TempDir,
}

/// Classes of the made-up dataset.
pub const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

impl Bench {
    /// `data/` with 8 + 4 images a class, and `tiny.safetensors`.
    pub fn new() -> Self {
        let bench = Self::empty();
        bench.dataset("data", (8, 4), 8, 150);
        bench.model("tiny.safetensors", &tiny(), 1);
        bench
    }

    pub fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// `<data>/{train,val}/<class>/<i>.png`: one colour a class under noise of this amplitude.
    pub fn dataset(&self, data: &str, counts: (usize, usize), size: u32, noise: u32) {
        for (split, count) in [("train", counts.0), ("val", counts.1)] {
            for (class, name) in CLASSES.iter().enumerate() {
                for i in 0..count {
                    let seed = (class * 1000 + i) * 2 + usize::from(split == "val");
                    let image = noisy_png(class, seed as u32, size, noise);
                    self.write(&format!("{data}/{split}/{name}/{i}.png"), image);
                }
            }
        }
    }

    /// An untrained ViT, its matrices ten times as large as usual, so that its features differ
    /// widely between images.
    pub fn model(&self, name: &str, config: &VitConfig, seed: u64) {
        self.model_with(name, config, seed, |_, tensor| Some(tensor));
    }

    /// An untrained ViT whose tensors pass through `change` before they are saved.
    pub fn model_with(
        &self,
        name: &str,
        config: &VitConfig,
        seed: u64,
        change: impl Fn(&str, HostTensor) -> Option<HostTensor>,
    ) {
        let mut changed = Weights::default();
        for (name, tensor) in random_weights(config, seed).iter() {
            let mut tensor = tensor.clone();
            if tensor.shape.len() > 1 {
                tensor.data.iter_mut().for_each(|x| *x *= 10.0);
            }
            if let Some(tensor) = change(name, tensor) {
                changed.insert(name.to_owned(), tensor);
            }
        }
        save(&self.path(name), &changed).unwrap();
    }

    /// The program in this folder, without `$MIMBENCH_DATA`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mimbench"));
        command
            .current_dir(self.folder.path())
            .env_remove("MIMBENCH_DATA")
            .args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// `mimbench knn` of `tiny.safetensors` on `data`, and whatever else is asked for.
    pub fn knn(&self, more: &[&str]) -> Run {
        self.knn_of(&["tiny.safetensors"], more)
    }

    /// `mimbench knn` of other checkpoints on `data`, and whatever else is asked for.
    pub fn knn_of(&self, ckpts: &[&str], more: &[&str]) -> Run {
        let args = ["knn", "--threads", "1", "--data", "data", "--ckpt"];
        self.run(&[&args[..], ckpts, more].concat())
    }

    /// Every file below `name` with the hash of its contents.
    pub fn files(&self, name: &str) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let hash = blake3::hash(&std::fs::read(&path).unwrap());
                    let name = path.strip_prefix(self.folder.path()).unwrap();
                    files.insert(name.display().to_string(), hash.to_string());
                }
            }
        }
        files
    }
}

/// A ViT of two blocks for 8 x 8 images.
pub fn tiny() -> VitConfig {
    VitConfig {
        mlp_width: 128,
        ..VitConfig::plain(4, [2, 2], (64, 2, 1))
    }
}

/// A square PNG: the class's colour, and noise drawn from `seed`.
pub fn noisy_png(class: usize, seed: u32, size: u32, noise: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let pixels: Vec<u8> = (0..size * size * 3)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let colour = if i as usize % 3 == class { 60 } else { 30 };
            (colour + (state >> 16) % (noise + 1)) as u8
        })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size, size);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}
