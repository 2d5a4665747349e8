//! Every bound in one place: what may be stored, how much of it, and what is said when it is too much.
//!
//! Over a bound is a clear error before anything happens; text that only informs (an error message) is cut instead.

/// Largest payload in bytes, unless the builder says otherwise: 1 MiB.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// Largest recorded output in bytes: 1 MiB. A larger one is not stored; the task is completed all the same.
pub const OUTPUT_MAX: usize = 1 << 20;
/// Longest error text in bytes, 16 KiB; longer ones are cut at a character.
pub const ERROR_MAX: usize = 16 << 10;
/// Longest key in characters.
pub const KEY_MAX: usize = 200;
/// Longest name of a handler or a queue in characters.
pub const NAME_MAX: usize = 200;
/// Most tags on one task.
pub const TAGS_MAX: usize = 20;
/// Longest tag key or tag value in characters.
pub const TAG_MAX: usize = 200;
/// Most tasks in one `dispatch_all`.
pub const BATCH_MAX: usize = 10_000;
/// Most ticks of a schedule that are made up for in one go.
pub const BACKFILL_MAX: usize = 1_000;
/// Most tasks that one attempt may have stored on its success.
pub const EFFECTS_MAX: usize = 1_000;
/// Most rows in one page of a listing.
pub const PAGE_MAX: usize = 1_000;
/// How many attempts of one task are remembered.
pub const ATTEMPTS_KEPT: usize = 20;
/// The longest delay that is stored as such, 100 years: so far ahead that no sum of instants overflows.
pub const DELAY_MAX: std::time::Duration = std::time::Duration::from_secs(100 * 366 * 86_400);

/// The longest time over which ticks of schedules are spread: 31 days.
pub const SPREAD_MAX: std::time::Duration = std::time::Duration::from_secs(31 * 86_400);

/// Why a name, key or tag cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadText {
    /// Nothing in it.
    #[error("{what} is empty")]
    Empty {
        /// Which text: `queue name`, `key`, …
        what: &'static str,
    },
    /// More characters than the bound.
    #[error("{what} has {len} characters; at most {max} fit")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// How long it is, in characters.
        len: usize,
        /// The bound, in characters.
        max: usize,
    },
    /// A control character, which no two databases treat alike.
    #[error("{what} {text:?} holds a control character; take it out")]
    Control {
        /// Which text.
        what: &'static str,
        /// The text itself.
        text: String,
    },
}

/// Checks a name, key or tag: not empty, at most `max` characters, no control characters.
///
/// # Errors
/// [`BadText`] says which of the three it is.
pub fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), BadText> {
    if text.is_empty() {
        return Err(BadText::Empty { what });
    }
    // A character has at most four bytes, so most texts need no counting.
    if text.len() > max {
        let len = text.chars().count();
        if len > max {
            return Err(BadText::TooLong { what, len, max });
        }
    }
    if text.chars().any(char::is_control) {
        return Err(BadText::Control { what, text: text.chars().take(max).collect() });
    }
    Ok(())
}

/// Makes free text storable in every database: NUL becomes U+FFFD, and what is over `max` bytes is cut at a character.
#[must_use]
pub fn storable_text(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_in_characters_and_may_not_hold_control_characters() {
        assert_eq!(check_text("key", &"ß".repeat(200), 200), Ok(()));
        assert_eq!(
            check_text("key", &"ß".repeat(201), 200),
            Err(BadText::TooLong { what: "key", len: 201, max: 200 })
        );
        assert_eq!(check_text("key", "", 200), Err(BadText::Empty { what: "key" }));
        assert!(matches!(check_text("key", "a\tb", 200), Err(BadText::Control { .. })));
        assert_eq!(check_text("key", "  spaces and 🦀 are fine ", 200), Ok(()));
    }

    #[test]
    fn storable_text_cuts_at_a_character_and_replaces_nul() {
        assert_eq!(storable_text("a\0b", 100), "a\u{FFFD}b");
        assert_eq!(storable_text("ßß", 3), "ß");
        assert_eq!(storable_text("short", 100), "short");
    }
}
