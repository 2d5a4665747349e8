//! Whatever stands in the attribute and under it, what it leaves behind are items, or its words about what is wrong.

use proc_macro2::TokenStream;

use crate::expand;

/// Options, a line, and a fn.
pub(crate) fn attribute(text: &str) {
    let Some((options, item)) = text.split_once('\n') else { return };
    let (Ok(options), Ok(item)) = (options.parse::<TokenStream>(), item.parse::<TokenStream>())
    else {
        return;
    };
    // About anything else it, or the compiler, which finds it in what is left behind, has something to say.
    let is_a_fn = syn::parse2::<syn::ItemFn>(item.clone()).is_ok();
    let left = syn::parse2::<syn::File>(expand::handler(options, item));
    assert!(left.is_ok() || !is_a_fn, "{text:?}: {:?}", left.err());
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &[
        "timeout",
        "retries",
        "queue",
        "name",
        "version",
        "priority",
        "backoff",
        "cron",
        "every",
        "tz",
        "crate",
        "fingerprint",
        "retry_if",
        "=",
        "=",
        "=",
        ",",
        ",",
        "\"5m\"",
        "\"\"",
        "3",
        "-1",
        "1.5",
        "99999999999999999999",
        "none",
        "\"0 3 * * *\"",
        "exponential",
        "(",
        ")",
        "(1, 2)",
        "[1]",
        "{}",
        "|error| true",
        "async",
        "fn",
        "mut",
        "self",
        "send",
        "<T>",
        "(a: u8)",
        "->",
        "Result<(), E>",
        "&str",
        "where",
        "#[doc(hidden)]",
        "pub",
        "State<T>",
        "#[default]",
        "x: T",
        "b\"x\"",
        "'a'",
        "::",
        "r#fn",
        "!",
        ";",
        "\u{e9}",
    ];

    #[test]
    fn whatever_it_is_given_it_leaves_items_behind_or_says_what_is_wrong() {
        // The same in every run: a failure of a macro has to be one that all see.
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let mut words = |most: usize| {
                let words: Vec<&str> =
                    (0..random(most)).map(|_| WORDS[random(WORDS.len())]).collect();
                words.join(" ")
            };
            let options = words(12);
            let (before, inside, after) = (words(2), words(6), words(4));
            attribute(&format!("{options}\n{before} async fn send({inside}) {after} {{}}"));
        }
    }
}
