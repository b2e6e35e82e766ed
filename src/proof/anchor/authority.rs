//! Time-stamp authorities: requests a token, and stores it. Adopts tokens that are on disk without a row: of a run that died
//! in between, or of a database that was lost.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::Timestamp;
use tracing::{info, warn};

use super::timestamp::{self, Nonce};
use super::trust::{self, Evidence, Roots, TIME_OFF_MAX, Trust, Unproven};
use super::{Anchorer, FOLDER, Unanchored};
use crate::archive::{ArchiveError, Area, Reader as _};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::config::AuthorityConfig;
use crate::formats::tlog::{Checkpoint, VerifyingKey};
use crate::proof::notary::{Published, Sealed, bytes_max, key, read_if_ours};
use crate::store::anchors::{self, Anchor, Kind};
use crate::store::ledger;

pub use crate::store::anchors::TokenName;

/// Tokens with certificates have a few KiB.
const REPLY_BYTES_MAX: usize = 64 << 10;

fn certificates_path(authority: &str) -> String {
    format!("{FOLDER}/{authority}.ca.pem")
}

fn roots(authority: &AuthorityConfig) -> Option<Roots> {
    authority.certificates.as_deref().map(Roots::from_pem)
}

const ROWS_PER_UNIT: usize = 500;

/// When a token was given, and how far it can be trusted.
type Judged = (Timestamp, Trust);

/// A token without a row, over a checkpoint of ours.
struct Found {
    name: TokenName,
    root: Digest,
    checkpoint: Vec<u8>,
    token: Vec<u8>,
}

impl Anchorer {
    /// Gets a checkpoint stamped. On return checkpoint and token are on disk, and then in a row. A crash before that leaves a
    /// token that the next call adopts.
    pub(super) async fn have_stamped(&self, authority: &AuthorityConfig, sealed: &Sealed) -> Result<()> {
        let name = TokenName { size: sealed.size, authority: authority.name.clone() };
        let [checkpoint, token] = self.stored(&name).await?;
        // Another authority may have stamped this checkpoint before a witness signed it too: then those bytes count.
        let bytes = checkpoint.unwrap_or_else(|| sealed.note.clone().into_bytes());
        let (token, judged) = match token {
            Some(token) => {
                let judged = self.recognise(&name, &bytes, &token).await?;
                (token, judged)
            }
            None => {
                let (token, trust) = self.ask_for_token(authority, &Digest::of(&bytes)).await?;
                let (area, paths) = (self.notary.area.clone(), [name.checkpoint_path(), name.path()]);
                let _one = self.storing.lock().await;
                let store = move || {
                    area.put(&key(&paths[0])?, &bytes)?;
                    area.put(&key(&paths[1])?, &token)?;
                    Ok::<_, ArchiveError>(token)
                };
                (blocking(store).await?, (self.clock.now(), trust))
            }
        };
        let anchor = name.into_anchor(sealed.root, &token, judged);
        self.db.write(async move |tx| anchors::add(tx, &anchor).await).await
    }

    /// The checkpoint and the token of this name, as far as they are stored.
    async fn stored(&self, name: &TokenName) -> Result<[Option<Vec<u8>>; 2]> {
        let (area, paths) = (self.notary.area.clone(), [name.checkpoint_path(), name.path()]);
        let read_both = move || {
            let [checkpoint, token] = paths.map(|path| area.reader().read(&key(&path)?, bytes_max(&path)));
            Ok::<_, ArchiveError>([checkpoint?, token?])
        };
        blocking(read_both).await
    }

    /// Judges a token that a run left without a row. One that cannot be trusted is an error.
    async fn recognise(&self, name: &TokenName, checkpoint: &[u8], reply: &[u8]) -> Result<Judged> {
        let (at, trust) = self.judge(name, checkpoint, reply).await?;
        let what = match trust {
            Err(Unproven::Wrong(what)) => what,
            // A planted token would otherwise keep the authority from being asked.
            Err(Unproven::Untrusted(what)) => format!("cannot be trusted: {what}"),
            trust => return Ok((at, trust)),
        };
        Err(Unanchored(format!("{} in the ledger's folder {what}: move it away", name.path())).into())
    }

    /// Judges a token over a checkpoint by the certificates that the operator has given for its authority.
    async fn judge(&self, name: &TokenName, checkpoint: &[u8], reply: &[u8]) -> Result<Judged> {
        let (last_entry, now) = (self.last_entry(name.size).await?, self.clock.now());
        let configured = self.config.authorities.iter().find(|known| known.name == name.authority);
        let roots = configured.and_then(roots);
        let (last_entry, roots) = (last_entry.as_bytes(), roots.as_ref());
        let (at, trust) = Evidence { reply, checkpoint, last_entry, roots, now }.judge();
        Ok((at.min(now), trust))
    }

    /// Empty if the checkpoint covers none.
    async fn last_entry(&self, size: u64) -> Result<String> {
        let Some(number) = size.checked_sub(1) else { return Ok(String::new()) };
        let entries = ledger::entries(&mut *self.db.read().await?, number, 1).await?;
        Ok(entries.into_iter().next().map(|entry| entry.entry).unwrap_or_default())
    }

    /// Judges the latest token of each authority by the present certificates: version 0.1 accepted every token.
    pub(super) async fn judge_latest(&self) -> Result<()> {
        for authority in &self.config.authorities {
            let name = authority.name.clone();
            let size = anchors::standing(&mut *self.db.read().await?, Kind::Authority, &name).await?.size;
            if size == 0 {
                continue;
            }
            let token_name = TokenName { size, authority: name.clone() };
            let (at, trust) = match self.stored(&token_name).await? {
                [Some(checkpoint), Some(token)] => self.judge(&token_name, &checkpoint, &token).await?,
                _ => (self.clock.now(), Err(Unproven::Wrong("is gone".to_owned()))),
            };
            let reason = trust.err().map(|why| why.to_string());
            if let Some(reason) = &reason {
                warn!(
                    "The time stamp of authority `{name}` over {size} entries of the ledger is not verified: {reason}"
                );
            }
            let db = &self.db;
            db.write(async move |tx| {
                anchors::note_judged(tx, Kind::Authority, &name, size, at, reason.as_deref()).await
            })
            .await?;
        }
        Ok(())
    }

    /// Requests a token, and checks that it answers this request, now, and how far its signer can be trusted.
    async fn ask_for_token(&self, authority: &AuthorityConfig, imprint: &Digest) -> Result<(Vec<u8>, Trust)> {
        let (name, url, asked) = (&authority.name, &authority.url, self.clock.now());
        let failed = |what: String, remedy: &str| Unanchored(format!("authority `{name}`: {what}; {remedy}"));
        let nonce = Nonce::random();
        let request = timestamp::request(imprint, nonce);
        let reply = self
            .client
            .post(url, "application/timestamp-query", request, REPLY_BYTES_MAX)
            .await
            .map_err(|what| failed(what, "check the network and the `url` of its [[anchor]]"))?;
        let host = url.host();
        let mistaken = match (reply.status, &*reply.content_type) {
            (200, "application/timestamp-reply") => None,
            (200, _) => Some(format!("{host} did not answer with a time-stamp reply")),
            (status, _) => Some(format!("{host} answered with HTTP status {status}")),
        };
        if let Some(what) = mistaken {
            let remedy = "compare the `url` of its [[anchor]] with the authority's documentation";
            return Err(failed(what, remedy).into());
        }
        let refused = |what| {
            failed(format!("the reply of {host} {what}"), "ask its operator, or use another authority")
        };
        let token = timestamp::answer(&reply.body, imprint, nonce).map_err(refused)?;
        let (_, trust) = trust::verify(&reply.body, roots(authority).as_ref()).map_err(refused)?;
        if let Err(Unproven::Untrusted(what)) = trust {
            let what = format!("the reply of {host} cannot be trusted: {what}");
            let remedy =
                "compare the `ca_file` of its [[anchor]] with the certificates that the authority publishes";
            return Err(failed(what, remedy).into());
        }
        let (earliest, latest) = (asked - TIME_OFF_MAX, self.clock.now() + TIME_OFF_MAX);
        if token.at < earliest || token.at > latest {
            let (at, now) = (token.at, self.clock.now().strftime("%FT%TZ"));
            let what = format!("the reply of {host} has the time {at}, but this machine's clock shows {now}");
            return Err(failed(what, "correct this machine's clock, or use another authority").into());
        }
        Ok((reply.body, trust))
    }

    /// Stores the authorities' certificates beside their tokens, for those who verify them. Former certificates stay in the
    /// file within its size limit: older tokens need them.
    pub(super) async fn keep_certificates(&self) -> Result<()> {
        let (area, authorities) = (self.notary.area.clone(), self.config.authorities.clone());
        blocking(move || {
            for authority in authorities {
                let Some(certificates) = authority.certificates else { continue };
                let path = certificates_path(&authority.name);
                let there = read_if_ours(&area.reader(), &path)?.unwrap_or_default();
                if !String::from_utf8_lossy(&there).contains(certificates.trim_end()) {
                    let all = [&there, certificates.as_bytes()].concat();
                    let fits = all.len() as u64 <= bytes_max(&path);
                    area.replace(&key(&path)?, if fits { &all } else { certificates.as_bytes() })?;
                }
            }
            Ok::<_, ArchiveError>(())
        })
        .await
    }

    /// Adopts tokens without a row. A file that is no token over a checkpoint of ours is logged and left alone.
    pub(super) async fn adopt(&self) -> Result<()> {
        let known = anchors::known(&mut *self.db.read().await?).await?;
        let (keys, area) = (self.notary.known_keys().await, self.notary.area.clone());
        let found = blocking(move || unknown_tokens(&keys, &area, &known)).await?;
        let mut anchors = Vec::new();
        for Found { name, root, checkpoint, token } in found {
            let judged = self.judge(&name, &checkpoint, &token).await?;
            if let Err(Unproven::Wrong(what)) = &judged.1 {
                warn!("{} in the ledger's folder {what}: move it away", name.path());
            } else {
                anchors.push(name.into_anchor(root, &token, judged));
            }
        }
        if !anchors.is_empty() {
            info!(
                "callvault found {} time-stamp tokens beside the ledger that the database did not have, and added them",
                anchors.len()
            );
        }
        for anchors in anchors.chunks(ROWS_PER_UNIT) {
            let (db, anchors) = (&self.db, anchors.to_vec());
            db.write(async move |tx| {
                for anchor in &anchors {
                    anchors::add(tx, anchor).await?;
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn unknown_tokens(
    keys: &[VerifyingKey],
    area: &Area,
    known: &BTreeSet<(String, u64)>,
) -> Result<Vec<Found>, ArchiveError> {
    let mut found = Vec::new();
    for file in area.reader().names(&key(FOLDER)?)? {
        let Some(name) = TokenName::parse(&file) else { continue };
        if known.contains(&(name.authority.clone(), name.size)) {
            continue;
        }
        match read_token(area, keys, name)? {
            Some(token) => found.push(token),
            None => warn!(
                "{FOLDER}/{file} in the ledger's folder is no token over a checkpoint of ours: move it away"
            ),
        }
    }
    Ok(found)
}

/// The token, if the checkpoint of that size is beside it and signed with one of these keys.
fn read_token(area: &Area, keys: &[VerifyingKey], name: TokenName) -> Result<Option<Found>, ArchiveError> {
    let there = |path: &str| read_if_ours(&area.reader(), path);
    let (Some(bytes), Some(token)) = (there(&name.checkpoint_path())?, there(&name.path())?) else {
        return Ok(None);
    };
    let signed = Checkpoint::signed(&bytes, keys).ok().filter(|checkpoint| checkpoint.size == name.size);
    Ok(signed.map(|signed| Found { name, root: signed.root, checkpoint: bytes, token }))
}

impl TokenName {
    fn checkpoint_path(&self) -> String {
        format!("{FOLDER}/{}.checkpoint", self.size)
    }

    fn path(&self) -> String {
        format!("{FOLDER}/{}.{}.tsr", self.size, self.authority)
    }

    /// The row of this token.
    fn into_anchor(self, root: Digest, token: &[u8], (anchored_at, trust): Judged) -> Anchor {
        let (path, sha256) = (self.path(), Digest::of(token));
        let unverified = trust.err().map(|why| why.to_string());
        Anchor { authority: self.authority, size: self.size, root, anchored_at, path, sha256, unverified }
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, authority) = name.strip_suffix(".tsr")?.split_once('.')?;
        let size: u64 = number.parse().ok()?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_one = size.to_string() == number && !authority.is_empty() && authority.bytes().all(is_name);
        is_one.then(|| Self { size, authority: authority.to_owned() })
    }
}

/// The tokens beside a published ledger, by their names alone.
pub fn tokens(published: &Published) -> Result<Vec<TokenName>, ArchiveError> {
    let names = published.names(FOLDER)?;
    Ok(names.iter().filter_map(|name| TokenName::parse(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_tokens_tell_size_and_authority() {
        let expected = TokenName { size: 12, authority: "free-tsa".to_owned() };
        assert_eq!(TokenName::parse("12.free-tsa.tsr"), Some(expected));
        for name in [
            "12.checkpoint",
            "free-tsa.ca.pem",
            "012.a.tsr",
            "a.12.tsr",
            "12.tsr",
            "12.a.b.tsr",
            "-1.a.tsr",
            "12.a;b.tsr",
            "12..tsr",
        ] {
            assert_eq!(TokenName::parse(name), None, "{name}");
        }
    }
}
