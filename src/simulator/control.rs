//! `/simulator/…`: what an observer may ask and tell, outside the device's own rules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::device::Device;
use super::faults::Faults;
use super::http::Request;
use super::reply::Reply;
use super::voicemail::{placed, status_of};
use crate::digest::Digest;
use crate::recording::Text;

#[derive(Debug, Serialize)]
struct TruthLine {
    name: Text,
    sha256: Digest,
    size_bytes: u64,
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

/// Answers an observer.
///
/// `GET counters`, `truth`, `voicemail`, `faults`; `POST faults` (replaces all), `advance?s=31`, `revoke`, `reboot`.
pub(super) async fn answer(device: &Arc<Device>, request: &Request) -> Reply {
    let name = request.path.trim_start_matches("/simulator/");
    match (request.method.as_str(), name) {
        ("GET", "counters") => line(&device.counters()),
        ("GET", "truth") => Reply::observation(200, truth(device).await),
        ("GET", "voicemail") => Reply::observation(200, messages(device)),
        ("GET", "faults") => line(&*device.faults()),
        ("POST", "faults") => match serde_json::from_slice::<Faults>(&request.body) {
            Ok(faults) => {
                device.set_faults(faults);
                line(&*device.faults())
            }
            Err(error) => Reply::observation(400, format!("the faults do not parse: {error}\n")),
        },
        ("POST", "advance") => advance(device, &request.text("s")),
        ("POST", "revoke") => Reply::observation(200, format!("{}\n", device.revoke_tokens())),
        ("POST", "reboot") => {
            device.reboot();
            Reply::observation(200, "rebooted\n".to_owned())
        }
        _ => Reply::html(404),
    }
}

fn advance(device: &Device, seconds: &str) -> Reply {
    let by = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let Some(by) = by else {
        return Reply::observation(400, format!("{seconds:?} is not a number of seconds\n"));
    };
    device.clock.advance(by);
    Reply::observation(200, format!("{}\n", device.clock.now()))
}

async fn truth(device: &Arc<Device>) -> String {
    let device = Arc::clone(device);
    // Hashing all audio takes its time, which the other connections are not to feel.
    let truth = tokio::task::spawn_blocking(move || device.world().truth()).await.unwrap_or_default();
    let lines = truth.into_iter().map(|truth| {
        to_line(&TruthLine {
            name: Text::from_bytes(&truth.name),
            sha256: truth.sha256,
            size_bytes: truth.size_bytes,
        })
    });
    lines.collect()
}

fn messages(device: &Device) -> String {
    let world = device.world();
    let messages = world.messages();
    let extensions: BTreeSet<&str> = messages.iter().map(|message| message.extension.as_str()).collect();
    let placed = extensions.into_iter().flat_map(|extension| placed(messages, extension));
    let lines = placed.map(|placed| {
        to_line(&MessageLine {
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

fn line(value: &impl Serialize) -> Reply {
    Reply::observation(200, to_line(value))
}

fn to_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types have only string keys") + "\n"
}
