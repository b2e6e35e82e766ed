//! Errors that ended a command: their class, and the sentence for the operator.

use serde::{Deserialize, Serialize};

use crate::archive::ArchiveError;
use crate::config::{ConfigErrors, Problem};
use crate::http::feed::Ahead;
use crate::pbx::PbxError;
use crate::pipeline::backfill::RangeError;
use crate::proof::export::ExportError;
use crate::proof::notary::PublishedError;
use crate::proof::rebuild::CannotRebuild;
use crate::store::db::DatabaseFailed;
use crate::vault::backup::BackupError;
use crate::vault::state::StateError;

/// The class of an error that ended a command. Exit code and word of each are in the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Configuration,
    State,
    Archive,
    Database,
    DatabaseFull,
    /// The command line, or what it asks for, makes no sense.
    Usage,
    /// The PBX was unreachable or refused us.
    Pbx,
    /// Something that is archived, published or exported is damaged.
    Damaged,
    /// It was stopped before it came to anything.
    Interrupted,
    /// A fault of callvault.
    Internal,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    pub class: Class,
    /// The word in JSON; of a PBX's error, the class of that.
    pub reason: Option<String>,
    /// One sentence: what happened, to which thing, what to do.
    pub message: String,
    pub problems: Vec<Problem>,
}

impl Failure {
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(known) = error.downcast_ref::<Self>() {
            return known.clone();
        }
        let refused = error.chain().find_map(|cause| cause.downcast_ref::<PbxError>());
        let problems = error.downcast_ref::<ConfigErrors>().map_or(&[][..], ConfigErrors::problems);
        Self {
            class: class_of(error),
            reason: refused.map(|refused| refused.reason().to_string()),
            message: format!("{error:#}"),
            problems: problems.to_vec(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

fn class_of(error: &anyhow::Error) -> Class {
    fn has<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| cause.is::<E>())
    }
    let export = error.chain().find_map(|cause| cause.downcast_ref::<ExportError>());
    let database = error.chain().find_map(|cause| cause.downcast_ref::<DatabaseFailed>());
    match () {
        () if has::<Interrupted>(error) || matches!(export, Some(ExportError::Interrupted)) => {
            Class::Interrupted
        }
        () if has::<ConfigErrors>(error) => Class::Configuration,
        () if has::<StateError>(error) => Class::State,
        () if has::<ArchiveError>(error) => Class::Archive,
        () if database.is_some_and(DatabaseFailed::is_disk_full) => Class::DatabaseFull,
        () if export.is_some_and(ExportError::is_usage) => Class::Usage,
        () if has::<UsageError>(error) || has::<RangeError>(error) || has::<Ahead>(error) => Class::Usage,
        () if has::<CannotRebuild>(error) || has::<BackupError>(error) => Class::Usage,
        () if has::<PublishedError>(error) || export.is_some_and(ExportError::is_damage) => Class::Damaged,
        () if has::<PbxError>(error) => Class::Pbx,
        () if database.is_some() => Class::Database,
        () => Class::Internal,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A command that was stopped before it came to anything.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing was changed; run the same command again")]
pub struct Interrupted;
