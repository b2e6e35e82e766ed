//! What an operator can mend of this machine's own trouble.

use super::RangeError;
use crate::archive::ArchiveError;
use crate::config::PbxConfig;
use crate::pipeline::gate::Trouble;
use crate::pipeline::site::SAME_DEVICE;
use crate::pipeline::sweep::{CdrFileError, SweepReport};
use crate::store::fleet::SameDevice;

/// Files of the CDR folder that are no CDR: asking again would not help, so it is not a PBX's trouble.
pub(in crate::pipeline) fn unread_files(pbx: &PbxConfig, found: &SweepReport) -> Option<Trouble> {
    let folder = pbx.cdr_folder.as_ref().filter(|_| found.files_unread > 0)?;
    let message = format!(
        "{} of the CDR folder {} could not be read; `callvault status` names them: correct or remove them",
        if found.files_unread == 1 { "one file".to_owned() } else { format!("{} files", found.files_unread) },
        folder.display()
    );
    Some(Trouble { reason: "cdr_file".into(), message })
}

/// What an operator can mend of this machine's own trouble; all else is an internal error and ends the command.
pub(crate) fn own_trouble(error: anyhow::Error) -> anyhow::Result<Trouble> {
    let reason = if error.is::<ArchiveError>() {
        "archive"
    } else if error.is::<RangeError>() {
        "usage"
    } else if error.is::<SameDevice>() {
        SAME_DEVICE
    } else if error.is::<CdrFileError>() {
        "cdr_file"
    } else {
        return Err(error);
    };
    Ok(Trouble { reason: reason.into(), message: format!("{error:#}") })
}
