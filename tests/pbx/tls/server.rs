//! A TLS server in front of a PBX that speaks plain HTTP, and whom it says it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callvault::base::digest::Digest;
use callvault::pbx::Certificate;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

/// What a server speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    /// What every server of today speaks.
    Ecdhe,
    /// TLS 1.2, with keys sent under the certificate's own RSA key.
    StaticRsa,
    /// TLS 1.0 and nothing newer.
    Tls10,
}

impl Language {
    /// In the words of stunnel's configuration.
    fn options(self) -> &'static str {
        match self {
            Self::Ecdhe => "sslVersionMin = TLSv1.2\nsecurityLevel = 0\n",
            Self::StaticRsa => {
                "sslVersionMin = TLSv1.2\nsslVersionMax = TLSv1.2\nciphers = AES256-GCM-SHA384\nsecurityLevel = 1\n"
            }
            Self::Tls10 => {
                "sslVersionMin = TLSv1\nsslVersionMax = TLSv1\nciphers = AES256-SHA\nsecurityLevel = 0\n"
            }
        }
    }
}

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    /// As an appliance makes it for itself: self-signed, RSA.
    pub(crate) fn of_appliance(bits: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.path().join(name));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=pbx",
                "-newkey",
                &format!("rsa:{bits}"),
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { certificate: fs::read_to_string(certificate).unwrap(), key: fs::read_to_string(key).unwrap() }
    }

    /// As an appliance of long ago made it: X.509 version 1, which has no extensions.
    pub(crate) fn of_version_1() -> Self {
        Self::by_request(&[])
    }

    /// Self-signed with a digest of long ago.
    pub(crate) fn signed_with_sha1() -> Self {
        Self::by_request(&["-sha1"])
    }

    /// A request that is signed with its own key.
    fn by_request(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key, request, certificate] =
            ["key.pem", "request.pem", "certificate.pem"].map(|name| folder.path().join(name));
        let openssl = |arguments: &[&str]| {
            let made = Command::new("openssl").current_dir(&folder).args(arguments).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        };
        let made = ["req", "-new", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=pbx"];
        openssl(&[&made[..], &["-keyout", "key.pem", "-out", "request.pem"]].concat());
        let signed = ["x509", "-req", "-in", "request.pem", "-signkey", "key.pem", "-days", "30"];
        openssl(&[&signed[..], options, &["-out", "certificate.pem"]].concat());
        assert!(request.exists());
        Self { certificate: fs::read_to_string(certificate).unwrap(), key: fs::read_to_string(key).unwrap() }
    }

    /// What the certificate says.
    pub(crate) fn certificate(&self) -> Certificate {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        Certificate::read(&der).unwrap()
    }

    /// What it is pinned by, read by another reader of certificates than ours.
    pub(crate) fn key(&self) -> Digest {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        match webpki::EndEntityCert::try_from(&der) {
            Ok(certificate) => Digest::of(certificate.subject_public_key_info()),
            // It reads nothing but version 3.
            Err(_) => self.certificate().key_sha256,
        }
    }
}

/// An authority that a machine may have among its roots.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate for a host, the last day of which is that of this year.
    pub(crate) fn sign(&self, host: &str, last_year: i32) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    let lines: String = STANDARD
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| format!("{}\n", std::str::from_utf8(line).unwrap()))
        .collect();
    format!("-----BEGIN {kind}-----\n{lines}-----END {kind}-----\n")
}

/// stunnel at work. Dropped, it ends.
pub(crate) struct TlsServer {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl TlsServer {
    /// Answers at a free port for the PBX behind it.
    pub(crate) fn before(pbx: SocketAddr, identity: &Identity, language: Language) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [pem, config] = ["identity.pem", "stunnel.conf"].map(|name| folder.path().join(name));
        fs::write(&pem, format!("{}\n{}", identity.key, identity.certificate)).unwrap();
        let text = format!(
            "foreground = yes\npid =\ndebug = info\n[pbx]\naccept = 127.0.0.1:0\nconnect = {pbx}\ncert = {}\n{}",
            pem.display(),
            language.options()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("stunnel").arg(&config).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let address = bound_address(&mut said);
        // It goes on to talk, and would stop if nobody listened.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, address, _folder: folder }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

fn bound_address(said: &mut impl BufRead) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "stunnel did not start: {all}");
        if let Some((_, address)) = line.split_once(" bound to ") {
            return address.trim().to_owned();
        }
        all.push_str(&line);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
