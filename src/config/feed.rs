//! `[feed]`: who is told what enters the ledger, and who may read what its entries are about.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;

use super::file::Purpose;
use super::section::{Section, Wrong, wrong};
use super::{WebConfig, WebhookConfig, document, rules, secrets, value, webhook};

/// The shortest token: what `openssl rand -hex 12` makes.
const TOKEN_BYTES_MIN: usize = 24;
/// The longest name of a reader or a webhook.
const NAME_BYTES_MAX: usize = 32;
/// Lines of one delivery: less than 1 MiB, which is what many servers take.
const ENTRIES_MAX: u64 = 200;
/// The largest number of an entry that may be written.
const ENTRY_MAX: u64 = 1 << 53;
/// Files that a reader may fetch in a minute: a second archive keeps up with some thousand recordings an hour.
const READS_PER_MIN_MAX: u32 = 300;

#[derive(Debug, Clone, Default)]
pub struct FeedConfig {
    /// Whether it is served over HTTP.
    pub enabled: bool,
    /// `[[feed.reader]]`, in the order of the file; names and tokens are unique.
    pub reader: Vec<FeedReaderConfig>,
    /// `[[feed.webhook]]`, in the order of the file; names are unique.
    pub webhook: Vec<FeedWebhookConfig>,
}

/// Who may read audio and sidecars.
#[derive(Debug, Clone)]
pub struct FeedReaderConfig {
    pub name: String,
    pub token: SecretString,
    /// The PBXs whose entries, audio and sidecars he is given; empty means all.
    pub pbx: Vec<String>,
    /// Files that he may fetch in a minute.
    pub reads_per_min_max: u32,
}

impl FeedReaderConfig {
    /// A reader with defaults for all but what is given: he is given all PBXs.
    pub fn new(name: impl Into<String>, token: impl Into<SecretString>) -> Self {
        Self { name: name.into(), token: token.into(), pbx: Vec::new(), reads_per_min_max: READS_PER_MIN_MAX }
    }
}

/// What to do about tokens that would cross a network unencrypted.
pub const PLAIN_TOKENS_REMEDY: &str = "set certificate_file and key_file of [web], or listen on 127.0.0.1 behind a proxy \
                                       that speaks TLS, or add allow_plain_http = true to [web]";

impl FeedConfig {
    /// Whether readers on other machines would send their tokens to `web` unencrypted, and nobody said that they may.
    pub fn would_take_plain_tokens(&self, web: &WebConfig) -> bool {
        self.enabled && !self.reader.is_empty() && web.is_plain_unasked()
    }

    /// Whether some reader is to see some PBXs alone: then entries are for readers too.
    pub fn has_scopes(&self) -> bool {
        self.reader.iter().any(|reader| !reader.pbx.is_empty())
    }
}

/// An address that the ledger is delivered to.
#[derive(Debug, Clone)]
pub struct FeedWebhookConfig {
    /// What status, metrics and alerts call it. How far it was delivered to is kept under this name.
    pub name: String,
    pub webhook: WebhookConfig,
    /// The last entry that it has already; none if it is to have all.
    pub after: Option<u64>,
    /// Lines of one delivery at most.
    pub entries_max: u64,
    /// The longest wait for a receipt.
    pub timeout: Duration,
}

/// Reads the section; `ids` are those of the PBXs.
pub(super) fn read(section: &Section<'_>, ids: &[String]) -> FeedConfig {
    let readers = section.several("feed.reader");
    document::unique(&readers, "name");
    let mut reader: Vec<FeedReaderConfig> = Vec::new();
    for section in &readers {
        let Some(read) = read_reader(section, ids) else { continue };
        let is_his = |other: &FeedReaderConfig| other.token.expose_secret() == read.token.expose_secret();
        if section.reading.purpose != Purpose::Trust && reader.iter().any(is_his) {
            let remedy = "give each reader its own token, so that the ledger shows who has read";
            section.reject("token_file", wrong("holds the token of another reader", remedy));
        }
        reader.push(read);
    }
    let webhooks = section.several("feed.webhook");
    document::unique(&webhooks, "name");
    let webhook = webhooks.iter().filter_map(read_webhook).collect();
    FeedConfig { enabled: section.switch("enabled", false), reader, webhook }
}

fn read_webhook(section: &Section<'_>) -> Option<FeedWebhookConfig> {
    let named = |value| name(value, "is no short name");
    let name = section.require("name", "\"…\", what status and alerts call it", named);
    let after = section.read("after", |value| value::whole(value, &(0..=ENTRY_MAX)));
    let entries_max = section.count("entries_max", ENTRIES_MAX, 1..=1000);
    let timeout = section.seconds("timeout_s", 20.0, 0.1..=300.0);
    let webhook = webhook::read(section, "entries");
    Some(FeedWebhookConfig { name: name?, webhook: webhook?, after, entries_max, timeout })
}

fn read_reader(section: &Section<'_>, ids: &[String]) -> Option<FeedReaderConfig> {
    let named = |value| name(value, "is no name for the ledger");
    let name = section.require("name", "\"…\", what the ledger calls the reader", named);
    let pbx = rules::pbx_ids(section, ids);
    let reads_per_min_max = section.count("reads_per_min_max", READS_PER_MIN_MAX, 1..=100_000);
    let example = "\"…\", a file that holds the token that the reader sends";
    section.require("token_file", example, |_| Ok(()));
    let (token, file) = secrets::secret_file(section, "token_file")?;
    let bytes = token.expose_secret().as_bytes();
    let is_token = bytes.len() >= TOKEN_BYTES_MIN && bytes.iter().all(u8::is_ascii_graphic);
    if !is_token && section.reading.purpose != Purpose::Trust {
        let message = format!("{} holds no token", file.display());
        let remedy = "write at least 24 random letters and digits into it: openssl rand -hex 32";
        section.reject("token_file", wrong(message, remedy));
        return None;
    }
    Some(FeedReaderConfig { name: name?, token, pbx, reads_per_min_max })
}

/// A name that the ledger may hold: it is that of a program or an office, never of a person.
fn name(value: &DeValue<'_>, message: &str) -> Result<String, Wrong> {
    let text = value::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
    let remedy = "write 1 to 32 of a-z, 0-9, - and _, such as \"surveillance\"";
    fits.then(|| text.to_owned()).ok_or_else(|| wrong(message, remedy))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use crate::config::Config;

    /// What is said of a configuration with these lines, where there are files with these tokens.
    fn said(lines: &str, tokens: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for (name, token) in tokens {
            fs::write(dir.join(name), token).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let text = format!(
            "[archive]\npath = '{0}/archive'\n[state]\npath = '{0}/state'\n\
             [[pbx]]\nid = 'hq'\nurl = 'https://192.0.2.1'\nusername = 'api'\npassword_file = 'password'\n{lines}",
            dir.display()
        );
        let file = dir.join("callvault.toml");
        fs::write(&file, text).unwrap();
        let loaded = Config::load(&file);
        let said = loaded.map_or_else(|errors| errors.to_string(), |config| format!("{:?}", config.feed));
        said.replace(&dir.display().to_string(), "DIR")
    }

    const TOKEN: &str = "0123456789abcdef01234567";
    const PASSWORD: (&str, &str) = ("password", "secret");

    #[test]
    fn readers_have_names_and_tokens_of_their_own() {
        let reader = "[feed]\nenabled = true\n[[feed.reader]]\nname = 'one'\ntoken_file = 'one'\n";
        let fine = said(reader, &[PASSWORD, ("one", TOKEN)]);
        assert!(fine.contains("enabled: true") && fine.contains("one") && !fine.contains(TOKEN), "{fine}");
        let second = |name: &str, file: &str| {
            let lines = format!("{reader}[[feed.reader]]\nname = '{name}'\ntoken_file = '{file}'\n");
            said(&lines, &[PASSWORD, ("one", TOKEN), ("same", TOKEN), ("short", "0123456789abcdef0123456")])
        };
        for (name, file, words) in [
            ("one", "two", "feed.reader.name = 'one': is taken by line"),
            ("two", "same", "feed.reader.token_file = 'same': holds the token of another reader"),
            ("two", "short", "short holds no token; write at least 24 random letters and digits"),
            ("two", "absent", "there is no DIR/absent"),
            ("Jane Doe", "same", "feed.reader.name = 'Jane Doe': is no name for the ledger"),
        ] {
            let said = second(name, file);
            assert!(said.contains(words) && !said.contains(TOKEN), "{said}");
        }
    }

    #[test]
    fn webhooks_have_names_and_addresses_and_tell_neither_tokens_nor_keys() {
        const KEY: (&str, &str) = ("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let webhook = |name: &str, rest: &str| {
            format!("[[feed.webhook]]\nname = '{name}'\nsecret_file = 'key'\n{rest}\n")
        };
        let fine = webhook("siem", "url = 'https://siem.example.org/in/hunter2'\nafter = 17");
        let said_of =
            |lines: &str| said(&format!("[feed]\n{fine}{lines}"), &[PASSWORD, KEY, ("no-key", "whsec_x")]);
        let read = said_of("");
        assert!(read.contains("after: Some(17), entries_max: 200, timeout: 20s"), "{read}");
        assert!(read.contains("siem.example.org") && !read.contains("hunter2"), "{read}");
        let url = "url = 'https://hunter2.example.org'";
        for (lines, words) in [
            (webhook("siem", url), "feed.webhook.name = 'siem': is taken by line"),
            (webhook("Si em", url), "feed.webhook.name = 'Si em': is no short name; write 1 to 32 of a-z"),
            (
                webhook("two", ""),
                "feed.webhook.url: missing; add url = \"https://…\", where entries are posted",
            ),
            (
                webhook("two", "url = 'http://example.org/hunter2'"),
                "feed.webhook.url: would send the entries unencrypted; use https",
            ),
            (
                webhook("two", "url = 'ftp://hunter2'"),
                "feed.webhook.url: must begin with https:// or http://",
            ),
            (webhook("two", &format!("{url}\nafter = -1")), "feed.webhook.after = -1: must be 0 to"),
            (webhook("two", &format!("{url}\nentries_max = 0")), "entries_max = 0: must be 1 to 1000"),
            (webhook("two", &format!("{url}\ntimeout_s = 0")), "timeout_s = 0: must be"),
            (
                webhook("two", url).replace("'key'", "'no-key'"),
                "feed.webhook.secret_file = 'no-key': DIR/no-key holds no signing key; write whsec_",
            ),
            (webhook("two", url).replace("'key'", "'absent'"), "there is no DIR/absent"),
            (webhook("two", url).replace("secret_file = 'key'", ""), "feed.webhook.secret_file: missing"),
            (webhook("two", &format!("{url}\nfilter = 1")), "feed.webhook.filter: unknown key"),
        ] {
            let said = said_of(&lines);
            assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_feed_needs_a_listener() {
        let said = said("[web]\nlisten = 'off'\n[feed]\nenabled = true\n", &[PASSWORD]);
        assert!(
            said.contains("feed.enabled = true: needs a listener, and [web] listen is \"off\""),
            "{said}"
        );
    }
}
