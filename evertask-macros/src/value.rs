//! The values of options: each reader turns an expression into what is meant, or says what to write instead.

use std::{fmt::Display, str::FromStr, time::Duration};

use evertask_schedule::{Schedule, ScheduleError, parse_duration};
use quote::ToTokens;
use syn::{Error, Expr, ExprArray, ExprPath, ExprUnary, Lit, LitStr, Path, Result, UnOp};

use crate::{
    backoff::{self, Backoff},
    ways::{self, Missed, Overlap},
};

/// The longest name of a handler or a queue, in characters. The library's `NAME_MAX`.
const NAME_MAX: usize = 200;

/// The time one attempt may take.
#[derive(Debug, PartialEq)]
pub(crate) enum Timeout {
    None,
    After(Duration),
}

/// A stored name: of a handler, of a queue.
pub(crate) fn name(value: &Expr) -> Result<String> {
    name_in(&text(value, "a name in quotes, such as `\"mail.welcome\"`")?)
}

/// Several stored names.
pub(crate) fn names(value: &Expr) -> Result<Vec<String>> {
    const WANTED: &str = "a list of names, such as `[\"old_name\"]`";
    let Expr::Array(ExprArray { elems, .. }) = value else { return wanted(value, WANTED) };
    let mut names = Vec::new();
    for elem in elems {
        let name = name(elem)?;
        if names.contains(&name) {
            return Err(Error::new_spanned(elem, format!("`{name}` is listed twice")));
        }
        names.push(name);
    }
    Ok(names)
}

/// The version of a payload.
pub(crate) fn version(value: &Expr) -> Result<u32> {
    match number(value, "a number from 1, such as `2`")? {
        0 => wanted(value, "a number from 1, which is the version where none is given"),
        version => Ok(version),
    }
}

/// Attempts after the first.
pub(crate) fn retries(value: &Expr) -> Result<u32> {
    if is_word(value, "none") {
        return Err(Error::new_spanned(value, "write `0` for no retries"));
    }
    number(value, "the number of attempts after the first, such as `3`, or `0` for none")
}

/// A place inside the queue.
pub(crate) fn priority(value: &Expr) -> Result<i16> {
    number(value, "a number between -32768 and 32767; higher goes first")
}

/// A duration, or `none`.
pub(crate) fn timeout(value: &Expr) -> Result<Timeout> {
    if is_word(value, "none") {
        return Ok(Timeout::None);
    }
    let text = text(value, "a duration in quotes, such as `\"5m\"`, or `none`")?;
    if text.value().trim() == "none" {
        return Err(Error::new_spanned(text, "write `none` without quotes"));
    }
    match said(&text, parse_duration)? {
        Duration::ZERO => Err(Error::new_spanned(
            text,
            "a timeout of zero would end every attempt before it began; write `none` for no timeout",
        )),
        duration => Ok(Timeout::After(duration)),
    }
}

/// How long to wait between attempts.
pub(crate) fn backoff(value: &Expr) -> Result<Backoff> {
    let text = text(value, "a backoff in quotes, such as `\"exponential(1s, max = 1h)\"`")?;
    said(&text, backoff::parse)
}

/// A cron expression, in UTC.
pub(crate) fn cron(value: &Expr) -> Result<Schedule> {
    let text = text(value, "a cron expression in quotes, such as `\"0 3 * * *\"`")?;
    said(&text, |text| evertask_schedule::cron(text).map_err(|error| pointed(&error)))
}

/// A fixed interval.
pub(crate) fn every(value: &Expr) -> Result<Schedule> {
    let text = text(value, "a duration in quotes, such as `\"5m\"`")?;
    let every = said(&text, parse_duration)?;
    said(&text, |_| Schedule::every(every).map_err(|error| error.problem().to_owned()))
}

/// The name of a time zone.
pub(crate) fn zone(value: &Expr) -> Result<String> {
    let text = text(value, "a time zone in quotes, such as `\"Europe/Rome\"`")?;
    // Any rule that goes by the wall will do to see whether there is such a zone.
    let any = |zone: &str| evertask_schedule::cron("@daily").and_then(|rule| rule.tz(zone));
    said(&text, |zone| any(zone).map_err(|error| error.problem().to_owned()))?;
    Ok(text.value())
}

/// What becomes of missed ticks.
pub(crate) fn missed(value: &Expr) -> Result<Missed> {
    let text = text(value, "what becomes of missed ticks, in quotes, such as `\"once\"`")?;
    said(&text, ways::missed)
}

/// What becomes of ticks that overlap.
pub(crate) fn overlap(value: &Expr) -> Result<Overlap> {
    let text = text(value, "what becomes of ticks that overlap, in quotes, such as `\"allow\"`")?;
    said(&text, ways::overlap)
}

/// Over how long ticks are spread.
pub(crate) fn spread(value: &Expr) -> Result<Duration> {
    let text = text(value, "a duration in quotes, such as `\"10m\"`")?;
    said(&text, ways::spread)
}

/// Which field is wrong, and carets under it. The compiler has none for the inside of a text.
fn pointed(error: &ScheduleError) -> String {
    let said = format!("{}: {}", error.field(), error.problem());
    match error.pointed() {
        Some(pointed) => format!("{said}\n\n  {}", pointed.replace('\n', "\n  ")),
        None => said,
    }
}

/// `true` or `false`.
pub(crate) fn truth(value: &Expr) -> Result<bool> {
    match literal(value) {
        Some(Lit::Bool(truth)) => Ok(truth.value),
        _ => wanted(value, "`true` or `false`"),
    }
}

/// The path of a fn.
pub(crate) fn function(value: &Expr) -> Result<Path> {
    match value {
        Expr::Path(ExprPath { qself: None, path, .. }) => Ok(path.clone()),
        Expr::Closure(_) => wanted(value, "the name of a fn; write the closure as one"),
        Expr::Lit(_) => wanted(value, "the name of a fn, without quotes"),
        Expr::Call(_) => wanted(value, "the name of a fn, without calling it"),
        _ => wanted(value, "the name of a fn, such as `notify_ops`"),
    }
}

/// The path of the library.
pub(crate) fn library(value: &Expr) -> Result<Path> {
    const WANTED: &str = "the path of evertask, such as `my_crate::evertask`, without quotes";
    let Expr::Path(ExprPath { qself: None, path, .. }) = value else {
        return wanted(value, WANTED);
    };
    // serde takes this path as text, in which `$crate` means nothing.
    match path.segments.first() {
        Some(first) if first.ident == "$crate" => Err(Error::new_spanned(
            path,
            "`$crate` cannot be used here; name the crate, such as `::my_crate::evertask`",
        )),
        _ => Ok(path.clone()),
    }
}

fn wanted<T>(value: &Expr, wanted: &str) -> Result<T> {
    Err(Error::new_spanned(value, format!("expected {wanted}")))
}

fn is_word(value: &Expr, word: &str) -> bool {
    matches!(value, Expr::Path(path) if path.path.is_ident(word))
}

/// The literal, also one that a `macro_rules` handed on.
fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

fn text(value: &Expr, expected: &str) -> Result<LitStr> {
    match literal(value) {
        Some(Lit::Str(text)) => Ok(text.clone()),
        _ => wanted(value, expected),
    }
}

fn said<T>(text: &LitStr, read: impl Fn(&str) -> std::result::Result<T, String>) -> Result<T> {
    read(&text.value()).map_err(|error| Error::new_spanned(text, error))
}

fn name_in(text: &LitStr) -> Result<String> {
    let name = text.value();
    let chars = name.chars().count();
    let refuse = |why: &dyn Display| Err(Error::new_spanned(text, why));
    if name.is_empty() {
        refuse(&"the name is empty; leave the option out to get the default")
    } else if chars > NAME_MAX {
        refuse(&format_args!("the name has {chars} characters; at most {NAME_MAX} fit"))
    } else if name.chars().any(char::is_control) {
        refuse(&"the name holds a control character; take it out")
    } else {
        Ok(name)
    }
}

fn number<N: FromStr<Err: Display>>(value: &Expr, expected: &str) -> Result<N> {
    let (sign, digits) = match value {
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => ("-", &**expr),
        positive => ("", positive),
    };
    if let Some(Lit::Int(digits)) = literal(digits) {
        // A suffix, as in `3u32`, says nothing here, and `3s` is a duration.
        if digits.suffix().is_empty()
            && let Ok(number) = format!("{sign}{}", digits.base10_digits()).parse()
        {
            return Ok(number);
        }
    }
    let given = value.to_token_stream();
    Err(Error::new_spanned(given, format!("expected {expected}")))
}
