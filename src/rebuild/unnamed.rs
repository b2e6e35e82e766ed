//! Files of which no entry of the ledger tells: the tail that was not published yet when the state was lost, or what a
//! restored older database archived. They are no less archived for that, and get an entry now.

use anyhow::Context as _;

use super::replay::digest;
use super::scratch::{self, NotedFile};
use super::{Damage, Rebuild};
use crate::archive::{ArchiveError, Destination, Survey};
use crate::digest::Digest;
use crate::ledger::{self, ArchivedFacts};

/// Files that are looked at together.
const FILES_PER_PAGE: i64 = 500;

impl Rebuild<'_> {
    /// Appends an entry for each file without one that is what its sidecar says. The others are named, and owed.
    pub(super) async fn name_files_without_an_entry(&mut self) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let page = scratch::unnamed_after(self.building.tx(), after, FILES_PER_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let survey = self.survey.clone();
            let examine = move || {
                let examine = |file: NotedFile| (examine(&survey, &file), file);
                page.into_iter().map(examine).collect::<Vec<_>>()
            };
            for (problem, file) in
                tokio::task::spawn_blocking(examine).await.context("reading the archive")?
            {
                match problem {
                    None => self.name_file(&file).await?,
                    Some(problem) => self.damaged(Damage::of(&file.pbx, file.path, problem)),
                }
                self.building.wrote().await?;
            }
        }
    }

    async fn name_file(&mut self, file: &NotedFile) -> anyhow::Result<()> {
        let commitment = digest(&file.commitment)?;
        let gap = self.gaps.remove(&commitment).map(|gap| gap.number);
        let facts = ArchivedFacts {
            conflict: file.path.contains("~conflict-"),
            pbx: &file.pbx,
            day: file.day.parse()?,
            recording: commitment,
            sha256: digest(&file.sha256)?,
            sidecar_sha256: digest(&file.sidecar_sha256)?,
            size_bytes: u64::try_from(file.size_bytes)?,
            gap,
        };
        let number = ledger::append(self.building.tx(), &ledger::archived(&facts, self.now)).await?;
        let at_ms = self.now.as_millisecond();
        scratch::name_file(self.building.tx(), file.id, number, facts.conflict, gap, at_ms).await?;
        self.report.ledger.appended += 1;
        let suspect: Vec<String> =
            file.suspect.split(',').filter(|odd| !odd.is_empty()).map(str::to_owned).collect();
        if !suspect.is_empty() {
            let entry = ledger::suspect(number, &file.pbx, &suspect, self.now);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
        }
        if file.kind != "voicemail" {
            self.reopen_day(&file.pbx, file.day.parse()?);
        }
        Ok(())
    }
}

/// An entry is a promise about the disk: what keeps it from being made for this file.
fn examine(survey: &Survey, file: &NotedFile) -> Option<String> {
    match is_whole(survey, file) {
        Ok(true) => None,
        Ok(false) => Some(
            "no entry of the ledger tells of it, and it is not what its sidecar says, or gone: it is owed again".to_owned(),
        ),
        Err(error) => Some(error.to_string()),
    }
}

fn is_whole(survey: &Survey, file: &NotedFile) -> Result<bool, ArchiveError> {
    let place = Destination::parse(&file.path)?;
    let Some(folder) = survey.folder(place.folder())? else { return Ok(false) };
    let is = |hash: &[u8], found: Digest| hash == found.as_bytes();
    let audio = folder.settled_hash(place.file_name())?;
    let sidecar = folder.settled_hash(&place.sidecar_name())?;
    let size_bytes = u64::try_from(file.size_bytes).unwrap_or(u64::MAX);
    Ok(audio.is_some_and(|(size, hash)| size == size_bytes && is(&file.sha256, hash))
        && sidecar.is_some_and(|(_, hash)| is(&file.sidecar_sha256, hash)))
}
