//! The small language of `backoff`: `exponential(1s, max = 1h)`, `fixed(2s)`, `list(1s, 10s, 1m)`.

use std::time::Duration;

use evertask_schedule::parse_duration;

use crate::suggest::closest;

/// How long to wait between attempts.
#[derive(Debug, PartialEq)]
pub(crate) enum Backoff {
    Exponential { first: Duration, max: Duration },
    Fixed(Duration),
    List(Vec<Duration>),
}

/// Where an exponential backoff stops growing if nobody says so.
const MAX: Duration = Duration::from_secs(3600);
const SHAPES: &[&str] = &["exponential", "fixed", "list"];
const EXAMPLES: &str = "`exponential(1s, max = 1h)`, `fixed(2s)` or `list(1s, 10s, 1m)`";

/// Reads a backoff; the error says what is wrong and what to write instead.
pub(crate) fn parse(text: &str) -> Result<Backoff, String> {
    let Some((shape, rest)) = text.trim().split_once('(') else {
        return Err(format!("`{text}` is not a backoff; write {EXAMPLES}"));
    };
    let Some(inside) = rest.strip_suffix(')') else {
        return Err(format!("`{text}` does not end with `)`; write {EXAMPLES}"));
    };
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    match shape.trim() {
        "exponential" => exponential(&parts),
        "fixed" => match parts[..] {
            [delay] => Ok(Backoff::Fixed(parse_duration(delay)?)),
            _ => Err("`fixed` takes one delay; for several write `list(1s, 10s, 1m)`".into()),
        },
        "list" => {
            Ok(Backoff::List(parts.into_iter().map(parse_duration).collect::<Result<_, _>>()?))
        }
        other => Err(match closest(other, SHAPES) {
            Some(meant) => format!("`{other}` is not a backoff; did you mean `{meant}`?"),
            None => format!("`{other}` is not a backoff; write {EXAMPLES}"),
        }),
    }
}

fn exponential(parts: &[&str]) -> Result<Backoff, String> {
    let (first, max) = match *parts {
        [first] => (parse_duration(first)?, MAX),
        [first, second] => {
            let max = match second.split_once('=') {
                Some((key, max)) if key.trim() == "max" => max,
                _ => {
                    return Err(format!(
                        "after the first delay `exponential` takes `max = ..`, not `{second}`"
                    ));
                }
            };
            (parse_duration(first)?, parse_duration(max)?)
        }
        _ => {
            return Err(
                "`exponential` takes a first delay and a largest: `exponential(1s, max = 1h)`"
                    .into(),
            );
        }
    };
    if first.is_zero() {
        return Err("zero doubled stays zero; write `fixed(0s)` to retry at once".into());
    }
    if max < first {
        return Err(format!("the largest delay, {max:?}, is less than the first, {first:?}"));
    }
    Ok(Backoff::Exponential { first, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn every_shape_is_read() {
        let exponential =
            |first, max| Ok(Backoff::Exponential { first: secs(first), max: secs(max) });
        assert_eq!(parse("exponential(1s, max = 2h)"), exponential(1, 7200));
        assert_eq!(parse(" exponential ( 1s ,max=10s ) "), exponential(1, 10));
        assert_eq!(parse("exponential(2s)"), exponential(2, 3600));
        assert_eq!(parse("fixed(0s)"), Ok(Backoff::Fixed(Duration::ZERO)));
        assert_eq!(
            parse("list(1s, 10s, 1m)"),
            Ok(Backoff::List(vec![secs(1), secs(10), secs(60)]))
        );
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        let said = |text| parse(text).unwrap_err();
        assert!(said("5s").contains("`fixed(2s)`"));
        assert!(said("fixed(2s").contains("does not end"));
        assert!(said("exponental(1s)").contains("did you mean `exponential`"));
        assert!(said("linear(1s)").contains("write `exponential"));
        assert!(said("exponential(1s, 1h)").contains("`max = ..`, not `1h`"));
        assert!(said("exponential(1s, max = 1h, 2)").contains("a first delay and a largest"));
        assert!(said("exponential(0s)").contains("`fixed(0s)`"));
        assert!(said("exponential(1h, max = 1s)").contains("less than the first"));
        assert!(said("fixed(1s, 2s)").contains("`list("));
        assert!(said("list()").contains("empty"));
        assert!(said("list(1s, soon)").contains("`soon` is not a duration"));
    }
}
