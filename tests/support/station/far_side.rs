//! What the PBX says of us, and what we must never say of it.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use callvault::base::digest::hex;
use callvault::config::PushMode;
use md5::{Digest as _, Md5};
use secrecy::ExposeSecret as _;

use super::Station;
use crate::support::search::Search;

/// Tokens, tickets and MD5 hashes have so many hex digits.
const SECRET_DIGITS: usize = 32;

impl Station {
    pub(super) async fn check_far_side(&self) {
        let counters = self.pbx.counters();
        let concurrency = self.config.pbx[0].concurrency as u64;
        assert!(counters.connections_peak <= concurrency, "{counters:?}");
        assert_eq!(counters.tickets_reused, 0, "{counters:?}");
        // No ticket is left to expire, but those that a leap of the scenario's own time caught: one for each connection.
        let caught = self.leaps.load(Relaxed) * concurrency;
        assert!(counters.tickets_expired <= caught, "{counters:?}");
        assert!(counters.logins_ok <= self.runs + counters.revocations, "{} runs: {counters:?}", self.runs);
        if !matches!(self.config.pbx[0].push, PushMode::Http(_)) {
            assert_eq!(counters.event_destination, None, "{counters:?}");
        }
        self.check_no_secret();
    }

    /// Promise 9: neither the database nor the archive holds anything that opens the PBX.
    fn check_no_secret(&self) {
        let secrets = self.secrets();
        let state = fs::read_dir(&self.config.state.path).unwrap().map(|entry| entry.unwrap().path());
        let files = self.files().into_values().filter(|path| path.extension() != Some("wav".as_ref()));
        for path in state.chain(files) {
            // The database's helper files go when its last reader does.
            let Ok(bytes) = fs::read(&path) else { continue };
            let found = secrets.find_in(&bytes);
            assert_eq!(found, None, "{} holds a secret", path.display());
        }
    }

    /// What must stay secret.
    pub(crate) fn secrets(&self) -> Secrets {
        let password = self.config.pbx[0].password.expose_secret();
        let of_ours = [password.to_owned(), hex(&Md5::digest(password))];
        let known = self.pbx.secrets().into_iter().chain(of_ours);
        let (tokens, others) = known.partition::<HashSet<String>, _>(|secret| secret.len() == SECRET_DIGITS);
        let others = Search::new(others.iter().map(|secret| (secret.as_str(), secret.as_bytes())));
        Secrets { others, tokens }
    }
}

/// What opens the PBX.
pub(crate) struct Secrets {
    /// Passwords and PINs, in all their forms.
    others: Search,
    /// Tokens, tickets and hashes: so many that they are looked for as they are only.
    tokens: HashSet<String>,
}

impl Secrets {
    /// The first secret in `bytes`.
    pub(crate) fn find_in(&self, bytes: &[u8]) -> Option<String> {
        if let Some(found) = self.others.find_in(bytes).pop() {
            return Some(found);
        }
        let runs = bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= SECRET_DIGITS);
        let mut windows = runs.flat_map(|run| run.windows(SECRET_DIGITS));
        windows.find_map(|window| self.tokens.get(std::str::from_utf8(window).ok()?).cloned())
    }
}
