//! Time-stamp authorities: asking one, and keeping its token.

use jiff::Timestamp;

use super::standing::{self, Anchor};
use super::timestamp::{self, Nonce};
use super::{Anchorer, FOLDER, Unanchored, blocking};
use crate::archive::{ArchiveError, Shelf};
use crate::config::AuthorityConfig;
use crate::digest::Digest;
use crate::notary::{Sealed, bytes_max};

/// The largest reply that is read: tokens with certificates have a few KiB.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// The checkpoint under a token.
pub(super) fn checkpoint_path(size: u64) -> String {
    format!("{FOLDER}/{size}.checkpoint")
}

/// The token of an authority.
pub(super) fn token_path(size: u64, authority: &str) -> String {
    format!("{FOLDER}/{size}.{authority}.tsr")
}

/// The certificates by which an authority's tokens are verified.
fn certificates_path(authority: &str) -> String {
    format!("{FOLDER}/{authority}.ca.pem")
}

/// A file of the ledger's folder, if it is no larger than any of its kind.
pub(super) fn read(shelf: &Shelf, path: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    shelf.read(path, bytes_max(path))
}

impl Anchorer {
    /// Has the bytes of a checkpoint stamped.
    ///
    /// On return checkpoint and token are on disk, and then a row says so. A crash before leaves a token that the next
    /// call adopts.
    pub(super) async fn have_stamped(
        &self,
        authority: &AuthorityConfig,
        sealed: &Sealed,
    ) -> anyhow::Result<()> {
        let (shelf, size) = (self.notary.shelf().clone(), sealed.size);
        let name = authority.name.clone();
        let there = blocking(move || {
            Ok::<_, ArchiveError>((
                read(&shelf, &checkpoint_path(size))?,
                read(&shelf, &token_path(size, &name))?,
            ))
        });
        let (checkpoint, token) = there.await?;
        // Another authority may have stamped this checkpoint before a witness signed it too: then those bytes it is.
        let bytes = checkpoint.unwrap_or_else(|| sealed.note.clone().into_bytes());
        if let Some(token) = token {
            let at = self.recognise(authority, size, &bytes, &token)?;
            return self.note_anchor(authority, sealed, at).await;
        }
        let token = self.ask_for_token(authority, &Digest::of(&bytes)).await?;
        let (shelf, name) = (self.notary.shelf().clone(), authority.name.clone());
        let _one = self.storing.lock().await;
        blocking(move || {
            shelf.put(&checkpoint_path(size), &bytes)?;
            shelf.put(&token_path(size, &name), &token)
        })
        .await?;
        self.note_anchor(authority, sealed, self.clock.now()).await
    }

    /// When a token was given that a run left which died before it noted it.
    fn recognise(
        &self,
        authority: &AuthorityConfig,
        size: u64,
        bytes: &[u8],
        token: &[u8],
    ) -> Result<Timestamp, Unanchored> {
        let path = token_path(size, &authority.name);
        match timestamp::read(token) {
            Ok(token) if token.imprint == Digest::of(bytes) => Ok(token.at.min(self.clock.now())),
            _ => Err(Unanchored(format!(
                "{path} in the ledger's folder is no token over {}: move it away",
                checkpoint_path(size)
            ))),
        }
    }

    /// Asks for a token, and believes it as far as it answers our question.
    async fn ask_for_token(&self, authority: &AuthorityConfig, imprint: &Digest) -> anyhow::Result<Vec<u8>> {
        let (name, url) = (&authority.name, &authority.url);
        let failed = |what: String, remedy: &str| Unanchored(format!("authority `{name}`: {what}; {remedy}"));
        let nonce = Nonce::random();
        let request = timestamp::request(imprint, nonce);
        let reply = self
            .courier
            .post(url, "application/timestamp-query", request, REPLY_BYTES_MAX)
            .await
            .map_err(|what| failed(what, "see to the network, and the `url` of its [[anchor]]"))?;
        let host = url.host();
        if reply.status != 200 {
            let what = format!("{host} answered with HTTP status {}", reply.status);
            return Err(
                failed(what, "compare the `url` of its [[anchor]] with what the authority says").into()
            );
        }
        if reply.content_type != "application/timestamp-reply" {
            let what = format!("{host} did not answer with a time-stamp reply");
            return Err(
                failed(what, "compare the `url` of its [[anchor]] with what the authority says").into()
            );
        }
        timestamp::answer(&reply.body, imprint, nonce).map_err(|what| {
            failed(format!("the reply of {host} {what}"), "ask whoever runs it, or take another authority")
        })?;
        Ok(reply.body)
    }

    async fn note_anchor(
        &self,
        authority: &AuthorityConfig,
        sealed: &Sealed,
        anchored_at: Timestamp,
    ) -> anyhow::Result<()> {
        let anchor = Anchor {
            authority: authority.name.clone(),
            size: sealed.size,
            root: sealed.root,
            anchored_at,
            path: token_path(sealed.size, &authority.name),
        };
        self.db.write(move |tx| Box::pin(async move { standing::add(tx, &anchor).await })).await
    }

    /// Lays the authorities' certificates beside their tokens, for those who verify them.
    ///
    /// Former ones stay in the file, as long as it does not grow beyond its bounds: older tokens need them.
    pub(super) async fn keep_certificates(&self) -> anyhow::Result<()> {
        let (shelf, authorities) = (self.notary.shelf().clone(), self.config.authorities.clone());
        blocking(move || {
            for authority in authorities {
                let Some(certificates) = authority.certificates else { continue };
                let path = certificates_path(&authority.name);
                let there = match read(&shelf, &path) {
                    Err(ArchiveError::TooLarge { .. }) => Vec::new(),
                    there => there?.unwrap_or_default(),
                };
                if !String::from_utf8_lossy(&there).contains(certificates.trim_end()) {
                    let all = [&there, certificates.as_bytes()].concat();
                    let fits = all.len() as u64 <= bytes_max(&path);
                    shelf.replace(&path, if fits { &all } else { certificates.as_bytes() })?;
                }
            }
            Ok::<_, ArchiveError>(())
        })
        .await
    }
}
