//! The work on one PBX over a range of days: sweep it and archive what it names, until nothing more can be done now.

mod report;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub(crate) use report::own_trouble;
pub use report::{BackfillReport, PbxReport, Unprinted, VoicemailReport};

use super::site::{Connection, DAYS_BACK, kept_days};
use crate::config::{PbxConfig, nearest};
use crate::store::queue::DayRange;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The PBXs; all if empty.
    pub pbx: Vec<String>,
    pub from: Option<Date>,
    pub to: Option<Date>,
    /// CSV files to read the CDR from, instead of the API.
    pub cdr: Vec<PathBuf>,
    /// Poll the voicemail boxes too, and archive what they hold.
    pub voicemail: bool,
    /// Sweep and say what would be fetched; fetch nothing.
    pub dry_run: bool,
    /// Do not sweep: work on what the queue holds already for these days.
    pub queue_only: Option<DayRange>,
}

impl Request {
    /// Whether it is to cover whatever the PBXs keep.
    fn is_undated(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.queue_only.is_none()
    }
}

/// The connections to work over: those of a service that follows the PBXs already, or connections of one's own.
#[derive(Debug, Default)]
pub struct Connections {
    /// By PBX; one that is not here gets a connection of its own.
    pub(crate) by_pbx: BTreeMap<String, Connection>,
    /// Downloads at one time over all PBXs; counted anew if not given.
    pub(crate) downloads: Option<Arc<Semaphore>>,
}

impl Connections {
    /// These, each for the PBX that it leads to.
    pub fn of(connections: impl IntoIterator<Item = Connection>) -> Self {
        let by_id = |connection: Connection| (connection.client.id().to_owned(), connection);
        Self { by_pbx: connections.into_iter().map(by_id).collect(), downloads: None }
    }
}

/// A request that makes no sense. Each says how to ask instead.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    #[error("--from {0} lies after --to {1}: exchange them")]
    Backwards(Date, Date),
    #[error("--from {0} lies in the future: there is nothing to archive yet")]
    Future(Date),
    #[error("no pbx `{id}` is configured; {hint}")]
    UnknownPbx { id: String, hint: String },
    #[error(
        "--cdr needs --pbx with exactly one id, because {0} PBXs are configured and a CSV file does not name its PBX"
    )]
    WhoseCdr(usize),
    #[error("--cdr {path} {problem}", path = path.display())]
    NoFile {
        path: std::path::PathBuf,
        /// What it is instead, and what to do.
        problem: String,
    },
    /// A PBX that cannot tell its calls.
    #[error(
        "pbx `{0}` speaks API {1}, which cannot list its calls: export the CDR in its web interface and give the file \
         with --cdr, or set `cdr_folder`"
    )]
    NoCdr(String, String),
}

/// What is wrong with a path that should be a file's; `None` if nothing is.
fn no_file(path: &std::path::Path) -> Option<String> {
    match path.metadata() {
        Ok(found) if found.is_file() => None,
        Ok(found) if found.is_dir() => {
            Some("is a folder: give the files in it, or set `cdr_folder` in the [[pbx]] section".to_owned())
        }
        Ok(_) => Some("is a pipe or a device: save the list to a file first".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("does not exist: correct the path".to_owned())
        }
        Err(error) => Some(format!("cannot be read ({error}): let the user who runs callvault read it")),
    }
}

impl RangeError {
    pub fn check_pbx(id: &str, configured: &[PbxConfig]) -> Result<(), Self> {
        match configured.iter().any(|pbx| pbx.id == id) {
            true => Ok(()),
            false => Err(Self::unknown_pbx(id, configured)),
        }
    }

    /// A PBX that is not configured, with the nearest that is.
    pub fn unknown_pbx(id: &str, configured: &[PbxConfig]) -> Self {
        let ids: Vec<&str> = configured.iter().map(|pbx| &*pbx.id).collect();
        // An id may be as short as `hq`: one wrong letter makes half of it.
        let is_slip = |candidate: &&str| strsim::osa_distance(id, candidate) <= 1;
        let near = nearest(id, ids.iter().copied()).or_else(|| ids.iter().copied().find(is_slip));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", ids.join(", ")),
        };
        Self::UnknownPbx { id: crate::base::recording::printable(id.as_bytes()), hint }
    }
}

/// Refuses what makes no sense, before anything is asked of a PBX.
pub(crate) fn check(request: &Request, chosen: &[&PbxConfig]) -> Result<(), RangeError> {
    if let (Some(from), Some(to)) = (request.from, request.to)
        && from > to
    {
        return Err(RangeError::Backwards(from, to));
    }
    if !request.cdr.is_empty() && chosen.len() != 1 {
        return Err(RangeError::WhoseCdr(chosen.len()));
    }
    if let Some((path, problem)) = request.cdr.iter().find_map(|file| Some((file.clone(), no_file(file)?))) {
        return Err(RangeError::NoFile { path, problem });
    }
    if request.cdr.is_empty() && request.queue_only.is_none() {
        let mute = chosen.iter().find(|pbx| !pbx.cdr_api && pbx.cdr_folder.is_none());
        if let Some(pbx) = mute {
            return Err(RangeError::NoCdr(pbx.id.clone(), pbx.api_version.segment.clone()));
        }
    }
    Ok(())
}

/// The days that a request covers on one PBX. `device` is the PBX's own clock, if it tells.
///
/// The range ends a day after the later of our date and the device's, for either clock may be behind. Without dates it begins
/// where the earlier of the two clocks says that the device's memory does.
fn days(
    request: &Request,
    pbx: &PbxConfig,
    device: Option<DateTime>,
    now: Timestamp,
) -> Result<DayRange, RangeError> {
    if let Some(days) = request.queue_only {
        return Ok(days);
    }
    if !request.cdr.is_empty() && request.from.is_none() && request.to.is_none() {
        return Ok(DayRange::ALL);
    }
    let kept = kept_days(pbx, device, now);
    let (first, last) = (kept[0].from, kept[kept.len() - 1].to);
    let to = request.to.unwrap_or(last).min(last);
    let from = match (request.from, request.to) {
        (Some(from), _) => from,
        (None, None) => first,
        (None, Some(_)) => last.checked_sub((DAYS_BACK + 1).days()).unwrap_or(last).min(to),
    };
    if from > last {
        return Err(RangeError::Future(from));
    }
    Ok(DayRange { from, to: to.max(from) })
}

/// The days that are read of it: those of `days`, or what the PBX keeps by either clock where no day was asked for. The days
/// between two clocks that are years apart are nobody's, and are not read.
fn ranges(
    request: &Request,
    pbx: &PbxConfig,
    device: Option<DateTime>,
    days: DayRange,
    now: Timestamp,
) -> Vec<DayRange> {
    match request {
        Request { from: None, to: None, .. } => kept_days(pbx, device, now),
        _ => vec![days],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiVersion;
    use jiff::civil::date;

    fn pbx(id: &str) -> PbxConfig {
        let version: ApiVersion = "v1.1.0".parse().unwrap();
        PbxConfig::for_url(id, "http://127.0.0.1".parse().unwrap(), version, "api", "x".to_owned())
    }

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn without_dates_it_covers_the_devices_retention_up_to_tomorrow() {
        let days = days(&Request::default(), &pbx("hq"), None, noon()).unwrap();
        assert_eq!(days, DayRange { from: date(2025, 9, 2), to: date(2026, 3, 2) });
    }

    #[test]
    fn a_device_whose_clock_is_ahead_is_swept_to_its_own_tomorrow() {
        let ahead = date(2026, 5, 1).at(8, 0, 0, 0);
        assert_eq!(days(&Request::default(), &pbx("hq"), Some(ahead), noon()).unwrap().to, date(2026, 5, 2));
    }

    #[test]
    fn without_dates_what_the_device_keeps_by_either_clock_is_read_and_nothing_in_between() {
        let lost = date(1970, 1, 1).at(0, 20, 0, 0);
        let read_with = |request: Request, device| {
            let days = days(&request, &pbx("hq"), device, noon()).unwrap();
            (days, ranges(&request, &pbx("hq"), device, days, noon()))
        };
        let range = |from, to| DayRange { from, to };
        let (days, ranges) = read_with(Request::default(), Some(lost));
        assert_eq!(days, range(date(1969, 7, 5), date(2026, 3, 2)));
        assert_eq!(
            ranges,
            [range(date(1969, 7, 5), date(1970, 1, 2)), range(date(2025, 9, 2), date(2026, 3, 2))]
        );
        let asked = Request { from: Some(date(2026, 1, 1)), ..Request::default() };
        assert_eq!(read_with(asked, Some(lost)).1, [range(date(2026, 1, 1), date(2026, 3, 2))]);
        let until = Request { to: Some(date(2026, 1, 1)), ..Request::default() };
        assert_eq!(read_with(until, None).1, [range(date(2025, 9, 2), date(2026, 1, 1))]);
    }

    #[test]
    fn a_pbx_keeps_what_either_clock_says() {
        let range = |from, to| DayRange { from, to };
        let ahead = date(2027, 3, 1).at(8, 0, 0, 0);
        let both = [range(date(2025, 9, 2), date(2026, 3, 2)), range(date(2026, 9, 2), date(2027, 3, 2))];
        assert_eq!(kept_days(&pbx("hq"), Some(ahead), noon()), both);
        let near = date(2026, 2, 27).at(8, 0, 0, 0);
        assert_eq!(kept_days(&pbx("hq"), Some(near), noon()), [range(date(2025, 8, 31), date(2026, 3, 2))]);
    }

    #[test]
    fn a_future_end_is_accepted_and_a_future_begin_refused() {
        let to = Request { to: Some(date(2030, 1, 1)), ..Request::default() };
        assert_eq!(days(&to, &pbx("hq"), None, noon()).unwrap().to, date(2026, 3, 2));
        let from = Request { from: Some(date(2030, 1, 1)), ..Request::default() };
        assert!(matches!(days(&from, &pbx("hq"), None, noon()), Err(RangeError::Future(_))));
    }

    #[test]
    fn requests_that_make_no_sense_say_how_to_ask() {
        let backwards =
            Request { from: Some(date(2026, 2, 1)), to: Some(date(2026, 1, 1)), ..Request::default() };
        insta::assert_snapshot!(check(&backwards, &[]).unwrap_err(), @"--from 2026-02-01 lies after --to 2026-01-01: exchange them");
        let unknown = RangeError::unknown_pbx("brnach", &[pbx("hq"), pbx("branch")]);
        insta::assert_snapshot!(unknown, @"no pbx `brnach` is configured; did you mean `branch`?");
    }
}
