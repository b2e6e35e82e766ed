//! Days that settled, and their certificates: the ledger tells of each, and its document lies in the folder of the day.

use serde::Deserialize;

use super::entry::DayEntry;
use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::Folder;
use crate::certificate::{self, Certified, Names};
use crate::db;
use crate::digest::Digest;

/// The document of a certificate that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundCertificate {
    pub(super) sha256: Digest,
    /// Whether it says that nothing was left to be archived or doubted.
    pub(super) is_complete: bool,
}

/// Reads a file of a day; `None` if it is no certificate.
pub(super) fn read(name: &str, bytes: &[u8]) -> Option<FoundCertificate> {
    #[derive(Deserialize)]
    struct Judgement {
        complete: bool,
    }
    Names::of_document(name)?;
    let Judgement { complete } = serde_json::from_slice(bytes).ok()?;
    Some(FoundCertificate { sha256: Digest::of(bytes), is_complete: complete })
}

impl Rebuild<'_> {
    /// Puts a certificate back, and the day that it closed.
    pub(super) async fn take_day_closed(&mut self, number: i64, entry: DayEntry) -> anyhow::Result<()> {
        let complete = self.certificates.remove(&entry.certificate_sha256);
        let certified = Certified {
            pbx: &entry.pbx,
            day: entry.day,
            revision: entry.revision.into(),
            sha256: entry.certificate_sha256,
            ledger_number: number,
            at: entry.at,
            sums: entry.sums(),
            // What cannot be read vouches for nothing.
            complete: complete.unwrap_or(false),
            missing: entry.missing,
        };
        match certificate::record(self.building.tx(), &certified).await {
            Err(error) if db::is_refused(&error) => {
                let problem = "another entry tells of a certificate of the same day and revision";
                self.damaged(Damage::of(&entry.pbx, entry_name(number), problem));
                return Ok(());
            }
            recorded => recorded?,
        }
        if complete.is_none() {
            self.name_lost_certificate(number, &entry)?;
        }
        let told = self.days.entry((entry.pbx, entry.day)).or_default();
        (told.closed, told.reopened) = (Some((entry.revision, entry.at)), false);
        Ok(())
    }

    fn name_lost_certificate(&mut self, number: i64, entry: &DayEntry) -> anyhow::Result<()> {
        let name = Names { revision: entry.revision.into() }.document();
        let path = format!("{}/{name}", Folder::day(&entry.pbx, entry.day)?);
        // `SHA256SUMS` lists it too, most of the time.
        if self.report.damage.iter().any(|damage| damage.subject == path) {
            return Ok(());
        }
        let problem = format!(
            "{} tells of this certificate, and it is not there as it was issued: restore it from a backup",
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
        let document = br#"{"complete":true,"sums":true}"#;
        assert!(read("certificate-2.json", document).unwrap().is_complete);
        for name in ["certificate-2.json.sig", "certificate-02.json", "certificate-2.html", "calls-1.jsonl"] {
            assert_eq!(read(name, document), None, "{name}");
        }
        assert_eq!(read("certificate-1.json", b"{}"), None);
    }
}
