//! The state of everything as a page of text: one line first, then who needs a person, then the rest a line each.

use askama::Template;
use indicatif::HumanBytes;
use jiff::Timestamp;

use super::summary;
use crate::base::counts::Counts;
use crate::base::recording::printable;
use crate::base::remedy;
use crate::watch::status::{PbxStatus, Status};

/// Findings shown for each PBX; the rest is counted.
const FINDINGS_MAX: usize = 5;
/// Reasons shown for a PBX among many.
const REASONS_MAX: usize = 4;
/// Up to this number, every PBX is shown in full.
const FULL_UP_TO: usize = 3;

#[derive(Template)]
#[template(path = "status.txt", whitespace = "preserve")]
struct Page<'a> {
    status: &'a Status,
    /// The PBXs with all that is known of them; those in trouble come first.
    shown: Vec<(&'a String, &'a PbxStatus)>,
    /// The PBXs of one line each.
    brief: Vec<(&'a String, &'a PbxStatus)>,
    reasons_max: usize,
}

/// The page. `in_full` shows every PBX in full; otherwise, if there are many, those without trouble get one line each.
pub fn of(status: &Status, in_full: bool) -> String {
    let (mut shown, mut brief): (Vec<_>, Vec<_>) =
        status.pbx.iter().partition(|(_, pbx)| pbx.cause().is_some());
    let in_full = in_full || status.pbx.len() <= FULL_UP_TO;
    if in_full {
        shown.append(&mut brief);
    }
    let reasons_max = if in_full { usize::MAX } else { REASONS_MAX };
    let page = Page { status, shown, brief, reasons_max };
    page.render().expect("writing to a String cannot fail") + "\n"
}

impl Page<'_> {
    /// A time as a person reads it: how long ago, and when.
    fn ago(&self, at: &Timestamp) -> String {
        format!("{} ({})", self.elapsed(at), at.strftime("%F %R UTC"))
    }

    /// How long ago.
    fn elapsed(&self, at: &Timestamp) -> String {
        let seconds = self.status.at.duration_since(*at).as_secs();
        let (count, unit) = match seconds.unsigned_abs() {
            0..120 => (seconds, "s"),
            120..7200 => (seconds / 60, "min"),
            7200..172_800 => (seconds / 3600, "h"),
            _ => (seconds / 86_400, "days"),
        };
        format!("{count} {unit} ago")
    }

    /// The width of the ids of what gets one line.
    fn width(&self) -> usize {
        self.brief.iter().map(|(id, _)| id.len()).max().unwrap_or(0)
    }
}

/// The states that occur, with the size of what is archived.
pub(super) fn states(counts: &Counts, bytes: i64) -> String {
    let mut states = numbers(counts);
    if counts.archived > 0 {
        states[0] = format!("{} ({})", states[0], HumanBytes(u64::try_from(bytes).unwrap_or(0)));
    }
    if states.is_empty() { "none yet".to_owned() } else { states.join(", ") }
}

/// The states that occur.
pub(super) fn numbers(counts: &Counts) -> Vec<String> {
    let missing = match counts.missing_final {
        0 => "missing",
        finally => &format!("missing ({finally} of them for good)"),
    };
    summary::nonzero([
        (counts.archived, "archived"),
        (counts.pending, "pending"),
        (counts.missing, missing),
        (counts.stuck, "stuck"),
        (counts.excluded, "excluded"),
    ])
}
