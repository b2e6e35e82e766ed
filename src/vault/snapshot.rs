//! Snapshots: copies of the database beside it, made while everything goes on, of which the latest and the last of each
//! day stay.
//!
//! ```text
//! vacuum into <state>/snapshots/callvault-<UTC time>.db.part  fsync  rename(callvault-<UTC time>.db)  fsync(folder)
//! ```
//! A file with its final name is whole. Only files of these two names are ever removed.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::base::filesystem::free_bytes;
use crate::config::SnapshotsConfig;
use crate::store::db;

const FOLDER: &str = "snapshots";
const PREFIX: &str = "callvault-";
const SUFFIX: &str = ".db";
const PART_SUFFIX: &str = ".db.part";
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// The key under which [`fleet::set_meta`](crate::store::fleet::set_meta) keeps why the last snapshot was not made; empty if it
/// was.
pub const LAST_ERROR: &str = "snapshot_error";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot {
    /// When it was made, by its name.
    pub at: Timestamp,
    pub file: PathBuf,
}

/// There is no room for another one: nothing was made, and nothing removed.
#[derive(Debug, thiserror::Error)]
#[error(
    "no snapshot of the database was made: it needs {}, and {folder} has {} free, of which `free_bytes_min` keeps {}; make \
     room, or keep fewer ([snapshots])",
    HumanBytes(*.needed_bytes), HumanBytes(*.free_bytes), HumanBytes(*.free_bytes_min)
)]
pub struct NoRoom {
    folder: String,
    needed_bytes: u64,
    free_bytes: u64,
    free_bytes_min: u64,
}

/// Makes a snapshot of the database in `state`, and removes those that need not stay. Returns the one that was made.
///
/// On return it is on disk, whole. After an error or a crash there is none of its name; the next one cleans up.
pub async fn take(
    state: &Path,
    keep: &SnapshotsConfig,
    free_bytes_min: u64,
    now: Timestamp,
) -> anyhow::Result<Snapshot> {
    let folder = state.join(FOLDER);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("making {}", folder.display()))?;
    remove_parts(&folder)?;
    check_room(state, &folder, free_bytes_min)?;
    let name = format!("{PREFIX}{}", now.strftime(TIME_FORMAT));
    let part = folder.join(format!("{name}{PART_SUFFIX}"));
    if let Err(error) = copy(state, &part).await {
        // What is left of it needs room that the database may be short of.
        drop(fs::remove_file(&part));
        return Err(error);
    }
    let file = folder.join(format!("{name}{SUFFIX}"));
    publish(&part, &file).with_context(|| format!("keeping {}", file.display()))?;
    let made = Snapshot { at: now, file };
    rotate(&folder, keep, &made, now)?;
    Ok(made)
}

/// The snapshots in `state`, the oldest first; none if there is no folder for them.
pub fn all(state: &Path) -> io::Result<Vec<Snapshot>> {
    let folder = state.join(FOLDER);
    let mut snapshots = Vec::new();
    for name in names(&folder)? {
        snapshots.extend(made_at(&name, SUFFIX).map(|at| Snapshot { at, file: folder.join(&name) }));
    }
    snapshots.sort();
    Ok(snapshots)
}

/// The latest snapshot in `state` that was not made in the future, by a clock that has been put back since.
pub fn latest(state: &Path, now: Timestamp) -> io::Result<Option<Snapshot>> {
    Ok(all(state)?.into_iter().rfind(|snapshot| snapshot.at <= now))
}

async fn copy(state: &Path, part: &Path) -> anyhow::Result<()> {
    db::copy(state, part).await?;
    let synced = File::open(part).and_then(|file| {
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()
    });
    synced.with_context(|| format!("syncing {}", part.display()))
}

fn publish(part: &Path, file: &Path) -> io::Result<()> {
    fs::rename(part, file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn check_room(state: &Path, folder: &Path, free_bytes_min: u64) -> anyhow::Result<()> {
    let needed_bytes = db::size_bytes(state).context("looking how large the database is")?;
    let free_bytes = free_bytes(folder).with_context(|| format!("examining `{}`", folder.display()))?;
    if free_bytes >= needed_bytes.saturating_add(free_bytes_min) {
        return Ok(());
    }
    let folder = folder.display().to_string();
    Err(NoRoom { folder, needed_bytes, free_bytes, free_bytes_min }.into())
}

/// Removes what a crash left of a snapshot that was being made.
fn remove_parts(folder: &Path) -> anyhow::Result<()> {
    for name in names(folder)? {
        let part = name.strip_suffix("-journal").unwrap_or(&name);
        if made_at(part, PART_SUFFIX).is_some() {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

fn rotate(folder: &Path, keep: &SnapshotsConfig, made: &Snapshot, now: Timestamp) -> anyhow::Result<()> {
    let state = folder.parent().unwrap_or(folder);
    let there = all(state).with_context(|| format!("listing {}", folder.display()))?;
    let stay = staying(there.iter().map(|snapshot| snapshot.at), keep, now);
    for snapshot in there {
        if snapshot != *made && !stay.contains(&snapshot.at) {
            remove(&snapshot.file)?;
        }
    }
    Ok(())
}

/// Which snapshots stay: the latest, and the last of each of the latest days. Those that a clock has dated into the future
/// count as the oldest: they are the first to go.
fn staying(
    there: impl Iterator<Item = Timestamp>,
    keep: &SnapshotsConfig,
    now: Timestamp,
) -> BTreeSet<Timestamp> {
    let mut there: Vec<Timestamp> = there.collect();
    there.sort_by_key(|at| (*at <= now, *at));
    there.reverse();
    let mut stay: BTreeSet<Timestamp> = there.iter().take(keep.hourly).copied().collect();
    let mut days: BTreeSet<Date> = BTreeSet::new();
    for at in there {
        let day = at.to_zoned(TimeZone::UTC).date();
        if days.len() < keep.daily && days.insert(day) {
            stay.insert(at);
        }
    }
    stay
}

/// When the snapshot of this name was made; `None` if the name is not one of ours.
fn made_at(name: &str, suffix: &str) -> Option<Timestamp> {
    let stamp = name.strip_prefix(PREFIX)?.strip_suffix(suffix)?;
    let at = DateTime::strptime(TIME_FORMAT, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // What is written in another way was not written by us.
    (at.strftime(TIME_FORMAT).to_string() == stamp).then_some(at)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove(file: &Path) -> anyhow::Result<()> {
    fs::remove_file(file).with_context(|| format!("removing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn only_names_of_our_own_are_snapshots() {
        let expected = Some(at("2026-11-25T20:21:28Z"));
        let table = [
            ("callvault-20261125T202128Z.db", expected),
            ("callvault-20261125T202128Z.db.part", None),
            ("callvault-20261125T202128Z.db-wal", None),
            ("callvault-20261332T202128Z.db", None),
            ("callvault-2026-11-25T20:21:28Z.db", None),
            ("callvault-.db", None),
            ("mine.db", None),
        ];
        for (name, expected) in table {
            assert_eq!(made_at(name, SUFFIX), expected, "{name}");
        }
        assert_eq!(made_at("callvault-20261125T202128Z.db.part", PART_SUFFIX), expected);
    }

    #[test]
    fn the_latest_and_the_last_of_each_day_stay() {
        let now = at("2026-11-25T20:00:00Z");
        let hours = |count: i64| (0..count).map(move |hours| now - hours.hours());
        let keep = SnapshotsConfig { hourly: 24, daily: 7 };
        let stay = staying(hours(400), &keep, now);
        let days = (1..7).map(|days| at("2026-11-25T23:00:00Z") - (24 * days).hours());
        assert_eq!(stay, hours(24).chain(days).collect());
        assert_eq!(staying(hours(400), &SnapshotsConfig { hourly: 0, daily: 1 }, now), [now].into());
        assert_eq!(staying(hours(3), &keep, now).len(), 3);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_none_from_staying() {
        let now = at("2026-11-25T20:00:00Z");
        let future = (0..30).map(|hours| at("2027-11-25T00:00:00Z") + hours.hours());
        let keep = SnapshotsConfig { hourly: 2, daily: 1 };
        let stay = staying(future.chain([now, now - 1.hours()]), &keep, now);
        assert_eq!(stay, [now, now - 1.hours()].into());
    }
}
