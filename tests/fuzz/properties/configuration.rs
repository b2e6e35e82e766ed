//! Configurations: any text is one that can be worked with, or says in words what is wrong with it; no secret is told.

use std::path::Path;

use callvault::base::digest::Digest;
use callvault::config::{Config, ConfigErrors, Origin, Problem, pinned};
use jiff::Timestamp;

use super::{assert_printable, assert_words};

/// A password that is told in no error.
const SECRET: &str = "S3CR3T";

pub(crate) fn hold(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse(text) {
        Ok(config) => check(&config, text),
        Err(errors) => check_errors(&errors, text),
    }
    check_pin(text);
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    let file = Path::new("/nowhere/callvault.toml");
    Config::parse(text, &Origin { file, mode: 0o600, credentials_directory: None })
}

/// What nothing past the configuration asks about any more.
fn check(config: &Config, text: &str) {
    assert!(!hides_secret(text) || !format!("{config:?}").contains(SECRET), "a secret can be printed");
    let mut ids: Vec<&str> = config.pbx.iter().map(|pbx| pbx.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), config.pbx.len(), "two PBXs of one name");
    for pbx in &config.pbx {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        assert!((1..=32).contains(&pbx.id.len()) && pbx.id.bytes().all(is_plain), "{}", pbx.id);
        assert!(!pbx.id.starts_with(['_', '-']) && pbx.concurrency > 0);
        assert!(pbx.url.host().is_some() && !pbx.username.is_empty());
        assert!(!pbx.limits.idle_timeout.is_zero() && !pbx.limits.connect_timeout.is_zero());
    }
    let (archive, state) = (&config.archive.path, &config.state.path);
    assert!(archive.is_absolute() && state.is_absolute());
    assert!(!archive.starts_with(state) && !state.starts_with(archive));
    let now: Timestamp = "2026-03-29T00:30:00Z".parse().expect("it is a time");
    let schedule = &config.schedule;
    for line in [&schedule.sweep, &schedule.verify, &schedule.seal, &schedule.snapshot, &schedule.voicemail] {
        assert!(line.next_after(now) > now, "{}", line.text());
    }
}

fn check_errors(errors: &ConfigErrors, text: &str) {
    let said = errors.to_string();
    said.lines().for_each(assert_printable);
    assert!(!hides_secret(text) || !said.contains(SECRET), "{said}");
    assert!(!errors.problems().is_empty());
    let lines = text.split('\n').count();
    for Problem { position, key, value, message, remedy, .. } in errors.problems() {
        assert_words(message);
        assert_words(remedy);
        [key, value].into_iter().flatten().for_each(|quoted| assert_printable(quoted));
        assert!(position.is_some_and(|at| (1..=lines).contains(&at.line) && at.column > 0), "{position:?}");
    }
}

/// Whether the secret stands in the text once, and where a secret belongs; in a text that is no TOML it may be anything.
fn hides_secret(text: &str) -> bool {
    if text.matches(SECRET).count() != 1 {
        return false;
    }
    let Ok(root) = text.trim_start_matches('\u{feff}').parse::<toml::Table>() else { return true };
    let pbxs = root.get("pbx").and_then(toml::Value::as_array);
    let password = |pbx: &toml::Value| pbx.get("password")?.as_str().map(|text| text.contains(SECRET));
    pbxs.is_some_and(|pbxs| pbxs.iter().filter_map(password).any(|is_there| is_there))
}

/// A pin is put into a text without harm to the rest: what could be read can be read afterwards.
fn check_pin(text: &str) {
    let pin = Digest::of(b"pin");
    let Some(pinned) = pinned(text, "hq", pin) else { return };
    let line = format!("sha256:{pin}");
    assert!(pinned.contains(&line) && pinned.len() <= text.len() + line.len() + 32);
    if let Ok(config) = parse(text) {
        let kept = parse(&pinned).map(|config| config.pbx.into_iter().find(|pbx| pbx.id == "hq"));
        let before = config.pbx.iter().find(|pbx| pbx.id == "hq").expect("it was found");
        let kept = kept.unwrap_or_else(|errors| panic!("{errors}\n{pinned}")).expect("it is there still");
        assert_eq!(kept.tls_pin_sha256, Some(pin));
        assert_eq!((&kept.url, &kept.username), (&before.url, &before.username));
    }
}
