//! Witnesses (C2SP tlog-witness): shows a checkpoint with the proof that it continues what the witness saw before.

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Anchorer, Unanchored};
use crate::base::blocking::blocking;
use crate::config::WitnessConfig;
use crate::formats::tlog::{Note, TlogError, consistency_proof};
use crate::outbound::http::Reply;
use crate::proof::notary::{Published, PublishedError, Sealed};
use crate::store::anchors::{self, Kind};

const REPLY_BYTES_MAX: usize = 64 << 10;

enum Answer {
    Signed(Vec<u8>),
    /// It has seen another number of entries than we said.
    Seen(u64),
}

impl Anchorer {
    /// Gets a checkpoint signed by a witness, and returns it with the signature. On return the published checkpoint carries
    /// the signature too, unless there is a newer one, and it is recorded.
    pub(super) async fn have_cosigned(&self, witness: &WitnessConfig, sealed: &Sealed) -> Result<Sealed> {
        let name = witness.key.name();
        let seen = anchors::standing(&mut *self.db.read().await?, Kind::Witness, name).await?.size;
        // The database may have been lost, and with it what the witness has seen.
        let seen = seen.min(sealed.size);
        let mut answer = self.show(witness, sealed, seen).await?;
        if let Answer::Seen(size) = answer {
            if size > sealed.size {
                let what =
                    format!("it has seen {size} entries of this ledger, and {} are published", sealed.size);
                let remedy = "the archive or the state is an older copy: restore the newest";
                return Err(failed(witness, &what, remedy).into());
            }
            answer = self.show(witness, sealed, size).await?;
        }
        let Answer::Signed(lines) = answer else {
            return Err(
                failed(witness, "another process shows it this ledger too", "stop that process").into()
            );
        };
        let cosigned = add_lines(witness, sealed, &lines)?;
        self.notary.add_signatures(sealed, cosigned.note.clone()).await?;
        let (name, size, now) = (name.to_owned(), sealed.size, self.clock.now());
        let db = &self.db;
        db.write(async move |tx| {
            anchors::note_reached(tx, Kind::Witness, &name, size, now).await?;
            anchors::note_judged(tx, Kind::Witness, &name, size, now, None).await
        })
        .await?;
        Ok(cosigned)
    }

    /// Posts a checkpoint with the proof that it continues the one of `seen` entries.
    async fn show(&self, witness: &WitnessConfig, sealed: &Sealed, seen: u64) -> Result<Answer> {
        let (root, size) = (self.root.clone(), sealed.size);
        let proof = blocking(move || proof(&root, seen, size)).await?;
        let body = format!("old {seen}\n{proof}\n{}", sealed.note);
        let reply = self
            .client
            .post(&witness.url, "text/plain; charset=utf-8", body.into_bytes(), REPLY_BYTES_MAX)
            .await
            .map_err(|what| failed(witness, &what, "check the network and the `url` of its [[witness]]"))?;
        Ok(answer(witness, reply, seen)?)
    }
}

/// The lines of a consistency proof: at most 63.
fn proof(root: &Path, older: u64, size: u64) -> Result<String, PublishedError> {
    let missing = || PublishedError::Missing("checkpoint".to_owned());
    let published = Published::open(root)?.ok_or_else(missing)?;
    let hashes = consistency_proof(older, size, &mut |subtree| published.subtree(subtree, size))?;
    Ok(hashes.iter().map(|hash| BASE64.encode(hash.as_bytes()) + "\n").collect())
}

/// What a reply means, if the request named the size `named`.
fn answer(witness: &WitnessConfig, reply: Reply, named: u64) -> Result<Answer, Unanchored> {
    let failed = |what: &str, remedy: &str| Err(failed(witness, what, remedy));
    match reply.status {
        200 => Ok(Answer::Signed(reply.body)),
        // If it names the size that we named, the roots differ.
        409 => match size(&reply.body).filter(|size| *size != named) {
            Some(size) => Ok(Answer::Seen(size)),
            None => failed(
                "it has seen another ledger of this name and size (HTTP status 409)",
                "find out with its operator which of the two is ours",
            ),
        },
        404 => failed(
            "it does not know this ledger (HTTP status 404)",
            "give its operator the ledger's name and key, which `callvault ledger` shows",
        ),
        403 => failed(
            "it does not trust the key of this ledger (HTTP status 403)",
            "give its operator the key that `callvault ledger` shows",
        ),
        422 => failed(
            "our ledger does not continue what it has seen (HTTP status 422)",
            "the ledger was altered, or the witness is wrong: run `callvault ledger check`, and ask its operator",
        ),
        status => failed(
            &format!("{} answered with HTTP status {status}", witness.url.host()),
            "compare the `url` of its [[witness]] with the witness's documentation",
        ),
    }
}

/// Decimal, and a newline.
fn size(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.strip_suffix('\n')?.parse().ok()
}

fn add_lines(witness: &WitnessConfig, sealed: &Sealed, lines: &[u8]) -> Result<Sealed> {
    let note = Note::parse(&sealed.note)?;
    let lines = String::from_utf8_lossy(lines);
    let ours = witness.key.cosignatures(&lines, note.text()).map_err(|error| {
        let what = match error {
            TlogError::Unsigned => "its reply is not signed with the key of `vkey`",
            TlogError::BadSignature => "its signature is not over our checkpoint",
            _ => "its reply is not a list of signatures",
        };
        failed(witness, what, "compare `url` and `vkey` of its [[witness]] with the witness's documentation")
    })?;
    // A run that ended too early may have added a line already.
    let new: String = ours.split_inclusive('\n').filter(|line| !sealed.note.contains(*line)).collect();
    Ok(Sealed { note: format!("{}{new}", sealed.note), ..sealed.clone() })
}

fn failed(witness: &WitnessConfig, what: &str, remedy: &str) -> Unanchored {
    Unanchored(format!("witness `{}`: {what}; {remedy}", witness.key.name()))
}
