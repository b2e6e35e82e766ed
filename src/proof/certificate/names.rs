//! What the files of a certificate are called: a format, see `docs/archive-format.md`.

/// The names of one revision's files in the folder of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The revision, from 1.
    pub revision: i64,
}

impl Names {
    /// The certificate itself.
    pub fn document(self) -> String {
        format!("certificate-{}.json", self.revision)
    }

    /// The signature over its bytes.
    pub fn signature(self) -> String {
        format!("certificate-{}.json.sig", self.revision)
    }

    /// What names people, line by line.
    pub fn companion(self) -> String {
        format!("certificate-{}.names.jsonl", self.revision)
    }

    /// The page for people.
    pub fn page(self) -> String {
        format!("certificate-{}.html", self.revision)
    }

    /// The files that it counts, for `sha256sum -c`.
    pub fn files(self) -> String {
        format!("certificate-{}.sha256", self.revision)
    }

    /// Those of the certificate whose document is called `name`.
    pub fn of_document(name: &str) -> Option<Self> {
        let revision = name.strip_prefix("certificate-")?.strip_suffix(".json")?.parse().ok()?;
        Some(Self { revision }).filter(|names| names.document() == name)
    }

    /// Those of the certificate that has a file called `name`.
    pub fn of_file(name: &str) -> Option<Self> {
        let (number, _) = name.strip_prefix("certificate-")?.split_once('.')?;
        let names = Self { revision: number.parse().ok()? };
        names.all().iter().any(|file| file == name).then_some(names)
    }

    /// All of them. Certificates of version 0.1 have no companion.
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
