//! A host that is not the PBX, to which the PBX would send us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// It listens, and nobody may come.
pub(crate) struct Foreign {
    address: SocketAddr,
    visits: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Foreign {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&visits);
        let listening = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Relaxed);
            }
        });
        Self { address, visits, listening }
    }

    /// Where the PBX sends us: a page that a session could be stolen with.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1.1.0/login", self.address)
    }

    /// How often somebody came.
    pub(crate) fn visits(&self) -> u64 {
        self.visits.load(Relaxed)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
