//! Certificates and keys as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A self-signed certificate of this host and its key, in PEM, and the certificate's bytes.
pub(crate) fn certificate_of(host: &str) -> (String, String, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.der(), made.signing_key.serialize_der());
    (pem("CERTIFICATE", certificate), pem("PRIVATE KEY", &key), certificate.clone())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
