//! What an observer sees, as lines of JSON.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::account::{Listed, Served};
use super::device::Device;
use super::lock;
use super::retention::Store;
use super::voicemail::{placed, status_of};
use crate::base::digest::Digest;
use crate::base::recording::Text;

#[derive(Debug, Serialize)]
struct TruthLine {
    name: Text,
    sha256: Digest,
    size_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ListedLine {
    name: Text,
    at: Timestamp,
    sha256: Option<Digest>,
    size_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ServedLine {
    name: Text,
    #[serde(flatten)]
    served: Served,
}

#[derive(Debug, Serialize)]
struct OverwrittenLine {
    name: Text,
    store: Store,
    at: Timestamp,
    sha256: Option<Digest>,
}

#[derive(Debug, Serialize)]
struct MessageLine<'a> {
    extension: &'a str,
    file: String,
    status: &'static str,
    date: String,
    from: &'a str,
    length_s: u32,
    sha256: Digest,
    size_bytes: u64,
}

/// Every call recording that the device has.
pub(super) fn truth(device: &Device) -> String {
    let lines = device.world().truth().into_iter().map(|truth| TruthLine {
        name: Text::from_bytes(&truth.name),
        sha256: truth.sha256,
        size_bytes: truth.size_bytes,
    });
    lines.map(|known| line(&known)).collect()
}

/// Every recording that it ever listed.
pub(super) fn listed(device: &Device) -> String {
    let listed = lock(&device.account).listed();
    let lines = listed.into_iter().map(|listed| {
        let Listed { name, at, sha256, size_bytes } = Listed::of(listed);
        ListedLine { name: Text::from_bytes(&name), at, sha256, size_bytes }
    });
    lines.map(|known| line(&known)).collect()
}

/// What was sent of each recording.
pub(super) fn served(device: &Device) -> String {
    let served = lock(&device.account).served();
    let lines =
        served.iter().map(|(name, served)| ServedLine { name: Text::from_bytes(name), served: *served });
    lines.map(|known| line(&known)).collect()
}

/// Every login and heartbeat that said where reports are to go.
pub(super) fn registrations(device: &Device) -> String {
    device.push.registrations().iter().map(line).collect()
}

/// What it overwrote while nobody had it.
pub(super) fn overwritten(device: &Device) -> String {
    let lines = device.overwritten().into_iter().map(|lost| OverwrittenLine {
        name: Text::from_bytes(&lost.name),
        store: lost.store,
        at: lost.at,
        sha256: lost.sha256,
    });
    lines.map(|known| line(&known)).collect()
}

/// The voicemail of all boxes.
pub(super) fn messages(device: &Device) -> String {
    let world = device.world();
    let messages = world.messages();
    let extensions: BTreeSet<&str> = messages.iter().map(|message| message.extension.as_str()).collect();
    let placed = extensions.into_iter().flat_map(|extension| placed(messages, extension));
    let lines = placed.map(|placed| {
        line(&MessageLine {
            extension: &placed.message.extension,
            file: placed.file,
            status: status_of(placed.message),
            date: placed.message.date.to_string(),
            from: &placed.message.from,
            length_s: placed.message.length_s,
            sha256: placed.message.audio.sha256(),
            size_bytes: placed.message.audio.len(),
        })
    });
    lines.collect()
}

/// One line of JSON.
pub(super) fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types have only string keys") + "\n"
}
