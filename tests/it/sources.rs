//! Every container that a checkpoint comes in, and what is wrong with hostile ones.

use std::path::Path;

use mimbench::checkpoint::CheckpointError;
use mimbench::checkpoint::source::{Float, TensorSource};

use crate::support::{Bench, fixture, shared, tensor};

/// Fixtures with a safetensors file of the same tensors beside them.
const FIXTURES: [&str; 11] = [
    "dtypes.pth",
    "legacy.pth",
    "legacy_protocol4.pth",
    "legacy_views.pth",
    "list.pth",
    "protocol4.pth",
    "script.pt",
    "tensor.pth",
    "unusual.pth",
    "views.pth",
    "zip.pth",
];

fn pickled(name: &str) -> std::path::PathBuf {
    fixture("goldens/pickle").join(name)
}

fn opened(path: &Path) -> TensorSource {
    TensorSource::open(path).unwrap_or_else(|error| panic!("{error}"))
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
            let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&a.data), bits(&b.data), "{name}");
        }
    }
}

#[test]
fn what_pytorch_wrote_holds_what_safetensors_holds() {
    for name in FIXTURES {
        if name != "unusual.pth" {
            let expected = opened(&pickled(&format!("{name}.safetensors")));
            assert_same(&opened(&pickled(name)), &expected);
        }
    }
}

#[test]
fn what_is_no_tensor_is_named() {
    let source = opened(&pickled("zip.pth"));
    println!("{:?}", source.others());
    let source = opened(&pickled("script.pt"));
    println!("{:?}", source.others());
    let source = opened(&pickled("unusual.pth"));
    println!("{:?} {:?}", source.others(), source.entries());
    println!("{}", opened_error(&pickled("module.pth")));
}

fn opened_error(path: &Path) -> String {
    TensorSource::open(path).unwrap_err().to_string()
}

#[test]
fn real_weights_of_torch_save_are_those_that_safetensors_holds() {
    let Some(folder) = shared("data/weights/mlde_vit") else {
        return;
    };
    let source = opened(&folder.join("source.pth"));
    for (name, entry) in opened(&folder.join("timm_names.safetensors")).entries() {
        println!("{name} {:?}", entry.shape);
    }
    for (name, entry) in source.entries() {
        println!("{name} {:?}", entry.shape);
    }
}
