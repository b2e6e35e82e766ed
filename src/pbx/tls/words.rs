//! What rustls says, in words of people: nothing of how its types are written.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// An error of a handshake, or of a connection after it.
pub(in crate::pbx) fn of(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("it refuses with the TLS alert \"{}\"", alert_words(*alert)),
        Error::InvalidCertificate(why) => certificate(why),
        Error::PeerIncompatible(why) => incompatible(why).to_owned(),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "what it says is not TLS".to_owned(),
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => {
            "it does not keep to the rules of TLS".to_owned()
        }
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::UnsupportedNameType => "its name in `url` cannot stand in a certificate".to_owned(),
        Error::DecryptError => "what it sent cannot be decrypted".to_owned(),
        Error::EncryptError => "nothing can be encrypted for it".to_owned(),
        Error::PeerSentOversizedRecord => "it sent more than a TLS record may hold".to_owned(),
        Error::HandshakeNotComplete => "the handshake is not complete".to_owned(),
        Error::NoApplicationProtocol => "it wants another protocol than HTTP/1.1".to_owned(),
        Error::General(why) => why.clone(),
        _ => "TLS failed".to_owned(),
    }
}

/// Why the roots of this machine do not vouch for a certificate.
pub(in crate::pbx) fn certificate(why: &CertificateError) -> String {
    use CertificateError as Why;
    match why {
        // CA certificates that stand for a server are self-signed ones as `openssl req -x509` makes them.
        Why::UnknownIssuer => "signed by itself, or by nobody that this machine knows".to_owned(),
        Why::Expired | Why::ExpiredContext { .. } => "it has expired".to_owned(),
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "it is not valid yet, unless this machine's clock is slow".to_owned()
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "it is for another name than the one in `url`".to_owned()
        }
        Why::Revoked => "it was revoked".to_owned(),
        Why::BadEncoding => "it is not written as certificates are".to_owned(),
        Why::BadSignature => "its signature is wrong".to_owned(),
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => "it is not one for servers".to_owned(),
        Why::UnhandledCriticalExtension => "it has a critical extension that is not known here".to_owned(),
        Why::ApplicationVerificationFailure => "this machine's own check refuses it".to_owned(),
        other => others(&format!("{other:?}")).to_owned(),
    }
}

/// What the verifier tells only as the name of another library's error; none of it is shown.
fn others(name: &str) -> &'static str {
    let table = [
        ("CaUsedAsEndEntity", "signed by itself, or by nobody that this machine knows"),
        ("UnsupportedCertVersion", "it is of X.509 version 1, which is too old for any root to vouch for"),
        (
            "UnsupportedSignatureAlgorithm",
            "it is signed in a way that is not accepted any more, such as MD5 or SHA-1",
        ),
        ("UnsupportedPublicKey", "its key is of a kind or length that is not accepted any more"),
        ("MissingSubjectAltName", "it has no subject alternative name"),
    ];
    let found = table.iter().find(|(part, _)| name.contains(part));
    found.map_or("this machine's check of certificates refuses it", |(_, words)| words)
}

fn incompatible(why: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as Why;
    match why {
        Why::ServerDoesNotSupportTls12Or13 | Why::SupportedVersionsExtensionRequired => {
            "it speaks only versions of TLS before 1.2"
        }
        Why::NoCipherSuitesInCommon => "it has no cipher in common with us",
        Why::NoKxGroupsInCommon | Why::NamedGroupsExtensionRequired | Why::NoEcPointFormatsInCommon => {
            "it has no way in common with us to agree upon a key"
        }
        Why::NoSignatureSchemesInCommon => "it signs only in ways that are not accepted any more",
        _ => "it has no TLS in common with us",
    }
}

/// `HandshakeFailure` as `handshake failure`: the names of the alerts are those of the standard (RFC 8446, §6).
fn alert_words(alert: AlertDescription) -> String {
    let Some(name) = alert.as_str() else { return format!("number {}", u8::from(alert)) };
    let mut words = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(character.to_lowercase());
    }
    words
}
