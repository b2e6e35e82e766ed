//! Logins, lock-outs and tokens (`docs/pbx-api.md` §3).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::chance::hex32;
use super::clock::between;
use super::errno;
use super::plan::add_s;
use super::profile::SimulatorOptions;
use crate::base::digest::hex;

/// Tokens beyond this many push out the oldest.
const TOKENS_MAX: usize = 10_000;

/// Who is logged in, and who is locked out.
#[derive(Debug)]
pub(super) struct Sessions {
    options: SimulatorOptions,
    password: String,
    /// Every one that it ever was.
    passwords: BTreeSet<String>,
    /// The moment of each token's last use.
    tokens: HashMap<String, Timestamp>,
    order: VecDeque<String>,
    failures: HashMap<IpAddr, Failures>,
    issued: u64,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    locked_until: Option<Timestamp>,
}

impl Sessions {
    /// Nobody but the preset tokens.
    pub(super) fn new(options: &SimulatorOptions, now: Timestamp) -> Self {
        let mut sessions = Self {
            options: options.clone(),
            password: options.password.clone(),
            passwords: BTreeSet::from([options.password.clone()]),
            tokens: HashMap::new(),
            order: VecDeque::new(),
            failures: HashMap::new(),
            issued: 0,
        };
        for token in &options.preset_tokens {
            sessions.remember(token.clone(), now);
        }
        sessions
    }

    /// Issues a token for the right user and password.
    ///
    /// # Errors
    /// [`errno::LOCKED`] while the address is locked out, which the last allowed failure begins; else the number
    /// for a wrong password.
    pub(super) fn login(
        &mut self,
        user: &str,
        md5: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<String, u32> {
        let right = self.is_right(user, md5);
        let failures = self.failures.entry(from).or_default();
        if let Some(until) = failures.locked_until {
            if now < until {
                return Err(errno::LOCKED);
            }
            *failures = Failures::default();
        }
        if !right {
            failures.in_a_row += 1;
            if failures.in_a_row >= self.options.lockout_after {
                failures.locked_until = Some(add_s(now, self.options.lockout.as_secs()));
            }
            return Err(self.options.bad_login_errno);
        }
        failures.in_a_row = 0;
        if self.options.one_token_only {
            self.forget_all();
        }
        self.issued += 1;
        let token = hex32(self.options.seed, "token", self.issued);
        self.remember(token.clone(), now);
        Ok(token)
    }

    /// Whether this is the user and the MD5 of the password.
    pub(super) fn is_right(&self, user: &str, md5: &str) -> bool {
        user == self.options.username && md5 == hex(&Md5::digest(&self.password))
    }

    /// Changes the password; `None` is the one from the start. Tokens live on.
    pub(super) fn set_password(&mut self, password: Option<&str>) {
        password.unwrap_or(&self.options.password).clone_into(&mut self.password);
        self.passwords.insert(self.password.clone());
    }

    /// Locks an address out from now on.
    pub(super) fn lock_out(&mut self, address: IpAddr, now: Timestamp) {
        let until = add_s(now, self.options.lockout.as_secs());
        self.failures.entry(address).or_default().locked_until = Some(until);
    }

    /// Whether the last login from this address was refused.
    pub(super) fn is_refused(&self, from: IpAddr) -> bool {
        self.failures.get(&from).is_some_and(|failures| failures.in_a_row > 0)
    }

    /// Checks a token and extends its life.
    ///
    /// # Errors
    /// The number for a blank, unknown or expired token.
    pub(super) fn check(&mut self, token: &str, now: Timestamp) -> Result<(), u32> {
        if token.is_empty() {
            return Err(errno::BLANK_TOKEN);
        }
        let used = self.tokens.get_mut(token).ok_or(errno::NO_TOKEN)?;
        if between(*used, now) >= self.options.token_ttl {
            return Err(self.options.expired_token_errno);
        }
        *used = now;
        Ok(())
    }

    /// Extends the life of every token that lives, as a report does; whether there is one.
    pub(super) fn touch_all(&mut self, now: Timestamp) -> bool {
        let ttl = self.options.token_ttl;
        let live = self.tokens.values_mut().filter(|used| between(**used, now) < ttl);
        live.map(|used| *used = now).count() > 0
    }

    /// Ends a session; whether there was one.
    pub(super) fn forget(&mut self, token: &str) -> bool {
        self.tokens.remove(token).is_some()
    }

    /// Ends all sessions; how many there were.
    pub(super) fn forget_all(&mut self) -> u64 {
        let count = self.tokens.len() as u64;
        self.tokens.clear();
        self.order.clear();
        count
    }

    /// Every token that was ever valid, and every password that was, with its MD5.
    pub(super) fn secrets(&self) -> impl Iterator<Item = String> {
        let drawn = (1..=self.issued).map(|number| hex32(self.options.seed, "token", number));
        let tokens = self.options.preset_tokens.iter().cloned().chain(drawn);
        let passwords = self.passwords.iter();
        tokens.chain(passwords.flat_map(|password| [password.clone(), hex(&Md5::digest(password))]))
    }

    fn remember(&mut self, token: String, now: Timestamp) {
        self.tokens.insert(token.clone(), now);
        self.order.push_back(token);
        if self.order.len() > TOKENS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_fifth_wrong_password_locks_the_address_for_ten_minutes() {
        let mut sessions = Sessions::new(&SimulatorOptions::default(), at(0));
        let right = hex(&Md5::digest("Simulated1"));
        for _ in 0..5 {
            assert_eq!(sessions.login("api", "wrong", HERE, at(0)), Err(errno::BAD_PASSWORD));
        }
        assert_eq!(sessions.login("api", &right, HERE, at(599)), Err(errno::LOCKED));
        assert!(sessions.login("api", &right, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), at(0)).is_ok());
        assert!(sessions.login("api", &right, HERE, at(600)).is_ok());
    }

    #[test]
    fn a_token_lives_half_an_hour_from_its_last_use() {
        let mut sessions = Sessions::new(&SimulatorOptions::default(), at(0));
        let token = sessions.login("api", &hex(&Md5::digest("Simulated1")), HERE, at(0)).unwrap();
        assert_eq!(sessions.check(&token, at(1799)), Ok(()));
        assert_eq!(sessions.check(&token, at(3598)), Ok(()));
        assert_eq!(sessions.check(&token, at(5398)), Err(errno::TOKEN_EXPIRED));
        assert_eq!(sessions.check("", at(0)), Err(errno::BLANK_TOKEN));
        assert_eq!(sessions.check("other", at(0)), Err(errno::NO_TOKEN));
    }
}
