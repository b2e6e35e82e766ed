//! The server's certificate, which another program renews while we listen.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::either::Either;
use tracing::{info, warn};

use crate::base::blocking::on_thread;
use crate::config::{CertificateFiles, UnusableCertificate};

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct Renewed {
    files: CertificateFiles,
    current: Arc<Mutex<Current>>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// The files as they were last read, successfully or not.
    seen: Seen,
}

type Seen = [Option<(SystemTime, u64)>; 2];

impl Renewed {
    pub(super) async fn load(files: &CertificateFiles) -> Result<Self, UnusableCertificate> {
        let (seen, loaded) = read(files).await;
        let current = Arc::new(Mutex::new(Current { config: loaded?, seen }));
        Ok(Self { files: files.clone(), current })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.with(|current| Arc::clone(&current.config)))
    }

    /// Takes over replaced files, for ever. If the new ones cannot be used, the former certificate stays in use, and that is
    /// logged once.
    pub(super) async fn keep_up(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let files = self.files.clone();
            let Ok(seen) = on_thread(move || look(&files)).await else { continue };
            if self.with(|current| current.seen == seen) {
                continue;
            }
            let (seen, loaded) = read(&self.files).await;
            self.with(|current| current.seen = seen);
            match loaded {
                Ok(config) => {
                    self.with(|current| current.config = config);
                    info!("{} was replaced: new connections use it", self.files.certificate.display());
                }
                Err(error) => {
                    warn!("The certificate was replaced, but the former one stays in use: {error}");
                }
            }
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Current) -> T) -> T {
        work(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the files look like, and what they hold. Looked at first: what is replaced in between is read again.
async fn read(files: &CertificateFiles) -> (Seen, Result<Arc<ServerConfig>, UnusableCertificate>) {
    let files = files.clone();
    let read = on_thread(move || (look(&files), files.load()));
    read.await.expect("reading two files does not panic")
}

fn look(files: &CertificateFiles) -> Seen {
    [&files.certificate, &files.key].map(|file| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// A connection; one with TLS is open after the greeting.
pub(super) enum Stream {
    Greeting(Box<Accept<TcpStream>>),
    Open(Open),
}

type Open = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Stream {
    pub(super) fn new(stream: TcpStream, tls: Option<&TlsAcceptor>) -> Self {
        match tls {
            None => Self::Open(Either::Left(stream)),
            Some(tls) => Self::Greeting(Box::new(tls.accept(stream))),
        }
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Open>>> {
        if let Self::Greeting(accept) = self {
            let stream = ready!(Pin::new(&mut **accept).poll(context))?;
            *self = Self::Open(Either::Right(Box::new(stream)));
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            Self::Greeting(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(stream).poll_flush(context),
            // Nothing was written yet.
            Self::Greeting(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Greeting(_) => Poll::Ready(Ok(())),
        }
    }
}
