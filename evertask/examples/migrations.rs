//! Prints the SQL that makes evertask's tables, or brings them up to date, for databases whose administrator runs it:
//!
//! ```text
//! cargo run -p evertask --example migrations --features postgres,mysql -- postgres evertask | psql "$URL"
//! cargo run -p evertask --example migrations --features postgres,mysql -- mysql evertask_ | mariadb "$DATABASE"
//! ```
//!
//! The second word is the schema, or what the names of all tables begin with. It may be run again. The program then opens its
//! storage with `auto_migrate(false)`; what its user must be granted is said there.

use std::process::ExitCode;

use evertask::storage::{MySql, Postgres};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let sql = match words.as_slice() {
        ["postgres"] => Postgres::migrations_sql("evertask"),
        ["postgres", schema] => Postgres::migrations_sql(schema),
        ["mysql"] => MySql::migrations_sql("evertask_"),
        ["mysql", prefix] => MySql::migrations_sql(prefix),
        _ => {
            eprintln!("say for which database: `postgres [schema]` or `mysql [prefix]`");
            return ExitCode::FAILURE;
        }
    };
    print!("{sql}");
    ExitCode::SUCCESS
}
