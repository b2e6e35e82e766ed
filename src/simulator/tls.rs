//! The device's self-signed certificates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::lock;

/// Certificates by number, each with its own key, made when first shown.
#[derive(Debug)]
pub(super) struct Certificates {
    names: Vec<String>,
    made: Mutex<BTreeMap<u32, Certificate>>,
}

#[derive(Debug, Clone)]
struct Certificate {
    config: Arc<ServerConfig>,
    der: Vec<u8>,
}

impl Certificates {
    /// Certificates for `localhost` and the address listened on.
    pub(super) fn new(address: IpAddr) -> Self {
        let names = vec!["localhost".to_owned(), address.to_string()];
        Self { names, made: Mutex::default() }
    }

    /// What to accept connections with.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub(super) fn acceptor(&self, number: u32) -> anyhow::Result<TlsAcceptor> {
        Ok(TlsAcceptor::from(self.get(number)?.config))
    }

    /// The certificate in DER.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub(super) fn der(&self, number: u32) -> anyhow::Result<Vec<u8>> {
        Ok(self.get(number)?.der)
    }

    fn get(&self, number: u32) -> anyhow::Result<Certificate> {
        let mut made = lock(&self.made);
        if let Some(known) = made.get(&number) {
            return Ok(known.clone());
        }
        let certificate = make(self.names.clone())?;
        made.insert(number, certificate.clone());
        Ok(certificate)
    }
}

fn make(names: Vec<String>) -> anyhow::Result<Certificate> {
    let signed = rcgen::generate_simple_self_signed(names)?;
    let certificate = signed.cert.der().clone();
    let der = certificate.to_vec();
    let key = PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Certificate { config: Arc::new(config), der })
}
