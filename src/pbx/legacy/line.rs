//! A connection, handed over to the HTTP library by a Unix socket.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::io::{copy, split};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_openssl::SslStream;
use tokio_util::task::AbortOnDropHandle;

use crate::digest::hex;

/// One connection from the HTTP library to a PBX. Dropped, both ends of it are closed.
pub(in crate::pbx) struct Line {
    /// Why TLS broke off, if it did not end regularly. The HTTP library only sees the end.
    broken: Arc<OnceLock<String>>,
    _carrier: AbortOnDropHandle<()>,
}

impl Line {
    /// Lays a line to the other side of `tls`, and tells the socket at which it begins.
    ///
    /// The socket has a name of Linux's abstract kind: no file, gone with the process. Others on this machine can see
    /// the name, but whoever is not this process gets nothing.
    pub(super) fn lay(tls: SslStream<TcpStream>) -> io::Result<(PathBuf, Self)> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let name = abstract_name(&hex(&salt));
        let door = UnixListener::bind(&name)?;
        let broken = Arc::default();
        let carrier = tokio::spawn(carry(door, tls, Arc::clone(&broken)));
        Ok((name, Self { broken, _carrier: AbortOnDropHandle::new(carrier) }))
    }

    /// Why TLS broke off; nothing if it ended regularly, or goes on.
    pub(in crate::pbx) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }
}

fn abstract_name(salt: &str) -> PathBuf {
    OsStr::from_bytes(format!("\0callvault-{salt}").as_bytes()).into()
}

/// Carries bytes both ways until either side ends: one request, one reply, and whoever closes has all it wants.
async fn carry(door: UnixListener, tls: SslStream<TcpStream>, broken: Arc<OnceLock<String>>) {
    let Ok(library) = admit_ourselves(door).await else { return };
    let (mut from_library, mut to_library) = library.into_split();
    let (mut from_pbx, mut to_pbx) = split(tls);
    let outcome = tokio::select! {
        sent = copy(&mut from_library, &mut to_pbx) => sent,
        came = copy(&mut from_pbx, &mut to_library) => came,
    };
    // All of it before the library learns of the end: then it asks why, and counts the connection as closed.
    if let Err(error) = outcome {
        broken.get_or_init(|| error.to_string());
    }
    drop((from_pbx, to_pbx));
    drop((from_library, to_library));
}

/// Waits for the HTTP library, and closes the door behind it.
async fn admit_ourselves(door: UnixListener) -> io::Result<UnixStream> {
    let us = i32::try_from(std::process::id()).ok();
    loop {
        let (stream, _) = door.accept().await?;
        if us.is_some() && stream.peer_cred()?.pid() == us {
            return Ok(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Tells the second process which socket to try.
    const SALT: &str = "CALLVAULT_TEST_SALT";

    #[tokio::test]
    async fn another_process_is_turned_away_at_the_door() {
        let salt = format!("test-{}", std::process::id());
        let door = UnixListener::bind(abstract_name(&salt)).unwrap();
        let admitted = tokio::spawn(admit_ourselves(door));
        let mut other = std::process::Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "pbx::legacy::line::tests::a_stranger_at_the_door"]).env(SALT, &salt);
        let said = tokio::task::spawn_blocking(move || other.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && told.contains("1 passed"), "{told}");
        let mut us = UnixStream::connect(abstract_name(&salt)).await.unwrap();
        us.write_all(b"us").await.unwrap();
        drop(us);
        let mut heard = String::new();
        admitted.await.unwrap().unwrap().read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "us");
    }

    /// Not a test by itself: what the one above runs in another process.
    #[tokio::test]
    async fn a_stranger_at_the_door() {
        let Ok(salt) = std::env::var(SALT) else { return };
        let mut stranger = UnixStream::connect(abstract_name(&salt)).await.unwrap();
        // Until it is closed from the other side.
        assert_eq!(stranger.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    }
}
