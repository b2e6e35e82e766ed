//! What a report looks like: three forms, one of which is no JSON.

use jiff::tz::TimeZone;

use super::call::SimCall;
use super::profile::Profile;
use super::push::Registration;

/// How reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As v1 has it unless it is asked for another: members twice, objects without keys.
    Malformed,
    /// Version 1.0.2: JSON.
    V1,
    /// Version 2.0.0: JSON, with other names.
    V2,
}

impl Form {
    /// The form that was asked for, as far as the device has it.
    pub(super) fn of(registration: &Registration, profile: Profile) -> Self {
        match registration.version.as_deref() {
            Some("2.0.0") if profile == Profile::V2 => Self::V2,
            Some("1.0.2") => Self::V1,
            _ => Self::Malformed,
        }
    }

    fn event_key(self) -> &'static str {
        if self == Self::V2 { "event" } else { "action" }
    }
}

/// `NewCdr`.
pub(super) fn new_cdr(call: &SimCall, form: Form, zone: &TimeZone, sn: &str) -> Vec<u8> {
    let start = call.start.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let (call_duration, talk_duration) = (call.call_duration_s.to_string(), call.talk_duration_s.to_string());
    // The trunk's name is misspelt, each time in another way.
    let destination_trunk = if form == Form::V2 { "dsttrcunkname" } else { "desttrunkname" };
    let recording = String::from_utf8_lossy(&call.recording);
    let members = [
        (form.event_key(), "NewCdr"),
        ("callid", &call.callid),
        ("timestart", &start),
        ("callfrom", &call.callfrom),
        ("callto", &call.callto),
        ("callduraction", &call_duration),
        ("talkduraction", &talk_duration),
        ("srctrunkname", &call.source_trunk),
        (destination_trunk, &call.destination_trunk),
        ("status", &call.status),
        ("type", &call.call_type),
        ("pincode", &call.pincode),
        ("recording", &recording),
        ("didnumber", &call.did),
        ("sn", sn),
    ];
    // v1 leaves out what is empty.
    let members = members.into_iter().filter(|(_, value)| form == Form::V2 || !value.is_empty());
    object(members, form)
}

/// `BootUp`.
pub(super) fn boot_up(form: Form, sn: &str) -> Vec<u8> {
    object([(form.event_key(), "BootUp"), ("sn", sn)], form)
}

fn object<'a>(members: impl IntoIterator<Item = (&'static str, &'a str)>, form: Form) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut list: Vec<String> =
        members.into_iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    if form == Form::Malformed {
        list.insert(1, r#"{"ext":"1003"},"ext":"1003","ext":"1004""#.to_owned());
    }
    format!("{{{}}}", list.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_form_is_no_json() {
        let call = SimCall { callid: "1.1".to_owned(), ..SimCall::default() };
        for (form, key) in [(Form::V1, "action"), (Form::V2, "event")] {
            let report = new_cdr(&call, form, &TimeZone::UTC, "369");
            let json: serde_json::Value = serde_json::from_slice(&report).unwrap();
            assert_eq!((json[key].as_str(), json["sn"].as_str()), (Some("NewCdr"), Some("369")));
            assert_eq!(json.get("pincode").is_some(), form == Form::V2);
        }
        for report in
            [new_cdr(&call, Form::Malformed, &TimeZone::UTC, "369"), boot_up(Form::Malformed, "369")]
        {
            assert!(serde_json::from_slice::<serde_json::Value>(&report).is_err());
        }
    }
}
