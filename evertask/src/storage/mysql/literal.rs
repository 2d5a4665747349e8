//! Values as they stand in the text of a statement.
//!
//! What is plain ASCII without quotes and backslashes is written as it is, all else in hexadecimal digits: so no setting of a
//! server or a session can change what a value means, or where it ends.

use std::io::Write;

use uuid::Uuid;

use crate::task::TaskId;

/// Something that can stand for a `?`.
pub(super) trait Literal: Sync {
    fn write(&self, text: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Literal for $number {
            fn write(&self, text: &mut Vec<u8>) {
                let _infallible = write!(text, "{self}");
            }
        })*
    };
}

numbers!(i64 u64 usize u32 i16 u16 u8);

impl Literal for bool {
    fn write(&self, text: &mut Vec<u8>) {
        text.push(if *self { b'1' } else { b'0' });
    }
}

impl Literal for [u8] {
    fn write(&self, text: &mut Vec<u8>) {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\');
        if self.iter().all(plain) {
            text.extend(b"_binary'");
            text.extend(self);
        } else {
            text.extend(b"x'");
            hex(self, text);
        }
        text.push(b'\'');
    }
}

fn hex(bytes: &[u8], text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 0xF)]);
    }
}

impl Literal for str {
    fn write(&self, text: &mut Vec<u8>) {
        self.as_bytes().write(text);
    }
}

impl Literal for String {
    fn write(&self, text: &mut Vec<u8>) {
        self.as_bytes().write(text);
    }
}

impl Literal for Uuid {
    fn write(&self, text: &mut Vec<u8>) {
        text.extend(b"x'");
        hex(self.as_bytes(), text);
        text.push(b'\'');
    }
}

impl Literal for TaskId {
    fn write(&self, text: &mut Vec<u8>) {
        self.as_uuid().write(text);
    }
}

impl<T: Literal + ?Sized> Literal for &T {
    fn write(&self, text: &mut Vec<u8>) {
        (**self).write(text);
    }
}

impl<T: Literal> Literal for Option<T> {
    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(text),
            None => text.extend(b"NULL"),
        }
    }
}

/// Values in brackets, as they follow `IN`.
#[derive(Debug)]
pub(super) struct List<'v, T>(pub(super) &'v [T]);

impl<T: Literal> Literal for List<'_, T> {
    fn write(&self, text: &mut Vec<u8>) {
        text.push(b'(');
        for (at, value) in self.0.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            value.write(text);
        }
        if self.0.is_empty() {
            // Nothing equals it, and nothing at all is no syntax.
            text.extend(b"NULL");
        }
        text.push(b')');
    }
}

/// An instant that the server's clock, or the one in its place, has a say in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Instant {
    /// So many microseconds after now.
    After(i64),
    /// This one, or now if it has passed.
    From(i64),
}

impl Literal for Instant {
    fn write(&self, text: &mut Vec<u8>) {
        let _infallible = match self {
            Self::After(0) => write!(text, "@evertask_now"),
            Self::After(delay) => write!(text, "@evertask_now + {delay}"),
            Self::From(instant) => write!(text, "GREATEST({instant}, @evertask_now)"),
        };
    }
}

/// Rows of values, written already.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<Vec<u8>>);

impl Rows {
    pub(super) fn push(&mut self, values: &[&dyn Literal]) {
        let mut row = Vec::with_capacity(values.len() * 8);
        for (at, value) in values.iter().enumerate() {
            row.push(if at == 0 { b'(' } else { b',' });
            value.write(&mut row);
        }
        row.push(b')');
        self.0.push(row);
    }

    /// Those of these rows that together take no more than this many bytes, again and again; one row at least.
    pub(super) fn parts(&self, most: usize) -> impl Iterator<Item = &[Vec<u8>]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let mut size = 0;
            let fits = |row: &&Vec<u8>| {
                size += row.len() + 16;
                size <= most
            };
            let fit = rest.iter().take_while(fits).count().max(1).min(rest.len());
            let (part, others) = rest.split_at(fit);
            rest = others;
            (!part.is_empty()).then_some(part)
        })
    }
}

/// Rows as they follow `INSERT … VALUES`.
#[derive(Debug)]
pub(super) struct Values<'r>(pub(super) &'r [Vec<u8>]);

impl Literal for Values<'_> {
    fn write(&self, text: &mut Vec<u8>) {
        for (at, row) in self.0.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.extend(row);
        }
    }
}

/// Rows as a table to join with. What stands before them gives its columns names and types: `x'' AS id, 0 AS lease`.
///
/// A column of such a table has no room for a value of more than 64 KiB, and without a word leaves it empty. So one that
/// holds bodies is called `{body} AS …`, and given the largest type there is, which costs more, where a row is long.
#[derive(Debug)]
pub(super) struct Table<'r>(pub(super) &'static str, pub(super) &'r [Vec<u8>]);

/// Longer rows are long.
const LONG: usize = 8 << 10;

impl Literal for Table<'_> {
    fn write(&self, text: &mut Vec<u8>) {
        let long = self.1.iter().any(|row| row.len() > LONG);
        let body = if long { "CAST('' AS BINARY(16777216))" } else { "x''" };
        text.extend(b"(SELECT ");
        text.extend(self.0.replace("{body}", body).as_bytes());
        text.extend(b" FROM DUAL WHERE FALSE UNION ALL VALUES ");
        for (at, row) in self.1.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            // What MySQL wants to read there, and MariaDB passes over.
            text.extend(b"/*!80019 ROW*/");
            text.extend(row);
        }
        text.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &(impl Literal + ?Sized)) -> String {
        let mut text = Vec::new();
        value.write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn nothing_in_a_value_can_end_it() {
        assert_eq!(written("mail"), "_binary'mail'");
        for (text, hex) in [("'", "x'27'"), ("\\", "x'5c'"), ("\0", "x'00'"), ("ä", "x'c3a4'")] {
            assert_eq!(written(text), hex);
        }
        assert_eq!(written(&Some(-5_i64)), "-5");
        assert_eq!(written(&None::<i64>), "NULL");
        assert_eq!(written(&List(&[1_i64, 2])), "(1,2)");
        assert_eq!(written(&List::<i64>(&[])), "(NULL)");
    }

    #[test]
    fn rows_come_in_parts_that_fit_and_none_is_left_out() {
        let mut rows = Rows::default();
        for n in 0..10_i64 {
            rows.push(&[&n]);
        }
        let sizes = |most| rows.parts(most).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(1_000), [10]);
        assert_eq!(sizes(80), [4, 4, 2]);
        assert_eq!(sizes(1), [1; 10], "what fits nowhere stands alone");
        assert_eq!(Rows::default().parts(10).count(), 0);
    }
}
