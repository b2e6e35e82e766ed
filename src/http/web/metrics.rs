//! The metrics, in the `OpenMetrics` text format that Prometheus reads. Names and units by its conventions: seconds and
//! bytes, `_total` for what only grows. Each is a line of a table here; one with labels of its own is in `Facts::encode`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit::{self, Bytes, Seconds};

use super::vitals::Work;
use crate::base::counts::Counts;
use crate::watch::status::{AnchorStatus, FeedWebhookStatus, PbxStatus, Status};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric: its name, help and unit, and its value at a moment. Where there is no value, the metric is left out.
type Gauge<T> = (&'static str, &'static str, Option<Unit>, fn(&T, Timestamp) -> Option<f64>);
type Counter = (&'static str, &'static str, Option<Unit>, fn(&Work) -> u64);
type Labels = Vec<(&'static str, String)>;

macro_rules! gauges {
    ($($name:literal $(($unit:ident))?, $help:literal, $value:expr;)+) => {
        &[$(($name, $help, gauges!(@unit $($unit)?), $value)),+]
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some($unit) };
}

const OF_MACHINE: &[Gauge<Status>] = gauges! {
    "archive_free" (Bytes), "Room left on the archive's filesystem",
        |s, _| s.archive.free_bytes.map(|free| free as f64);
    "archive_usable", "Whether recordings can be written to the archive (1) or not (0)",
        |s, _| flag(s.archive.error.is_none());
    "ledger_entries", "Entries of the ledger", |s, _| Some(s.ledger.entries as f64);
    "ledger_signed_entries", "Entries that the published checkpoint covers",
        |s, _| Some(s.ledger.signed_entries as f64);
    "ledger_unsigned_age" (Seconds), "How long the oldest entry has waited to be signed; 0 if none waits",
        |s, now| age(s.ledger.unsigned_since, now).or(Some(0.0));
    "ledger_refused", "Whether the ledger must not be signed (1) or may be (0)",
        |s, _| flag(s.ledger.problem.is_some());
    "verified_quick_age" (Seconds), "Time since everything in the archive was last looked at",
        |s, now| age(s.verification.last_quick, now);
    "verified_full_age" (Seconds), "Time since every byte of the archive had been read",
        |s, now| age(s.verification.last_full, now);
    "oldest_read_age" (Seconds), "Time since the longest unread file was read, or archived",
        |s, now| age(s.verification.oldest_read, now);
    "ledger_damaged", "Parts of the ledger that are damaged",
        |s, _| Some(s.verification.ledger_damaged as f64);
    "snapshot_age" (Seconds), "Age of the latest snapshot of the database",
        |s, now| elapsed(s.snapshot.as_ref()?.at, now);
    "alerts_firing", "Alerts that are not over", |s, _| Some(s.alerts.firing as f64);
    "alert_messages_undelivered", "Alert messages that have not been delivered yet",
        |s, _| Some(s.alerts.undelivered as f64);
    "alert_oldest_undelivered_age" (Seconds),
        "Age of the oldest undelivered alert message; 0 without one",
        |s, now| elapsed(s.alerts.oldest_undelivered, now).or(Some(0.0));
    "ping_failing", "Whether the dead man's switch cannot be reached",
        |s, _| flag(s.alerts.ping_error.is_some());
};

const OF_ANCHOR: &[Gauge<AnchorStatus>] = gauges! {
    "anchor_age" (Seconds), "Time since the authority or witness confirmed a checkpoint",
        |a, now| age(a.last, now);
    "anchored_entries", "Entries covered by the largest checkpoint that it confirmed",
        |a, _| Some(a.entries as f64);
};

const OF_WEBHOOK: &[Gauge<FeedWebhookStatus>] = gauges! {
    "feed_webhook_delivered_entries", "Entries of the ledger up to the last one that the webhook accepted",
        |w, _| Some(w.delivered_entries as f64);
    "feed_webhook_behind_entries", "Signed entries of the ledger that the webhook has not been given yet",
        |w, _| Some(w.behind_entries as f64);
    "feed_webhook_failing", "Whether the last attempt to deliver failed", |w, _| flag(w.error.is_some());
    "feed_webhook_last_delivery_timestamp" (Seconds), "When the webhook last accepted entries of the ledger",
        |w, _| unix(w.last_delivery);
};

const OF_PBX: &[Gauge<PbxStatus>] = gauges! {
    "recordings_missing_final", "Call recordings missing for good",
        |p, _| Some(p.counts.missing_final as f64);
    "archived" (Bytes), "Audio in the archive", |p, _| Some(p.bytes as f64);
    "calls", "Calls in the CDR", |p, _| Some(p.calls as f64);
    "calls_without_recording", "Answered calls that name no recording",
        |p, _| Some(p.answered_without_recording as f64);
    "oldest_pending_age" (Seconds), "Age of the oldest recording still to be archived",
        |p, now| elapsed(p.oldest_pending, now);
    "safety_margin" (Seconds),
        "How long the PBX will keep everything still to be archived; negative when it is too late",
        |p, _| Some(p.safety_margin_s? as f64);
    "days_certified", "Days with a certificate", |p, _| Some(p.days.certified as f64);
    "days_incomplete", "Days whose latest certificate says that something was not archived, or in doubt",
        |p, _| Some(p.days.incomplete as f64);
    "days_not_summing", "Days whose latest certificate says that its numbers do not add up",
        |p, _| Some(p.days.not_summing.len() as f64);
    "last_certificate_timestamp" (Seconds), "When the certificate of the latest day was issued",
        |p, _| unix(p.days.latest.as_ref()?.issued_at);
    "pbx_up", "Whether the PBX answers and accepts our login (1) or not (0)", |p, _| flag(p.error.is_none());
    "pbx_paused", "Whether the operator paused the PBX", |p, _| flag(p.paused_since.is_some());
    "pbx_needs_attention", "Whether a person has to look at the PBX", |p, _| flag(p.cause().is_some());
    "last_sweep_timestamp" (Seconds), "When the CDR was last read completely", |p, _| unix(p.last_sweep);
    "last_delivery_timestamp" (Seconds), "When the PBX last delivered a recording",
        |p, _| unix(p.last_delivery);
};

/// Counted since the service began.
const OF_WORK: &[Counter] = &[
    ("download_archived", "Audio archived", Some(Bytes), |work| work.done.bytes),
    ("download_received", "Audio received, also in vain", Some(Bytes), |work| work.asked.bytes),
    ("tickets", "Download tickets that the PBX issued", None, |work| work.asked.tickets),
    ("requests", "Requests to the PBX", None, |work| work.asked.requests),
];

fn flag(holds: bool) -> Option<f64> {
    Some(f64::from(u8::from(holds)))
}

fn elapsed(at: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    Some(now.duration_since(at?).as_secs_f64())
}

/// As [`elapsed`], and never negative.
fn age(at: Option<Timestamp>, now: Timestamp) -> Option<f64> {
    Some(elapsed(at, now)?.max(0.0))
}

fn unix(at: impl Into<Option<Timestamp>>) -> Option<f64> {
    Some(at.into()?.as_duration().as_secs_f64())
}

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) status: Arc<Status>,
    pub(super) work: BTreeMap<String, Work>,
    pub(super) refused: u64,
    pub(super) now: Timestamp,
}

impl Facts {
    pub(super) fn into_page(self) -> anyhow::Result<String> {
        let mut registry = Registry::with_prefix("callvault");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Facts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, now, status) = (Page { encoder }, self.now, &*self.status);
        let version = [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], ConstGauge::new(1.0))];
        page.family("build_info", "The version that runs; always 1", None, version)?;
        page.table(OF_MACHINE, now, || [(Vec::new(), status)])?;
        page.table(OF_ANCHOR, now, || {
            status.anchors.iter().map(|anchor| (vec![("authority", anchor.name.clone())], anchor))
        })?;
        page.table(OF_WEBHOOK, now, || {
            status.feed_webhooks.iter().map(|webhook| (vec![("webhook", webhook.name.clone())], webhook))
        })?;
        let help = "Requests without the token of a reader of the feed, or with a wrong one";
        page.family("feed_refused", help, None, [(Vec::new(), ConstCounter::new(self.refused))])?;
        page.table(OF_PBX, now, || status.pbx.iter().map(|(id, pbx)| (of_pbx(id), pbx)))?;
        let recordings = status.pbx.iter().flat_map(|(id, pbx)| {
            let voicemail = pbx.voicemail.as_ref().map(|voicemail| voicemail.counts).unwrap_or_default();
            states(id, "call", &pbx.counts).into_iter().chain(states(id, "voicemail", &voicemail))
        });
        page.family("recordings", "Recordings that the PBX listed, by state", None, recordings)?;
        let days = status.pbx.iter().flat_map(|(id, pbx)| {
            let states = [("open", pbx.days.open), ("settled", pbx.days.settled)];
            states.map(|(state, count)| (labels(id, "state", state), ConstGauge::new(count as f64)))
        });
        page.family("days", "Days by whether they may still change", None, days)?;
        let findings = status.pbx.iter().flat_map(|(id, pbx)| {
            let findings = pbx.findings.iter();
            findings.map(|(kind, count)| (labels(id, "kind", kind.as_str()), ConstGauge::new(*count as f64)))
        });
        page.family("findings", "Open findings, by kind", None, findings)?;
        for (name, help, unit, value) in OF_WORK {
            let rows = self.work.iter().map(|(id, work)| (of_pbx(id), ConstCounter::new(value(work))));
            page.family(name, help, unit.as_ref(), rows)?;
        }
        let downloads = self.work.iter().flat_map(|(id, work)| {
            let outcomes = [("archived", work.done.archived), ("failed", work.done.failed_attempts)];
            outcomes.map(|(outcome, count)| (labels(id, "outcome", outcome), ConstCounter::new(count)))
        });
        page.family("downloads", "Downloads by outcome", None, downloads)?;
        let errors = self.work.iter().flat_map(|(id, work)| {
            let errors = work.asked.errors.iter();
            errors.map(|(class, count)| (labels(id, "class", class), ConstCounter::new(*count)))
        });
        page.family("errors", "Requests that failed, by class", None, errors)
    }
}

fn of_pbx(id: &str) -> Labels {
    vec![("pbx", id.to_owned())]
}

fn labels(id: &str, name: &'static str, value: &str) -> Labels {
    vec![("pbx", id.to_owned()), (name, value.to_owned())]
}

fn states(id: &str, kind: &str, counts: &Counts) -> [(Labels, ConstGauge<f64>); 5] {
    [
        ("archived", counts.archived),
        ("pending", counts.pending),
        ("missing", counts.missing),
        ("stuck", counts.stuck),
        ("excluded", counts.excluded),
    ]
    .map(|(state, count)| {
        let labels = [labels(id, "kind", kind), vec![("state", state.to_owned())]].concat();
        (labels, ConstGauge::new(count as f64))
    })
}

/// The page as it is written, one family after the other. A family without rows is left out.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn table<'t, T: 't, R: IntoIterator<Item = (Labels, &'t T)>>(
        &mut self,
        gauges: &[Gauge<T>],
        now: Timestamp,
        things: impl Fn() -> R,
    ) -> fmt::Result {
        gauges.iter().try_for_each(|(name, help, unit, value)| {
            let rows = things().into_iter();
            let rows = rows.filter_map(|(labels, thing)| Some((labels, ConstGauge::new(value(thing, now)?))));
            self.family(name, help, unit.as_ref(), rows)
        })
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        let Some((_, first)) = rows.peek() else { return Ok(()) };
        let mut family = self.encoder.encode_descriptor(name, help, unit, first.metric_type())?;
        for (labels, metric) in rows {
            if labels.is_empty() {
                return metric.encode(family);
            }
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
