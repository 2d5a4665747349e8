//! The options of the attribute: which there are, how each is read, and what is said about a key that is none.

use std::time::Duration;

use evertask_schedule::Schedule;
use proc_macro2::TokenStream;
use syn::{
    Error, Expr, Ident, Path, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

use crate::{
    backoff::Backoff,
    errors::Errors,
    suggest::closest,
    value::{self, Timeout},
    ways::{Missed, Overlap},
};

/// One option: where its key stands, if it was given, and its value, if that could be read.
pub(crate) struct Opt<T> {
    pub(crate) key: Option<Ident>,
    pub(crate) value: Option<T>,
}

impl<T> Default for Opt<T> {
    fn default() -> Self {
        Self { key: None, value: None }
    }
}

impl<T> Opt<T> {
    fn set(&mut self, key: Ident, value: Option<T>, errors: &mut Errors) {
        if let Some(first) = &self.key {
            errors.at(&key, format!("`{key}` given twice"));
            errors.at(first, "first given here");
            return;
        }
        self.key = Some(key);
        self.value = value;
    }
}

/// Declares every option in one line: key, type, reader, and an example for those who left the value out.
macro_rules! options {
    ($($field:ident $key:literal: $type:ty = $read:path, $example:literal;)*) => {
        /// What the attribute says.
        #[derive(Default)]
        pub(crate) struct Options {
            $(pub(crate) $field: Opt<$type>,)*
        }

        const KEYS: &[&str] = &[$($key),*];

        impl Options {
            fn set(&mut self, key: Ident, value: Option<Expr>, errors: &mut Errors) {
                match key.to_string().as_str() {
                    $($key => {
                        let value = match value {
                            Some(value) => errors.keep($read(&value)),
                            None => {
                                errors.at(&key, concat!("`", $key, "` needs a value: `", $example, "`"));
                                None
                            }
                        };
                        self.$field.set(key, value, errors);
                    })*
                    other => errors.at(&key, unknown(other)),
                }
            }
        }
    };
}

options! {
    name "name": String = value::name, "name = \"mail.welcome\"";
    aliases "aliases": Vec<String> = value::names, "aliases = [\"old_name\"]";
    version "version": u32 = value::version, "version = 2";
    queue "queue": String = value::name, "queue = \"mail\"";
    timeout "timeout": Timeout = value::timeout, "timeout = \"5m\"";
    retries "retries": u32 = value::retries, "retries = 3";
    backoff "backoff": Backoff = value::backoff, "backoff = \"exponential(1s, max = 1h)\"";
    jitter "jitter": bool = value::truth, "jitter = false";
    retry_if "retry_if": Path = value::function, "retry_if = is_transient";
    priority "priority": i16 = value::priority, "priority = 10";
    cron "cron": Schedule = value::cron, "cron = \"0 3 * * *\"";
    every "every": Schedule = value::every, "every = \"5m\"";
    tz "tz": String = value::zone, "tz = \"Europe/Rome\"";
    missed "missed": Missed = value::missed, "missed = \"once\"";
    overlap "overlap": Overlap = value::overlap, "overlap = \"allow\"";
    spread "spread": Duration = value::spread, "spread = \"10m\"";
    on_started "on_started": Path = value::function, "on_started = note_start";
    on_completed "on_completed": Path = value::function, "on_completed = note_output";
    on_retry "on_retry": Path = value::function, "on_retry = note_failure";
    on_failed "on_failed": Path = value::function, "on_failed = notify_ops";
    on_cancelled "on_cancelled": Path = value::function, "on_cancelled = clean_up";
    krate "crate": Path = value::library, "crate = my_crate::evertask";
}

/// Keys that people know from elsewhere, and what to write here.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("max_retries", "write `retries`: the attempts after the first"),
    ("max_retry", "write `retries`: the attempts after the first"),
    ("retry", "write `retries`: the attempts after the first"),
    ("retry_count", "write `retries`: the attempts after the first"),
    ("attempts", "write `retries`, which does not count the first attempt: one less"),
    ("max_attempts", "write `retries`, which does not count the first attempt: one less"),
    ("time_limit", "write `timeout`: the time one attempt may take"),
    ("max_runtime", "write `timeout`: the time one attempt may take"),
    ("timeout_secs", "write `timeout`, with its unit: `timeout = \"30s\"`"),
    ("retry_delay", "write `backoff`: `backoff = \"fixed(2s)\"`"),
    ("retry_backoff", "write `backoff`: `backoff = \"exponential(1s, max = 1h)\"`"),
    ("alias", "write `aliases`: `aliases = [\"old_name\"]`"),
    ("rename", "write `name`"),
    ("task_name", "write `name`"),
    ("queue_name", "write `queue`"),
    ("retry_for", "write `retry_if`: the path of a `fn(&Error) -> bool`"),
    ("retry_on", "write `retry_if`: the path of a `fn(&Error) -> bool`"),
    ("on_start", "write `on_started`"),
    ("on_success", "write `on_completed`"),
    ("on_complete", "write `on_completed`"),
    ("on_error", "write `on_retry` for each failed attempt, `on_failed` for the last"),
    ("on_failure", "write `on_retry` for each failed attempt, `on_failed` for the last"),
    ("on_cancel", "write `on_cancelled`"),
    ("schedule", "write `cron = \"0 3 * * *\"` or `every = \"5m\"`"),
    ("interval", "write `every = \"5m\"`"),
    ("misfire", "write `missed = \"once\"`"),
    ("catch_up", "write `missed = \"once\"`, or `missed = \"all(3h)\"` with `overlap = \"allow\"`"),
    ("catchup", "write `missed = \"once\"`, or `missed = \"all(3h)\"` with `overlap = \"allow\"`"),
    ("allow_overlap", "write `overlap = \"allow\"`"),
    ("timezone", "write `tz = \"Europe/Rome\"`"),
    ("time_zone", "write `tz = \"Europe/Rome\"`"),
    ("zone", "write `tz = \"Europe/Rome\"`"),
    (
        "concurrency",
        "set it on the queue: `.queue(\"mail\", |q| q.concurrency(20))` on the builder",
    ),
    ("unique", "give a key when dispatching: `.key(..)`"),
    ("key", "it belongs to one task; give it when dispatching: `.key(..)`"),
    ("tags", "they belong to one task; give them when dispatching: `.tag(..)`"),
    ("expires", "it belongs to one task; give it when dispatching: `.expires(..)`"),
    ("delay", "it belongs to one task; give it when dispatching: `.after(..)`"),
    ("retention", "set it on the builder: `.retention(..)`"),
    ("state", "take it as a parameter: `mailer: State<Mailer>`"),
];

fn unknown(key: &str) -> String {
    if let Some((_, advice)) = NEIGHBOURS.iter().find(|(name, _)| *name == key) {
        return format!("there is no option `{key}`; {advice}");
    }
    let meant = closest(key, KEYS).map(|meant| format!(" (did you mean `{meant}`?)"));
    let meant = meant.unwrap_or_default();
    format!("unknown option `{key}`{meant}; expected one of `{}`", KEYS.join("`, `"))
}

impl Options {
    /// Reads the options; those with mistakes stay as if they had not been given.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let read = |input: ParseStream<'_>| {
            while !input.is_empty() {
                options.parse_one(input, errors);
                skip_to_comma(input);
            }
            Ok(())
        };
        let read = read.parse2(tokens);
        errors.keep(read);
        options
    }

    fn parse_one(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        let Ok(key) = input.call(Ident::parse_any) else {
            let error = "expected an option, such as `timeout = \"5m\"`";
            return errors.push(Error::new(input.span(), error));
        };
        if input.peek(Token![=]) && input.parse::<Token![=]>().is_ok() && !at_end(input) {
            match input.parse::<Expr>() {
                Ok(value) if at_end(input) => self.set(key, Some(value), errors),
                Ok(_) => {
                    let error = "expected `,` before the next option";
                    errors.push(Error::new(input.span(), error));
                }
                Err(error) => errors.push(error),
            }
        } else {
            // Nothing follows, or what is no value: `timeout`, `timeout("5m")`, `timeout: "5m"`.
            self.set(key, None, errors);
        }
    }
}

fn at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// Goes to the next option, over whatever is left of a bad one.
fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() {
        let comma = input.peek(Token![,]);
        // A token tree is always there when the input is not empty.
        if input.parse::<proc_macro2::TokenTree>().is_err() || comma {
            return;
        }
    }
}
