//! The names of a certificate's files: a format, see `docs/archive-format.md`.

use jiff::civil::Date;

use crate::archive::{ArchiveError, Folder};

/// The names of one revision's files in the folder of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// From 1.
    pub revision: i64,
}

impl Names {
    /// The path of the document of a day, relative to the archive's root.
    pub fn path(self, pbx: &str, day: Date) -> Result<String, ArchiveError> {
        Ok(format!("{}/{}", Folder::day(pbx, day)?, self.document()))
    }

    /// The certificate itself.
    pub fn document(self) -> String {
        format!("certificate-{}.json", self.revision)
    }

    pub fn signature(self) -> String {
        format!("certificate-{}.json.sig", self.revision)
    }

    /// The lines that name people.
    pub fn companion(self) -> String {
        format!("certificate-{}.names.jsonl", self.revision)
    }

    pub fn page(self) -> String {
        format!("certificate-{}.html", self.revision)
    }

    /// The counted files, for `sha256sum -c`.
    pub fn files(self) -> String {
        format!("certificate-{}.sha256", self.revision)
    }

    /// The names of the certificate whose document is called `name`.
    pub fn of_document(name: &str) -> Option<Self> {
        let revision = name.strip_prefix("certificate-")?.strip_suffix(".json")?.parse().ok()?;
        Some(Self { revision }).filter(|names| names.document() == name)
    }

    /// The names of the certificate that has a file called `name`.
    pub fn of_file(name: &str) -> Option<Self> {
        let (number, _) = name.strip_prefix("certificate-")?.split_once('.')?;
        let names = Self { revision: number.parse().ok()? };
        names.all().iter().any(|file| file == name).then_some(names)
    }

    /// Certificates of version 0.1 have no companion.
    pub fn all(self) -> [String; 5] {
        [self.document(), self.signature(), self.companion(), self.page(), self.files()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_by_its_name_whose_it_is() {
        for name in (Names { revision: 12 }).all() {
            assert_eq!(Names::of_file(&name), Some(Names { revision: 12 }), "{name}");
        }
        for other in
            ["certificate-02.json", "certificate-.html", "certificate-1.wav", "a.wav", "certificate-1.jsonl"]
        {
            assert_eq!(Names::of_file(other), None, "{other}");
        }
    }
}
