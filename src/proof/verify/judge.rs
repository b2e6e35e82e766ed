//! The judgement of one unit: its files are read, and compared with what they were.

use super::budget::Budget;
use super::damage::{Class, Damage, Thing};
use crate::archive::{ArchiveError, Content, Key, Reader};
use crate::base::digest::Digest;
use crate::formats::sums;
use crate::store::fixity::{ArchivedAs, Documents, Unit, What};

/// A unit to be judged; of documents, with what they should be.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) unit: Unit,
    pub(super) documents: Option<Documents>,
    /// Whether only some of its documents are judged: then it is not read yet, however right these are.
    pub(super) is_partial: bool,
}

impl Subject {
    /// Of the documents of a folder only the files of certificates; `None` if there is none.
    pub(super) fn certificates_of(unit: &Unit, documents: &Documents) -> Option<Self> {
        let lists: Vec<_> =
            documents.lists.iter().filter(|(name, _)| name.starts_with("certificate-")).cloned().collect();
        // Sums that are behind are not judged.
        let certificates = Documents { lists, sums: Vec::new(), changed: documents.changed, is_behind: true };
        let is_any = !certificates.lists.is_empty();
        is_any.then(|| Self { unit: unit.clone(), documents: Some(certificates), is_partial: true })
    }
}

#[derive(Debug)]
pub(super) enum Verdict {
    Right(Read),
    Damaged(Read, Vec<Damage>),
    Unread,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

struct Expected {
    thing: Thing,
    place: String,
    /// Where the catalog knows it.
    size_bytes: Option<u64>,
    sha256: Digest,
}

enum NoJudgement {
    Stopped,
    Failed(ArchiveError),
}

/// Reads all files of a unit and judges them.
///
/// # Errors
/// [`ArchiveError`] if the archive as a whole cannot be read.
pub(super) fn judge(
    reader: &dyn Reader,
    subject: &Subject,
    budget: &Budget,
) -> Result<Verdict, ArchiveError> {
    let mut read = Read::default();
    let mut damages = Vec::new();
    for expected in files_of(subject)? {
        match judge_file(reader, &subject.unit.pbx, &expected, budget, &mut read) {
            Ok(damage) => damages.extend(damage),
            Err(NoJudgement::Stopped) => return Ok(Verdict::Unread),
            Err(NoJudgement::Failed(error)) => return Err(error),
        }
    }
    Ok(if damages.is_empty() { Verdict::Right(read) } else { Verdict::Damaged(read, damages) })
}

/// Where the files of a unit are that are judged.
pub(super) fn paths_of(subject: &Subject) -> Vec<String> {
    files_of(subject).unwrap_or_default().into_iter().map(|expected| expected.place).collect()
}

fn files_of(subject: &Subject) -> Result<Vec<Expected>, ArchiveError> {
    match (&subject.unit.what, &subject.documents) {
        (What::File(file), _) => Ok(archived(file).into()),
        (What::Documents(folder), Some(documents)) => written(folder, documents),
        (What::Documents(_), None) => Ok(Vec::new()),
    }
}

fn archived(file: &ArchivedAs) -> [Expected; 2] {
    let audio = Expected {
        thing: Thing::Audio,
        place: file.path.clone(),
        size_bytes: Some(file.size_bytes),
        sha256: file.sha256,
    };
    let sidecar = Expected {
        thing: Thing::Document,
        place: format!("{}.json", file.path),
        size_bytes: None,
        sha256: file.sidecar_sha256,
    };
    [audio, sidecar]
}

/// Call lists and, unless they still have to be written, the sums.
fn written(folder: &str, documents: &Documents) -> Result<Vec<Expected>, ArchiveError> {
    let place = |name: &str| format!("{folder}/{name}");
    let lists = documents.lists.iter().map(|(name, sha256)| Expected {
        thing: Thing::Document,
        place: place(name),
        size_bytes: None,
        sha256: *sha256,
    });
    let mut expected: Vec<Expected> = lists.collect();
    if !documents.is_behind {
        let content = sums::to_text(&documents.sums)?;
        expected.push(Expected {
            thing: Thing::Sums,
            place: place(sums::NAME),
            size_bytes: Some(content.len() as u64),
            sha256: Digest::of(&content),
        });
    }
    Ok(expected)
}

fn judge_file(
    reader: &dyn Reader,
    pbx: &str,
    expected: &Expected,
    budget: &Budget,
    read: &mut Read,
) -> Result<Option<Damage>, NoJudgement> {
    let mut go_on = |bytes| {
        read.bytes += bytes as u64;
        !budget.is_stopped()
    };
    let content = match Key::found(&*expected.place).and_then(|key| reader.hash(&key, &mut go_on)) {
        // What stands in the way of a folder is a stray by itself.
        Err(ArchiveError::Planted { .. }) => Ok(Content::Nothing),
        content => content,
    };
    let damage = |class, found: String| {
        let damage = Damage::new(class, expected.thing, pbx, expected.place.clone());
        Ok(Some(damage.told(shown(expected.size_bytes, expected.sha256), found)))
    };
    read.files += 1;
    match content {
        Ok(Content::Bytes { size_bytes, sha256 }) => {
            let is_right =
                sha256 == expected.sha256 && expected.size_bytes.is_none_or(|size| size == size_bytes);
            if is_right { Ok(None) } else { damage(Class::Altered, shown(Some(size_bytes), sha256)) }
        }
        Ok(Content::Nothing) => damage(Class::Missing, "nothing".to_owned()),
        Ok(Content::NotAFile) => damage(Class::Altered, "no regular file".to_owned()),
        Ok(Content::Unread) => Err(NoJudgement::Stopped),
        Err(error) if error.concerns_what_was_read() => damage(Class::Unreadable, error.to_string()),
        Err(error) => Err(NoJudgement::Failed(error)),
    }
}

fn shown(size_bytes: Option<u64>, sha256: Digest) -> String {
    match size_bytes {
        Some(size_bytes) => format!("{size_bytes} bytes with SHA-256 {sha256}"),
        None => format!("SHA-256 {sha256}"),
    }
}
