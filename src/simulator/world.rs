//! What the device holds: calls, recordings, voicemail. Tests change it while it is served.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::audio::SimAudio;
use super::call::SimCall;
use super::clock::Moment;
use super::living::Upcoming;
use super::lock;
use super::plan::{CallPlan, PIN, add_s};
use super::profile::SimulatorOptions;
use super::retention::{Loss, Retention};
use super::storage::Storage;
use super::voicemail::{SimVoicemail, Surprise, VoicemailCap};
use crate::base::digest::Digest;

/// One recording as the device serves it when no fault is at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// The name in the CDR, any bytes.
    pub name: Vec<u8>,
    /// The SHA-256 of the file.
    pub sha256: Digest,
    /// The size of the file.
    pub size_bytes: u64,
}

/// What the device has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This file.
    Audio(SimAudio),
    /// It had a file, which was deleted.
    Deleted,
    /// It never had one.
    Unknown,
}

/// Everything that the device holds.
#[derive(Debug)]
pub struct World {
    pub(super) plan: CallPlan,
    zone: TimeZone,
    today: Date,
    /// Planned recordings whose rows are now among the given ones, or gone.
    pub(super) replaced: HashSet<u64>,
    pub(super) given: BTreeMap<Date, Vec<SimCall>>,
    pub(super) storage: Storage,
    voicemails: Vec<SimVoicemail>,
    voicemail_cap: Option<VoicemailCap>,
    surprise: Surprise,
    hashes: Mutex<HashMap<Vec<u8>, Digest>>,
    /// Every PIN in a row that was ever filed.
    pins: BTreeSet<String>,
    /// Rows that are still to appear; `None` if all is as planned, and nothing appears or goes by itself.
    pub(super) upcoming: Option<Upcoming>,
    pub(super) is_live: bool,
    pub(super) ready_after_s: u64,
    pub(super) retention: Retention,
    pub(super) losses: Vec<Loss>,
    /// The moment up to which all this is settled.
    pub(super) now: Moment,
}

impl World {
    /// The world of `options` as of `now` on the device.
    ///
    /// # Errors
    /// If the days lie outside the range of dates.
    pub(super) fn new(options: &SimulatorOptions, zone: &TimeZone, now: Moment) -> Result<Self, jiff::Error> {
        let date = now.shown.to_zoned(zone.clone()).date();
        let today = match options.today {
            Some(today) => today,
            None if options.live => date,
            None => date.yesterday()?,
        };
        let plan = CallPlan::new(options, zone, today)?;
        let mut world = Self {
            upcoming: options.live.then(|| Upcoming::of(&plan)),
            plan,
            zone: zone.clone(),
            today,
            replaced: HashSet::new(),
            given: BTreeMap::new(),
            storage: Storage::default(),
            voicemails: Vec::new(),
            voicemail_cap: options.voicemail_cap,
            surprise: Surprise::default(),
            hashes: Mutex::default(),
            pins: BTreeSet::new(),
            is_live: options.live,
            ready_after_s: options.ready_after.as_secs(),
            retention: Retention::default(),
            losses: Vec::new(),
            now,
        };
        world.populate(options);
        world.set_retention(options.retention);
        Ok(world)
    }

    /// The last day with generated calls.
    pub fn today(&self) -> Date {
        self.today
    }

    /// Adds a call, and its audio under its recording's name; on a device that lives, when the call ends.
    pub fn add_call(&mut self, call: SimCall) {
        if let Some(call) = self.hold_back(call) {
            self.make_room(&call);
            self.file(call, Timestamp::MIN);
        }
    }

    /// Adds a call that ends now, whatever its row says; on a device that lives, its audio is still being written.
    pub(super) fn end_call(&mut self, call: SimCall) {
        self.make_room(&call);
        let ready_after_s = self.is_live.then_some(self.ready_after_s);
        let whole = ready_after_s.map_or(Timestamp::MIN, |after_s| add_s(self.now.steady, after_s));
        self.file(call, whole);
    }

    /// Takes away what is stored under the name of a call's recording, if the call brings its own audio.
    pub(super) fn make_room(&mut self, call: &SimCall) {
        if call.audio.is_some() {
            lock(&self.hashes).remove(&call.recording);
            self.storage.take(&call.recording);
            self.storage.restore(&call.recording);
        }
    }

    /// Files a call whose audio is whole at a moment of steady time. What is stored under its name already stays.
    pub(super) fn file(&mut self, call: SimCall, whole: Timestamp) {
        if !call.recording.is_empty()
            && let Some(audio) = &call.audio
        {
            self.storage.put_new(&call.recording, audio.clone(), call.start, whole);
        }
        if !call.pincode.is_empty() {
            self.pins.insert(call.pincode.clone());
        }
        self.given.entry(self.date(call.start)).or_default().push(call);
    }

    /// Every PIN that a caller ever dialled.
    pub(super) fn pins(&self) -> BTreeSet<String> {
        self.pins.iter().cloned().chain([PIN.to_owned()]).collect()
    }

    /// Changes what the device keeps; at once it overwrites what is beyond that.
    pub fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
        if retention.is_limited() {
            self.come_alive();
        }
        self.settle(self.now);
    }

    /// Deletes the audio and leaves the rows that name it, as an administrator can.
    pub fn delete_audio(&mut self, name: &[u8]) {
        self.storage.delete(name);
    }

    /// Undoes [`World::delete_audio`].
    pub fn restore_audio(&mut self, name: &[u8]) {
        self.storage.restore(name);
    }

    /// Puts other audio under a name, new or known.
    pub fn replace_audio(&mut self, name: &[u8], audio: SimAudio) {
        lock(&self.hashes).remove(name);
        let recorded = self.storage.recorded(name).unwrap_or(self.now.shown);
        self.storage.put(name, audio, recorded);
    }

    /// Removes the rows that name a recording; the audio stays, as after a clean-up of the CDR.
    pub fn remove_rows(&mut self, name: &[u8]) {
        self.rewrite(name, |_| false);
    }

    /// Changes the rows that name a recording; the closure keeps a row by returning `true`.
    pub fn rewrite(&mut self, name: &[u8], mut change: impl FnMut(&mut SimCall) -> bool) {
        let planned = self.plan.find(name).filter(|index| self.is_planned(*index));
        let mut rows = planned.map_or_else(Vec::new, |index| self.plan.rows(index));
        self.replaced.extend(planned);
        for day in self.given.values_mut() {
            rows.extend(day.extract_if(.., |row| row.recording == name));
        }
        for mut row in rows {
            // On a device that lives, the audio may have gone before the row.
            if let Some(audio) = row.audio.take().filter(|_| self.upcoming.is_none()) {
                self.storage.put_new(&row.recording, audio, row.start, Timestamp::MIN);
            }
            if row.recording != name || change(&mut row) {
                self.given.entry(self.date(row.start)).or_default().push(row);
            }
        }
    }

    /// Gives a recording another name, in its rows and on the device.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) {
        let Found::Audio(audio) = self.find(from) else { return };
        self.rewrite(from, |row| {
            row.recording = to.to_vec();
            true
        });
        self.storage.take(from);
        self.replace_audio(to, audio);
    }

    /// Leaves a message. A box that is full then loses its oldest ones, if the device cleans up.
    pub fn leave_message(&mut self, message: SimVoicemail) {
        let extension = message.extension.clone();
        self.voicemails.push(message);
        if let Some(cap) = self.voicemail_cap {
            cap.clean_up(&mut self.voicemails, &extension);
        }
    }

    /// Changes the boxes once, when the next ticket for `file` in any box is issued: before its download. What was prepared
    /// earlier happens first, with a ticket of its own.
    pub fn surprise_message(
        &mut self,
        file: &str,
        change: impl FnOnce(&mut Vec<SimVoicemail>) + Send + Sync + 'static,
    ) {
        self.surprise.prepare(file, change);
    }

    /// Lets happen what was prepared for this moment.
    pub(super) fn message_ticket_was_issued(&mut self, file: &str) {
        self.surprise.happen(file, &mut self.voicemails);
    }

    /// The voicemail messages; adding, removing and marking them renames those behind them.
    pub fn voicemails(&mut self) -> &mut Vec<SimVoicemail> {
        &mut self.voicemails
    }

    /// All rows of the dates from `first` to `last`, in the order of their start.
    pub fn rows(&self, first: Date, last: Date) -> Vec<SimCall> {
        let mut rows: Vec<SimCall> = Vec::new();
        // A leg can start on the day after its call.
        let before = first.yesterday().unwrap_or(first);
        for (_, indexes) in self.plan.days().filter(|(date, _)| (before..=last).contains(date)) {
            for index in indexes.filter(|index| self.is_planned(*index)) {
                rows.extend(self.plan.rows(index));
            }
        }
        if first <= last {
            rows.extend(self.given.range(first..=last).flat_map(|(_, day)| day.iter().cloned()));
        }
        rows.retain(|row| (first..=last).contains(&self.date(row.start)));
        rows.sort_by_cached_key(|row| (row.start, row.callid.clone()));
        rows
    }

    /// Whether any row of the dates from `first` to `last` is `wanted`.
    pub(super) fn has_row(&self, first: Date, last: Date, wanted: impl Fn(&SimCall) -> bool) -> bool {
        let days = first.yesterday().unwrap_or(first)..=last;
        let planned =
            self.plan.days().filter(|(date, _)| days.contains(date)).flat_map(|(_, indexes)| indexes);
        let mut planned = planned.filter(|index| self.is_planned(*index));
        let mut given = self.given.range(first..=last.max(first)).flat_map(|(_, rows)| rows);
        given.any(&wanted) || planned.any(|index| self.plan.rows(index).iter().any(&wanted))
    }

    /// Every row there is.
    pub fn all_rows(&self) -> Vec<SimCall> {
        self.rows(Date::MIN, Date::MAX)
    }

    /// Every call recording that the device has, listed or not, sorted by name.
    ///
    /// Hashing takes a while for a large world; hashes are remembered.
    pub fn truth(&self) -> Vec<Truth> {
        let names = self.storage.names().cloned().chain(self.planned_names());
        let names: BTreeSet<Vec<u8>> = names.collect();
        names.into_iter().filter_map(|name| self.truth_of(name)).collect()
    }

    fn planned_names(&self) -> impl Iterator<Item = Vec<u8>> {
        let indexes = (0..self.plan.recordings()).filter(|index| self.is_planned(*index));
        indexes.map(|index| self.plan.recorded(index).recording)
    }

    fn truth_of(&self, name: Vec<u8>) -> Option<Truth> {
        let Found::Audio(audio) = self.find(&name) else { return None };
        let known = lock(&self.hashes).get(&name).copied();
        let sha256 = known.unwrap_or_else(|| audio.sha256());
        lock(&self.hashes).insert(name.clone(), sha256);
        Some(Truth { name, sha256, size_bytes: audio.len() })
    }

    /// What the device has under `name`.
    pub(super) fn find(&self, name: &[u8]) -> Found {
        if self.storage.is_deleted(name) {
            return Found::Deleted;
        }
        if let Some(audio) = self.storage.get(name) {
            return Found::Audio(audio.clone());
        }
        let planned = self.plan.find(name).filter(|index| self.is_planned(*index));
        match planned.and_then(|index| self.plan.recorded(index).audio) {
            Some(audio) => Found::Audio(audio),
            None => Found::Unknown,
        }
    }

    /// The file under `name`, if there is one.
    pub(super) fn audio(&self, name: &[u8]) -> Option<SimAudio> {
        match self.find(name) {
            Found::Audio(audio) => Some(audio),
            Found::Deleted | Found::Unknown => None,
        }
    }

    /// Whether the rows of a recording follow from the plan and are stored nowhere.
    fn is_planned(&self, index: u64) -> bool {
        self.upcoming.is_none() && !self.replaced.contains(&index)
    }

    /// The messages, to read.
    pub(super) fn messages(&self) -> &[SimVoicemail] {
        &self.voicemails
    }

    /// The device's zone.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The date of a moment where the device stands.
    pub(super) fn date(&self, time: Timestamp) -> Date {
        time.to_zoned(self.zone.clone()).date()
    }
}
