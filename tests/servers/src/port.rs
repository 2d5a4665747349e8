//! A port of this machine that nobody listens on.

use std::net::TcpListener;

pub(crate) fn free() -> Result<u16, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(free.map_err(|error| format!("no port is free: {error}"))?.port())
}
