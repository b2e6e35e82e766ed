//! A PBX that tells more than it may, or a disk that is nearly full: its calls are not read for a while.

use std::time::Duration;

use tracing::warn;

use super::Sweeper;
use super::page::{ROWS_PER_PAGE, ReadingFacts};
use crate::base::filesystem::{Room, room};
use crate::config::PbxLimits;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::intake::{self, IntakeSlowed};

/// The disk of the database keeps so much free: what is left is for recordings that are known of to be committed.
const STATE_FREE_BYTES_MIN: u64 = 128 << 20;
/// On a smaller disk than this it is not asked: it may never have had so much.
const STATE_DISK_BYTES_MIN: u64 = 1 << 30;

impl Sweeper<'_> {
    /// Whether there is room for what the PBX tells.
    pub(super) fn check_room(&self, facts: &ReadingFacts) -> Result<(), IntakeSlowed> {
        if facts.limits.is_some() { self.check_disk() } else { Ok(()) }
    }

    /// After a full page, which took so long to store, leaves the database to others for a while: whoever tells a flood of
    /// calls takes a quarter of its time, and the others' recordings are committed in the rest.
    pub(super) async fn let_others_write(&self, rows: usize, took: Duration) {
        if self.is_one_of_several && rows >= ROWS_PER_PAGE {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(took * 3) => {}
            }
        }
    }

    /// Where the filesystem does not tell, there is room.
    fn check_disk(&self) -> Result<(), IntakeSlowed> {
        match room(self.state) {
            Ok(room) if is_short(room) => {
                let (path, free_bytes) = (self.state.display().to_string(), room.free_bytes);
                Err(IntakeSlowed::Disk { path, free_bytes })
            }
            _ => Ok(()),
        }
    }

    /// What the PBX may add, if it may add anything at present.
    ///
    /// # Errors
    /// [`IntakeSlowed`] if not; whatever the database says.
    pub(super) async fn may_add(&self) -> anyhow::Result<PbxLimits> {
        self.check_disk()?;
        let limits = self.pbx.limits.clone();
        intake::check(&mut *self.db.read().await?, &self.pbx.id, &limits, self.clock.now()).await?;
        Ok(limits)
    }

    /// Notes that the PBX is slowed, or that it is not any more.
    pub(super) async fn note_slowed(&self, slowed: Option<&IntakeSlowed>) -> anyhow::Result<()> {
        let (pbx, now) = (self.pbx.id.clone(), self.clock.now());
        let finding = slowed.map(|slowed| {
            warn!(pbx, "Pbx `{pbx}`: {slowed}");
            Finding { kind: FindingKind::IntakeSlowed, subject: pbx.clone(), detail: slowed.to_string() }
        });
        self.db
            .write(async move |tx| match finding {
                Some(finding) => findings::record(tx, &pbx, &finding, now).await,
                None => findings::close(tx, &pbx, FindingKind::IntakeSlowed, now).await,
            })
            .await
    }
}

fn is_short(room: Room) -> bool {
    room.total_bytes >= STATE_DISK_BYTES_MIN && room.free_bytes < STATE_FREE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_if_it_has_less_than_it_should_and_could() {
        let is_short = |total_bytes: u64, free_bytes: u64| is_short(Room { total_bytes, free_bytes });
        assert!(is_short(20 << 30, 127 << 20) && is_short(1 << 30, 0));
        assert!(!is_short(20 << 30, 128 << 20) && !is_short(500 << 20, 10 << 20));
    }
}
