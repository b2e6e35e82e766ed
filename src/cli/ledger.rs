//! `callvault ledger`: what of it is signed and by whom, the proof for one recording, and whether its files are whole.
//!
//! All but a change of keys reads only, beside whoever owns the state.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use askama::Template;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqlitePool;
use tokio::runtime::Handle;

use super::{exit, handover};
use crate::base::blocking::blocking;
use crate::base::recording::printable;
use crate::config::Config;
use crate::formats::tlog::VerifyingKey;
use crate::proof::notary::{Damage, FOLDER, Leaves, PROBLEM, Published, PublishedError};
use crate::service::requests::{Request, UsageError};
use crate::store::catalog;
use crate::store::db;
use crate::store::fleet;
use crate::store::ledger;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print one JSON object on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Default, clap::Subcommand)]
enum Command {
    /// Show its name, how much of it is signed, and by which keys
    #[default]
    Show,
    /// Print the proof that something is in it, for any verifier of C2SP tlog-proofs
    Prove {
        /// A recording's name, the path of its audio in the archive, or the number of an entry
        what: OsString,
    },
    /// Check every published file of it against its entries and its signature
    Check,
    /// Sign it with a new key; the former one signs beside it for 30 days
    RotateKey,
}

/// Runs a command of the ledger. `check` exits 5 if a published file is not as it should be.
pub(super) async fn run(config: &Path, Options { command, json }: Options) -> ExitCode {
    match command.unwrap_or_default() {
        Command::Show => {
            exit::finish(shown(config).await, json, |shown| (format!("{shown}\n"), exit::COMPLETE))
        }
        Command::Prove { what } => {
            let proven = proven(config, &what.into_vec()).await;
            // The proofs as they are, so that they can be sent into a file; several of them one after the other.
            let text = |proven: &Proven| proven.proofs.iter().map(|one| one.proof.as_str()).collect();
            exit::finish(proven, json, |proven| (text(proven), exit::COMPLETE))
        }
        Command::Check => exit::finish(checked(config).await, json, |checked| {
            let code = if checked.damaged.is_empty() { exit::COMPLETE } else { exit::DAMAGED };
            (checked.to_text(), code)
        }),
        Command::RotateKey => handover::run(config, Request::RotateKey, json).await,
    }
}

/// What there is to read of a ledger.
pub(super) struct Sources {
    pub(super) pool: SqlitePool,
    pub(super) published: Published,
    pub(super) keys: Vec<VerifyingKey>,
}

impl Sources {
    pub(super) async fn open(config: &Path) -> anyhow::Result<Self> {
        let config = Config::load(config)?;
        let nothing = || UsageError("nothing was archived yet: run `callvault backfill` first".to_owned());
        let pool = db::open_read_only(&config.state.path).await?.ok_or_else(nothing)?;
        let outdated =
            "the database is of an older version: start the service, or run `callvault backfill`, first";
        let has_ledger = db::has_table(&mut *pool.acquire().await?, "checkpoints").await?;
        ensure!(has_ledger, UsageError(outdated.to_owned()));
        let published = Published::open(&config.archive.path)?.ok_or_else(nothing)?;
        let mut keys = Vec::new();
        for row in ledger::keys(&mut *pool.acquire().await?).await? {
            keys.push(VerifyingKey::from_vkey(&row.vkey)?);
        }
        Ok(Self { pool, published, keys })
    }
}

#[derive(Debug, Serialize, Template)]
#[template(path = "ledger.txt", whitespace = "preserve")]
struct Shown {
    origin: String,
    entries: u64,
    signed_entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<Timestamp>,
    keys: Vec<ShownKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownKey {
    vkey: String,
    signs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_until: Option<Timestamp>,
}

async fn shown(config: &Path) -> anyhow::Result<Shown> {
    let sources = Sources::open(config).await?;
    let mut db = sources.pool.acquire().await.context("opening the database")?;
    let latest = ledger::latest_checkpoint(&mut db).await?;
    let rows = ledger::keys(&mut db).await?;
    let keys = rows.into_iter().map(|row| ShownKey {
        vkey: row.vkey,
        signs: row.retired_at_ms.is_none(),
        signs_until: row.signs_until_ms.map(Timestamp::from),
    });
    Ok(Shown {
        origin: sources.keys.first().map(|key| key.name().to_owned()).unwrap_or_default(),
        entries: ledger::size(&mut db).await?,
        signed_entries: latest.map_or(0, |latest| latest.size),
        root: latest.map(|latest| latest.root.to_string()),
        signed_at: latest.map(|latest| latest.signed_at),
        keys: keys.collect(),
        problem: fleet::meta(&mut db, PROBLEM).await?.filter(|problem| !problem.is_empty()),
    })
}

#[derive(Debug, Serialize)]
struct Proven {
    proofs: Vec<OneProof>,
}

#[derive(Debug, Serialize)]
struct OneProof {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    proof: String,
}

async fn proven(config: &Path, what: &[u8]) -> anyhow::Result<Proven> {
    let sources = Sources::open(config).await?;
    let text = String::from_utf8_lossy(what).into_owned();
    let mut db = sources.pool.acquire().await.context("opening the database")?;
    let prove = |path, number| {
        let proof = sources.published.prove(number, &sources.keys).map_err(usage_if_not_yet)?;
        anyhow::Ok(OneProof { number, path, proof: proof.to_text() })
    };
    let mut proofs = Vec::new();
    for (path, number) in catalog::ledger_numbers(&mut db, &text, what).await? {
        proofs.push(prove(Some(path), u64::try_from(number)?)?);
    }
    if proofs.is_empty() {
        let number = text.parse().map_err(|_| {
            let what = printable(what);
            UsageError(format!("nothing archived has the name or path `{what}`: see `callvault status`"))
        })?;
        proofs.push(prove(None, number)?);
    }
    Ok(Proven { proofs })
}

fn usage_if_not_yet(error: PublishedError) -> anyhow::Error {
    match error {
        PublishedError::NotYet { .. } => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}

#[derive(Debug, Serialize)]
struct Checked {
    signed_entries: u64,
    damaged: Vec<DamagedFile>,
}

#[derive(Debug, Serialize)]
struct DamagedFile {
    path: String,
    what: String,
}

/// A check looks so often at most before it calls a file damaged.
const LOOKS_MAX: u32 = 5;
/// What passes between two looks: a service puts a new checkpoint in its place in less.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Looks again where something is not as it should be, and believes what each look finds: a service beside us may have
/// signed and published since the database was read, or be about to.
async fn checked(config: &Path) -> anyhow::Result<Checked> {
    let sources = Arc::new(Sources::open(config).await?);
    let (mut size, mut damages) = look(&sources).await?;
    for _ in 1..LOOKS_MAX {
        if damages.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let (size_now, damages_now) = look(&sources).await?;
        damages.retain(|damage| damages_now.contains(damage));
        size = size_now;
    }
    let damaged = damages
        .into_iter()
        .map(|Damage { path, what, .. }| DamagedFile { path: format!("{FOLDER}/{path}"), what });
    Ok(Checked { signed_entries: size, damaged: damaged.collect() })
}

/// How many entries are signed, and what is published of them otherwise than it was.
async fn look(sources: &Arc<Sources>) -> anyhow::Result<(u64, Vec<Damage>)> {
    let mut db = sources.pool.acquire().await.context("opening the database")?;
    let latest = ledger::latest_checkpoint(&mut db).await?.map(|latest| (latest.size, latest.root));
    let size = latest.map_or(0, |(size, _)| size);
    drop(db);
    let (pool, runtime) = (sources.pool.clone(), Handle::current());
    let mut leaves = Leaves::stored(move |from, limit| {
        runtime.block_on(async { ledger::leaf_hashes(&mut *pool.acquire().await?, from, limit).await })
    });
    let sources = Arc::clone(sources);
    let check = move || sources.published.check(&sources.keys, latest, &mut leaves);
    let damages = blocking(check).await?;
    Ok((size, damages))
}

impl Checked {
    fn to_text(&self) -> String {
        if self.damaged.is_empty() {
            return format!(
                "All {} signed entries of the ledger are published, whole and as they were signed.\n",
                self.signed_entries
            );
        }
        let lines = self.damaged.iter().map(|file| format!("{} {}\n", file.path, file.what));
        lines.collect::<String>() + "Restore these files from a backup of the archive.\n"
    }
}
