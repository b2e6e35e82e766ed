//! The configuration as a whole: its sections, and what must hold between them.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::file::Purpose;
use super::section::{Reading, Section, wrong};
use super::{
    AlertsConfig, ArchiveConfig, Config, ExclusionRule, FeedConfig, PLAIN_TOKENS_REMEDY, PbxConfig,
    PushConfig, ServiceConfig, SnapshotsConfig, StateConfig, VerifyConfig, WebConfig,
};
use super::{feed, keys, ledger, pbx, push, queue, rules, schedule, value};

impl Default for ArchiveConfig {
    /// The largest recording fits into what must be free.
    fn default() -> Self {
        Self { path: PathBuf::new(), free_bytes_min: 2 << 30 }
    }
}

/// Reads the file; nothing if a problem kept a section from being understood.
pub(super) fn read(table: &DeTable<'_>, reading: &Reading<'_>) -> Option<Config> {
    let root = &Section::root(table, reading);
    let (archive_section, state_section) = (required("archive", root), required("state", root));
    let archive = archive_section.as_ref().and_then(archive);
    let state = state_section.as_ref().and_then(state);
    if let (Some(archive), Some(state), Some(section)) = (&archive, &state, &state_section) {
        refuse_overlap(&archive.path, &state.path, section);
    }
    let (pbx, ids) = pbxs(root);
    let push = root.read_within("push", PushConfig::read);
    let web = root.read_within("web", WebConfig::read);
    let must_record = root.several("must_record");
    Some(Config {
        file: reading.origin.file.to_owned(),
        queue: root.read_within("queue", queue::read),
        service: root.read_within("service", ServiceConfig::read),
        schedule: root.read_within("schedule", schedule::read),
        snapshots: root.read_within("snapshots", SnapshotsConfig::read),
        pbx: push::joined(pbx, push),
        push,
        exclude: exclusions(root, &ids),
        must_record: must_record.iter().map(|section| rules::must_record(section, &ids)).collect(),
        ledger: root.read_within("ledger", ledger::read),
        anchors: ledger::read_anchors(root),
        verify: root.read_within("verify", VerifyConfig::read),
        feed: root.read_within("feed", |section| read_feed(section, &web, &ids)),
        web,
        alerts: root.read_within("alerts", AlertsConfig::read),
        // Last: whatever is missing here, the mistakes of all other sections are noted.
        archive: archive?,
        state: state?,
    })
}

/// Opens a section that must be there.
fn required<'a>(name: &'static str, root: &Section<'a>) -> Option<Section<'a>> {
    let remedy = format!("add {} with path = \"/var/lib/callvault/{name}\"", keys::heading(name));
    root.must_hold(name, remedy);
    root.single(name)
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

/// Reads every `[[pbx]]`; also the ids, for the rules that name them.
fn pbxs(root: &Section<'_>) -> (Vec<PbxConfig>, Vec<String>) {
    root.must_hold("pbx", "add a [[pbx]] section with id, url, username and password_file");
    let sections = root.several("pbx");
    let ids = unique(&sections, "id");
    (sections.iter().map(pbx::read).collect(), ids)
}

fn exclusions(root: &Section<'_>, ids: &[String]) -> Vec<ExclusionRule> {
    let sections = root.several("exclude");
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
