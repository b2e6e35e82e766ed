//! The device's other port: plain HTTP, where every request is sent to the API's address, as port 80 does.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::device::Device;
use super::http::{self, Manner};
use super::reply::Reply;
use super::serve::ACCEPT_PAUSE;

/// Redirects to `url` until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    url: String,
    device: Arc<Device>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (device, stop, url) = (Arc::clone(&device), stop.clone(), url.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = redirect(stream, &url, &device) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Answers one request with 301, also a POST, whose body a careless client would lose or send in plain.
async fn redirect(mut stream: TcpStream, url: &str, device: &Device) {
    let Ok(Some(request)) = http::read(&mut stream, Manner::default()).await else { return };
    device.count(|counters| counters.redirected += 1);
    let reply = Reply::redirect(301, &format!("{url}{}", request.path));
    let mut bytes = reply.head(device.options.profile, true);
    let body = reply.body.chunk(0, usize::MAX);
    bytes.extend_from_slice(body);
    // A client that has left needs no redirect.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
