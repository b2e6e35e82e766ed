//! Time-stamp tokens (RFC 3161) as an authority makes them, and as a forger would: DER by hand, certificates by `rcgen`.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    SigningKey as _,
};
use sha2::{Digest as _, Sha256};

/// 2.16.840.1.101.3.4.2.1, SHA-256.
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// 1.2.840.10045.4.3.2, ECDSA with it.
const ECDSA_SHA_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 1.2.840.113549.1, under which the rest is.
const PKCS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01];

/// An authority for certificates.
pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

/// Somebody with a certificate.
pub(crate) struct Stamper {
    certificate: Vec<u8>,
    key: KeyPair,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    None,
    /// Nobody has signed it.
    NoSigner,
    /// It was signed with another key than that of the certificate in it.
    WrongKey,
    /// The certificate is another one than the signed attributes name.
    WrongCertificate,
    /// No certificate is in it.
    NoCertificate,
    /// What was signed was another time.
    AlteredTime,
}

/// The CA by which honest tokens are verified, made once for all tests.
pub(crate) fn ca() -> &'static Ca {
    static CA: OnceLock<Ca> = OnceLock::new();
    CA.get_or_init(|| new_ca("Test CA"))
}

/// Another one, of this name.
pub(crate) fn new_ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate as a file of the operator's holds it.
pub(crate) fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// The purpose of certificates for time stamps, as it should be there.
pub(crate) fn time_stamping(is_critical: bool) -> CustomExtension {
    let purpose = tlv(0x30, &[&tlv(0x06, &[&[0x2b, 6, 1, 5, 5, 7, 3, 8]])]);
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], purpose);
    extension.set_criticality(is_critical);
    extension
}

impl Stamper {
    /// One whom `ca` lets give time stamps.
    pub(crate) fn under(ca: &Ca) -> Self {
        Self::with(ca, |params| params.custom_extensions.push(time_stamping(true)))
    }

    /// One with a certificate as `change` makes it.
    pub(crate) fn with(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test TSA");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, ca).unwrap().der().to_vec();
        Self { certificate, key }
    }

    /// The reply to a request, whose hash and nonce have fixed places.
    pub(crate) fn reply(&self, query: &[u8], at: Timestamp, forgery: Forgery) -> Vec<u8> {
        let info = info(&query[24..56], &query[58..66], at);
        let signed = match forgery {
            Forgery::AlteredTime => {
                self::info(&query[24..56], &query[58..66], at - jiff::SignedDuration::from_hours(9))
            }
            _ => info.clone(),
        };
        let attributes = self.attributes(&signed, forgery);
        let key = if forgery == Forgery::WrongKey { &KeyPair::generate().unwrap() } else { &self.key };
        let signature = key.sign(&tlv(0x31, &[&attributes])).unwrap();
        let (issuer, serial) = issuer_and_serial(&self.certificate);
        let sha_256 = tlv(0x30, &[&tlv(0x06, &[SHA_256])]);
        let signer = tlv(
            0x30,
            &[
                &tlv(0x02, &[&[1]]),
                &tlv(0x30, &[issuer, serial]),
                &sha_256,
                &tlv(0xa0, &[&attributes]),
                &tlv(0x30, &[&tlv(0x06, &[ECDSA_SHA_256])]),
                &tlv(0x04, &[&signature]),
            ],
        );
        let tst_info = tlv(0x06, &[PKCS, &[9, 16, 1, 4]]);
        let content = tlv(0x30, &[&tst_info, &tlv(0xa0, &[&tlv(0x04, &[&info])])]);
        let certificates = tlv(0xa0, &[&self.certificate]);
        let signed_data = tlv(
            0x30,
            &[
                &tlv(0x02, &[&[3]]),
                &tlv(0x31, &[&sha_256]),
                &content,
                if forgery == Forgery::NoCertificate { &[] } else { &certificates },
                &tlv(0x31, &[if forgery == Forgery::NoSigner { &[] } else { &signer }]),
            ],
        );
        let token = tlv(0x30, &[&tlv(0x06, &[PKCS, &[7, 2]]), &tlv(0xa0, &[&signed_data])]);
        tlv(0x30, &[&tlv(0x30, &[&tlv(0x02, &[&[0]])]), &token])
    }

    /// The signed attributes, in the order of DER.
    fn attributes(&self, info: &[u8], forgery: Forgery) -> Vec<u8> {
        let attribute =
            |oid: &[u8], value: &[u8]| tlv(0x30, &[&tlv(0x06, &[PKCS, oid]), &tlv(0x31, &[value])]);
        let mut named = Sha256::digest(&self.certificate).to_vec();
        if forgery == Forgery::WrongCertificate {
            named[0] ^= 1;
        }
        let named = tlv(0x30, &[&tlv(0x30, &[&tlv(0x30, &[&tlv(0x04, &[&named])])])]);
        let mut attributes = [
            attribute(&[9, 3], &tlv(0x06, &[PKCS, &[9, 16, 1, 4]])),
            attribute(&[9, 4], &tlv(0x04, &[&Sha256::digest(info)])),
            attribute(&[9, 16, 2, 47], &named),
        ];
        attributes.sort();
        attributes.concat()
    }
}

/// A proper refusal.
pub(crate) fn refusal() -> Vec<u8> {
    tlv(0x30, &[&tlv(0x30, &[&tlv(0x02, &[&[2]]), &tlv(0x03, &[&[7, 0x80]])])])
}

/// What a token signs.
fn info(hash: &[u8], nonce: &[u8], at: Timestamp) -> Vec<u8> {
    let algorithm = tlv(0x30, &[&tlv(0x06, &[SHA_256]), &[5, 0]]);
    let time = at.strftime("%Y%m%d%H%M%SZ").to_string();
    tlv(
        0x30,
        &[
            &tlv(0x02, &[&[1]]),
            &tlv(0x06, &[&[0x2a, 3, 4, 1]]),
            &tlv(0x30, &[&algorithm, &tlv(0x04, &[hash])]),
            &tlv(0x02, &[&[1]]),
            &tlv(0x18, &[time.as_bytes()]),
            &tlv(0x02, &[nonce]),
        ],
    )
}

/// Issuer and serial number of a certificate, each as it stands there.
fn issuer_and_serial(certificate: &[u8]) -> (&[u8], &[u8]) {
    let (_, inside, _) = split(certificate);
    let (_, mut rest, _) = split(inside);
    let mut next = || {
        let (whole, _, after) = split(rest);
        rest = after;
        whole
    };
    let (_version, serial, _algorithm) = (next(), next(), next());
    (next(), serial)
}

/// The first value whole, its content, and what follows it.
fn split(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (head, length) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let digits = usize::from(long & 0x7f);
            let length =
                der[2..2 + digits].iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
            (2 + digits, length)
        }
    };
    (&der[..head + length], &der[head..head + length], &der[head + length..])
}

/// A value of DER.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let mut der = vec![tag];
    match length {
        0..=0x7f => der.push(u8::try_from(length).unwrap()),
        0x80..=0xff => der.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            der.push(0x82);
            der.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}
