//! How long things last on trial, and how one waits for them.

use std::time::Duration;

/// The lease of all nodes on trial: short, so that much happens in little time.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Waits until something is so; says what if that takes too long.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // After a long time of killing many tasks are suspects, and are run one at a time.
    let limit = Duration::from_secs(120) + 4 * length(0);
    let waited = tokio::time::timeout(limit, wait).await;
    assert!(waited.is_ok(), "it never became so: {what}");
}

/// How long the random part of a test lasts: a few seconds, or as long as one wishes.
pub(crate) fn length(usual: u64) -> Duration {
    let asked = std::env::var("EVERTASK_CHAOS_SECONDS").ok().and_then(|secs| secs.parse().ok());
    Duration::from_secs(asked.unwrap_or(usual))
}
