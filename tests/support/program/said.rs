//! What the program said, checked for secrets before anybody sees it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use callvault::base::digest::hex;
use md5::{Digest as _, Md5};
use serde_json::Value;

use super::PASSWORD;

/// The end of a run.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit code; 128 and the signal's number for a process that a signal ended.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    dir: String,
}

impl Said {
    /// Reads the output. Panics if there is a secret in it, or a panic's trace.
    pub(crate) fn new(status: ExitStatus, stdout: &[u8], stderr: &[u8], dir: &Path) -> Self {
        let said = Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: String::from_utf8(stdout.to_vec()).unwrap(),
            stderr: String::from_utf8(stderr.to_vec()).unwrap(),
            dir: dir.display().to_string(),
        };
        for text in [&said.stdout, &said.stderr] {
            assert_eq!(secret_in(text), None, "a secret in {said:?}");
            assert!(!text.contains("panicked"), "{said:?}");
        }
        said
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The one object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let value: Value = serde_json::from_str(&self.stdout).unwrap();
        assert!(value.is_object());
        value
    }

    /// The message of the error of PBX `hq` in the JSON, redacted.
    #[track_caller]
    pub(crate) fn error_of_hq(&self) -> String {
        let json = self.json();
        let message = json["pbx"]["hq"]["error"]["message"].as_str();
        self.redact(message.unwrap_or_else(|| panic!("no error in {json}")))
    }

    /// A number in the JSON's totals.
    #[track_caller]
    pub(crate) fn count(&self, member: &str) -> i64 {
        self.json()[member].as_i64().unwrap_or_else(|| panic!("no {member} in {}", self.stdout))
    }

    /// What stands on stdout, without what changes from run to run.
    pub(crate) fn out(&self) -> String {
        self.redact(&self.stdout)
    }

    /// What stands on stderr, without what changes from run to run.
    pub(crate) fn err(&self) -> String {
        self.redact(&self.stderr)
    }

    /// What no output and no file but the password's own may hold.
    pub(crate) fn secrets() -> [String; 2] {
        [PASSWORD.to_owned(), hex(&Md5::digest(PASSWORD))]
    }

    fn redact(&self, text: &str) -> String {
        let text = text.replace(&self.dir, "DIR");
        let words = text.split_inclusive([' ', '\n', '"', '`', ';', ',']).map(redact_word);
        words.collect::<String>().trim_end().to_owned()
    }
}

/// Ports, hashes and times are other ones each time.
fn redact_word(word: &str) -> String {
    let bare = word.trim_end_matches([' ', '\n', '"', '`', ';', ',', ':', '.']);
    let rest = &word[bare.len()..];
    if let Some(at) = bare.find("127.0.0.1:") {
        return format!("{}ADDRESS{rest}", &bare[..at]);
    }
    let is_hash = bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = bare.starts_with("20") && bare.ends_with('Z') && bare.contains('T');
    match (is_hash, is_time) {
        (true, _) => format!("SHA256{rest}"),
        (_, true) => format!("TIME{rest}"),
        _ => word.to_owned(),
    }
}

/// The password, its MD5, or what may be a token or a random: 32 hex digits.
fn secret_in(text: &str) -> Option<&str> {
    let known = Said::secrets().iter().find_map(|secret| text.find(secret).map(|at| &text[at..]));
    // An archive and a state have ids of that length, which are told where the two do not belong together, and by which
    // the ledger is called.
    let is_id = |word: &str| {
        ["state ", "\"state_id\":\"", "ours is ", "callvault/"]
            .iter()
            .any(|before| text.contains(&format!("{before}{word}")))
    };
    let mut words = text.split(|c: char| !c.is_ascii_hexdigit());
    known.or_else(|| words.find(|word| word.len() == 32 && !is_id(word)))
}
