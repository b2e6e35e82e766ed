//! The configuration as a whole: its sections, and what must hold between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Purpose;
use super::section::{Reading, Section, quotable, wrong};
use super::{
    ArchiveConfig, Config, ExclusionRule, FeedConfig, PLAIN_TOKENS_REMEDY, PbxConfig, QueueConfig,
    QueueOrder, StateConfig, WebConfig,
};
use super::{alerts, feed, keys, ledger, pbx, push, rules, schedule, value, web};

impl Default for ArchiveConfig {
    /// The largest recording fits into what must be free.
    fn default() -> Self {
        Self { path: PathBuf::new(), free_bytes_min: 2 << 30 }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            order: QueueOrder::OldestFirst,
            concurrency_total: 128,
            retry_base: Duration::from_secs(2),
            retry_max: Duration::from_secs(3600),
            attempts_max: 12,
            missing_final_after: Duration::from_secs(3 * 86_400),
        }
    }
}

/// Reads the file; nothing if a problem kept a section from being understood.
pub(super) fn read(root: &DeTable<'_>, reading: &Reading<'_>) -> Option<Config> {
    refuse_unknown_sections(root, reading);
    let archive_section = required("archive", root, reading);
    let state_section = required("state", root, reading);
    let archive = archive_section.as_ref().and_then(archive);
    let state = state_section.as_ref().and_then(state);
    if let (Some(archive), Some(state), Some(section)) = (&archive, &state, &state_section) {
        refuse_overlap(&archive.path, &state.path, section);
    }
    let (pbx, ids) = pbxs(root, reading);
    let push = read_or_default("push", root, reading, push::read);
    let web = read_or_default("web", root, reading, web::read);
    let must_record = several("must_record", root, reading);
    Some(Config {
        file: reading.origin.file.to_owned(),
        queue: read_or_default("queue", root, reading, queue),
        service: read_or_default("service", root, reading, schedule::service),
        schedule: read_or_default("schedule", root, reading, schedule::schedule),
        snapshots: read_or_default("snapshots", root, reading, schedule::snapshots),
        pbx: push::joined(pbx, push),
        push,
        exclude: exclusions(root, &ids, reading),
        must_record: must_record.iter().map(|section| rules::must_record(section, &ids)).collect(),
        ledger: read_or_default("ledger", root, reading, ledger::read),
        anchors: ledger::read_anchors(root, reading),
        verify: read_or_default("verify", root, reading, schedule::verify),
        feed: read_or_default("feed", root, reading, |section| read_feed(section, &web, &ids)),
        web,
        alerts: read_or_default("alerts", root, reading, alerts::read),
        // Last: whatever is missing here, the mistakes of all other sections are noted.
        archive: archive?,
        state: state?,
    })
}

/// Reads a section that may be left out.
fn read_or_default<T: Default>(
    name: &'static str,
    root: &DeTable<'_>,
    reading: &Reading<'_>,
    read: impl FnOnce(&Section<'_>) -> T,
) -> T {
    single(name, root, reading).map(|section| read(&section)).unwrap_or_default()
}

fn archive(section: &Section<'_>) -> Option<ArchiveConfig> {
    let path = section.require("path", "\"/var/lib/callvault/archive\"", value::folder);
    let free_bytes_min = section.size("free_bytes_min", ArchiveConfig::default().free_bytes_min, 0);
    Some(ArchiveConfig { path: path?, free_bytes_min })
}

fn state(section: &Section<'_>) -> Option<StateConfig> {
    let path = section.require("path", "\"/var/lib/callvault/state\"", value::folder)?;
    Some(StateConfig { path })
}

fn queue(section: &Section<'_>) -> QueueConfig {
    const YEAR_S: f64 = 365.0 * 86_400.0;
    let default = QueueConfig::default();
    let retry_base = section.seconds("retry_base_s", default.retry_base, 0.001..=86_400.0);
    let retry_max = section.seconds("retry_max_s", default.retry_max, 0.001..=YEAR_S);
    if retry_max < retry_base {
        let message = format!("is less than retry_base_s, {}", retry_base.as_secs_f64());
        section.reject("retry_max_s", wrong(message, "make it the longer of the two"));
    }
    QueueConfig {
        order: section.word("order").unwrap_or(default.order),
        concurrency_total: section.count("concurrency_total", default.concurrency_total, 1..=256),
        retry_base,
        retry_max,
        attempts_max: section.count("attempts_max", default.attempts_max, 1..=1000),
        missing_final_after: section.days(
            "missing_final_after_days",
            default.missing_final_after,
            0.000_001..=365.0,
        ),
    }
}

fn read_feed(section: &Section<'_>, web: &WebConfig, ids: &[String]) -> FeedConfig {
    let feed = feed::read(section, ids);
    if feed.enabled && web.listen.is_none() {
        let remedy = "give [web] listen an address, or remove the line";
        section.reject("enabled", wrong("needs a listener, and [web] listen is \"off\"", remedy));
    }
    // An installation that has it so already takes no such token, tells it by an alert, and goes on archiving.
    if feed.would_take_plain_tokens(web) && section.reading.purpose == Purpose::Check {
        let message = "would let readers on other machines send their tokens unencrypted";
        section.reject("enabled", wrong(message, PLAIN_TOKENS_REMEDY));
    }
    feed
}

/// Reads every `[[pbx]]`; also the ids, those of incomplete sections too, for the rules that name them.
fn pbxs(root: &DeTable<'_>, reading: &Reading<'_>) -> (Vec<PbxConfig>, Vec<String>) {
    let sections = several("pbx", root, reading);
    if sections.is_empty() && !root.contains_key("pbx") {
        reading.note(
            0,
            Some("pbx".to_owned()),
            None,
            wrong("missing", "add a [[pbx]] section with id, url, username and password_file"),
        );
    }
    let ids = unique(&sections, "id");
    (sections.iter().filter_map(pbx::read).collect(), ids)
}

fn exclusions(root: &DeTable<'_>, ids: &[String], reading: &Reading<'_>) -> Vec<ExclusionRule> {
    let sections = several("exclude", root, reading);
    unique(&sections, "name");
    sections.iter().filter_map(|section| rules::exclude(section, ids)).collect()
}

/// The values of `key` over the sections, each of which must have its own.
pub(super) fn unique(sections: &[Section<'_>], key: &'static str) -> Vec<String> {
    let mut seen: Vec<(String, usize)> = Vec::new();
    for section in sections {
        let Some(text) = section.get(key).and_then(|value| value.get_ref().as_str()) else { continue };
        match seen.iter().find(|(other, _)| other == text) {
            Some((_, line)) => {
                section.reject(key, wrong(format!("is taken by line {line}"), "choose another"));
            }
            None => seen.push((text.to_owned(), section.line(key))),
        }
    }
    seen.into_iter().map(|(text, _)| text).collect()
}

/// The archive is copied, shared and mounted elsewhere; the state is none of that.
fn refuse_overlap(archive: &Path, state: &Path, section: &Section<'_>) {
    // Paths are compared by their components, so that `//` and `/./` do not matter.
    let relation = if archive == state {
        "is the folder of the archive"
    } else if state.starts_with(archive) {
        "lies inside the archive"
    } else if archive.starts_with(state) {
        "holds the archive"
    } else {
        return;
    };
    section
        .reject("path", wrong(relation, "give archive and state separate folders, neither inside the other"));
}

fn refuse_unknown_sections(root: &DeTable<'_>, reading: &Reading<'_>) {
    for key in root.keys() {
        let name: &str = key.get_ref();
        if !keys::SECTIONS.iter().any(|known| known.name == name) {
            let remedy = keys::remedy_for_unknown(name, "");
            reading.note(
                key.span().start,
                Some(quotable(name)),
                None,
                wrong("unknown section or key", remedy),
            );
        }
    }
}

/// A section that must be there.
fn required<'a>(name: &'static str, root: &'a DeTable<'a>, reading: &'a Reading<'a>) -> Option<Section<'a>> {
    if !root.contains_key(name) {
        let remedy = format!("add {} with path = \"/var/lib/callvault/{name}\"", keys::heading(name));
        reading.note(0, Some(name.to_owned()), None, wrong("missing", remedy));
    }
    single(name, root, reading)
}

/// A section that stands at most once. `root` is the table that it stands in: for `alerts.email`, that of `alerts`.
pub(super) fn single<'a>(
    name: &'static str,
    root: &'a DeTable<'a>,
    reading: &'a Reading<'a>,
) -> Option<Section<'a>> {
    let value = root.get(last_part(name))?;
    let at = value.span().start;
    if let Some(table) = value.get_ref().as_table() {
        return Some(Section::open(name, table, at, reading));
    }
    let remedy = format!("write {} once, and its keys below", keys::heading(name));
    reading.note(at, Some(name.to_owned()), None, wrong("must be one section", remedy));
    None
}

/// A section that stands any number of times, in the order of the file.
pub(super) fn several<'a>(
    name: &'static str,
    root: &'a DeTable<'a>,
    reading: &'a Reading<'a>,
) -> Vec<Section<'a>> {
    let Some(value) = root.get(last_part(name)) else { return Vec::new() };
    let refuse = |at: usize| {
        let remedy = format!("write {} above each, and its keys below", keys::heading(name));
        reading.note(at, Some(name.to_owned()), None, wrong("must be a list of sections", remedy));
    };
    let open = |table, at| Section::open(name, table, at, reading);
    match value.get_ref() {
        DeValue::Array(list) => {
            let is_table = |entry: &&Spanned<DeValue<'_>>| entry.get_ref().is_table();
            list.iter().filter(|entry| !is_table(entry)).for_each(|entry| refuse(entry.span().start));
            list.iter()
                .filter_map(|entry| Some(open(entry.get_ref().as_table()?, entry.span().start)))
                .collect()
        }
        // Said once; its keys are looked at all the same.
        DeValue::Table(table) => {
            refuse(value.span().start);
            vec![open(table, value.span().start)]
        }
        _ => {
            refuse(value.span().start);
            Vec::new()
        }
    }
}

/// `email` of `alerts.email`.
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
