//! What several tests need.

use std::path::{Path, PathBuf};

use mimbench::checkpoint::source::TensorSource;
use mimbench::engine::HostTensor;

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

/// `max|a-b| <= 2e-5 max(1, max|b|)`, the tolerance of every golden.
#[track_caller]
pub fn assert_close(what: &str, found: &HostTensor, expected: &HostTensor) {
    assert_eq!(found.shape, expected.shape, "{what}");
    let largest = expected.data.iter().fold(1f32, |m, x| m.max(x.abs()));
    let difference = found
        .data
        .iter()
        .zip(&expected.data)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        difference <= 2e-5 * largest,
        "{what}: differs by {difference}, largest {largest}"
    );
    assert!(found.data.iter().all(|x| x.is_finite()), "{what}");
}
