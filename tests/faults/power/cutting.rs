//! A run of the program on a disk whose power is cut again and again: each cut is another end that the run might have had.

use std::time::Instant;

use rustix::process::Signal;
use sqlx::SqlitePool;

use super::disk::Disk;
use super::installation::{Installation, Work};
use super::lie::Lie;
use super::moment::{Chance, Later, Moment};
use crate::support::acknowledged::Acknowledged;
use crate::support::program::folder::Running;
use crate::support::program::{LIMIT, eventually};

/// What one cut has left, and what was acknowledged before it.
pub(crate) struct Cut<'a> {
    pub(crate) disk: Disk<'a>,
    pub(crate) acknowledged: Acknowledged,
    /// When it was, to be told.
    pub(crate) when: String,
}

/// A run to be cut.
pub(crate) struct Run<'r, 'a> {
    pub(crate) installation: &'r mut Installation<'a>,
    pub(crate) disk: &'r Disk<'a>,
    pub(crate) work: Work,
    /// How often at most: a run may be over before.
    pub(crate) cuts: usize,
    pub(crate) lie: Option<&'r Lie<'r>>,
}

impl<'a> Run<'_, 'a> {
    /// Starts the program on the disk and cuts the power, `before` being known already. In the end it is killed if the disk
    /// lies, else it ends by itself, and the last cut comes right after that.
    pub(crate) async fn cut(mut self, before: &Acknowledged, chance: &mut Chance) -> Vec<Cut<'a>> {
        let mounted = self.disk.mount();
        let begun = self.installation.requests();
        let mut running = self.installation.start(self.work, self.lie);
        let mut acknowledged = before.clone();
        let mut cuts = Vec::new();
        for moment in self.moments(before, chance) {
            let due = begun + moment.requests;
            eventually("the run has come so far", || {
                running.has_ended() || self.installation.requests() >= due
            });
            if running.has_ended() {
                break;
            }
            // Before its first request it may still be making the database, and wants that to itself.
            let db = match self.installation.requests() > begun {
                true => self.installation.place().database().await.unwrap(),
                false => None,
            };
            wait_for(moment.later, db.as_ref(), acknowledged.recordings.len()).await;
            if let Some(db) = &db {
                acknowledged.look(self.installation.place(), db).await;
            }
            let when = format!("{:?}, {moment:?}", self.work);
            cuts.push(Cut { disk: self.disk.cut(), acknowledged: acknowledged.clone(), when });
            if let Some(db) = db {
                db.close().await;
            }
        }
        if self.lie.is_none() {
            cuts.push(self.end(running, acknowledged).await);
        }
        drop(mounted);
        cuts
    }

    fn moments(&self, before: &Acknowledged, chance: &mut Chance) -> Vec<Moment> {
        let left = self.installation.names().saturating_sub(before.recordings.len());
        match self.work.asks() {
            true => Moment::draw(self.cuts, 2 * left as u64 + 8, chance),
            false => Moment::draw_at_once(self.cuts, chance),
        }
    }

    /// Waits for the end, cuts the power at once, and then looks what had been acknowledged until then.
    async fn end(&mut self, mut running: Running, mut acknowledged: Acknowledged) -> Cut<'a> {
        if self.work == Work::Service {
            self.until_nothing_is_owed(&mut running).await;
            running.signal(Signal::TERM);
        }
        let said = running.wait().exits(0);
        let disk = self.disk.cut();
        let db = self.installation.place().database().await.unwrap().expect("a run has made it");
        acknowledged.look(self.installation.place(), &db).await;
        db.close().await;
        if self.work == Work::Backfill {
            let voicemail = &said.json()["voicemail"];
            let told = ["archived", "already_archived"]
                .map(|member| said.count(member) + voicemail[member].as_i64().unwrap());
            assert_eq!(told.iter().sum::<i64>(), acknowledged.recordings.len() as i64, "{said:?}");
        }
        Cut { disk, acknowledged, when: format!("{:?}, at its end", self.work) }
    }

    async fn until_nothing_is_owed(&self, running: &mut Running) {
        let began = Instant::now();
        loop {
            assert!(!running.has_ended(), "{}", running.so_far());
            assert!(began.elapsed() < LIMIT, "it never archives all: {}", running.so_far());
            if let Some(db) = self.installation.place().database().await.unwrap() {
                let archived = "select count(*) from recordings where state = 'archived'";
                let archived: i64 = sqlx::query_scalar(archived).fetch_one(&db).await.unwrap_or(0);
                db.close().await;
                if archived == self.installation.names() as i64 {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

async fn wait_for(later: Later, db: Option<&SqlitePool>, known: usize) {
    match (later, db) {
        (Later::After(time), _) => tokio::time::sleep(time).await,
        (Later::Acknowledged, None) => {}
        (Later::Acknowledged, Some(db)) => until_more_is_acknowledged(db, known).await,
    }
}

/// Looks without a pause, for the instant after the commit is what is wanted. Not for ever: the last one may be archived.
async fn until_more_is_acknowledged(db: &SqlitePool, known: usize) {
    let looks = "select count(*) from archived_files";
    let first: i64 = sqlx::query_scalar(looks).fetch_one(db).await.unwrap();
    let (first, began) = (first.max(known as i64), Instant::now());
    while began.elapsed().as_millis() < 300 {
        let now: i64 = sqlx::query_scalar(looks).fetch_one(db).await.unwrap();
        if now > first {
            return;
        }
    }
}
