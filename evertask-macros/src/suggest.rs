//! Did you mean …?

/// The candidate that differs from the word by the fewest slips, if it is close enough to have been meant.
pub(crate) fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    candidates
        .iter()
        .map(|candidate| (slips(&word, &candidate.chars().collect::<Vec<_>>()), *candidate))
        .filter(|(slips, candidate)| *slips <= word.len().max(candidate.len()) / 3)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// How many letters were added, left out, mistaken or swapped with their neighbour (optimal string alignment).
fn slips(one: &[char], two: &[char]) -> usize {
    let mut rows = vec![(0..=two.len()).collect::<Vec<usize>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=two.len() {
            let mistaken = usize::from(one[i - 1] != two[j - 1]);
            let mut least =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + mistaken);
            if i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[&str] = &["name", "timeout", "retries", "retry_if", "queue"];

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(closest("timout", WORDS), Some("timeout"));
        assert_eq!(closest("timeuot", WORDS), Some("timeout"));
        assert_eq!(closest("Queue", WORDS), Some("queue"));
        assert_eq!(closest("retires", WORDS), Some("retries"));
        assert_eq!(closest("retryif", WORDS), Some("retry_if"));
    }

    #[test]
    fn another_word_is_not_taken_for_a_slip() {
        assert_eq!(closest("colour", WORDS), None);
        assert_eq!(closest("", WORDS), None);
        assert_eq!(closest("x", WORDS), None);
    }

    #[test]
    fn swapped_neighbours_are_one_slip() {
        let count = |one: &str, two: &str| {
            slips(&one.chars().collect::<Vec<_>>(), &two.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("ab", "ba"), 1);
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
