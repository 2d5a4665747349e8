use std::time::Duration;

use evertask::{Backoff, Handler as _, Setting};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[evertask::handler]
async fn plain() {}

#[evertask::handler(
    name = "mail.welcome",
    aliases = ["welcome_mail", "send_welcome"],
    version = 2,
    queue = "mail",
    timeout = "1h 30m",
    retries = 3,
    backoff = "exponential(1s, max = 1h)",
    jitter = false,
    priority = -10,
)]
async fn full() {}

#[evertask::handler(timeout = none, retries = 0, backoff = "list(1s, 10s, 1m)")]
async fn without() {}

#[evertask::handler(timeout = "500ms", backoff = "fixed(2s)", jitter = true)]
async fn fixed() {}

fn main() {
    let options = plain::OPTIONS;
    assert_eq!((options.name, options.queue, options.version, options.priority), ("plain", "default", 1, 0));
    assert_eq!((options.timeout, options.retries, options.backoff), (Setting::Inherit, None, None));
    assert!(options.aliases.is_empty());
    assert!(options.location.file.ends_with("options.rs"));
    assert_eq!(options.location.line, 9);

    let options = full::OPTIONS;
    assert_eq!((options.name, options.queue, options.version, options.priority), ("mail.welcome", "mail", 2, -10));
    assert_eq!(options.aliases, ["welcome_mail", "send_welcome"]);
    assert_eq!(options.timeout, Setting::Value(secs(5400)));
    assert_eq!(options.retries, Some(3));
    assert_eq!(options.backoff, Some(Backoff::exponential(secs(1), secs(3600)).without_jitter()));

    let options = without::OPTIONS;
    assert_eq!((options.timeout, options.retries), (Setting::None, Some(0)));
    const DELAYS: &[Duration] = &[secs(1), secs(10), secs(60)];
    assert_eq!(options.backoff, Some(Backoff::list(DELAYS)));

    let options = fixed::OPTIONS;
    assert_eq!(options.timeout, Setting::Value(Duration::from_millis(500)));
    assert_eq!(options.backoff, Some(Backoff::fixed(secs(2))));
}
