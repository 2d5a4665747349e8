//! All that holds on the machine's PostgreSQL holds on a newer one too.

use std::process::Command;

/// The newer one.
const NEWER: &str = "18";

#[test]
fn all_that_is_tried_on_postgres_holds_on_a_newer_major_too() {
    // Then this is such a run.
    if std::env::var_os("EVERTASK_TEST_PG").is_some() {
        return;
    }
    let Some(newer) = evertask_servers::postgres_of(NEWER) else { return };
    assert_eq!(newer.major(), NEWER);
    if evertask_servers::postgres().is_some_and(|server| server.major() == NEWER) {
        return;
    }
    // The tests of this very program whose names say `postgres`: the laws, through a proxy as well, and what many processes add.
    let run = Command::new(std::env::current_exe().unwrap())
        .arg("postgres")
        .args(["--skip", "majors::"])
        .env("EVERTASK_TEST_PG", NEWER)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    let passed = said.lines().filter(|line| line.ends_with(" ... ok")).count();
    assert!(passed > 400, "only {passed} tests were run\n{said}");
}
