//! Saying that tests were passed over, so that nobody takes a green run for more than it is.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

/// Says once in a process why tests are passed over.
///
/// What a test says by `eprintln!` is captured, and thrown away with all else that is said by tests which succeed. What is
/// written to the handle itself is not.
pub(crate) fn say(why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(why.to_owned()) {
        let program = std::env::args().next().unwrap_or_default();
        // Nobody can be told that nobody can be told.
        let _told = writeln!(
            io::stderr(),
            "\n==== SKIPPED, NO SERVER: {why}\n==== all tests that need it pass without having tried anything, in {program}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CHILD: &str = "EVERTASK_SKIPPED_CHILD";
    const WHY: &str = "there is no `mariadbd` on the moon";

    /// Not a test by itself: the one that finds no server, twice.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_some() {
            for _ in 0..2 {
                assert_eq!(crate::or_say::<()>(Err(WHY.to_owned())), None);
            }
        }
    }

    /// Runs it as anybody would, with its output captured; whether it passed, and all that is to be seen.
    fn run(ci: bool) -> (bool, String) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["skipped::tests::child", "--exact"]).env(CHILD, "1").env_remove("CI");
        if ci {
            child.env("CI", "true");
        }
        let done = child.output().unwrap();
        let said = [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap());
        (done.status.success(), said.concat())
    }

    #[test]
    fn what_is_passed_over_is_said_once_though_the_test_is_green_and_captured() {
        let (passed, said) = run(false);
        assert!(passed, "{said}");
        assert_eq!(said.matches(WHY).count(), 1, "{said}");
        assert!(said.contains("SKIPPED, NO SERVER"), "{said}");
    }

    #[test]
    fn nothing_is_passed_over_where_ci_is_set() {
        let (passed, said) = run(true);
        assert!(!passed && said.contains(WHY), "{said}");
    }
}
