//! Files of which no signed entry of the ledger tells: the tail that was not signed yet when the state was lost, what a
//! restored older database archived, or what somebody put there. Those for whose sidecars this state vouches are no less
//! archived for that, and get an entry now. Of the others an entry says that they were found; their recordings are owed.

use anyhow::Context as _;

use super::folder::SIDECAR_BYTES_MAX;
use super::{Damage, Rebuild};
use crate::archive::{ArchiveError, Content, Destination, Key, Reader, VouchKey};
use crate::base::blocking::on_thread;
use crate::base::recording::RecordingKind;
use crate::formats::sidecar::{Sidecar, SidecarOrigin};
use crate::store::ledger::{self, ArchivedFacts, HowCame};
use crate::store::scratch::{self, Naming, NotedFile};

const FILES_PER_PAGE: i64 = 500;

impl Rebuild<'_> {
    /// Appends an entry for each file without one that is what its sidecar says. The others are named, and owed.
    pub(super) async fn name_files_without_an_entry(&mut self) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let page = scratch::unnamed_after(self.building.tx(), after, FILES_PER_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let (archive, believed) = (self.archive.clone(), self.believed.clone());
            let examine = move || {
                let examine =
                    |file: NotedFile| (examine(&*archive, believed.vouch_key.as_ref(), &file), file);
                page.into_iter().map(examine).collect::<Vec<_>>()
            };
            for (standing, file) in on_thread(examine).await.context("reading the archive")? {
                match standing {
                    Standing::Ours(origin) => self.name_file(&file, &origin).await?,
                    Standing::Found => self.note_found(&file).await?,
                    Standing::Broken(problem) => self.damaged(Damage::of(&file.pbx, file.path, problem)),
                }
                self.building.wrote().await?;
            }
        }
    }

    /// Reports a file that anybody may have put there. It stays where it is until the PBX was asked.
    async fn note_found(&mut self, file: &NotedFile) -> anyhow::Result<()> {
        let entry = ledger::found(&facts_of(file, None)?, self.now);
        ledger::append(self.building.tx(), &entry).await?;
        self.report.ledger.found += 1;
        if file.kind != Some(RecordingKind::Voicemail) {
            self.reopen_day(&file.pbx, file.day.parse()?);
        }
        Ok(())
    }

    async fn name_file(&mut self, file: &NotedFile, origin: &SidecarOrigin) -> anyhow::Result<()> {
        let gap = self.gaps.remove(&file.commitment).map(|gap| gap.number);
        let (transport, key_sha256) = (origin.transport.as_str(), origin.key_sha256.as_deref());
        let came = Some(HowCame { transport, key_sha256, adopted: true });
        let facts = ArchivedFacts { came, ..facts_of(file, gap)? };
        let number = ledger::append(self.building.tx(), &ledger::archived(&facts, self.now)).await?;
        let naming = Naming { number, conflict: facts.conflict, gap, at_ms: self.now.as_millisecond() };
        scratch::name_file(self.building.tx(), file.id, naming).await?;
        self.report.ledger.appended += 1;
        let suspect = file.suspect();
        if !suspect.is_empty() {
            let entry = ledger::suspect(number, &file.pbx, &suspect, self.now);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
        }
        if file.kind != Some(RecordingKind::Voicemail) {
            self.reopen_day(&file.pbx, file.day.parse()?);
        }
        Ok(())
    }
}

fn facts_of(file: &NotedFile, gap: Option<i64>) -> anyhow::Result<ArchivedFacts<'_>> {
    Ok(ArchivedFacts {
        conflict: file.path.contains("~conflict-"),
        pbx: &file.pbx,
        day: file.day.parse()?,
        recording: file.commitment,
        sha256: file.sha256,
        sidecar_sha256: file.sidecar_sha256,
        size_bytes: u64::try_from(file.size_bytes)?,
        gap,
        came: None,
    })
}

enum Standing {
    /// This state put it there, and it came like this: it is archived.
    Ours(SidecarOrigin),
    /// Its origin is unknown.
    Found,
    /// It is not what its sidecar says.
    Broken(String),
}

/// An entry is a promise about the disk: what kind of one can be made for this file.
fn examine(archive: &dyn Reader, vouch_key: Option<&VouchKey>, file: &NotedFile) -> Standing {
    match is_whole(archive, file) {
        Ok(true) => match vouched(archive, vouch_key, file) {
            Ok(Some(origin)) => Standing::Ours(origin),
            Ok(None) => Standing::Found,
            Err(error) => Standing::Broken(error.to_string()),
        },
        Ok(false) => Standing::Broken(
            "not in the ledger, and missing or different from its sidecar: queued for download again"
                .to_owned(),
        ),
        Err(error) => Standing::Broken(error.to_string()),
    }
}

/// How it came, if this state wrote its sidecar, for this place.
fn vouched(
    archive: &dyn Reader,
    vouch_key: Option<&VouchKey>,
    file: &NotedFile,
) -> Result<Option<SidecarOrigin>, ArchiveError> {
    let Some(vouch_key) = vouch_key else { return Ok(None) };
    let place = Destination::parse(&file.path)?;
    let bytes = match archive.read(&place.sidecar(), SIDECAR_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(ArchiveError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let sidecar = Sidecar::from_bytes(&bytes).ok();
    let ours = sidecar.filter(|sidecar| vouch_key.vouches_for(&file.path, sidecar));
    Ok(ours.and_then(|sidecar| sidecar.origin))
}

fn is_whole(archive: &dyn Reader, file: &NotedFile) -> Result<bool, ArchiveError> {
    let place = Destination::parse(&file.path)?;
    let settled = |key: &Key| archive.settle(key).and_then(|()| archive.hash(key, &mut |_| true));
    let (audio, sidecar) = (settled(&(&place).into())?, settled(&place.sidecar())?);
    let size = u64::try_from(file.size_bytes).unwrap_or(u64::MAX);
    Ok(matches!(audio, Content::Bytes { size_bytes, sha256 } if size_bytes == size && sha256 == file.sha256)
        && matches!(sidecar, Content::Bytes { sha256, .. } if sha256 == file.sidecar_sha256))
}
