//! What the attribute refuses and in which words, and what it must take.
//!
//! After a change of wording that was meant: `TRYBUILD=overwrite cargo test -p evertask-tests --test ui`, and read the diff.

use std::process::Command;

/// The compiler whose words the cases in `rustc/` hold.
const PINNED: &str = "rustc 1.95.";

#[test]
fn what_it_takes() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}

/// By themselves: where nothing is to be run, all of them are checked by one call of cargo.
#[test]
fn what_it_refuses() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/fail/*.rs");

    // The words are the compiler's there, and every release has others.
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc can be run");
    let version = String::from_utf8_lossy(&version.stdout);
    if version.starts_with(PINNED) {
        cases.compile_fail("ui/rustc/*.rs");
    } else {
        eprintln!("skipped ui/rustc: its words are those of {PINNED}x, and this is {version}");
    }
}
