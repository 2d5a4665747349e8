//! What stands behind the `?` of a url.

/// The url without the parameters that are taken out of it; they are given with their `%2F` read.
pub(crate) fn without(url: &str, mut take: impl FnMut(&str, String) -> bool) -> String {
    let Some((before, parameters)) = url.split_once('?') else { return url.to_owned() };
    let mut kept = Vec::new();
    for parameter in parameters.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !take(key, decoded(value)) {
            kept.push(parameter);
        }
    }
    if kept.is_empty() { before.to_owned() } else { format!("{before}?{}", kept.join("&")) }
}

/// Text in which bytes may stand as `%2F`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = (*first == b'%').then(|| text_of(after.get(..2)?)).flatten();
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text_of(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_written_in_digits_are_read_and_others_left() {
        assert_eq!(decoded("%2Fa%20%C3%A9%zz%4"), "/a é%zz%4");
    }

    #[test]
    fn what_is_not_taken_stays_as_it_was() {
        let without = |url| without(url, |key, value| key == "a" && value == "/");
        assert_eq!(without("x://h/d?b=%2F&a=%2F&c"), "x://h/d?b=%2F&c");
        assert_eq!(without("x://h/d?a=%2F"), "x://h/d");
        assert_eq!(without("x://h/d"), "x://h/d");
    }
}
