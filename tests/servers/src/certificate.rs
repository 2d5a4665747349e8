//! A certificate for a server, by an authority of its own: made by `openssl`, which is where databases are.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::{account::Account, binaries, cluster::run};

/// The host that the certificate is for.
const HOST: &str = "localhost";

/// Makes `authority.crt`, `server.crt` and `server.key` in this directory; the server is to run as `account`.
pub(crate) fn make(directory: &Path, account: Option<Account>) -> Result<(), String> {
    let program = binaries::openssl()?;
    let openssl = |arguments: &str| {
        let mut openssl = Command::new(&program);
        openssl.current_dir(directory).args(arguments.split(' '));
        run(openssl)
    };
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -days 2 -subj /CN=authority -keyout authority.key -out authority.crt"
    ))?;
    openssl(&format!("req {key} -subj /CN={HOST} -keyout server.key -out server.csr"))?;
    fs::write(directory.join("names"), format!("subjectAltName=DNS:{HOST}\n")).map_err(failed)?;
    openssl(
        "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.crt",
    )?;
    let key = directory.join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    account.map_or(Ok(()), |account| account.own(&key)).map_err(failed)
}
