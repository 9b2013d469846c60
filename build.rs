//! Tells the program which commit it is built from, for its records.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-changed=.git/packed-refs");
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    // Outside a repository the record names the version alone.
    if let Some(commit) = commit {
        println!("cargo:rustc-env=MIMBENCH_COMMIT={}", commit.trim());
    }
}
