//! The metrics, in the `OpenMetrics` text format that Prometheus reads. Names and units by its conventions: seconds and
//! bytes, `_total` for what only grows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::vitals::Work;
use crate::base::counts::Counts;
use crate::watch::status::{AnchorStatus, FeedWebhookStatus, PbxStatus, Status};

/// What `/metrics` is served as.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page.
pub(super) fn page(
    status: Arc<Status>,
    work: BTreeMap<String, Work>,
    refused: u64,
    now: Timestamp,
) -> anyhow::Result<String> {
    let mut registry = Registry::with_prefix("callvault");
    registry.register_collector(Box::new(Facts { status, work, refused, now }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Facts {
    status: Arc<Status>,
    work: BTreeMap<String, Work>,
    refused: u64,
    now: Timestamp,
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Facts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.gauge("build_info", "The version that runs; always 1", None, [(version, 1.0)])?;
        self.tell_archive(&mut page)?;
        self.tell_ledger(&mut page)?;
        self.tell_anchors(&mut page)?;
        self.tell_feed(&mut page)?;
        self.tell_verification(&mut page)?;
        self.tell_snapshot(&mut page)?;
        self.tell_owed(&mut page)?;
        self.tell_days(&mut page)?;
        self.tell_pbxs(&mut page)?;
        self.tell_work(&mut page)?;
        self.tell_alerts(&mut page)
    }
}

impl Facts {
    fn tell_archive(&self, page: &mut Page<'_>) -> fmt::Result {
        let archive = &self.status.archive;
        if let Some(free) = archive.free_bytes {
            page.one(
                "archive_free",
                "Room left on the archive's filesystem",
                Some(Unit::Bytes),
                free as f64,
            )?;
        }
        let usable = f64::from(u8::from(archive.error.is_none()));
        page.one(
            "archive_usable",
            "Whether recordings can be written to the archive (1) or not (0)",
            None,
            usable,
        )
    }

    fn tell_ledger(&self, page: &mut Page<'_>) -> fmt::Result {
        let ledger = &self.status.ledger;
        page.one("ledger_entries", "Entries of the ledger", None, ledger.entries as f64)?;
        let help = "Entries that the published checkpoint covers";
        page.one("ledger_signed_entries", help, None, ledger.signed_entries as f64)?;
        let age = |at: Timestamp| self.now.duration_since(at).as_secs_f64().max(0.0);
        let help = "How long the oldest entry waits to be signed; 0 if none does";
        page.one("ledger_unsigned_age", help, Some(Unit::Seconds), ledger.unsigned_since.map_or(0.0, age))?;
        let refused = f64::from(u8::from(ledger.problem.is_some()));
        page.one("ledger_refused", "Whether the ledger must not be signed (1) or is (0)", None, refused)
    }

    /// Those who anchor the ledger, authorities and witnesses alike.
    fn tell_anchors(&self, page: &mut Page<'_>) -> fmt::Result {
        let each = |value: fn(&AnchorStatus, Timestamp) -> Option<f64>| {
            let label = |anchor: &AnchorStatus| vec![("authority", anchor.name.clone())];
            let anchors = self.status.anchors.iter();
            anchors.filter_map(move |anchor| Some((label(anchor), value(anchor, self.now)?)))
        };
        let age = each(|anchor, now| Some(now.duration_since(anchor.last?).as_secs_f64().max(0.0)));
        let help = "How long ago somebody vouched for a checkpoint of the ledger";
        page.gauge("anchor_age", help, Some(Unit::Seconds), age)?;
        let help = "Entries covered by the largest checkpoint that somebody vouched for";
        page.gauge("anchored_entries", help, None, each(|anchor, _| Some(anchor.entries as f64)))
    }

    /// Those whom the ledger is delivered to.
    fn tell_feed(&self, page: &mut Page<'_>) -> fmt::Result {
        let each = |value: fn(&FeedWebhookStatus) -> Option<f64>| {
            let label = |webhook: &FeedWebhookStatus| vec![("webhook", webhook.name.clone())];
            let webhooks = self.status.feed_webhooks.iter();
            webhooks.filter_map(move |webhook| Some((label(webhook), value(webhook)?)))
        };
        let help = "Entries of the ledger up to the last one that the webhook took";
        let delivered = each(|webhook| Some(webhook.delivered_entries as f64));
        page.gauge("feed_webhook_delivered_entries", help, None, delivered)?;
        let help = "Signed entries of the ledger that the webhook was not given yet";
        let behind = each(|webhook| Some(webhook.behind_entries as f64));
        page.gauge("feed_webhook_behind_entries", help, None, behind)?;
        let failing = each(|webhook| Some(f64::from(u8::from(webhook.error.is_some()))));
        page.gauge("feed_webhook_failing", "Whether the last try to deliver failed", None, failing)?;
        let taken = each(|webhook| Some(webhook.last_delivery?.as_duration().as_secs_f64()));
        let help = "When the webhook last took entries of the ledger";
        page.gauge("feed_webhook_last_delivery_timestamp", help, Some(Unit::Seconds), taken)?;
        let help =
            "Requests for what readers of the feed alone are given, without a token or with a wrong one";
        let refused = page.encoder.encode_descriptor("feed_refused", help, None, MetricType::Counter)?;
        ConstCounter::new(self.refused).encode(refused)
    }

    /// An age that nobody knows is left out.
    fn tell_verification(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = &self.status.verification;
        let ages = [
            ("verified_quick_age", "Since everything in the archive was last looked at", status.last_quick),
            ("verified_full_age", "Since every byte of the archive had been read", status.last_full),
            ("oldest_read_age", "Since the longest unread file was read, or archived", status.oldest_read),
        ];
        for (name, help, at) in ages {
            let Some(at) = at else { continue };
            let age = self.now.duration_since(at).as_secs_f64().max(0.0);
            page.one(name, help, Some(Unit::Seconds), age)?;
        }
        let help = "Things of the ledger that are not as they should be";
        page.one("ledger_damaged", help, None, status.ledger_damaged as f64)
    }

    fn tell_snapshot(&self, page: &mut Page<'_>) -> fmt::Result {
        let made_at = self.status.snapshot.as_ref().and_then(|snapshot| snapshot.at);
        let Some(made_at) = made_at else { return Ok(()) };
        let age_s = self.now.duration_since(made_at).as_secs_f64();
        page.one("snapshot_age", "Age of the latest snapshot of the database", Some(Unit::Seconds), age_s)
    }

    /// What there is, and what is owed.
    fn tell_owed(&self, page: &mut Page<'_>) -> fmt::Result {
        let recordings = self.status.pbx.iter().flat_map(|(id, pbx)| {
            let call = states(id, "call", &pbx.counts);
            call.into_iter().chain(states(
                id,
                "voicemail",
                &pbx.voicemail.as_ref().map(|voicemail| voicemail.counts).unwrap_or_default(),
            ))
        });
        page.gauge("recordings", "Recordings that the PBX listed, by state", None, recordings)?;
        let missing = self.each(|pbx| Some(pbx.counts.missing_final as f64));
        page.gauge("recordings_missing_final", "Call recordings missing for good", None, missing)?;
        let archived = self.each(|pbx| Some(pbx.bytes as f64));
        page.gauge("archived", "Audio in the archive", Some(Unit::Bytes), archived)?;
        let calls = self.each(|pbx| Some(pbx.calls as f64));
        page.gauge("calls", "Calls that the CDR told", None, calls)?;
        let unrecorded = self.each(|pbx| Some(pbx.answered_without_recording as f64));
        page.gauge("calls_without_recording", "Answered calls that name no recording", None, unrecorded)?;
        let age = self.each(|pbx| Some(self.now.duration_since(pbx.oldest_pending?).as_secs_f64()));
        page.gauge("oldest_pending_age", "Age of the oldest recording owed", Some(Unit::Seconds), age)?;
        let margin = self.each(|pbx| Some(pbx.safety_margin_s? as f64));
        let help = "For how long the PBX will keep all that is owed; negative when it is too late";
        page.gauge("safety_margin", help, Some(Unit::Seconds), margin)
    }

    /// How far it is proven.
    fn tell_days(&self, page: &mut Page<'_>) -> fmt::Result {
        let days = self.status.pbx.iter().flat_map(|(id, pbx)| {
            let states = [("open", pbx.days.open), ("settled", pbx.days.settled)];
            states
                .map(|(state, count)| (vec![("pbx", id.clone()), ("state", state.to_owned())], count as f64))
        });
        page.gauge("days", "Days by whether they may still change", None, days)?;
        let certified = self.each(|pbx| Some(pbx.days.certified as f64));
        page.gauge("days_certified", "Days with a certificate", None, certified)?;
        let incomplete = self.each(|pbx| Some(pbx.days.incomplete as f64));
        let help = "Days whose latest certificate says that something was not archived, or in doubt";
        page.gauge("days_incomplete", help, None, incomplete)?;
        let not_summing = self.each(|pbx| Some(pbx.days.not_summing.len() as f64));
        let help = "Days whose latest certificate says that its numbers do not add up";
        page.gauge("days_not_summing", help, None, not_summing)?;
        let issued = self.each(|pbx| Some(pbx.days.latest.as_ref()?.issued_at.as_duration().as_secs_f64()));
        let help = "When the certificate of the latest day was issued";
        page.gauge("last_certificate_timestamp", help, Some(Unit::Seconds), issued)
    }

    fn tell_pbxs(&self, page: &mut Page<'_>) -> fmt::Result {
        let up = self.each(|pbx| Some(f64::from(u8::from(pbx.error.is_none()))));
        page.gauge("pbx_up", "Whether the PBX answers and lets us in (1) or not (0)", None, up)?;
        let paused = self.each(|pbx| Some(f64::from(u8::from(pbx.paused_since.is_some()))));
        page.gauge("pbx_paused", "Whether the operator wants the PBX left alone", None, paused)?;
        let attention = self.each(|pbx| Some(f64::from(u8::from(pbx.cause().is_some()))));
        page.gauge("pbx_needs_attention", "Whether a person has to look at it", None, attention)?;
        let swept = self.each(|pbx| Some(pbx.last_sweep?.as_duration().as_secs_f64()));
        let help = "When the PBX's CDR was last read completely";
        page.gauge("last_sweep_timestamp", help, Some(Unit::Seconds), swept)?;
        let delivered = self.each(|pbx| Some(pbx.last_delivery?.as_duration().as_secs_f64()));
        let help = "When the PBX last delivered a recording";
        page.gauge("last_delivery_timestamp", help, Some(Unit::Seconds), delivered)?;
        let findings = self.status.pbx.iter().flat_map(|(id, pbx)| {
            let kinds = pbx.findings.iter();
            kinds.map(|(kind, count)| (vec![("pbx", id.clone()), ("kind", kind.clone())], *count as f64))
        });
        page.gauge("findings", "Findings that were not mended, by kind", None, findings)
    }

    /// What was done since the service began.
    fn tell_work(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |count: fn(&Work) -> u64| {
            self.work.iter().map(move |(id, work)| (vec![("pbx", id.clone())], count(work)))
        };
        let downloads = self.work.iter().flat_map(|(id, work)| {
            let outcomes = [("archived", work.done.archived), ("failed", work.done.failed_attempts)];
            outcomes
                .map(|(outcome, count)| (vec![("pbx", id.clone()), ("outcome", outcome.to_owned())], count))
        });
        page.counter("downloads", "Downloads by outcome", None, downloads)?;
        page.counter("download_archived", "Audio archived", Some(Unit::Bytes), of(|work| work.done.bytes))?;
        let received = of(|work| work.asked.bytes);
        page.counter("download_received", "Audio received, also in vain", Some(Unit::Bytes), received)?;
        page.counter("tickets", "Tickets that the PBX gave", None, of(|work| work.asked.tickets))?;
        page.counter("requests", "Requests to the PBX", None, of(|work| work.asked.requests))?;
        let errors = self.work.iter().flat_map(|(id, work)| {
            let classes = work.asked.errors.iter();
            classes.map(|(class, count)| (vec![("pbx", id.clone()), ("class", class.clone())], *count))
        });
        page.counter("errors", "Requests that failed, by class", None, errors)
    }

    fn tell_alerts(&self, page: &mut Page<'_>) -> fmt::Result {
        let alerts = &self.status.alerts;
        page.one("alerts_firing", "Alerts that are not over", None, alerts.firing as f64)?;
        let help = "Alert messages that were not delivered yet";
        page.one("alert_messages_undelivered", help, None, alerts.undelivered as f64)?;
        let age = alerts.oldest_undelivered.map_or(0.0, |at| self.now.duration_since(at).as_secs_f64());
        let help = "Age of the oldest undelivered alert message; 0 if there is none";
        page.one("alert_oldest_undelivered_age", help, Some(Unit::Seconds), age)?;
        let failing = f64::from(u8::from(alerts.ping_error.is_some()));
        page.one("ping_failing", "Whether the dead man's switch cannot be reached", None, failing)
    }

    /// A value for each PBX that has one.
    fn each(&self, value: impl Fn(&PbxStatus) -> Option<f64>) -> impl Iterator<Item = (Labels, f64)> {
        self.status.pbx.iter().filter_map(move |(id, pbx)| Some((vec![("pbx", id.clone())], value(pbx)?)))
    }
}

fn states(id: &str, kind: &'static str, counts: &Counts) -> [(Labels, f64); 5] {
    [
        ("archived", counts.archived),
        ("pending", counts.pending),
        ("missing", counts.missing),
        ("stuck", counts.stuck),
        ("excluded", counts.excluded),
    ]
    .map(|(state, count)| {
        (vec![("pbx", id.to_owned()), ("kind", kind.to_owned()), ("state", state.to_owned())], count as f64)
    })
}

/// The page as it is written, one family after the other.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// A gauge that there is one of.
    fn one(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) -> fmt::Result {
        ConstGauge::new(value).encode(self.encoder.encode_descriptor(
            name,
            help,
            unit.as_ref(),
            MetricType::Gauge,
        )?)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        rows.try_for_each(|(labels, value)| ConstGauge::new(value).encode(family.encode_family(&labels)?))
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        rows: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        rows.try_for_each(|(labels, value)| ConstCounter::new(value).encode(family.encode_family(&labels)?))
    }
}
