//! Those whom the service tells something: receivers of alerts and mail, a time-stamp authority.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::mail::MailServer;
use crate::support::authority::{Authority, Manner};

/// What mail is sent with.
pub(crate) const MAIL_PASSWORD: &str = "Mail-Horse-77";
/// What alerts are signed with.
pub(crate) const ALERT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The part of an address that makes it a password.
pub(crate) const ALERT_TOKEN: &str = "alert-path-5f2c81d0";
/// That of the address that is pinged.
pub(crate) const PING_TOKEN: &str = "ping-path-77ab03e9";

/// All of them. Dropped, they are gone.
pub(crate) struct FarSides {
    alerts: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
    pub(crate) mail: MailServer,
    authority: Option<Authority>,
    runtime: Option<Runtime>,
}

impl FarSides {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(receive).with_state(Arc::clone(&received));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let alerts = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        let authority = has_openssl().then(|| runtime.block_on(Authority::start(Manner::Honest)));
        if authority.is_none() {
            println!("SKIPPED: no time-stamp authority, for there is no openssl");
        }
        Self { alerts, received, mail: MailServer::start(), authority, runtime: Some(runtime) }
    }

    /// Their sections of the configuration, whose files are `mail-password` and `alert-secret`.
    pub(crate) fn sections(&self) -> String {
        let authority = self.authority.as_ref().map(|authority| authority.section("tsa")).unwrap_or_default();
        format!(
            "[alerts]\nhold_down_s = 1\ndown_after_s = 2\nping_url = \"http://{0}/{PING_TOKEN}\"\n\
             [alerts.email]\nhost = \"127.0.0.1\"\nport = {1}\ntls = \"none\"\nusername = \"callvault\"\n\
             password_file = \"mail-password\"\nfrom = \"callvault@example.org\"\nto = \"you@example.org\"\n\
             [[alerts.webhook]]\nurl = \"http://{0}/{ALERT_TOKEN}\"\nsecret_file = \"alert-secret\"\n\
             {authority}[anchors]\nevery_s = 60\n",
            self.alerts, self.mail.port
        )
    }

    /// The body of each request that came.
    pub(crate) fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }

    /// How many time stamps were asked for.
    pub(crate) fn stamped(&self) -> Option<u64> {
        self.authority.as_ref().map(Authority::requests)
    }
}

impl Drop for FarSides {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success())
}

async fn receive(State(received): State<Arc<Mutex<Vec<String>>>>, body: String) -> StatusCode {
    received.lock().unwrap().push(body);
    StatusCode::NO_CONTENT
}
