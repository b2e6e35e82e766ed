//! The vault: state directory and archive, opened together.

// The state directory: lock, database, key.
pub mod state;
// Copies of the database, made while everything goes on.
pub mod snapshot;
// What others on this machine can read or write that they must not.
pub mod exposure;
// Backups of all that the archive does not hold.
pub mod backup;

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use self::state::State;
use crate::archive::{Archive, Opening, PbxPresence, VouchKey};
use crate::base::clock::Clock;
use crate::config::Config;
use crate::store::{clocks, fleet};

/// State and archive, open. The state's lock is held for as long as one of the clones lives.
#[derive(Debug, Clone)]
pub struct Vault {
    /// The configuration that it was opened with.
    pub config: Arc<Config>,
    pub state: Arc<State>,
    pub archive: Arc<Archive>,
    /// The wall clock that everybody who works with it goes by.
    pub clock: Clock,
}

impl Vault {
    /// Opens state and archive as the last run left them.
    ///
    /// # Errors
    /// [`StateError`](state::StateError) and [`ArchiveError`](crate::archive::ArchiveError) for what an operator can mend.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let state = State::open(&config.state.path).await?;
        let (now, sync) = (clock.now(), clock.sync().await);
        state.db.write(async move |tx| clocks::note_own(tx, now, sync).await).await?;
        let archive = open_archive(&config, &state, clock.now()).await?;
        Ok(Self { config: Arc::new(config), state: Arc::new(state), archive: Arc::new(archive), clock })
    }

    /// The same state and archive under another configuration.
    ///
    /// # Errors
    /// If state, archive or ledger would be others, for which the process has to start again; else those of [`Vault::open`].
    pub async fn with_config(&self, config: Config) -> anyhow::Result<Self> {
        let former = &self.config;
        for (what, from, to) in [
            ("archive", &former.archive.path, &config.archive.path),
            ("state", &former.state.path, &config.state.path),
        ] {
            let (now, was) = (to.display(), from.display());
            anyhow::ensure!(
                from == to,
                "[{what}] path is {now} now, was {was}: restart the service for that"
            );
        }
        if format!("{:?}", config.ledger) != format!("{:?}", former.ledger) {
            anyhow::bail!("[ledger] has changed: restart the service for that");
        }
        let archive = open_archive(&config, &self.state, self.clock.now()).await?;
        Ok(Self { config: Arc::new(config), archive: Arc::new(archive), ..self.clone() })
    }
}

async fn open_archive(config: &Config, state: &State, now: Timestamp) -> anyhow::Result<Archive> {
    let mut presence = Vec::new();
    for pbx in &config.pbx {
        let has_rows = fleet::is_known(&mut *state.db.read().await?, &pbx.id).await?;
        presence.push(PbxPresence { id: &pbx.id, has_rows });
    }
    let vouch_key = VouchKey::new(state.adopt_key);
    let opening = Opening {
        root: &config.archive.path,
        state_path: &config.state.path,
        state_id: &state.id,
        vouch_key: &vouch_key,
        pbxs: &presence,
        now,
    };
    // Opening touches a handful of files; nothing else runs yet that it could hold up.
    Archive::open(&opening).context("opening the archive")
}
