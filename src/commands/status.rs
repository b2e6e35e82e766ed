//! `callvault status`: what is owed, what is wrong, what to do. Reads only; works beside whoever holds the lock.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::voicemail::VoicemailStatus;
use super::{exit, output};
use crate::access::Trouble;
use crate::archive::free_bytes;
use crate::catalog;
use crate::config::{Config, PbxConfig};
use crate::db;
use crate::findings::{self, FindingRow};
use crate::fleet::{self, Remembered};
use crate::forecast::{self, Forecast};
use crate::queue::{self, Counts, DayRange, Kinds, Reason};
use crate::recording::RecordingKind;
use crate::{calls, clock, remedy};

/// Findings told per PBX; the rest is counted.
const FINDINGS_TOLD: usize = 5;
/// Findings in the JSON.
const FINDINGS_READ: i64 = 1000;

/// The state of everything, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Status {
    archive: ArchiveStatus,
    pbx: std::collections::BTreeMap<String, PbxStatus>,
}

#[derive(Debug, Serialize)]
struct ArchiveStatus {
    path: String,
    free_bytes: Option<u64>,
    free_bytes_min: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct PbxStatus {
    listed: i64,
    #[serde(flatten)]
    counts: Counts,
    bytes: i64,
    calls: i64,
    answered_without_recording: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspect: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_pending: Option<Timestamp>,
    forecast: Forecast,
    #[serde(skip)]
    cdr_near: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sweep: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voicemail: Option<VoicemailStatus>,
    findings: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_findings: Vec<FindingRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_since: Option<Timestamp>,
}

impl PbxStatus {
    /// Whether something listed is not archived, or nobody knows what is listed.
    fn owes(&self) -> bool {
        self.last_sweep.is_none()
            || self.counts.pending + self.counts.missing + self.counts.stuck > 0
            || self.voicemail.as_ref().is_some_and(VoicemailStatus::owes)
    }
}

/// Tells the state of everything. Exits 4 if a PBX is in trouble, 3 if something is owed, else 0.
pub async fn run(config: &Path, json: bool) -> ExitCode {
    match status(config, json).await {
        Ok(code) => code,
        Err(error) => exit::fail(&error, json),
    }
}

async fn status(config: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    let status = read(&config).await?;
    if json {
        exit::print_json(&status);
    } else {
        output::text(&tell(&status));
    }
    let code = if status.archive.error.is_some() {
        exit::USAGE
    } else if status.pbx.values().any(|pbx| pbx.error.is_some()) {
        exit::UNREACHABLE
    } else if status.pbx.is_empty() || status.pbx.values().any(PbxStatus::owes) {
        exit::OWED
    } else {
        exit::COMPLETE
    };
    Ok(ExitCode::from(code))
}

async fn read(config: &Config) -> anyhow::Result<Status> {
    let mut status = Status { archive: archive(config), pbx: std::collections::BTreeMap::new() };
    let Some(pool) = db::open_read_only(&config.state.path).await? else { return Ok(status) };
    let mut connection = pool.acquire().await.context("opening the database")?;
    for pbx in &config.pbx {
        if fleet::is_known(&mut connection, &pbx.id).await? && !has_marker(&config.archive.path, &pbx.id) {
            status.archive.error.get_or_insert_with(|| not_mounted(config, &pbx.id));
        }
        status.pbx.insert(pbx.id.clone(), read_pbx(&mut connection, pbx).await?);
    }
    Ok(status)
}

fn has_marker(archive: &Path, pbx: &str) -> bool {
    archive.join(pbx).join(".callvault").exists()
}

fn not_mounted(config: &Config, pbx: &str) -> Trouble {
    let message = format!(
        "{} does not hold the archive of pbx `{pbx}`: mount it or correct `[archive] path`; nothing is archived before",
        config.archive.path.display()
    );
    Trouble { reason: "not_mounted".into(), message }
}

fn archive(config: &Config) -> ArchiveStatus {
    let path = &config.archive.path;
    let min = config.archive.free_bytes_min;
    let (free, error) = match free_bytes(path) {
        Ok(free) if free < min => {
            let message = format!(
                "{} has {} free, less than `free_bytes_min` ({}): make room; no recording is asked for before",
                path.display(),
                HumanBytes(free),
                HumanBytes(min)
            );
            (Some(free), Some(Trouble { reason: "disk_full".into(), message }))
        }
        Ok(free) => (Some(free), None),
        Err(_) if !path.exists() => (None, None),
        Err(error) => (None, Some(Trouble { reason: "archive".into(), message: error.to_string() })),
    };
    ArchiveStatus { path: path.display().to_string(), free_bytes: free, free_bytes_min: min, error }
}

async fn read_pbx(db: &mut SqliteConnection, config: &PbxConfig) -> anyhow::Result<PbxStatus> {
    let pbx = config.id.as_str();
    let remembered = fleet::remembered(db, pbx).await?;
    let counts = queue::counts(db, pbx, DayRange::ALL, Kinds::Calls).await?;
    let holdings = catalog::holdings(db, pbx, RecordingKind::Call).await?;
    let (calls, answered_without_recording) = calls::counts(db, pbx, DayRange::ALL).await?;
    let forecast = forecast::read(db, config, clock::now()).await?;
    Ok(PbxStatus {
        listed: counts.listed(),
        counts,
        bytes: holdings.bytes,
        calls,
        answered_without_recording,
        suspect: holdings.suspects,
        oldest_pending: queue::oldest_pending(db, pbx, Kinds::Calls).await?,
        cdr_near: forecast.cdr_told(config.retention.warn_margin),
        forecast,
        last_sweep: time(remembered.last_sweep_at_ms),
        reasons: queue::reasons(db, pbx, DayRange::ALL, Kinds::Calls).await?,
        voicemail: VoicemailStatus::read(db, config).await?,
        findings: findings::counts(db, pbx).await?,
        latest_findings: findings::latest(db, pbx, FINDINGS_READ).await?,
        error_since: time(remembered.problem_since_ms),
        error: trouble(remembered),
    })
}

fn trouble(remembered: Remembered) -> Option<Trouble> {
    Some(Trouble { reason: remembered.problem_reason?, message: remembered.problem_message? })
}

fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

fn tell(status: &Status) -> String {
    let mut text = String::new();
    tell_all(&mut text, status).expect("writing to a String cannot fail");
    text
}

fn tell_all(text: &mut String, status: &Status) -> std::fmt::Result {
    let archive = &status.archive;
    match archive.free_bytes {
        Some(free) => writeln!(text, "archive {}, {} free", archive.path, HumanBytes(free))?,
        None => writeln!(text, "archive {}, not there yet", archive.path)?,
    }
    if let Some(error) = &archive.error {
        writeln!(text, "  WRONG: {}", error.message)?;
    }
    if status.pbx.is_empty() {
        writeln!(text, "Nothing was archived yet: run `callvault backfill`.")?;
    }
    for (id, pbx) in &status.pbx {
        tell_pbx(text, id, pbx)?;
    }
    Ok(())
}

fn tell_pbx(text: &mut String, id: &str, pbx: &PbxStatus) -> std::fmt::Result {
    writeln!(text, "\n{id}")?;
    if let Some(error) = &pbx.error {
        let since = pbx.error_since.map(|since| format!(" (since {})", ago(since))).unwrap_or_default();
        writeln!(text, "  WRONG: {}{since}", error.message)?;
    }
    match pbx.last_sweep {
        Some(at) => writeln!(text, "  last complete reading of its calls {}", ago(at))?,
        None => {
            writeln!(text, "  its calls were never read completely: run `callvault backfill` without dates")?
        }
    }
    let counts = &pbx.counts;
    let bytes = HumanBytes(u64::try_from(pbx.bytes).unwrap_or(0));
    writeln!(text, "  {} recordings listed: {}", pbx.listed, states(counts, bytes))?;
    if let Some(oldest) = pbx.oldest_pending {
        writeln!(text, "  the oldest one owed was recorded {}", ago(oldest))?;
    }
    if let Some(told) = pbx.forecast.told() {
        writeln!(text, "  {told}{}", at_risk(pbx.forecast.at_risk))?;
    }
    if let Some(near) = &pbx.cdr_near {
        writeln!(text, "  AT RISK: {near}")?;
    }
    writeln!(
        text,
        "  {} calls, {} of them answered without a recording",
        pbx.calls, pbx.answered_without_recording
    )?;
    for (odd, count) in &pbx.suspect {
        writeln!(text, "  {count} archived but suspect: {odd}")?;
    }
    for reason in &pbx.reasons {
        writeln!(text, "{}", remedy::told(reason))?;
    }
    if let Some(voicemail) = &pbx.voicemail {
        voicemail.tell(text)?;
    }
    tell_findings(text, pbx)
}

/// How many share the fate of the oldest soon.
fn at_risk(count: i64) -> String {
    if count > 0 { format!(" (AT RISK: {count})") } else { String::new() }
}

/// The states that there are any of.
pub(super) fn states(counts: &Counts, bytes: HumanBytes) -> String {
    let missing = match counts.missing_final {
        0 => format!("{} missing", counts.missing),
        finally => format!("{} missing ({finally} of them for good)", counts.missing),
    };
    let all = [
        (counts.archived, format!("{} archived ({bytes})", counts.archived)),
        (counts.pending, format!("{} pending", counts.pending)),
        (counts.missing, missing),
        (counts.stuck, format!("{} stuck", counts.stuck)),
        (counts.excluded, format!("{} excluded", counts.excluded)),
    ];
    let told: Vec<String> = all.into_iter().filter(|(count, _)| *count > 0).map(|(_, told)| told).collect();
    if told.is_empty() { "none yet".to_owned() } else { told.join(", ") }
}

fn tell_findings(text: &mut String, pbx: &PbxStatus) -> std::fmt::Result {
    let all: i64 = pbx.findings.iter().map(|(_, count)| count).sum();
    if all == 0 {
        return Ok(());
    }
    let kinds: Vec<String> = pbx.findings.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(text, "  findings: {}; the latest:", kinds.join(", "))?;
    for finding in pbx.latest_findings.iter().take(FINDINGS_TOLD) {
        writeln!(text, "    {} {}: {}", finding.kind, finding.subject, finding.detail)?;
    }
    Ok(())
}

/// A time as a person reads it: how long ago, and when.
fn ago(at: Timestamp) -> String {
    let seconds = clock::now().duration_since(at).as_secs();
    let (count, unit) = match seconds.unsigned_abs() {
        0..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} ago ({})", at.strftime("%F %R UTC"))
}
