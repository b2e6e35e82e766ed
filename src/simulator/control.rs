//! `/simulator/…`: what an observer may ask and tell, outside the device's own rules.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::device::Device;
use super::faults::Faults;
use super::http::Request;
use super::lock;
use super::observation as seen;
use super::outage::Outage;
use super::reply::Reply;
use super::retention::Retention;
use crate::base::recording::Text;

/// Answers an observer.
///
/// `GET counters`, `truth`, `listed`, `served`, `overwritten`, `voicemail`, `faults`, `registrations`, `push`;
/// `POST faults` (replaces all), `alter` (some of them), `retention`, `advance?s=31`, `clock?at=2024-10-27T00:00:00Z`,
/// `outage?s=60` (`&how=reset`), `lockout`, `revoke`, `reboot`, `call` (one ends now).
pub(super) async fn answer(device: &Arc<Device>, request: &Request, from: IpAddr) -> Reply {
    let name = request.path.trim_start_matches("/simulator/");
    let said = match request.method.as_str() {
        "GET" => look(device, name).await.map(Ok),
        "POST" => tell(device, name, request, from),
        _ => None,
    };
    match said {
        Some(Ok(said)) => Reply::observation(200, said),
        Some(Err(wrong)) => Reply::observation(400, wrong + "\n"),
        None => Reply::html(404),
    }
}

/// What is seen; `None` if there is no such thing to see.
async fn look(device: &Arc<Device>, name: &str) -> Option<String> {
    match name {
        "counters" => return Some(seen::line(&device.counters())),
        "faults" => return Some(seen::line(&*device.faults())),
        "voicemail" => return Some(seen::messages(device)),
        "served" => return Some(seen::served(device)),
        "registrations" => return Some(seen::registrations(device)),
        "push" => return Some(seen::line(&device.push.counters())),
        _ => {}
    }
    let hashed: fn(&Device) -> String = match name {
        "truth" => seen::truth,
        "listed" => seen::listed,
        "overwritten" => seen::overwritten,
        _ => return None,
    };
    let device = Arc::clone(device);
    // Hashing all audio takes its time, which the other connections are not to feel.
    Some(tokio::task::spawn_blocking(move || hashed(&device)).await.unwrap_or_default())
}

/// Does what is told, and says what holds now, or what is wrong; `None` if there is no such thing to tell.
fn tell(device: &Arc<Device>, name: &str, request: &Request, from: IpAddr) -> Option<Result<String, String>> {
    Some(match name {
        "faults" => parse("faults", &request.body).map(|faults: Faults| {
            device.set_faults(faults);
            seen::line(&*device.faults())
        }),
        "alter" => alter(device, &request.body),
        "retention" => parse("limits", &request.body).map(|retention: Retention| {
            device.change_world(|world| world.set_retention(retention));
            seen::line(&retention)
        }),
        "advance" => seconds(&request.text("s")).map(|by| {
            device.clock.advance(by);
            shown(device)
        }),
        "clock" => moment(&request.text("at")).map(|at| {
            device.set_clock(at);
            shown(device)
        }),
        "outage" => outage(device, request),
        "lockout" => {
            lock(&device.sessions).lock_out(from, device.timers());
            Ok(format!("{from} is locked out\n"))
        }
        "revoke" => Ok(format!("{}\n", device.revoke_tokens())),
        "reboot" => {
            device.reboot();
            Ok("rebooted\n".to_owned())
        }
        "call" => {
            let call = device.new_call();
            let name = Text::from_bytes(&call.recording);
            device.end_call(call);
            Ok(seen::line(&name))
        }
        _ => return None,
    })
}

fn parse<'a, T: Deserialize<'a>>(what: &str, body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the {what} do not parse: {error}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("{text:?} is not a number of seconds"))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("{text:?} is not a moment such as 2024-10-27T00:30:00Z"))
}

fn shown(device: &Device) -> String {
    format!("{}\n", device.clock.now().shown)
}

/// Changes the faults that are given and leaves the others.
fn alter(device: &Device, body: &[u8]) -> Result<String, String> {
    let given: serde_json::Map<String, Value> = parse("faults", body)?;
    let Ok(Value::Object(mut all)) = serde_json::to_value(&*device.faults()) else {
        return Err("the faults are no object".to_owned());
    };
    all.extend(given);
    let altered = serde_json::from_value(Value::Object(all));
    let altered: Faults = altered.map_err(|error| format!("the faults do not parse: {error}"))?;
    device.alter(|faults| *faults = altered);
    Ok(seen::line(&*device.faults()))
}

/// Takes the device down for a while; whoever told it could not tell it to come back.
fn outage(device: &Arc<Device>, request: &Request) -> Result<String, String> {
    let lasts = seconds(&request.text("s"))?;
    let outage = match request.text("how").as_str() {
        "" | "refused" => Outage::Refused,
        "reset" => Outage::Reset,
        other => return Err(format!("{other:?} is not a kind of outage: use refused or reset")),
    };
    let device = Arc::clone(device);
    tokio::spawn(async move {
        // An error means that the simulator has ended meanwhile.
        if device.outages.order(outage).await.is_ok() {
            sleep(lasts).await;
            let _ = device.outages.order(Outage::None).await;
        }
    });
    Ok(format!("down for {} s\n", lasts.as_secs_f64()))
}
