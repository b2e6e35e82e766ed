//! `[[alerts.webhook]]`, and what `[[feed.webhook]]` has in common with it: addresses that are posted to, and what keeps
//! them secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use toml::de::DeValue;
use url::Url;

use super::file::Purpose;
use super::section::{Section, Wrong, wrong};
use super::{secrets, value};

/// An address in whose path or query a token may stand: only its host may be told.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// The whole address, for the request alone.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// The same address with another path.
    pub(super) fn with_path(mut self, path: &str) -> Self {
        self.0.set_path(path);
        self
    }

    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether others could read what is sent there.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http" && !is_loopback(self.host())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({}://{}/…)", self.0.scheme(), self.host())
    }
}

/// An address that signed messages are posted to.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    pub url: SecretUrl,
    pub key: SigningKey,
}

/// The key that messages are signed with. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64, as Standard Webhooks writes keys: 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    /// The bytes, to sign with.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Reads an address that must be encrypted, unless the section allows it not to be; `message` says what it is otherwise.
pub(super) fn encrypted_url(section: &Section<'_>, example: &str, message: &str) -> Option<SecretUrl> {
    let url = section.require("url", example, url);
    let allowed = section.switch("allow_plain_http", false);
    if !allowed && url.as_ref().is_some_and(SecretUrl::is_plain) {
        section.reject("url", wrong(message, "use https, or add allow_plain_http = true"));
    }
    url
}

/// Reads the address and the key of a section whose messages carry `what`; nothing if one of them is missing or wrong.
pub(super) fn read(section: &Section<'_>, what: &str) -> Option<WebhookConfig> {
    let example = format!("\"https://…\", where {what} are posted to");
    let url = encrypted_url(section, &example, &format!("would send the {what} unencrypted"));
    let example = "\"…\", a file that holds the secret that messages are signed with";
    section.require("secret_file", example, |_| Ok(()));
    if section.reading.purpose == Purpose::Trust {
        return None;
    }
    let (secret, file) = secrets::secret_file(section, "secret_file")?;
    let key = SigningKey::parse(secret.expose_secret());
    if key.is_none() {
        let message = format!("{} holds no signing key", file.display());
        let remedy = "write whsec_ and 24 to 64 random bytes in base64 into it: \
                      echo whsec_$(openssl rand -base64 32)";
        section.reject("secret_file", wrong(message, remedy));
    }
    Some(WebhookConfig { url: url?, key: key? })
}

/// An address with all that follows its host.
pub(super) fn url(value: &DeValue<'_>) -> Result<SecretUrl, Wrong> {
    const REMEDY: &str = "write the whole address, such as https://example.org/hooks/…";
    let url = Url::parse(value::text(value)?).map_err(|_| wrong("is not a URL", REMEDY))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(SecretUrl(url)),
        _ => Err(wrong("must begin with https:// or http://", REMEDY)),
    }
}

/// Whether nothing leaves this machine on the way to `host`.
pub(super) fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn no_secret_is_read_to_look_at_a_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display();
        let text = format!(
            "[archive]\npath = '{dir}/archive'\n[state]\npath = '{dir}/state'\n\
         [[pbx]]\nid = 'hq'\nurl = 'https://192.0.2.1'\nusername = 'api'\npassword_file = 'absent-1'\n\
         [alerts.email]\nhost = 'mail.example.org'\nusername = 'me'\npassword_file = 'absent-2'\n\
         from = 'me@example.org'\nto = ['you@example.org']\n\
         [[alerts.webhook]]\nurl = 'https://example.org/hook'\nsecret_file = 'absent-3'\n"
        );
        let file = folder.path().join("callvault.toml");
        std::fs::write(&file, text).unwrap();
        let said = Config::load(&file).unwrap_err().to_string();
        for name in ["absent-1", "absent-2", "absent-3"] {
            assert!(said.contains(name), "{said}");
        }
        Config::load_to_trust(&file).unwrap();
    }
}
