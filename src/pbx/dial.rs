//! A TCP connection to a PBX.

use std::io;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use crate::pbx::error::Failure;
use crate::pbx::transport::{Origin, no_answer, no_connection, unknown_host};

/// Connects to the first of the PBX's addresses that answers. Each may take its share of the time that is left, so that one which is silent does not use up the time of the next.
pub(super) async fn dial(to: &Origin) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + to.connect_timeout;
    let found = lookup_host((to.host.as_str(), to.port)).await;
    let found = found.map_err(|error| unknown_host(&error, to))?;
    let addresses: Vec<_> = found.collect();
    let mut failure = no_connection(None, to);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).expect("a host has few addresses");
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        failure = match timeout(share, connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => no_connection(Some(&error), to),
            Err(_) => no_answer(to),
        };
    }
    Err(failure)
}

async fn connect(address: &std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
