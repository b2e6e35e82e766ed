//! Single things that the device cannot speak of: whatever is asked about them is answered wrongly, all else rightly.

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use super::api::{Answer, Call, refuse, reply, seconds};
use super::cdr::parse_time;
use super::json::Members;
use super::profile::Profile;
use super::reply::Reply;

/// One bad thing. `Faults` holds any number; without it the thing is well again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poison {
    /// What is bad.
    pub about: About,
    /// How requests about it are answered.
    pub how: Wrong,
    /// Which of its requests are.
    #[serde(default)]
    pub at: PoisonedStage,
}

/// A thing that requests are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A recording, by its name.
    Recording(String),
    /// The calls of a day, or of any part of it.
    Day(Date),
    /// A voicemail box, by its extension; with it the list of all boxes.
    Mailbox(String),
    /// The message at a place of a voicemail box: extension and file. Of a list only its entry is [`Wrong::Malformed`].
    Message(String, String),
    /// Who the device is.
    Device,
    /// Where its reports are to go.
    Registration,
}

/// A wrong answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// A redirect to a page.
    Redirect,
    /// An error number.
    Errno(u32),
    /// None, for so long as `stall_s` says.
    Hang,
    /// A reset before the reply.
    Reset,
    /// A page with this HTTP status.
    Http(u16),
    /// A page with status 200.
    Html,
    /// JSON that is none: a quote within a text is not escaped.
    Malformed,
}

/// Which requests about a thing are answered wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonedStage {
    /// All.
    #[default]
    Every,
    /// Downloads only: tickets are given.
    Download,
}

impl Wrong {
    /// Every sort of wrong answer, one error number of each meaning among them.
    pub const ALL: [Self; 11] = [
        Self::Redirect,
        Self::Errno(10002),
        Self::Errno(10003),
        Self::Errno(20001),
        Self::Errno(20015),
        Self::Errno(47_110),
        Self::Hang,
        Self::Reset,
        Self::Http(500),
        Self::Html,
        Self::Malformed,
    ];
}

impl Call<'_> {
    /// The answer to a request about something bad; `None` if it is about nothing of the kind.
    pub(super) fn poisoned(&self, endpoint: &str) -> Option<Answer> {
        let is_download = endpoint.ends_with("/download");
        let poisons = self.faults.poison.iter();
        let how = poisons
            .filter(|poison| poison.at == PoisonedStage::Every || is_download)
            .find(|poison| self.is_about(&poison.about, poison.how, endpoint))?
            .how;
        self.device.count_fault("poison");
        let profile = self.device.options.profile;
        Some(match how {
            Wrong::Redirect => reply(Reply::redirect(self.faults.redirect_status, &self.faults.redirect_to)),
            Wrong::Errno(errno) => reply(refuse(self.device, errno)),
            Wrong::Hang => Answer::Silence(seconds(self.faults.stall_s)),
            Wrong::Reset => Answer::Reset,
            Wrong::Http(status) => reply(Reply::html(status)),
            Wrong::Html => reply(Reply::html(200)),
            Wrong::Malformed => reply(malformed(profile)),
        })
    }

    fn is_about(&self, about: &About, how: Wrong, endpoint: &str) -> bool {
        let (family, _) = endpoint.split_once('/').unwrap_or((endpoint, ""));
        match about {
            About::Recording(name) => family == "recording" && self.asks_for("recording", name),
            About::Day(day) => family == "cdr" && self.asks_for_day(*day),
            About::Mailbox(extension) => {
                let key = self.version.extension_key();
                family == "voicemail"
                    && (self.asks_for(key, extension)
                        || endpoint == "voicemail/query" && self.text(key).is_empty())
            }
            // A malformed entry does not keep the message from being delivered.
            About::Message(extension, file) => {
                family == "voicemail"
                    && how != Wrong::Malformed
                    && self.asks_for(self.version.extension_key(), extension)
                    && self.asks_for("voicemailfile", file)
            }
            About::Device => family == "deviceinfo",
            About::Registration => family == "heartbeat",
        }
    }

    /// A parameter, from the query of a download or the body of another request.
    fn text(&self, name: &str) -> String {
        let lenient = self.device.options.profile == Profile::Compatible;
        let in_body = || Members::parse(self.request.body.trim_ascii(), lenient)?.text(name);
        Some(self.request.text(name)).filter(|text| !text.is_empty()).or_else(in_body).unwrap_or_default()
    }

    fn asks_for(&self, name: &str, wanted: &str) -> bool {
        self.text(name) == wanted
    }

    /// Whether the range lies in the day, or covers more than an hour of it: its neighbours are asked for with an hour more
    /// on each side.
    fn asks_for_day(&self, day: Date) -> bool {
        let range = (parse_time(&self.text("starttime")), parse_time(&self.text("endtime")));
        let (Some(from), Some(to)) = range else { return false };
        let (begin, end) = (day.at(0, 0, 0, 0), day.at(23, 59, 59, 0));
        let (first, last): (DateTime, DateTime) = (from.max(begin), to.min(end));
        let is_within = begin <= from && to <= end;
        is_within || first.checked_add(1.hour()).is_ok_and(|hour_later| hour_later < last)
    }

    /// Whether the entry of this message in a list is malformed.
    pub(super) fn is_malformed(&self, extension: &str, file: &str) -> bool {
        let is_so = self.faults.poison.iter().any(|poison| match &poison.about {
            About::Message(bad_extension, bad_file) => {
                poison.how == Wrong::Malformed && bad_extension == extension && bad_file == file
            }
            _ => false,
        });
        if is_so {
            self.device.count_fault("poison");
        }
        is_so
    }
}

/// A success whose JSON is not well formed, as devices print names with quotes in them.
fn malformed(profile: Profile) -> Reply {
    Reply::raw_json("{\"status\":\"Success\",\"name\":\"\"John\" <1004>\"}", profile)
}
