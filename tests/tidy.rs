//! The house rules that the compiler does not know: who may know whom, and a few absences. Each message says what to do.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who must not name what. Paths are prefixes below `evertask/src/`; words are looked for in code, not in comments or tests.
const ABSENCES: &[(&[&str], &[&str], &str)] = &[
    (
        &["bounds.rs", "body.rs", "task.rs", "policy.rs", "failure.rs", "verdict.rs"],
        &[
            "tokio",
            "rusqlite",
            "tokio_postgres",
            "mysql_async",
            "crate::runtime",
            "crate::storage",
            "crate::context",
            "crate::handler",
        ],
        "the heart is pure: pass in a value instead, and let the runtime or a storage do what needs a clock, an executor or SQL",
    ),
    (
        &["storage/"],
        &[
            "crate::runtime",
            "crate::handler",
            "crate::dispatch",
            "crate::context",
            "crate::registry",
        ],
        "a storage knows tasks and verdicts, nothing of handlers or the runtime: put what it needs into the request it is given",
    ),
    (
        &[
            "runtime/claimer",
            "runtime/settler",
            "runtime/keeper",
            "runtime/attempt",
            "runtime/desk",
            "runtime/client",
        ],
        &["Memory", "Sqlite", "Postgres", "MySql", "rusqlite", "tokio_postgres", "mysql_async"],
        "the runtime works on `dyn Storage`: only `runtime/url.rs` may name one",
    ),
    (
        &["context.rs", "dispatch.rs", "handle.rs", "runtime/", "handler.rs", "extract.rs"],
        &["rusqlite", "tokio_postgres", "mysql_async"],
        "SQL belongs into `storage/`",
    ),
];

/// Words that may stand in these files only. `storage/join.rs` names drivers in what the compiler says, and nowhere else.
const CONFINED: &[(&str, &[&str], &str)] = &[
    (
        "linkme",
        &["registry.rs", "__private.rs"],
        "only the registry and the door for generated code know how handlers are gathered",
    ),
    (
        "mysql_async",
        &["storage/mysql/", "storage/join.rs"],
        "only `storage/mysql/` speaks to MySQL",
    ),
    (
        "rusqlite",
        &["storage/sqlite/", "storage/join.rs"],
        "only `storage/sqlite/` speaks to SQLite",
    ),
    (
        "sqlx::",
        &["storage/postgres/", "storage/mysql/", "storage/join.rs", "tx.rs"],
        "only the storages of servers speak through `sqlx`",
    ),
    (
        "tokio_postgres",
        &["storage/postgres/", "storage/join.rs"],
        "only `storage/postgres/` speaks to PostgreSQL",
    ),
    (
        "allow(unsafe_code)",
        &["registry.rs"],
        "unsafe code is for the distributed slice alone; find a safe way",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The lines of code of a file, with their numbers: no comments, and nothing from its unit tests on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    let before_tests = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    before_tests.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

#[test]
fn dependencies_point_one_way() {
    let source = root().join("evertask/src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&source).unwrap().to_string_lossy().replace('\\', "/");
        if is_test(&format!("/{path}")) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (n, line) in code(&text) {
            for (who, what, do_this) in ABSENCES {
                if who.iter().any(|who| path.starts_with(who)) {
                    let named = what.iter().find(|what| line.contains(**what));
                    wrong.extend(named.map(|what| format!("{path}:{n} names `{what}`: {do_this}")));
                }
            }
            for (what, who, do_this) in CONFINED {
                if line.contains(what) && !who.iter().any(|who| path.starts_with(who)) {
                    wrong.push(format!("{path}:{n} names `{what}`: {do_this}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let mut files = Vec::new();
    for folder in ["evertask/src", "evertask/schedule/src", "evertask-macros/src"] {
        sources(&root().join(folder), &mut files);
    }
    let silent: Vec<_> = files
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(
        silent.is_empty(),
        "\nopen these with `//!` and one sentence on what they are:\n{}\n",
        silent.join("\n")
    );
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_to_do() {
    let mut files = Vec::new();
    for folder in ["evertask", "evertask-macros", "tests", "examples"] {
        sources(&root().join(folder), &mut files);
    }
    let banned = [concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimpl", "emented!(")];
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (n, line) in text.lines().enumerate() {
            let found = banned.iter().find(|word| line.contains(**word));
            wrong.extend(found.map(|word| format!("{}:{} `{word}`", file.display(), n + 1)));
        }
    }
    assert!(
        wrong.is_empty(),
        "\nmake it work, or take it out and say so in an issue:\n{}\n",
        wrong.join("\n")
    );
}

#[test]
fn the_macro_crate_depends_on_nothing_of_ours_but_the_schedules() {
    let manifest = fs::read_to_string(root().join("evertask-macros/Cargo.toml")).unwrap();
    let dependencies =
        manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let ours: Vec<_> = dependencies.lines().filter(|line| line.starts_with("evertask")).collect();
    assert_eq!(
        ours,
        ["evertask-schedule.workspace = true"],
        "the macro writes data and one call; logic belongs into `evertask`, and what both must read into `evertask/schedule`"
    );
}

#[test]
fn the_schedules_are_pure() {
    let folder = root().join("evertask/schedule/src");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (n, line) in code(&text) {
            let named = ["tokio", "rusqlite", "tracing", "SystemTime::now", "Utc::now", "Local"]
                .into_iter()
                .find(|word| line.contains(word));
            assert_eq!(
                named,
                None,
                "{}:{n}: a schedule is a value; who asks for its next instant says after which one",
                file.display()
            );
        }
    }
}

#[test]
fn every_example_is_named_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            readme.contains(&format!("examples/{name}")),
            "say in README.md what `examples/{name}` is for"
        );
    }
}
