//! What can happen.

use callvault::simulator::Faults;
use proptest::prelude::*;

/// One thing that happens. A number names a recording: the first, the second, and so on, again from the first after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A call is made and recorded.
    Call {
        internal: bool,
    },
    /// The PBX overwrites a recording.
    Overwrite(usize),
    /// It comes back: a disk was mounted again.
    Return(usize),
    /// Another recording is found under its name.
    Replace(usize),
    /// Its row in the CDR changes.
    ChangeRow(usize),
    /// Its row vanishes from the CDR.
    DropRow(usize),
    /// The PBX begins to misbehave.
    Trouble(Trouble),
    /// It ceases to.
    Calm,
    Down,
    Up,
    /// The password in the configuration is mistyped.
    WrongPassword,
    RightPassword,
    /// Internal calls are to be kept out.
    KeepOut,
    LetIn,
    DiskFull,
    DiskFree,
    /// This machine's clock is set.
    SetClock {
        hours: i8,
    },
    Backfill,
    DryRun,
    /// A backfill is asked to end after so many requests.
    Interrupt {
        requests: u64,
    },
    /// A backfill dies after so many requests.
    Kill {
        requests: u64,
    },
    Retry,
    Verify,
    /// The database is lost, and made anew.
    Rebuild,
    /// An hourly copy of the database is made.
    Snapshot,
    /// That copy is put back, and the database is made anew, perhaps after a run.
    Restore {
        run: bool,
    },
}

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    ErrorPages,
    BrokenTransfers,
    LostTickets,
    LostSessions,
    Growing,
    StoreOffline,
    LyingLists,
    Busy,
}

impl Trouble {
    /// What the simulator is told.
    pub(crate) fn faults(self) -> Faults {
        let none = Faults::default();
        match self {
            Self::ErrorPages => Faults { json_body: 0.3, html_200: 0.3, html_503: 0.2, ..none },
            Self::BrokenTransfers => Faults { reset: 0.3, truncate: 0.3, truncate_wav_header: 0.2, ..none },
            Self::LostTickets => Faults { ticket_expired: 0.6, ..none },
            Self::LostSessions => Faults { token_revoked: 0.3, ..none },
            Self::Growing => Faults { growing_asks: 2, ..none },
            Self::StoreOffline => Faults { store_offline: true, ..none },
            Self::LyingLists => Faults {
                cdr_missing: 0.3,
                cdr_duplicate: 0.3,
                cdr_broken: 0.2,
                cdr_altered: 0.2,
                cdr_reordered: 0.5,
                ..none
            },
            Self::Busy => Faults { errno_20010: 0.3, errno_30001: 0.3, cdr_504: 0.3, ..none },
        }
    }
}

/// A sequence.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..10)
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..6usize;
    prop_oneof![
        12 => any::<bool>().prop_map(|internal| Step::Call { internal }),
        4 => which().prop_map(Step::Overwrite),
        3 => which().prop_map(Step::Return),
        2 => which().prop_map(Step::Replace),
        2 => which().prop_map(Step::ChangeRow),
        2 => which().prop_map(Step::DropRow),
        5 => trouble().prop_map(Step::Trouble),
        3 => Just(Step::Calm),
        1 => Just(Step::Down),
        2 => Just(Step::Up),
        1 => Just(Step::WrongPassword),
        2 => Just(Step::RightPassword),
        2 => Just(Step::KeepOut),
        2 => Just(Step::LetIn),
        1 => Just(Step::DiskFull),
        2 => Just(Step::DiskFree),
        3 => (-60..60i8).prop_map(|hours| Step::SetClock { hours }),
        10 => Just(Step::Backfill),
        2 => Just(Step::DryRun),
        3 => (1..12u64).prop_map(|requests| Step::Interrupt { requests }),
        5 => (1..12u64).prop_map(|requests| Step::Kill { requests }),
        4 => Just(Step::Retry),
        2 => Just(Step::Verify),
        3 => Just(Step::Rebuild),
        2 => Just(Step::Snapshot),
        2 => any::<bool>().prop_map(|run| Step::Restore { run }),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::ErrorPages),
        Just(Trouble::BrokenTransfers),
        Just(Trouble::LostTickets),
        Just(Trouble::LostSessions),
        Just(Trouble::Growing),
        Just(Trouble::StoreOffline),
        Just(Trouble::LyingLists),
        Just(Trouble::Busy),
    ]
}
