//! Handlers of a dependency are found, however hard the linker tries to leave them out.
//!
//! Each test builds a small program of its own (`linked/main`) and runs it, for what the linker keeps can only be seen from
//! outside.

use std::{path::PathBuf, process::Command};

/// Builds the program with this profile, runs it and returns the names it printed.
fn handlers_found(profile: &str) -> Vec<String> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("linked");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "evertask-linked-main"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo, which runs this test, can be run");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let directory = if profile == "dev" { "debug" } else { profile };
    let program = target.join(directory).join("evertask-linked-main");
    let ran = Command::new(program.with_extension(std::env::consts::EXE_EXTENSION))
        .output()
        .expect("the program was just built");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).lines().map(str::to_owned).collect()
}

const ALL: [&str; 5] =
    ["linked.full", "linked.nested", "linked.private", "linked.public", "main.own"];

#[test]
fn handlers_of_a_dependency_are_found_in_a_debug_build() {
    assert_eq!(handlers_found("dev"), ALL);
}

#[test]
fn handlers_of_a_dependency_are_found_in_a_release_build() {
    assert_eq!(handlers_found("release"), ALL);
}

#[test]
fn handlers_of_a_dependency_are_found_after_fat_lto() {
    assert_eq!(handlers_found("fat"), ALL);
}
