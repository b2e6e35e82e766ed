//! The only code that speaks to PBXs.
//!
//! What the rest of the program asks of a PBX is [`Pbx`], and each family of devices implements it in a folder of its
//! own. Beside the families stands what they share: connections and TLS, the connection budget, limits, classified
//! failures, lenient JSON.
//!
//! ```text
//! let slot = pbx.ready_slot().await;               // a connection is ours …
//! let mut audio = slot.recording(&name).await?;    // … so the download begins at once
//! while let Some(bytes) = audio.next().await? { … }
//! ```

// The S-Series and compatible devices.
pub mod s_series;

// Events that PBXs report: they wake a sweep early.
pub mod push;

mod body;
mod budget;
mod connection;
mod dial;
mod error;
mod http;
mod inflate;
mod json;
#[cfg_attr(not(feature = "legacy-tls"), path = "legacy_absent.rs")]
mod legacy;
mod status;
mod throttle;
mod tls;
mod transport;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::civil::DateTime;
use tokio::sync::Notify;

pub use connection::{Shown, look_at_certificate};
pub use error::{PbxError, Policy, RETRY_AFTER_MAX, Reason};
pub use json::JsonError;
pub use s_series::{PbxClient, Refusal, parse_reply};
pub use throttle::{Counted, Pace};
pub use tls::Certificate;

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingName, Text, printable};
use crate::config::PbxConfig;
use crate::formats::cdr::CdrItem;
use push::http::Receiver;

/// What was asked of a PBX, on its way.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, PbxError>>;

/// Prepares a client for the family that `config` names; nothing is sent yet.
pub fn open(config: &PbxConfig) -> Result<Arc<dyn Pbx>, PbxError> {
    Ok(Arc::new(PbxClient::new(config)?))
}

/// A PBX of any family. All that ask it share its session and its connection budget.
pub trait Pbx: fmt::Debug + Send + Sync {
    fn id(&self) -> &str;

    fn can(&self) -> Abilities;

    fn counters(&self) -> Counted;

    /// Asks the PBX who it is; `None` if it has no such call, or gives no serial number.
    fn device(&self) -> Asked<'_, Option<DeviceInfo>>;

    /// Waits for one of the PBX's connections; served in order.
    fn slot(&self) -> BoxFuture<'_, Box<dyn Slot>>;

    /// Lists the messages of all voicemail boxes; `None` if this device has no voicemail API. A list that breaks off is an
    /// error, not a shorter list.
    fn voicemail(&self) -> Asked<'_, Option<VoicemailList>>;

    /// Lets a login be tried again that was refused or locked out: an operator says that its reason is gone.
    fn lift_refusal(&self) -> BoxFuture<'_, ()>;

    /// Sees to it that the PBX reports its events to `receiver`, until dropped. `restarted` says that the PBX has
    /// restarted. Returns if there is nothing to do, or if the PBX refuses it.
    fn keep_events_coming<'a>(&'a self, receiver: &'a Receiver, restarted: &'a Notify) -> BoxFuture<'a, ()>;

    /// Waits for a connection over which a download may begin at once. May be given up.
    fn ready_slot(&self) -> BoxFuture<'_, Box<dyn Slot>> {
        Box::pin(async move {
            let mut slot = self.slot().await;
            slot.ready().await;
            slot
        })
    }
}

/// What a family, in the version at hand, can do beside delivering recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    pub calls: bool,
    pub voicemail: bool,
    /// It is set to report its events.
    pub events: bool,
    /// It lists its recordings, apart from its calls.
    pub recordings: bool,
}

/// Permission to have one connection to the PBX at a time. Take it before a download is prepared, so that nothing
/// stands between the PBX's permission and the download.
pub trait Slot: Send {
    /// Waits until a download may begin at once. To be used at once; may be given up.
    fn ready(&mut self) -> BoxFuture<'_, ()>;

    /// The calls that began between `from` and `to`, both in the PBX's local time and both included. If
    /// [`PbxError::is_too_much_at_once`], a shorter range may succeed.
    fn calls(
        self: Box<Self>,
        from: DateTime,
        to: DateTime,
        expected: Expected,
    ) -> Asked<'static, Box<dyn Calls>>;

    /// Begins the download of a recording. It exists only if what comes begins like audio.
    fn recording<'a>(self: Box<Self>, name: &'a RecordingName) -> Asked<'a, Box<dyn Audio>>;

    /// Lists one extension's voicemail box, empty if there is no such extension any more.
    fn mailbox<'a>(&'a mut self, extension: &'a str) -> Asked<'a, VoicemailList>;

    /// Begins the download of the `nth` of the messages that are alike in all that is known of `message`.
    fn message<'a>(self: Box<Self>, message: &'a Message, nth: usize) -> Asked<'a, Box<dyn Audio>>;
}

/// What a list of calls is expected to be.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The serial number that its rows name.
    pub sn: Option<Text>,
    /// SHA-256 of its bytes, if they have not changed since they were read.
    pub sha256: Option<Digest>,
}

/// A list of calls that is being received. Dropping it closes the connection.
pub trait Calls: Send {
    fn next(&mut self) -> Asked<'_, Listed>;

    fn size_bytes(&self) -> u64;

    /// SHA-256 of all bytes of a list that has ended; `None` if its family does not tell.
    fn sha256(&self) -> Option<Digest> {
        None
    }
}

#[derive(Debug)]
pub enum Listed {
    /// All of it, before any item: the list has the hash that was expected.
    Unchanged,
    Item(CdrItem),
    /// The end of a list that is known to be whole.
    Whole,
    /// The end of a list whose last item may be cut. Only another answer that ends alike proves it whole.
    Unsure(CdrItem),
}

/// Audio that is being received. Dropping it closes the connection.
pub trait Audio: Send {
    /// The next bytes, from the first one on; `None` at the end of the transfer.
    ///
    /// Without a declared length that end proves nothing: compare with what the audio's own header declares.
    fn next(&mut self) -> Asked<'_, Option<Bytes>>;

    fn content_length(&self) -> Option<u64>;

    /// Bounds the whole transfer to `bytes`, as soon as the audio's header has declared its size; bounds only narrow.
    fn limit(&mut self, bytes: u64);

    /// The folder that a voicemail message came from, if the PBX said so.
    fn folder(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The serial number, trimmed; never empty.
    pub sn: String,
    pub firmware: Option<String>,
    /// Such as its model.
    pub name: Option<String>,
    /// Its clock as it prints it, such as `2024-03-01 12:00:00 UTC+1`.
    pub system_time: Option<String>,
}

/// A message and the place where a list shows it; all members as the PBX wrote them, trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoicemailMessage {
    /// Its place at present, such as `msg0000.wav`.
    pub file: String,
    /// The folder, `read` or `unread`; none if the device does not tell.
    pub status: Option<String>,
    /// What it is known by, wherever it is.
    pub message: Message,
}

impl fmt::Display for VoicemailMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [file, extension] = [&self.file, &self.message.extension].map(|text| printable(text.as_bytes()));
        write!(f, "`{file}` of extension {extension}")
    }
}

/// The messages of one box or of all, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoicemailList {
    pub messages: Vec<VoicemailMessage>,
    /// Entries that no message could be read from: the list does not prove that anything is not there.
    pub unreadable: Vec<UnreadableMessage>,
}

/// An entry of a list that no message could be read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableMessage {
    /// Whose box it is in; none if that cannot be read either.
    pub extension: Option<String>,
    /// Which entry of the box it is, or which box of the list, from 1.
    pub entry: usize,
}
