//! What follows from judgements: the report, findings, what was read and when, and quarantine.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::read::{Judged, Subject, Verdict, paths_of};
use super::report::{Class, Damage, Report, Thing};
use super::{Scope, Verification};
use crate::archive::Key;
use crate::base::blocking::blocking;
use crate::base::recording::printable;
use crate::store::catalog;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fixity::{self, What};

/// Findings of one PBX that are kept of one verification: all are counted, and what is read as one is marked.
const FINDINGS_MAX: usize = 1000;
/// How often documents are read again that change while they are read.
const TRIES: usize = 8;
/// As what a unit's damage is kept.
const KINDS: [FindingKind; 3] =
    [FindingKind::FileMissing, FindingKind::FileAltered, FindingKind::FileUnreadable];

/// A verification under way, and what it has come to.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    pub(super) verification: &'a Verification<'a>,
    pub(super) report: Report,
    pub(super) judged: HashSet<i64>,
    /// Whether sums were set aside, to be written anew.
    pub(super) sums_are_behind: bool,
    kept: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct Outcome {
    right: Vec<i64>,
    damaged: Vec<i64>,
    /// By PBX, the paths that are well again.
    mended: BTreeMap<String, Vec<String>>,
    damages: Vec<Damage>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(verification: &'a Verification<'a>) -> Self {
        let report = Report::new(verification.request.scope, verification.vault.clock.now());
        Self { verification, report, judged: HashSet::new(), sums_are_behind: false, kept: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.verification.vault.clock.now()
    }

    /// Takes note of judgements: of what is right, when it was read; of what is not, a finding each.
    pub(super) async fn settle(&mut self, judged: Vec<Judged>) -> Result<()> {
        let mut outcome = Outcome::default();
        for judged in judged {
            match self.believe(judged).await? {
                (subject, Some(verdict)) => self.add(&mut outcome, &subject, verdict),
                (_, None) => self.report.whole = false,
            }
        }
        let Outcome { right, damaged, mended, damages } = outcome;
        let (db, now) = (self.verification.db, self.now());
        if !(right.is_empty() && damaged.is_empty()) {
            db.write(async move |tx| {
                fixity::note_right(tx, &right, now).await?;
                fixity::note_damaged(tx, &damaged).await?;
                for (pbx, paths) in mended {
                    findings::close_these(tx, &pbx, &KINDS, &paths, now).await?;
                }
                Ok(())
            })
            .await?;
        }
        self.keep(damages).await
    }

    /// Documents may have been written anew while they were read: then they are read again, by the account of now.
    async fn believe(&self, mut judged: Judged) -> Result<Judged> {
        for _ in 0..TRIES {
            let (subject, verdict) = &mut judged;
            let is_damaged = verdict.as_ref().is_some_and(|verdict| !verdict.damages.is_empty());
            let What::Documents(folder) = &subject.unit.what else { break };
            if !is_damaged {
                break;
            }
            let now = fixity::documents(&mut *self.verification.db.read().await?, folder).await?;
            if subject.documents.as_ref() == Some(&now) {
                break;
            }
            subject.documents = Some(now);
            let again = self.verification.read_page(vec![judged.0]).await?.pop();
            judged = again.context("reading a folder's documents")?;
        }
        Ok(judged)
    }

    fn add(&mut self, outcome: &mut Outcome, subject: &Subject, verdict: Verdict) {
        let Verdict { files, bytes, damages } = verdict;
        let unit = &subject.unit;
        self.report.bytes += bytes;
        if subject.is_partial && damages.is_empty() {
            return;
        }
        self.judged.insert(unit.id);
        // A quick look counts what it sees.
        if self.report.scope == Scope::Full {
            self.report.files += files;
        }
        let of_unit = if damages.is_empty() { &mut outcome.right } else { &mut outcome.damaged };
        of_unit.push(unit.id);
        if unit.damaged {
            let is_well = |path: &String| damages.iter().all(|damage| damage.place != path.as_bytes());
            let well = paths_of(subject).into_iter().filter(is_well);
            let mended = outcome.mended.entry(unit.pbx.clone()).or_default();
            mended.extend(well.map(|path| printable(path.as_bytes())));
        }
        outcome.damages.extend(damages);
    }

    /// Reports damages and keeps findings of them, after what can be set aside was, if that is wanted.
    pub(super) async fn keep(&mut self, damages: Vec<Damage>) -> Result<()> {
        let mut kept: Vec<(String, Finding)> = Vec::new();
        for mut damage in damages {
            if self.verification.request.quarantine {
                self.set_aside(&mut damage).await?;
            }
            let of_pbx = self.kept.entry(damage.pbx.clone()).or_default();
            *of_pbx += 1;
            if *of_pbx <= FINDINGS_MAX {
                kept.extend(damage.findings().into_iter().map(|finding| (damage.pbx.clone(), finding)));
            }
            self.report.add(damage);
        }
        if kept.is_empty() {
            return Ok(());
        }
        let (db, now) = (self.verification.db, self.now());
        db.write(async move |tx| {
            for (pbx, finding) in &kept {
                findings::record(tx, pbx, finding, now).await?;
            }
            Ok(())
        })
        .await
    }

    /// Moves what is altered or unlisted to quarantine; sums are written anew afterwards.
    async fn set_aside(&mut self, damage: &mut Damage) -> Result<()> {
        let is_to_go = match (damage.thing, damage.class) {
            (Thing::Audio | Thing::Document | Thing::Sums, Class::Altered)
            | (Thing::Stray, Class::Unlisted) => true,
            (Thing::Sums, Class::Missing) => false,
            _ => return Ok(()),
        };
        if is_to_go {
            let (archive, place) =
                (self.verification.vault.archive.clone(), Key::found(damage.place.clone())?);
            let moved = blocking(move || archive.set_aside(&place)).await?;
            damage.quarantined = moved.map(|moved| moved.to);
        }
        if damage.thing == Thing::Sums {
            let folder = catalog::folder_of(&String::from_utf8_lossy(&damage.place)).to_owned();
            self.verification.db.write(async move |tx| catalog::touch_folder(tx, &folder).await).await?;
            self.sums_are_behind = true;
        }
        Ok(())
    }

    /// Closes all findings of these kinds but those about `subjects`, which still hold.
    pub(super) async fn close_all_but(
        &self,
        pbx: &str,
        kinds: &'static [FindingKind],
        subjects: Vec<String>,
    ) -> Result<()> {
        let db = self.verification.db;
        let (pbx, now) = (pbx.to_owned(), self.now());
        db.write(async move |tx| {
            let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
            for kind in kinds {
                findings::close_others(tx, &pbx, *kind, &subjects, now).await?;
            }
            Ok(())
        })
        .await
    }
}
