//! Tells the program which commit it is built from, for its records; builds the torch engine's
//! C++ part where that engine is asked for.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "torch")]
    torch_shim();
    // A development build is not taken apart by every commit.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        commit();
    }
}

fn commit() {
    for path in [".git/HEAD", ".git/index", "src", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Only a repository that is this package's own says anything about it.
    let own = git(&["rev-parse", "--show-prefix"]).filter(String::is_empty);
    let commit = own.and_then(|_| git(&["describe", "--always", "--dirty", "--abbrev=12"]));
    // Outside a repository the record names the version alone.
    if let Some(commit) = commit {
        println!("cargo:rustc-env=MIMBENCH_COMMIT={commit}");
    }
}

/// Compiles the shim against the libtorch that torch-sys found, and has programs look for the
/// library where it was found, so that they need no LD_LIBRARY_PATH.
#[cfg(feature = "torch")]
fn torch_shim() {
    use std::path::Path;

    let source = "src/engine/torch/shim.cpp";
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    // Set by torch-sys, whose build fails first where there is no libtorch.
    let library = std::env::var("DEP_TCH_LIBTORCH_LIB").unwrap_or_default();
    let root = match std::env::var("LIBTORCH_INCLUDE") {
        Ok(root) => Path::new(&root).to_owned(),
        Err(_) => Path::new(&library).join(".."),
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .file(source)
        .compile("mimbench_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{library}");
    // Functions are looked up when they are first called, so that the check of libtorch's version
    // can speak before the dynamic linker misses one.
    println!("cargo:rustc-link-arg=-Wl,-z,lazy");
}
