//! The one session that all requests to a PBX share, renewed behind one gate.
//!
//! Whoever finds the token refused asks the gate for another one than that. The first to come logs in, the others
//! wait and take what it got: a revoked token costs one login, however many requests met it. There is no logout:
//! nobody knows whether a device shares one session among all clients of a user, and it forgets an idle token in
//! 30 minutes anyway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::base::backoff::Backoff;
use crate::base::digest::hex;
use crate::config::PbxConfig;
use crate::pbx::error::{Failure, PbxError, Policy, Reason, Result};
use crate::pbx::http::parameter;
use crate::pbx::s_series::policy::{self, Family, Stage};
use crate::pbx::s_series::slot::{Slot, text};
use crate::pbx::s_series::{Action, Shared, registration};

/// Logins that are tried while the PBX answers them with an error number that may mean a refusal.
const REFUSALS_MAX: u32 = 2;
/// The longest wait after such an answer, in multiples of `lockout_wait_s`.
const WAIT_TIMES_MAX: u32 = 32;

/// What a login gave; goes into the query of every request.
pub(super) struct Token {
    secret: SecretString,
    number: u64,
}

impl Token {
    pub(super) fn parameter(&self) -> String {
        parameter("token", self.secret.expose_secret().as_bytes())
    }
}

#[derive(Default)]
pub(super) struct Session {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Logins in a row that were answered with an error number that may mean a refusal.
    refusals: u32,
    logins: u64,
    standing: Standing,
    /// Until when nothing is asked, and what the PBX said. The token outlives it.
    locked_out: Option<(Instant, PbxError)>,
}

#[derive(Default)]
enum Standing {
    #[default]
    LoggedOut,
    LoggedIn(Arc<Token>),
    /// The password was refused: not tried again by this client, lest the PBX locks us out.
    Refused(PbxError),
}

impl Session {
    /// Draws the consequences of a failed request that carried `token`: a refused session is forgotten, so that the
    /// next request logs in; a lock-out is waited out by all.
    pub(super) async fn heed(&self, error: &PbxError, token: &Token, lockout_wait: Duration) {
        match error.policy() {
            Policy::LogIn => self.forget(token).await,
            Policy::WaitOutLockout => self.state.lock().await.lock_out(error, lockout_wait),
            _ => {}
        }
    }

    /// Forgets the token, if it is still this one. A refused password stays refused, and a lock-out lasts.
    pub(super) async fn forget(&self, token: &Token) {
        let mut state = self.state.lock().await;
        if matches!(&state.standing, Standing::LoggedIn(current) if current.number == token.number) {
            state.standing = Standing::LoggedOut;
        }
    }

    /// Lets a refused password or a lock-out be tried again: an operator says that its reason is gone.
    pub(super) async fn lift_refusal(&self) {
        let mut state = self.state.lock().await;
        (state.refusals, state.locked_out) = (0, None);
        if matches!(state.standing, Standing::Refused(_)) {
            state.standing = Standing::LoggedOut;
        }
    }
}

impl State {
    /// Whether a failed login must not be repeated at once: the PBX answered twice in a row with an error number that may
    /// mean a refusal. Five refused logins would lock us out (`docs/pbx-api.md` §3.2).
    fn is_refused(&mut self, reason: Reason) -> bool {
        match reason {
            Reason::Errno(errno) if policy::is_busy(errno) => false,
            Reason::Errno(_) | Reason::UnknownErrno(_) => {
                self.refusals += 1;
                self.refusals >= REFUSALS_MAX
            }
            _ => false,
        }
    }

    fn lock_out(&mut self, error: &PbxError, wait: Duration) {
        self.locked_out = Some((Instant::now() + wait, error.clone()));
    }
}

impl Slot {
    /// The shared token, but not `refused`; logs in if there is none.
    pub(super) async fn session(&mut self, refused: Option<&Token>) -> Result<Arc<Token>> {
        // The permission to connect comes before the gate: who waited for one inside would wait for those outside.
        self.hold_lease().await;
        let shared = Arc::clone(&self.shared);
        // Long waits come before the gate too.
        shared.throttle.available().await;
        // The only lock held across a request: that is what makes it a gate. The request is bounded.
        let mut state = shared.session.state.lock().await;
        if let Some((until, error)) = &state.locked_out
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match &state.standing {
            Standing::LoggedIn(token) if refused.is_none_or(|refused| refused.number != token.number) => {
                Ok(Arc::clone(token))
            }
            Standing::Refused(error) => Err(error.clone()),
            _ => self.log_in(&shared, &mut state).await,
        }
    }

    async fn log_in(&mut self, shared: &Shared, state: &mut State) -> Result<Arc<Token>> {
        state.standing = Standing::LoggedOut;
        let action = shared.action(Family::Login, Stage::Query, "logging in");
        match self.ask_for_token(shared, &action).await {
            Ok(secret) => {
                state.logins += 1;
                state.refusals = 0;
                let token = Arc::new(Token { secret, number: state.logins });
                state.standing = Standing::LoggedIn(Arc::clone(&token));
                tracing::debug!(pbx = shared.config.id, "Logged in to `{}`", shared.config.id);
                Ok(token)
            }
            Err(failure) => {
                let error = shared.error(&action, explained(shared, failure));
                let first = shared.config.limits.lockout_wait;
                if error.policy() == Policy::WaitOutLockout {
                    state.lock_out(&error, first);
                } else if error.reason() == Reason::PasswordRefused {
                    state.standing = Standing::Refused(error.clone());
                } else if state.is_refused(error.reason()) {
                    // A refusal, or a PBX that is starting: asked again, after waits that grow, by one login each.
                    let waits = Backoff::new(first, first.saturating_mul(WAIT_TIMES_MAX));
                    state.lock_out(&error, waits.after(state.refusals - REFUSALS_MAX));
                }
                Err(error)
            }
        }
    }

    async fn ask_for_token(&mut self, shared: &Shared, action: &Action) -> Result<SecretString, Failure> {
        let reply = self.post(action.place, String::new(), credentials(shared)).await?;
        let token = text(&reply, "token").map(SecretString::from);
        token.ok_or_else(|| Failure::new(Reason::Protocol, "the reply holds no token"))
    }
}

/// The password as the PBX wants it: unsalted MD5 in lowercase hex (`docs/pbx-api.md` §3.1). It is as secret as the
/// password.
pub(super) fn password_md5(config: &PbxConfig) -> String {
    hex(&Md5::digest(config.password.expose_secret().as_bytes()))
}

fn credentials(shared: &Shared) -> Bytes {
    let mut members = registration::members(&shared.config);
    members["username"] = shared.config.username.as_str().into();
    members["password"] = password_md5(&shared.config).into();
    // Sent only on demand: it moves the PBX's event reports here, away from whoever receives them now.
    if let Some(port) = shared.config.login_port {
        members["port"] = port.to_string().into();
    }
    members.to_string().into()
}

/// A failed login in the words that the operator needs.
fn explained(shared: &Shared, failure: Failure) -> Failure {
    let config = &shared.config;
    match (failure.reason, policy::login_remedy(config, failure.reason)) {
        (Reason::PasswordRefused, _) => failure.saying(format!(
            "user or password refused; correct `username` or the password in {}, then `callvault retry --pbx {}`",
            config.password_source.display(),
            config.id
        )),
        (_, Some(remedy)) => failure.with_remedy(remedy),
        _ => failure,
    }
}
