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

    /// All of them.
    pub fn all(self) -> [String; 4] {
        [self.document(), self.signature(), self.page(), self.files()]
    }
}
