//! Days that settled, and their certificates: the ledger tells of each, and its document lies in the folder of the day.

use serde::Deserialize;

use super::entry::DayEntry;
use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::Folder;
use crate::certificate::{self, Certified, Names};
use crate::db;
use crate::digest::Digest;
use crate::salted::Lines;

/// The document of a certificate that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundCertificate {
    pub(super) sha256: Digest,
    /// The names of its files.
    pub(super) names: Names,
    /// Whether it says that nothing was left to be archived or doubted.
    pub(super) is_complete: bool,
    /// What it says of its companion; none of version 0.1.
    pub(super) companion: Option<ToldCompanion>,
    /// The hash of the page beside it.
    pub(super) page_sha256: Option<Digest>,
}

/// What a document says of its companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct ToldCompanion {
    lines: u64,
    root: Digest,
}

/// Reads a file of a day; `None` if it is no certificate.
pub(super) fn read(name: &str, bytes: &[u8]) -> Option<FoundCertificate> {
    #[derive(Deserialize)]
    struct Judgement {
        complete: bool,
        names: Option<ToldCompanion>,
    }
    let names = Names::of_document(name)?;
    let Judgement { complete, names: companion } = serde_json::from_slice(bytes).ok()?;
    let sha256 = Digest::of(bytes);
    Some(FoundCertificate { sha256, names, is_complete: complete, companion, page_sha256: None })
}

impl ToldCompanion {
    /// Whether the companion has this text, or is an edition of it.
    pub(super) fn is(&self, text: &str) -> bool {
        let Lines { count, root, .. } = Lines::after_head(text);
        (count, root) == (self.lines, self.root)
    }
}

/// The list for `sha256sum` of the files that a companion names, but for those whose lines were erased.
pub(super) fn list_of(companion: &str) -> String {
    #[derive(Deserialize)]
    struct Told {
        r#type: String,
        name: Option<String>,
        sha256: Option<Digest>,
    }
    let files = companion.lines().skip(1).filter_map(|line| {
        let Told { r#type, name, sha256 } = serde_json::from_str(line).ok()?;
        (r#type == "file").then(|| Some(format!("{}  {}\n", sha256?, name?))).flatten()
    });
    files.collect()
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
            "{} tells of {what}, and it is not there as it was issued: restore it from a backup",
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

    #[test]
    fn a_companion_is_known_by_its_root_and_names_the_files() {
        let hash = Digest::of("a");
        let lines = format!(
            "{{\"type\":\"file\",\"name\":\"a.wav\",\"sha256\":\"{hash}\"}}\n{{\"type\":\"unrecorded\"}}\n"
        );
        let text = format!("head\n{lines}");
        let root = Lines::after_head(&text).root;
        let document = format!(r#"{{"complete":false,"names":{{"file":"x","lines":2,"root":"{root}"}}}}"#);
        let told = read("certificate-1.json", document.as_bytes()).unwrap().companion.unwrap();
        assert!(told.is(&text) && !told.is(&text.replace("a.wav", "b.wav")));
        assert_eq!(list_of(&text), format!("{hash}  a.wav\n"));
    }
}
