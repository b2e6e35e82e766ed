//! What a reader finds in the archive, piece by piece, on its way into the database.

use jiff::civil::Date;

use super::certificates::FoundCertificate;
use super::lines::Line;
use super::report::Damage;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::RecordingName;
use crate::formats::salted::Lines;
use crate::formats::sidecar::Sidecar;
use crate::store::calls::NewCall;
use crate::store::scratch::ListedFile;

/// A part of what a folder holds. Files come before the lists, whose calls name them.
#[derive(Debug)]
pub(super) enum Piece {
    Files(Vec<FoundFile>),
    List(FoundList),
    End(FolderEnd),
    /// Something that is not as it was written.
    Damage(Damage),
}

#[derive(Debug)]
pub struct FoundFile {
    /// Its sidecar, without its calls.
    pub sidecar: Sidecar,
    pub sidecar_sha256: Digest,
    /// Whether the sidecar lies elsewhere than it says.
    pub is_displaced: bool,
    /// What the ledger names its recording by.
    pub commitment: Digest,
    pub name: RecordingName,
    /// The day that it is filed under.
    pub day: Date,
    /// The path of its recording: another one if this is other audio of the same name.
    pub recording_path: String,
    /// What is known of it if it is a voicemail message, and which of those alike it is.
    pub message: Option<(Message, u32)>,
    /// Its calls that no list of its folder has.
    pub untold: Vec<NewCall>,
}

#[derive(Debug)]
pub(super) struct FoundList {
    pub(super) number: u32,
    pub(super) lines: Vec<Line>,
    /// Its hash, and what its lines come to, if they are salted.
    pub(super) salted: Option<(Digest, Lines)>,
}

#[derive(Debug, Default)]
pub(super) struct FolderEnd {
    /// Files of the day that are no recordings: path, and hash as it should be.
    pub(super) day_files: Vec<(String, Digest)>,
    pub(super) certificates: Vec<FoundCertificate>,
    /// Whether `SHA256SUMS` lists exactly what is there.
    pub(super) is_in_step: bool,
    /// Archived files that `SHA256SUMS` lists, and whose sidecar is not there any more as it was.
    pub(super) listed: Vec<ListedFile>,
}
