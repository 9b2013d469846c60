//! Tells the program which commit it is built from, for its records.

use std::process::Command;

fn main() {
    // A development build is not taken apart by every commit.
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return;
    }
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
