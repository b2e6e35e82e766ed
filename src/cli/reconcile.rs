//! `callvault reconcile`: what each PBX listed, day by day, against what became of it. Reads beside whoever holds the lock;
//! certificates that are due are issued by that one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use super::{exit, handover, reconcile_page, signals};
use crate::base::clock;
use crate::base::counts::{self, Counts};
use crate::base::times::zone_of;
use crate::config::{Config, PbxConfig};
use crate::pipeline::backfill::RangeError;
use crate::proof::notary::Published;
use crate::proof::reconcile::{self, DayAccount, PbxAccount};
use crate::service::backfill;
use crate::service::requests::{Request, UsageError};
use crate::store::certificates::{self, Issued};
use crate::store::db;
use crate::store::evidence::{self, Verdicts};
use crate::store::fleet;
use crate::store::ledger;
use crate::store::queue::{self, DayRange, Kinds, Reason};

/// Days that are shown if none are asked for.
const DAYS_MAX: i64 = 180;
/// Entries of each list of a day in the JSON; the certificates have more.
const LISTED_MAX: i64 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only this PBX; may be given more than once
    #[arg(long, value_name = "ID")]
    pbx: Vec<String>,
    /// The first day, by the PBX's calendar; without it, the last 180 days that are known
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The last day, included
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What `reconcile --json` prints.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether every day of every PBX is complete, and each was read.
    pub(super) complete: bool,
    /// Whether every day adds up.
    pub(super) sums: bool,
    /// Recordings that were listed.
    pub(super) listed: i64,
    /// The same by what became of them.
    #[serde(flatten, serialize_with = "counts::with_final")]
    pub(super) counts: Counts,
    /// Why certificates that are due could not be issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificates_error: Option<String>,
    /// The PBXs by id.
    pub(super) pbx: BTreeMap<String, OfPbx>,
}

/// One PBX.
#[derive(Debug, Serialize)]
pub(super) struct OfPbx {
    #[serde(flatten)]
    pub(super) sum: PbxAccount,
    /// How far the lists of its days can be believed.
    pub(super) verdicts: Verdicts,
    /// Why recordings are not archived.
    pub(super) reasons: Vec<Reason>,
    /// Its days.
    pub(super) days: Vec<Day>,
}

/// One day.
#[derive(Debug, Serialize)]
pub(super) struct Day {
    #[serde(flatten)]
    pub(super) account: DayAccount,
    /// Its latest certificate. A day that was opened again has a former one.
    pub(super) certificate: Option<Issued>,
}

/// Tells it. Exits 3 if something listed is not archived, or may not have been listed, else 0.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    exit::finish(reconcile(config, &options).await, options.json, |report| {
        (reconcile_page::of(report), if report.is_settled() { exit::COMPLETE } else { exit::OWED })
    })
}

impl Report {
    /// Whether all is complete but for lists that the operator took as they were.
    pub(super) fn is_settled(&self) -> bool {
        let days = || self.pbx.values().flat_map(|of_pbx| &of_pbx.days).map(|day| &day.account);
        let are_read = self.pbx.values().all(|of_pbx| of_pbx.sum.unread.is_empty());
        let is_settled = |account: &DayAccount| account.complete || account.is_accepted();
        self.complete || (are_read && days().next().is_some() && days().all(is_settled))
    }
}

async fn reconcile(file: &Path, options: &Options) -> Result<Report> {
    let config = Config::load(file)?;
    let chosen = chosen(&config, options)?;
    let Some(pool) = db::open_read_only(&config.state.path).await? else { return Ok(Report::default()) };
    let mut db = pool.acquire().await.context("opening the database")?;
    let published = published_size(&config, &mut db).await?;
    let certificates_error = issue_due(&config, &mut db, &chosen, published).await?;
    let mut report = Report { complete: true, sums: true, certificates_error, ..Report::default() };
    for pbx in chosen {
        let of_pbx = read(&mut db, pbx, options).await?;
        report.complete &= of_pbx.sum.complete;
        report.sums &= of_pbx.sum.sums;
        report.listed += of_pbx.sum.listed;
        report.counts += of_pbx.sum.counts;
        report.pbx.insert(pbx.id.clone(), of_pbx);
    }
    // Where nothing is known, nothing is complete.
    report.complete &= report.pbx.values().any(|of_pbx| !of_pbx.days.is_empty());
    Ok(report)
}

fn chosen<'a>(config: &'a Config, options: &Options) -> Result<Vec<&'a PbxConfig>, RangeError> {
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from > to
    {
        return Err(RangeError::Backwards(from, to));
    }
    backfill::chosen(&options.pbx, &config.pbx)
}

/// How many entries of the ledger others can see. Of an archive that cannot be read nothing is asked: it need not be there
/// to be reconciled with.
async fn published_size(config: &Config, db: &mut SqliteConnection) -> Result<u64> {
    if !db::has_table(db, "checkpoints").await? {
        return Ok(0);
    }
    let published = Published::open(&config.archive.path).ok().flatten();
    let checkpoint = published.and_then(|published| published.checkpoint(&published.keys().ok()?).ok()?);
    let signed = ledger::latest_checkpoint(db).await?.map_or(0, |signed| signed.size);
    Ok(checkpoint.map_or(signed, |(checkpoint, _)| checkpoint.size.min(signed)))
}

/// Lets the owner of the state issue the certificates that are due, and finish those that a run which died has left:
/// this process, if nobody else does. If it could not, the report says why, and still reconciles.
async fn issue_due(
    config: &Config,
    db: &mut SqliteConnection,
    chosen: &[&PbxConfig],
    published: u64,
) -> Result<Option<String>> {
    let is_outdated = db::is_outdated(db).await?;
    let mut due = Vec::new();
    for pbx in chosen {
        if is_outdated
            || !certificates::due(db, &pbx.id).await?.is_empty()
            || certificates::is_any_unpublished(db, &pbx.id, published).await?
        {
            due.push(pbx.id.clone());
        }
    }
    if due.is_empty() {
        return Ok(None);
    }
    let stop = signals::stop_on_signals()?;
    let Err(error) = handover::execute(config, &Request::Certify(due), stop).await else { return Ok(None) };
    // Nothing can be read of an older database of what this version adds.
    let message =
        format!("the database is of an older version and could not be brought up to date: {error:#}");
    ensure!(!db::is_outdated(db).await?, UsageError(message));
    Ok(Some(format!("{error:#}")))
}

async fn read(db: &mut SqliteConnection, pbx: &PbxConfig, options: &Options) -> Result<OfPbx> {
    let asked = asked(db, pbx, options).await?;
    let limit = if options.from.is_some() { i64::MAX } else { DAYS_MAX };
    let mut days = Vec::new();
    for day in reconcile::known_days(db, &pbx.id, asked, limit).await? {
        days.push(read_day(db, pbx, day, if options.json { LISTED_MAX } else { 0 }).await?);
    }
    let range = days.first().zip(days.last()).map(|(first, last)| DayRange {
        from: options.from.unwrap_or(first.account.day),
        to: options.to.map_or(last.account.day, |_| asked.to),
    });
    let sum = PbxAccount::of(days.iter().map(|day| &day.account), range, pbx.cdr_api);
    let (reasons, verdicts) = match range {
        Some(range) => (
            queue::reasons(db, &pbx.id, range, Kinds::Calls).await?,
            evidence::standing(db, &pbx.id, range).await?,
        ),
        None => (Vec::new(), Verdicts::default()),
    };
    Ok(OfPbx { sum, verdicts, reasons, days })
}

/// The days that are asked for. None after tomorrow: a clock that was ahead may have left some.
async fn asked(db: &mut SqliteConnection, pbx: &PbxConfig, options: &Options) -> Result<DayRange> {
    let remembered = fleet::remembered(db, &pbx.id).await?;
    let zone = zone_of(pbx.timezone.as_ref(), remembered.utc_offset_s);
    let today = clock::now().to_zoned(zone).date();
    let last = match options.to {
        // What has not begun yet cannot have been read.
        Some(to) => to.min(today),
        None => today.checked_add(1.day()).unwrap_or(today),
    };
    Ok(DayRange { from: options.from.unwrap_or(Date::MIN), to: last })
}

/// A day, all of it of one moment.
async fn read_day(db: &mut SqliteConnection, pbx: &PbxConfig, day: Date, listed_max: i64) -> Result<Day> {
    let mut moment = db.begin().await.context("reading a day")?;
    let account = reconcile::account(&mut moment, &pbx.id, day, listed_max).await?;
    let certificate = certificates::latest(&mut moment, &pbx.id, day).await?;
    moment.rollback().await.context("reading a day")?;
    Ok(Day { account, certificate })
}
