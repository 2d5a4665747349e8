//! What stands for TLS in a build without the feature `postgres-tls`: words for those who ask for it.

use tokio_postgres::{NoTls, config::SslMode};

use super::address::Address;

/// Speaks no TLS.
pub(super) type Tls = NoTls;

/// Refuses an address that asks for it.
pub(super) fn tls(address: &Address) -> Result<Tls, String> {
    if address.config.get_ssl_mode() != SslMode::Require {
        return Ok(NoTls);
    }
    Err(format!(
        "it asks for TLS, which this build of evertask does not speak: turn on the feature `postgres-tls`, or reach {} over a \
         private network, a tunnel or a proxy on this machine, with `sslmode=disable`",
        address.place
    ))
}
