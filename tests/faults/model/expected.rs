//! The model: what the PBX has, what hinders us, and what must therefore be archived.

use std::collections::{BTreeMap, BTreeSet};

use callvault::base::digest::Digest;

use super::step::Step;

/// A recording of the PBX.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) internal: bool,
    /// Whether the PBX has it.
    pub(crate) is_there: bool,
    /// Whether a row names it.
    pub(crate) is_listed: bool,
    /// Whether any run that could ask for it was allowed to.
    pub(crate) was_allowed: bool,
    /// Whether a rebuild found its file, and nothing that vouches for it: the PBX has to show that it is its own.
    pub(crate) was_found: bool,
}

/// What callvault says of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) state: String,
    /// What its files hold, the first first.
    pub(crate) files: Vec<Digest>,
}

/// What callvault says of all.
pub(crate) type Seen = BTreeMap<String, Reported>;

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) recordings: Vec<Recording>,
    pub(crate) keep_out: bool,
    trouble: bool,
    down: bool,
    wrong_password: bool,
    disk_full: bool,
    seen: Seen,
}

impl Model {
    /// The recording that a step means, if there is any.
    pub(crate) fn find(&mut self, number: usize) -> Option<&mut Recording> {
        let count = self.recordings.len();
        self.recordings.get_mut(number.checked_rem(count)?)
    }

    /// Notes what happens outside of callvault.
    pub(crate) fn note(&mut self, step: Step) {
        match step {
            Step::Call { internal } => {
                let name = format!("call-{}.wav", self.recordings.len());
                let recording = Recording {
                    name,
                    internal,
                    is_there: true,
                    is_listed: true,
                    was_allowed: false,
                    was_found: false,
                };
                self.recordings.push(recording);
            }
            Step::Overwrite(number) => self.find(number).into_iter().for_each(|it| it.is_there = false),
            Step::Return(number) | Step::Replace(number) => {
                self.find(number).into_iter().for_each(|it| it.is_there = true);
            }
            Step::DropRow(number) => self.find(number).into_iter().for_each(|it| it.is_listed = false),
            Step::Trouble(_) => self.trouble = true,
            Step::Calm => self.trouble = false,
            Step::Down => self.down = true,
            Step::Up => self.down = false,
            Step::WrongPassword => self.wrong_password = true,
            Step::RightPassword => self.wrong_password = false,
            Step::KeepOut => self.keep_out = true,
            Step::LetIn => self.keep_out = false,
            Step::DiskFull => self.disk_full = true,
            Step::DiskFree => self.disk_full = false,
            _ => {}
        }
    }

    /// Whether nothing hinders us.
    pub(crate) fn is_well(&self) -> bool {
        !(self.trouble || self.is_blocked())
    }

    /// Whether nothing can be fetched.
    fn is_blocked(&self) -> bool {
        self.down || self.wrong_password || self.disk_full
    }

    fn is_kept_out(&self, recording: &Recording) -> bool {
        self.keep_out && recording.internal
    }

    /// Before a run: whoever may be asked for now may have been asked for ever after.
    pub(crate) fn allow(&mut self) {
        let keep_out = self.keep_out;
        for recording in &mut self.recordings {
            recording.was_allowed |= !(keep_out && recording.internal);
        }
    }

    /// What must hold after a rebuild that found so many files for which nothing vouches: their entries were not published
    /// when the state was lost. They are owed again, and no others.
    pub(crate) fn check_rebuilt(&mut self, seen: Seen, found: u64) {
        let is_owed = |name: &str| seen.get(name).is_some_and(|now| now.state != "archived");
        let was_archived = self.seen.iter().filter(|(_, before)| before.state == "archived");
        let owed: BTreeSet<String> =
            was_archived.map(|(name, _)| name.clone()).filter(|name| is_owed(name)).collect();
        assert!(owed.len() as u64 <= found, "{found} were found, and these are owed again: {owed:?}");
        for recording in self.recordings.iter_mut().filter(|recording| owed.contains(&recording.name)) {
            recording.was_found = true;
            self.seen.remove(&recording.name);
        }
        self.check(seen);
    }

    /// What must hold whatever was run: what is archived stays as it is, and nothing is archived that may not be.
    pub(crate) fn check(&mut self, seen: Seen) {
        for (name, before) in self.seen.iter().filter(|(_, told)| told.state == "archived") {
            let now = seen.get(name).unwrap_or_else(|| panic!("{name} was archived, and is unknown"));
            assert_eq!(now.state, "archived", "{name} was archived");
            assert!(now.files.starts_with(&before.files[..1]), "{name}: its file is another");
            assert!(before.files.iter().all(|file| now.files.contains(file)), "{name} has lost a file");
        }
        for (name, told) in &seen {
            let recording = self.recordings.iter().find(|recording| recording.name == *name);
            let recording = recording.unwrap_or_else(|| panic!("{name} is nothing that the PBX had"));
            let distinct: BTreeSet<&Digest> = told.files.iter().collect();
            assert_eq!(distinct.len(), told.files.len(), "{name} is doubled");
            assert_eq!(told.state == "archived", !told.files.is_empty(), "{name}");
            assert!(told.state != "excluded" || recording.internal, "{name} is kept out by no rule");
            let is_new = self.seen.get(name).is_none_or(|before| before.state != "archived");
            let is_new = is_new && !told.files.is_empty();
            assert!(!is_new || recording.was_allowed, "{name} was kept out always");
            assert!(!is_new || !self.disk_full, "{name} was archived though there is no room");
        }
        self.seen = seen;
    }

    /// What must hold after a whole backfill with nothing in its way.
    ///
    /// What was asked for before in vain may wait for its time: `retry` makes it due.
    pub(crate) fn check_complete(&self, before: &Seen) {
        for recording in self.recordings.iter().filter(|recording| recording.is_listed) {
            let name = &recording.name;
            let told = self.seen.get(name).unwrap_or_else(|| panic!("{name} is listed, and unknown"));
            let waited = before.get(name).is_some_and(|told| told.state != "excluded");
            match (told.state.as_str(), recording) {
                ("archived", _) => {}
                (state, it) if self.is_kept_out(it) => assert_eq!(state, "excluded", "{name}"),
                ("missing", it) => assert!(!it.is_there || waited, "{name} is there"),
                ("pending" | "stuck", _) => assert!(waited, "{name} is {}", told.state),
                (state, _) => panic!("{name} is {state}"),
            }
        }
    }

    /// What must hold after all that is owed was asked for, with nothing in the way.
    pub(crate) fn check_settled(&self) {
        for recording in &self.recordings {
            let name = &recording.name;
            let Some(told) = self.seen.get(name) else {
                assert!(!recording.is_listed, "{name} is listed, and unknown");
                continue;
            };
            let expected: &[&str] = match recording {
                _ if told.state == "archived" => &["archived"],
                it if self.is_kept_out(it) => &["excluded"],
                it if it.is_there => &["archived"],
                it if it.was_found => &["pending"],
                _ => &["missing"],
            };
            assert!(expected.contains(&told.state.as_str()), "{name} is {}, not {expected:?}", told.state);
        }
    }

    /// What was seen last.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether there is no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    /// Recordings that no run was ever allowed to ask for.
    pub(crate) fn never_allowed(&self) -> impl Iterator<Item = &str> {
        self.recordings.iter().filter(|recording| !recording.was_allowed).map(|recording| &*recording.name)
    }
}
