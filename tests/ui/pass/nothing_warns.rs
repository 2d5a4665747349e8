//! A crate that wants every warning to be an error: handlers of all visibilities, dispatched or not.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    non_camel_case_types,
    rust_2018_idioms,
    unreachable_pub,
    unused,
    unused_qualifications,
    unnameable_types
)]

use evertask::{Context, State};

/// Never dispatched, takes everything there is.
#[evertask::handler(timeout = "5m", retries = 3, queue = "mail", backoff = "fixed(2s)", jitter = false)]
async fn private(mut count: u32, _unused: String, name: State<String>, ctx: Context) -> Result<u32, String> {
    count += ctx.attempt();
    if name.is_empty() { Err("no name".into()) } else { Ok(count) }
}

#[evertask::handler]
async fn without_docs() {}

mod inside {
    /// Seen by the crate.
    #[evertask::handler]
    pub(crate) async fn of_the_crate(email: String) {
        drop(email);
    }

    /// Seen by its parent.
    #[evertask::handler]
    pub(super) async fn of_the_parent(email: String) {
        drop(email);
    }

    pub(crate) mod deeper {
        #[evertask::handler]
        pub(in crate::inside) async fn of_a_path(email: String) {
            drop(email);
        }
    }

    pub(crate) fn use_it() {
        let _ = deeper::of_a_path::new("ada@example.com");
    }
}

fn main() {
    let _ = inside::of_the_crate::new("ada@example.com");
    let inside::of_the_parent { email } = inside::of_the_parent::new("ada@example.com");
    drop(email);
    inside::use_it();
}
