//! TLS by the system's OpenSSL, for PBXs that speak what rustls does not: static RSA, versions before 1.2, short keys.
//!
//! Nothing but a pinned key is trusted. With the HTTP library it has nothing to do: that gets a stream that is secured.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use openssl::error::ErrorStack;
use openssl::ssl::{self, Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use openssl::x509::X509StoreContextRef;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::base::digest::Digest;
use crate::config::{PbxConfig, TlsVersion};
use crate::pbx::dial::{Heard, Tap, dial};
use crate::pbx::error::{Failure, Reason};
use crate::pbx::tls::{Untrusted, key_sha256};
use crate::pbx::transport::{Origin, broken_before_tls, no_tls, not_https, untrusted_failure};

/// OpenSSL's number for bytes that are no TLS record (`SSL_R_WRONG_VERSION_NUMBER`).
const WRONG_VERSION_NUMBER: i32 = 267;

/// How to agree upon TLS with one PBX.
pub(super) struct Legacy {
    context: SslContext,
    /// The pinned key; without it anyone, to be looked at: nothing must be said over such a connection.
    pin: Option<Digest>,
}

/// What became of the server's certificate; empty until it has been seen.
type Verdict = Arc<OnceLock<Result<(), Untrusted>>>;

impl Legacy {
    /// Prepares TLS. Without a pin nobody could be trusted: no roots are asked.
    pub(super) fn new(config: &PbxConfig, to: &Origin) -> Result<Self, Failure> {
        let pin = config.tls_pin_sha256.ok_or_else(|| {
            let what = "with `tls_backend = \"openssl\"` only a pinned key is trusted, and none is pinned";
            Failure::new(Reason::TlsUnknownCertificate, what)
                .with_remedy(&format!("run `callvault trust {}`", to.pbx))
        })?;
        Self::trusting(Some(pin), to)
    }

    fn trusting(pin: Option<Digest>, to: &Origin) -> Result<Self, Failure> {
        let context = context(to.version_min).map_err(|error| {
            Failure::new(Reason::TlsHandshake, format!("OpenSSL cannot be set up ({error})"))
                .with_remedy("see the system's OpenSSL and its openssl.cnf")
        })?;
        Ok(Self { context, pin })
    }

    /// Connects and agrees upon TLS with the pinned key and no other.
    pub(super) async fn open(&self, to: &Origin) -> Result<SslStream<Tap<TcpStream>>, Failure> {
        let heard = Heard::default();
        let tcp = Tap::on(dial(to).await?, heard.clone());
        let verdict = Verdict::default();
        let ssl = self.ssl(&to.host, Arc::clone(&verdict)).and_then(|ssl| SslStream::new(ssl, tcp));
        let mut tls = ssl.map_err(|error| no_tls(error, to))?;
        let agreed = Pin::new(&mut tls).connect().await;
        match (agreed, verdict.get()) {
            (Ok(()), Some(Ok(()))) => Ok(tls),
            (_, Some(Err(untrusted))) => Err(untrusted_failure(untrusted, to)),
            (Err(error), _) => Err(failure(&error, &heard.bytes(), to)),
            // Whoever was not asked about the certificate has not accepted it.
            (Ok(()), None) => Err(no_tls("it shows no certificate", to)),
        }
    }

    fn ssl(&self, host: &str, verdict: Verdict) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        if host.parse::<IpAddr>().is_err() {
            ssl.set_hostname(host)?;
        }
        let pin = self.pin;
        ssl.set_verify_callback(SslVerifyMode::PEER, move |_, chain| {
            // OpenSSL's own opinion does not matter, nor do those who signed: the pin stands for all of it. That the
            // server has the key, not just the certificate, is for the rest of the handshake to show.
            chain.error_depth() > 0 || verdict.get_or_init(|| judge(chain, pin)).is_ok()
        });
        Ok(ssl)
    }
}

/// The certificates that a PBX shows, its own first.
pub(super) async fn look(to: &Origin) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let tls = Legacy::trusting(None, to)?.open(to).await?;
    let chain = tls.ssl().peer_cert_chain();
    let ders = chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
    Ok(ders.map(CertificateDer::from).collect())
}

/// What may be spoken. Below TLS 1.2 nothing works at a security level above 0 (SHA-1 and MD5 in the handshake); from
/// 1.2 on, level 1 still allows the 1024-bit keys of old appliances.
fn context(version_min: TlsVersion) -> Result<SslContext, ErrorStack> {
    let (version, ciphers) = match version_min {
        TlsVersion::V1_0 => (SslVersion::TLS1, "DEFAULT:@SECLEVEL=0"),
        TlsVersion::V1_1 => (SslVersion::TLS1_1, "DEFAULT:@SECLEVEL=0"),
        TlsVersion::V1_2 => (SslVersion::TLS1_2, "DEFAULT:@SECLEVEL=1"),
    };
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(version))?;
    context.set_cipher_list(ciphers)?;
    // Appliances close without a farewell. Whether all came is judged from what came, as with rustls.
    let mut options = SslOptions::IGNORE_UNEXPECTED_EOF | SslOptions::NO_RENEGOTIATION;
    if version_min < TlsVersion::V1_2 {
        // Servers from before RFC 5746 cannot say that they renegotiate safely; nobody renegotiates here.
        options |= SslOptions::ALLOW_UNSAFE_LEGACY_RENEGOTIATION;
    }
    context.set_options(options);
    Ok(context.build())
}

fn judge(chain: &X509StoreContextRef, pin: Option<Digest>) -> Result<(), Untrusted> {
    let Some(pin) = pin else { return Ok(()) };
    let unreadable = |why: String| Untrusted::Unreadable { why };
    let certificate = chain.current_cert().ok_or_else(|| unreadable("there is none".to_owned()))?;
    let der = certificate.to_der().map_err(|error| unreadable(error.to_string()))?;
    match key_sha256(&der)? {
        seen if seen == pin => Ok(()),
        seen => Err(Untrusted::PinMismatch { seen, pin }),
    }
}

/// Why no TLS was agreed upon, where the certificate is not to blame.
fn failure(error: &ssl::Error, heard: &[u8], to: &Origin) -> Failure {
    if let Some(error) = error.io_error() {
        return broken_before_tls(error, to);
    }
    match error.ssl_error().and_then(|stack| stack.errors().first()) {
        Some(first) if first.reason_code() == WRONG_VERSION_NUMBER => not_https(heard, to),
        Some(first) => no_tls(first.reason().unwrap_or("unknown reason"), to),
        None => broken_before_tls(&io::ErrorKind::UnexpectedEof.into(), to),
    }
}
