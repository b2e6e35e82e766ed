//! The audio or sidecar that an entry has the hash of, sent so that wrong bytes cannot pass for it.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::stream::{self, try_unfold};
use sha2::{Digest as _, Sha256};

use crate::archive::{self, Key, Stream};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::base::words::words;
use crate::store::catalog::{self, Proven};
use crate::store::db::Db;

const CHUNK_BYTES: usize = 64 << 10;

words! {
    pub enum What as "file of an entry" {
        Audio = "audio",
        /// Holds the names and numbers that the entry does not.
        Sidecar = "sidecar",
    }
}

/// An open file of the archive, with its hash from the ledger.
#[derive(Debug)]
pub struct Holding {
    bytes: Stream,
    left_bytes: u64,
    hasher: Sha256,
    pub sha256: Digest,
}

/// Opens the file that entry `number` is about; `None` if the entry names no file or does not exist.
pub(super) async fn open(db: &Db, root: &Path, number: i64, what: What) -> Result<Option<Holding>> {
    let Some(proven) = catalog::proven_by(&mut *db.read().await?, number).await? else { return Ok(None) };
    let root = root.to_owned();
    let opened = on_thread(move || open_file(&root, proven, what));
    opened.await.context("opening a file of the archive")?.map(Some)
}

fn open_file(root: &Path, proven: Proven, what: What) -> Result<Holding> {
    let (path, sha256) = match what {
        What::Audio => (proven.path, proven.sha256),
        What::Sidecar => (format!("{}.json", proven.path), proven.sidecar_sha256),
    };
    let archive = archive::open(root)?;
    let file = archive.map(|archive| archive.file(&Key::parse(&path)?)).transpose()?.flatten();
    let Some(bytes) = file else {
        bail!("{path} was archived but is gone: restore it from a backup");
    };
    let size_bytes = bytes.size_bytes;
    if what == What::Audio && size_bytes != proven.size_bytes {
        let archived = proven.size_bytes;
        bail!("{path} has {size_bytes} bytes, but {archived} were archived: restore it from a backup");
    }
    Ok(Holding { bytes, left_bytes: size_bytes, hasher: Sha256::new(), sha256 })
}

impl Holding {
    pub fn size_bytes(&self) -> u64 {
        self.bytes.size_bytes
    }

    /// The bytes. Whoever receives all of them has what was archived: if the hash differs, the last ones are held back and an
    /// error comes instead. `kept` is dropped with the stream.
    pub fn into_chunks<T: Send + 'static>(
        self,
        kept: T,
    ) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
        try_unfold((self, kept), |(holding, kept)| async move {
            let next = holding.next().await?;
            io::Result::Ok(next.map(|(chunk, rest)| (chunk, (rest, kept))))
        })
    }

    async fn next(self) -> io::Result<Option<(Bytes, Self)>> {
        match self.left_bytes {
            0 => Ok(None),
            _ => on_thread(move || self.read().map(Some)).await.map_err(io::Error::other)?,
        }
    }

    fn read(mut self) -> io::Result<(Bytes, Self)> {
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(self.left_bytes).unwrap_or(CHUNK_BYTES))];
        self.bytes.read_exact(&mut chunk)?;
        self.hasher.update(&chunk);
        self.left_bytes -= chunk.len() as u64;
        if self.left_bytes == 0 && Digest::from(self.hasher.clone()) != self.sha256 {
            tracing::warn!(
                "A file that a reader of the feed asked for differs from what was archived: `callvault verify` names it"
            );
            return Err(io::Error::other("the file is not what was archived"));
        }
        Ok((Bytes::from(chunk), self))
    }
}
