//! What is known of the clocks: those of the PBXs, compared with ours at each meeting, and our own. All SQL on `clocks` and
//! `own_clock`.
//!
//! A PBX writes the times of its calls by its own clock, and is asked for them by days of that clock. So a clock that is
//! off, but steadily, hides nothing: that is a fact, and a finding. A clock that is *set* between two readings may move
//! calls to a day that was read already: that makes readings doubtful. Which of two clocks that disagree is the wrong one
//! nobody knows, unless somebody else vouches for one of them: a time server, another PBX, or the past.

#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::base::clock::{RELEASED, Sync};
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

/// Two clocks agree if they are no further apart, in seconds.
///
/// Each reading of a day covers an hour on either side of it, so that what a few minutes move is read all the same.
pub const SKEW_S_MAX: i64 = 300;
/// One hour: what summer time makes of a clock whose distance to UTC is told without it. That is no error of the clock.
const SUMMER_TIME_S: i64 = 3600;
/// How much a clock that nobody keeps right may gain or lose, in seconds for each that passes. Cheap ones are ten times
/// better.
const DRIFT_MAX: f64 = 0.0005;
/// An answer that took longer says too little of the moment at which the PBX looked at its clock, in seconds.
const ANSWER_S_MAX: i64 = 120;
/// How far our own clock may fall behind the latest time that it showed, in seconds: a time server sets it by less.
const SET_BACK_S_MAX: i64 = 60;
/// How long a PBX's clock speaks for ours or against it.
const WITNESS_LASTS: SignedDuration = SignedDuration::from_hours(48);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When it was asked, by our clock.
    pub asked_at: Timestamp,
    /// When it had answered, by our clock.
    pub answered_at: Timestamp,
    /// What it showed, to the second.
    pub shown: Timestamp,
}

impl Look {
    /// How far the PBX's clock is ahead of ours at least, in seconds: 0 if the look cannot tell them apart.
    fn skew_s(&self) -> i64 {
        let ahead_s = self.shown.duration_since(self.answered_at).as_secs();
        let behind_s = self.shown.duration_since(self.asked_at).as_secs() + 1;
        match (ahead_s, behind_s) {
            (1.., _) => ahead_s,
            (_, ..=-1) => behind_s,
            _ => 0,
        }
    }

    /// Whether the answer came so fast, by a clock that ran forward, that it says anything.
    fn is_sharp(&self) -> bool {
        (0..=ANSWER_S_MAX).contains(&self.answered_at.duration_since(self.asked_at).as_secs())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct PbxClock {
    /// When it was last compared with ours, by our clock.
    #[sqlx(rename = "measured_at_ms", try_from = "Ms")]
    pub measured_at: Timestamp,
    /// How far it was ahead of ours then, in seconds; negative if it was behind.
    pub skew_s: i64,
    /// The last time that one of the two was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[sqlx(flatten, try_from = "JumpColumns")]
    pub jump: Option<Jump>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Jump {
    /// The last comparison before, by our clock.
    pub after: Timestamp,
    /// The first one that showed it, by our clock.
    pub before: Timestamp,
    /// How much the PBX's clock gained on ours by it, in seconds.
    pub jump_s: i64,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after, before, jump_s } = self;
        let way = if *jump_s < 0 { "back" } else { "forward" };
        let distance = in_words(jump_s.saturating_abs());
        write!(
            f,
            "between {after:.0} and {before:.0} it was set {way} by {distance}, or this machine's clock the other way"
        )
    }
}

impl PbxClock {
    /// Whether it is further from ours than clocks are that both are right.
    pub fn is_skewed(&self) -> bool {
        is_beyond(self.skew_s, SKEW_S_MAX)
    }
}

/// Whether two clocks are this far apart for another reason than summer time.
fn is_beyond(difference_s: i64, bound_s: i64) -> bool {
    let difference_s = difference_s.saturating_abs();
    difference_s > bound_s && (difference_s - SUMMER_TIME_S).abs() > bound_s.min(SKEW_S_MAX)
}

#[derive(sqlx::FromRow)]
struct JumpColumns {
    jumped_after_ms: Option<Ms>,
    jumped_before_ms: Option<Ms>,
    jump_s: Option<i64>,
}

impl From<JumpColumns> for Option<Jump> {
    fn from(row: JumpColumns) -> Self {
        let ((Ms(after), Ms(before)), jump_s) =
            row.jumped_after_ms.zip(row.jumped_before_ms).zip(row.jump_s)?;
        Some(Jump { after, before, jump_s })
    }
}

/// What is known of the clock of `pbx`; `None` if it never told.
pub async fn of(db: &mut Conn, pbx: &str) -> Result<Option<PbxClock>> {
    sqlx::query_as("select * from clocks where pbx = ?")
        .bind(pbx)
        .maybe(db, format!("reading what is known of the clock of pbx `{pbx}`"))
        .await
}

/// Keeps a look at the clock of `pbx`, and returns what is known of it now. A look that was too slow changes nothing.
///
/// One that agrees with ours vouches for ours, whatever ours showed before.
pub async fn record(tx: &mut Conn, pbx: &str, look: &Look) -> Result<Option<PbxClock>> {
    let known = of(tx, pbx).await?;
    if !look.is_sharp() {
        return Ok(known);
    }
    let jump = known.and_then(|known| jump_between(&known, look).or(known.jump));
    let clock = PbxClock { measured_at: look.answered_at, skew_s: look.skew_s(), jump };
    sqlx::query(
        "insert into clocks (pbx, measured_at_ms, skew_s, jumped_after_ms, jumped_before_ms, jump_s)
         values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (pbx) do update set measured_at_ms = ?2, skew_s = ?3, jumped_after_ms = ?4,
             jumped_before_ms = ?5, jump_s = ?6",
    )
    .bind_all((pbx, clock.measured_at, clock.skew_s, jump.map(|jump| jump.after)))
    .bind_all((jump.map(|jump| jump.before), jump.map(|jump| jump.jump_s)))
    .run(tx, format!("noting the clock of pbx `{pbx}`"))
    .await?;
    if !clock.is_skewed() {
        sqlx::query("update own_clock set latest_ms = ?")
            .bind_all((look.answered_at,))
            .run(tx, "noting that a PBX's clock agrees with ours")
            .await?;
    }
    Ok(Some(clock))
}

/// Whether one of the two clocks was set since `known`, or both only ran on.
fn jump_between(known: &PbxClock, look: &Look) -> Option<Jump> {
    let passed = look.answered_at.duration_since(known.measured_at).abs();
    let drift_s = (passed.as_secs_f64() * DRIFT_MAX) as i64;
    let jump_s = look.skew_s() - known.skew_s;
    is_beyond(jump_s, SKEW_S_MAX.saturating_add(drift_s)).then_some(Jump {
        after: known.measured_at,
        before: look.answered_at,
        jump_s,
    })
}

/// What a look at a skewed clock showed and what to do, in a sentence. It is the same at each look while the skew is.
pub fn describe_skew(look: &Look, clock: &PbxClock, sync: Sync) -> String {
    let (distance, side) =
        (in_words(clock.skew_s.saturating_abs()), if clock.skew_s < 0 { "behind" } else { "ahead of" });
    let year = look.shown.strftime("%Y");
    let which = match sync {
        Sync::Synchronised => "",
        Sync::Unsynchronised => " (no time server keeps this machine's clock right: compare both)",
        Sync::Unknown => " (compare both)",
    };
    format!(
        "the PBX's clock (in {year}) is {distance} {side} this machine's{which}: set the wrong one, and let a time server \
         keep it right; the PBX files its calls under the dates that its clock shows"
    )
}

/// A length of time by its largest unit.
fn in_words(seconds: i64) -> String {
    let units = [(31_557_600, "year"), (86_400, "day"), (3600, "hour"), (60, "minute")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "second"));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What speaks against this machine's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnDoubt {
    /// It shows a time before this version was made: it is wrong.
    BeforeRelease,
    /// It shows an earlier time than it did before, and nobody vouches for it: it is wrong now, or was then.
    SetBack { latest: Timestamp },
    /// No time server keeps it right, and no PBX's clock agrees with it, but at least one disagrees.
    Unsynchronised,
}

impl OwnDoubt {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BeforeRelease => "before_release",
            Self::SetBack { .. } => "set_back",
            Self::Unsynchronised => "unsynchronised",
        }
    }

    pub fn message(&self, now: Timestamp) -> String {
        let fact = match self {
            Self::BeforeRelease => {
                format!("this machine's clock is wrong: it shows {now:.0}, before this callvault was made")
            }
            Self::SetBack { latest } => {
                format!("this machine's clock shows {now:.0}, but it has shown {latest:.0} before")
            }
            Self::Unsynchronised => {
                "this machine's clock is not synchronised, and disagrees with the PBXs' clocks".to_owned()
            }
        };
        format!(
            "{fact}: let a time server keep it right (`timedatectl set-ntp true`, or chrony); no day is certified as \
             complete until then"
        )
    }
}

/// Notes what this machine's clock shows, and whether others keep it right. One that a time server keeps right is believed,
/// whatever it showed before.
pub async fn note_own(tx: &mut Conn, now: Timestamp, sync: Sync) -> Result<()> {
    sqlx::query(
        "insert into own_clock (id, latest_ms, sync) values (1, ?1, ?2)
         on conflict (id) do update set sync = ?2,
             latest_ms = case ?2 when 'synchronised' then ?1 else max(latest_ms, ?1) end",
    )
    .bind_all((now, sync))
    .run(tx, "noting this machine's clock")
    .await
}

/// What speaks against this machine's own clock, which shows `now`; `None` if nothing does.
///
/// That no time server keeps it right is nothing by itself: machines and containers without one may be right all the same.
pub async fn own_doubt(db: &mut Conn, now: Timestamp) -> Result<Option<OwnDoubt>> {
    let own: Option<(Ms, Sync)> = sqlx::query_as("select latest_ms, sync from own_clock")
        .maybe(db, "reading what is known of this machine's clock")
        .await?;
    // Nothing was read by it yet.
    let Some((Ms(latest), sync)) = own else { return Ok(None) };
    if sync == Sync::Synchronised {
        return Ok(None);
    }
    if now < RELEASED {
        return Ok(Some(OwnDoubt::BeforeRelease));
    }
    if latest.duration_since(now).as_secs() > SET_BACK_S_MAX {
        return Ok(Some(OwnDoubt::SetBack { latest }));
    }
    let clocks: Vec<PbxClock> =
        sqlx::query_as("select * from clocks").all(db, "reading what is known of the PBXs' clocks").await?;
    let is_witness = |clock: &&PbxClock| now.duration_since(clock.measured_at).abs() <= WITNESS_LASTS;
    let skewed = clocks.iter().filter(is_witness).map(PbxClock::is_skewed).collect::<Vec<_>>();
    let stands_alone = !skewed.is_empty() && skewed.into_iter().all(|skewed| skewed);
    Ok((sync == Sync::Unsynchronised && stands_alone).then_some(OwnDoubt::Unsynchronised))
}
