//! Settled days and their certificates: the ledger has an entry of each, and its document is in the folder of the day.

use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::Folder;
use crate::base::digest::Digest;
use crate::formats::ledger_entry::DayEntry;
use crate::proof::certificate::{Companion, Names, Statement};
use crate::store::catalog;
use crate::store::certificates::{self, Certified};
use crate::store::db;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundCertificate {
    pub(super) sha256: Digest,
    pub(super) names: Names,
    /// Whether it says that nothing was left to be archived or doubted.
    pub(super) is_complete: bool,
    /// What it says of its companion; none of version 0.1.
    pub(super) companion: Option<Companion>,
    pub(super) page_sha256: Option<Digest>,
}

/// Reads a file of a day; `None` if it is no certificate.
pub(super) fn read(name: &str, bytes: &[u8]) -> Option<FoundCertificate> {
    let names = Names::of_document(name)?;
    let Statement { complete, names: companion, .. } = Statement::read(bytes).ok()?;
    let sha256 = Digest::of(bytes);
    Some(FoundCertificate { sha256, names, is_complete: complete, companion, page_sha256: None })
}

impl Rebuild<'_> {
    /// Puts a certificate back, and the day that it closed.
    pub(super) async fn take_day_closed(&mut self, number: i64, entry: DayEntry) -> anyhow::Result<()> {
        let found = self.certificates.remove(&entry.certificate_sha256);
        let complete = found.as_ref().map(|found| found.is_complete);
        let certified = Certified {
            pbx: &entry.pbx,
            day: entry.day,
            revision: entry.revision.into(),
            path: Names { revision: entry.revision.into() }.path(&entry.pbx, entry.day)?,
            sha256: entry.certificate_sha256,
            ledger_number: number,
            at: entry.at,
            sums: entry.sums(),
            // What cannot be read vouches for nothing.
            complete: complete.unwrap_or(false),
            missing: entry.missing,
        };
        match certificates::record(self.building.tx(), &certified).await {
            Err(error) if db::is_refused(&error) => {
                let problem = "another entry has a certificate of the same day and revision";
                self.damaged(Damage::of(&entry.pbx, entry_name(number), problem));
                return Ok(());
            }
            recorded => recorded?,
        }
        self.believe_entry(&entry).await?;
        match &found {
            None => self.name_lost(number, &entry, Names::document, "this certificate")?,
            Some(found) if entry.page_sha256.is_some() && found.page_sha256 != entry.page_sha256 => {
                self.name_lost(number, &entry, Names::page, "this page of a certificate")?;
            }
            Some(_) => {}
        }
        let told = self.days.entry((entry.pbx, entry.day)).or_default();
        (told.closed, told.reopened) = (Some((entry.revision, entry.at)), false);
        Ok(())
    }

    /// The ledger knows what was issued, whatever the folder and its sums hold.
    async fn believe_entry(&mut self, entry: &DayEntry) -> anyhow::Result<()> {
        let (folder, names) =
            (Folder::day(&entry.pbx, entry.day)?, Names { revision: entry.revision.into() });
        let told = [(names.document(), Some(entry.certificate_sha256)), (names.page(), entry.page_sha256)];
        for (name, sha256) in told {
            let Some(sha256) = sha256 else { continue };
            let path = format!("{folder}/{name}");
            if catalog::correct_day_file(self.building.tx(), &path, &sha256).await? {
                self.in_step.remove(folder.as_str());
            }
        }
        Ok(())
    }

    fn name_lost(
        &mut self,
        number: i64,
        entry: &DayEntry,
        file: fn(Names) -> String,
        what: &str,
    ) -> anyhow::Result<()> {
        let name = file(Names { revision: entry.revision.into() });
        let path = format!("{}/{name}", Folder::day(&entry.pbx, entry.day)?);
        // `SHA256SUMS` lists it too, most of the time.
        if self.report.damage.iter().any(|damage| damage.subject == path) {
            return Ok(());
        }
        let problem = format!(
            "{} names {what}, but the file is missing or different: restore it from a backup",
            entry_name(number)
        );
        self.damaged(Damage::of(&entry.pbx, path, problem));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_document_of_a_certificate_tells_whether_the_day_is_complete() {
        let document = br#"{"complete":true,"sums":true,"listed":0,"archived":0,"missing":0,"excluded":0,"pending":0,"stuck":0}"#;
        assert!(read("certificate-2.json", document).unwrap().is_complete);
        for name in ["certificate-2.json.sig", "certificate-02.json", "certificate-2.html", "calls-1.jsonl"] {
            assert_eq!(read(name, document), None, "{name}");
        }
        assert_eq!(read("certificate-1.json", b"{}"), None);
    }
}
