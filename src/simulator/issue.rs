//! Requests for tickets, and the list of voicemail.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::api::{Call, Said};
use super::audio::SimAudio;
use super::cdr::{is_asked, parse_time};
use super::errno;
use super::growing::Growing;
use super::json::{Members, Value};
use super::lock;
use super::profile::ApiVersion;
use super::tickets::{Holder, Target};
use super::voicemail::{placed, status_of};
use super::world::{Found, World};

impl Call<'_> {
    /// `recording/get_random`.
    pub(super) fn issue_recording(&self) -> Said {
        let token = self.check_token()?;
        let members = self.members()?;
        let name = members.get("recording").ok_or(errno::BLANK_PARAMETER)?.to_vec();
        let allowed = self.allowed_address(&members)?;
        if !self.device.options.absence_told_at_download {
            self.recording(&name, true)?;
        }
        let random = self.issue(token, Target::Recording(name.clone()), allowed);
        Ok(vec![("recording", Value::text(name)), ("random", Value::text(random))])
    }

    /// `voicemail/get_random`.
    pub(super) fn issue_voicemail(&self) -> Said {
        let token = self.check_token()?;
        let members = self.members()?;
        let key = self.version.extension_key();
        let extension = members.text(key).ok_or(errno::BLANK_PARAMETER)?;
        let file = members.text("voicemailfile").ok_or(errno::BLANK_PARAMETER)?;
        let status = members.text("voicemailstatus");
        match status.as_deref() {
            Some("read" | "unread") => {}
            None if self.version == ApiVersion::Compatible => {}
            None => return Err(errno::BLANK_PARAMETER),
            Some(_) => return Err(errno::VOICEMAIL_STATUS),
        }
        let allowed = self.allowed_address(&members)?;
        if !self.device.options.absence_told_at_download {
            self.message(&extension, &file, status.as_deref())?;
        }
        let target = Target::Voicemail { extension: extension.clone(), file: file.clone(), status };
        let random = self.issue(token, target, allowed);
        self.device.change_world(|world| world.message_ticket_was_issued(&file));
        Ok(vec![
            (key, Value::text(extension)),
            ("voicemailfile", Value::text(file)),
            ("random", Value::text(random)),
        ])
    }

    /// `cdr/get_random`.
    pub(super) fn issue_cdr(&self) -> Said {
        let token = self.check_token()?;
        let members = self.members()?;
        let key = self.version.extension_key();
        let [extension, from, to] =
            [key, "starttime", "endtime"].map(|name| members.text(name).ok_or(errno::BLANK_PARAMETER));
        let (extension, from, to) = (extension?, from?, to?);
        let allowed = self.allowed_address(&members)?;
        let (Some(first), Some(last)) = (parse_time(&from), parse_time(&to)) else {
            return Err(errno::CDR_TIME);
        };
        if !self.device.options.absence_told_at_download {
            let world = self.device.world();
            let is_wanted =
                |time: Timestamp| (first..=last).contains(&time.to_zoned(world.zone().clone()).datetime());
            let exists = first <= last
                && world.has_row(first.date(), last.date(), |row| {
                    is_asked(row, &extension) && is_wanted(row.start)
                });
            if !exists {
                return Err(self.absent(errno::NO_CDR));
            }
        }
        let target = Target::Cdr { extension: extension.clone(), from: from.clone(), to: to.clone() };
        let random = self.issue(token, target, allowed);
        Ok(vec![
            (key, Value::text(extension)),
            ("starttime", Value::text(from)),
            ("endtime", Value::text(to)),
            ("random", Value::text(random)),
        ])
    }

    /// `voicemail/query`.
    pub(super) fn list_voicemail(&self) -> Said {
        self.check_token()?;
        let members = self.optional_members()?;
        let world = self.device.world();
        let known: BTreeSet<&str> =
            world.messages().iter().map(|message| message.extension.as_str()).collect();
        let asked = members.text(self.version.extension_key());
        let asked: Vec<&str> = match &asked {
            None => known.into_iter().collect(),
            Some(list) => list.split(',').map(str::trim).collect(),
        };
        let mut boxes = Vec::new();
        for extension in asked {
            if extension.parse::<u32>().is_err() {
                return Err(errno::NO_EXTENSION);
            }
            let messages = self.list_box(&world, extension);
            if !messages.is_empty() {
                boxes.push(Value::Object(vec![
                    (self.version.extension_key(), Value::text(extension)),
                    ("voicemail", Value::Array(messages)),
                ]));
            }
        }
        // Without any message there is no such member.
        Ok(if boxes.is_empty() { vec![] } else { vec![("voicemails", Value::Array(boxes))] })
    }

    fn list_box(&self, world: &World, extension: &str) -> Vec<Value> {
        let list = placed(world.messages(), extension).into_iter().map(|placed| {
            let message = placed.message;
            let date = message.date.to_zoned(world.zone().clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
            let caller = match self.is_malformed(extension, &placed.file) {
                true => Value::Raw("\"\"John\" <1004>\""),
                false => Value::text(message.from.as_str()),
            };
            Value::Object(vec![
                ("voicemailfile", Value::text(placed.file)),
                ("messagefrom", caller),
                ("voicemailstatus", Value::text(status_of(message))),
                ("voicemaildate", Value::text(date)),
                ("voicemaillength", Value::text(message.length_s.to_string())),
            ])
        });
        let mut list: Vec<Value> = list.collect();
        if !list.is_empty() && self.device.strikes(self.luck, "voicemail_odd", self.faults.voicemail_odd) {
            list.push(Value::Object(vec![("messagefrom", Value::text("nobody"))]));
        }
        list
    }

    /// The one more address that may use the ticket. v1.0.x does not know the member.
    fn allowed_address(&self, members: &Members) -> Result<Option<IpAddr>, u32> {
        match members.text("allowedip") {
            Some(address) if self.version != ApiVersion::V1_0 => {
                address.parse().map(Some).map_err(|_| errno::ALLOWED_IP)
            }
            _ => Ok(None),
        }
    }

    fn issue(&self, token: String, target: Target, allowed: Option<IpAddr>) -> String {
        let holder = Holder { token: token.clone(), address: self.from };
        let random = lock(&self.device.tickets).issue(target, holder, allowed, self.now);
        self.device.count(|counters| counters.tickets_issued += 1);
        if self.device.strikes(self.luck, "token_revoked", self.faults.token_revoked) {
            // Another request may have met the same fate with this token already.
            let was_live = lock(&self.device.sessions).forget(&token);
            self.device.count(|counters| counters.revocations += u64::from(was_live));
        }
        random
    }

    /// The audio of a recording; `is_ask` counts this as one of the asks after which a fault passes.
    ///
    /// # Errors
    /// The number that this version has for a recording that it lacks.
    pub(super) fn recording(&self, name: &[u8], is_ask: bool) -> Result<SimAudio, u32> {
        let deleted = self.faults.deleted.iter().any(|deleted| deleted.as_bytes() == name);
        let most = self.faults.missing_asks;
        let is_early = is_ask && lock(&self.device.asks).is_early("missing", name, most);
        if self.faults.store_offline || is_early {
            return Err(self.absent(self.no_such_recording()));
        }
        if self.is_growing(name) && self.faults.growing_as == Growing::Absent {
            return Err(self.absent(self.no_such_recording()));
        }
        let found = self.device.world().find(name);
        match found {
            Found::Audio(audio) if !deleted => Ok(audio),
            Found::Audio(_) | Found::Deleted => Err(self.absent(errno::NO_RECORDING)),
            Found::Unknown => Err(self.absent(self.no_such_recording())),
        }
    }

    /// Whether the recording's call has only just ended.
    pub(super) fn is_growing(&self, name: &[u8]) -> bool {
        let steady = self.device.clock.now().steady;
        self.device.world().storage.is_growing(name, steady)
    }

    /// The audio of a message; without a status the unread folder is looked at first.
    pub(super) fn message(&self, extension: &str, file: &str, status: Option<&str>) -> Result<SimAudio, u32> {
        let world = self.device.world();
        let mut messages = placed(world.messages(), extension).into_iter();
        let found = messages.find(|placed| {
            placed.file == file && status.is_none_or(|status| status == status_of(placed.message))
        });
        found.map(|placed| placed.message.audio.clone()).ok_or_else(|| self.absent(errno::NO_VOICEMAIL))
    }

    /// v1.0.x tells a recording that never was (20012) from one that was deleted (20014).
    fn no_such_recording(&self) -> u32 {
        if self.version == ApiVersion::V1_0 { errno::RECORDING_RANDOM } else { errno::NO_RECORDING }
    }

    /// Counts an absence.
    pub(super) fn absent(&self, errno: u32) -> u32 {
        self.device.count(|counters| counters.absences_told += 1);
        errno
    }
}
