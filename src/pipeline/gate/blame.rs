//! Whose failure it is: that of the thing that was asked for, or the PBX's. Decisions only, tested as a table.
//!
//! An error about the way to the PBX or our account there is the PBX's at once, whatever was asked. Any other is that
//! of its item (one recording, day, box or message), until different items fail alike with no success in between. Were
//! it the other way round, one bad item, asked for first each time, would keep all others from being asked for.

use jiff::civil::Date;

use crate::pbx::{PbxError, Reason};

/// Different items in a row that fail alike before the PBX is at fault, once it has answered anything well.
const CONFIRMED_BY: usize = 8;
/// The same while it has answered nothing well yet, or does not say who it is: then nothing speaks for the PBX.
const CONFIRMED_AT_FIRST_BY: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Who the PBX is, and where its reports go.
    Device,
    Day(Date),
    Recording(i64),
    Boxes,
    Mailbox(String),
    Message(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The item's: it costs the item an attempt, and the next item is asked for.
    Item,
    /// The PBX's: it pauses the PBX, and costs no item anything.
    Pbx,
}

impl Item {
    /// Whether it lists others, and is no audio itself.
    fn is_list(&self) -> bool {
        matches!(self, Self::Day(_) | Self::Boxes | Self::Mailbox(_))
    }

    /// Whether both are of one kind: that one of them is answered well then clears the other.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The row of the queue that its attempts are counted in.
    fn row(&self) -> Option<i64> {
        match self {
            Self::Recording(id) | Self::Message(id) => Some(*id),
            Self::Device | Self::Day(_) | Self::Boxes | Self::Mailbox(_) => None,
        }
    }
}

/// Failures that may be one and the same fault of the PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// No answer at all.
    Silent,
    /// The web server answers, and what is behind it does not.
    Unwell,
    /// Any other answer, by its class.
    Alike(Reason),
}

impl Class {
    /// What `error` may be a case of; `None` where it can only be about this `item`.
    fn of(error: &PbxError, item: &Item) -> Option<Self> {
        match error.reason() {
            _ if error.is_unanswered() => Some(Self::Silent),
            _ if error.is_unwell() => Some(Self::Unwell),
            reason @ (Reason::Redirect
            | Reason::Unsupported
            | Reason::Http(_)
            | Reason::Errno(_)
            | Reason::UnknownErrno(_)
            | Reason::HtmlBody) => Some(Self::Alike(reason)),
            // Lists that cannot be read are lists that were given.
            reason @ (Reason::Protocol | Reason::EmptyBody) if !item.is_list() => Some(Self::Alike(reason)),
            // A transfer that broke off had begun, and what came may be all there is.
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspect {
    item: Item,
    class: Class,
    /// As the queue keeps it.
    reason: Reason,
    /// Attempts that these failures have cost it.
    attempts: u32,
}

/// Attempts that a row of the queue is to get back, and the reason for which they were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refund {
    pub(super) row: i64,
    pub(super) reason: String,
    pub(super) attempts: u32,
}

/// The items that failed since one like them was answered well.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    suspects: Vec<Suspect>,
    /// Whether the PBX has answered anything well.
    has_answered: bool,
    /// Whether it did not even say who it is, and has answered nothing well since.
    is_mute: bool,
}

/// A decision, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It costs the item an attempt.
    Item,
    /// So many different items failed in this way: it is the PBX's failure, and what it cost them, this one included, is
    /// given back.
    Confirmed { items: usize, refunds: Vec<Refund> },
    /// It is the PBX's failure whatever was asked.
    AtOnce,
}

impl Suspects {
    /// Notes that `item` was answered well. Audio that arrives clears the lists too, but not the other way round: a PBX
    /// that lists its calls may deliver none of them.
    pub(super) fn clear(&mut self, item: &Item) {
        (self.has_answered, self.is_mute) = (true, false);
        let is_audio = matches!(item, Item::Recording(_) | Item::Message(_));
        let clears = |suspect: &Item| suspect.is_like(item) || is_audio && suspect.is_list();
        self.suspects.retain(|suspect| !clears(&suspect.item));
    }

    /// Decides whose failure it is that `item` failed.
    pub(super) fn judge(&mut self, item: &Item, error: &PbxError) -> Verdict {
        if error.policy().concerns_pbx() {
            return Verdict::AtOnce;
        }
        let Some(class) = Class::of(error, item) else { return Verdict::Item };
        self.is_mute |= *item == Item::Device && matches!(class, Class::Silent | Class::Unwell);
        let needed = if self.has_answered && !self.is_mute { CONFIRMED_BY } else { CONFIRMED_AT_FIRST_BY };
        let is_other = |suspect: &&Suspect| suspect.class == class && suspect.item != *item;
        let items = 1 + self.suspects.iter().filter(is_other).count();
        let is_confirmed = items >= needed;
        self.charge(item, class, error.reason());
        if !is_confirmed {
            return Verdict::Item;
        }
        let alike = self.suspects.iter_mut().filter(|suspect| suspect.class == class);
        Verdict::Confirmed { items, refunds: alike.filter_map(Suspect::refund).collect() }
    }

    /// Counts what a failure cost. One that failed for another reason before fails for this one now.
    fn charge(&mut self, item: &Item, class: Class, reason: Reason) {
        let at = self.suspects.iter().position(|suspect| suspect.item == *item);
        let before = at.map(|at| self.suspects.swap_remove(at));
        let kept = before.filter(|before| before.reason == reason).map_or(0, |before| before.attempts);
        self.suspects.push(Suspect { item: item.clone(), class, reason, attempts: kept + 1 });
    }
}

impl Suspect {
    /// What it gets back; nothing twice.
    fn refund(&mut self) -> Option<Refund> {
        let attempts = std::mem::take(&mut self.attempts);
        let row = self.item.row().filter(|_| attempts > 0)?;
        Some(Refund { row, reason: self.reason.to_string(), attempts })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::pbx::Policy;

    fn failed(policy: Policy, reason: Reason) -> PbxError {
        let error = PbxError::new("hq", policy, reason, "");
        let is_unwell = matches!(reason, Reason::Http(500..=599) | Reason::Errno(20010));
        if is_unwell { error.of_one_unwell() } else { error }
    }

    fn day(number: i8) -> Item {
        Item::Day(date(2024, 3, number))
    }

    /// Verdicts on one failure of each of these items after the other; `true` is the PBX's.
    fn verdicts(suspects: &mut Suspects, items: &[Item], failed: &PbxError) -> Vec<bool> {
        items.iter().map(|item| suspects.judge(item, failed) != Verdict::Item).collect()
    }

    fn recordings(count: i64) -> Vec<Item> {
        (1..=count).map(Item::Recording).collect()
    }

    #[test]
    fn a_pbx_that_does_not_even_say_who_it_is_is_down_after_three() {
        let silent = &failed(Policy::Retry, Reason::Timeout);
        let mut suspects = Suspects::default();
        suspects.clear(&day(1));
        assert_eq!(verdicts(&mut suspects, &[Item::Device, day(2), day(3)], silent), [false, false, true]);
        let mut suspects = Suspects::default();
        suspects.clear(&day(1));
        assert_eq!(verdicts(&mut suspects, &[day(2), day(3), day(4)], silent), [false, false, false]);
        suspects.judge(&Item::Device, silent);
        suspects.clear(&Item::Recording(1));
        assert_eq!(verdicts(&mut suspects, &[day(2), day(3), day(4)], silent), [false, false, false]);
    }

    #[test]
    fn what_concerns_the_way_or_the_account_is_the_pbxs_at_once() {
        use Policy::{Operator, PausePbx, WaitOutLockout};
        for (policy, reason) in [
            (PausePbx, Reason::Dns),
            (PausePbx, Reason::Refused),
            (PausePbx, Reason::Unreachable),
            // A login, whatever became of it.
            (PausePbx, Reason::Timeout),
            (Operator, Reason::PasswordRefused),
            (Operator, Reason::TlsPinMismatch),
            (Operator, Reason::TlsUnknownCertificate),
            (Operator, Reason::TlsHandshake),
            (Operator, Reason::NotHttps),
            (WaitOutLockout, Reason::LockedOut),
        ] {
            let verdict = Suspects::default().judge(&Item::Recording(1), &failed(policy, reason));
            assert_eq!(verdict, Verdict::AtOnce, "{policy:?} {reason}");
        }
    }

    #[test]
    fn one_item_is_never_the_pbx_however_often_it_fails_and_eight_are() {
        use Policy::{Retry, Unconfirmed};
        for (policy, reason) in [
            (Unconfirmed, Reason::Redirect),
            (Unconfirmed, Reason::Unsupported),
            (Unconfirmed, Reason::Errno(20015)),
            (Retry, Reason::Errno(99999)),
            (Retry, Reason::Timeout),
            (Retry, Reason::Http(500)),
            (Retry, Reason::Http(404)),
            (Retry, Reason::HtmlBody),
            (Retry, Reason::EmptyBody),
            (Retry, Reason::Protocol),
        ] {
            let failed = &failed(policy, reason);
            let mut suspects = Suspects::default();
            suspects.clear(&Item::Device);
            let alone = verdicts(&mut suspects, &vec![Item::Recording(1); 100], failed);
            assert!(!alone.contains(&true), "{reason}");
            let told = verdicts(&mut suspects, &recordings(9), failed);
            assert_eq!(told, [false, false, false, false, false, false, false, true, true], "{reason}");
        }
    }

    #[test]
    fn what_can_only_be_about_the_item_is_never_the_pbxs() {
        use Policy::{Empty, LogIn, NewTicket, NotThere, Retry};
        for (policy, reason) in [
            (NotThere, Reason::Missing),
            (NewTicket, Reason::Ticket),
            (LogIn, Reason::Errno(20006)),
            (Empty, Reason::Errno(20021)),
            (Retry, Reason::Truncated),
            (Retry, Reason::Oversize),
            (Retry, Reason::Stall),
            (Retry, Reason::NotAudio),
        ] {
            let failed = &failed(policy, reason);
            let told = verdicts(&mut Suspects::default(), &recordings(20), failed);
            assert!(failed.policy().is_an_answer() || !told.contains(&true), "{policy:?} {reason}");
        }
        // A list that cannot be read was given.
        let days: Vec<Item> = (1..20).map(day).collect();
        let told = verdicts(&mut Suspects::default(), &days, &failed(Retry, Reason::Protocol));
        assert!(!told.contains(&true));
    }

    #[test]
    fn a_pbx_that_has_answered_nothing_well_is_at_fault_at_the_third_item() {
        let silent = &failed(Policy::Retry, Reason::Timeout);
        let items = [Item::Device, day(1), day(1), Item::Recording(1)];
        assert_eq!(verdicts(&mut Suspects::default(), &items, silent), [false, false, false, true]);
    }

    #[test]
    fn a_success_in_between_clears_those_of_its_kind_and_audio_clears_lists() {
        let redirected = &failed(Policy::Unconfirmed, Reason::Redirect);
        let seven = recordings(7);
        for (answered, is_cleared) in
            [(Item::Recording(99), true), (day(1), false), (Item::Device, false), (Item::Boxes, false)]
        {
            let mut suspects = Suspects::default();
            suspects.clear(&Item::Device);
            verdicts(&mut suspects, &seven, redirected);
            suspects.clear(&answered);
            let told = suspects.judge(&Item::Recording(8), redirected);
            assert_eq!(told == Verdict::Item, is_cleared, "{answered:?}");
        }
        let mut suspects = Suspects::default();
        suspects.clear(&Item::Device);
        verdicts(&mut suspects, &(1..8).map(day).collect::<Vec<_>>(), redirected);
        suspects.clear(&Item::Recording(1));
        assert_eq!(suspects.judge(&day(9), redirected), Verdict::Item);
    }

    #[test]
    fn failures_of_different_classes_do_not_confirm_each_other_and_those_of_a_pbx_that_is_unwell_do() {
        let mut suspects = Suspects::default();
        let reasons = [Reason::Redirect, Reason::Errno(1), Reason::Timeout, Reason::Http(404)];
        for (item, reason) in recordings(20).iter().zip(reasons.iter().cycle()).take(8) {
            assert_eq!(suspects.judge(item, &failed(Policy::Retry, *reason)), Verdict::Item);
        }
        let mut suspects = Suspects::default();
        let unwell = [Reason::Http(502), Reason::Errno(20010), Reason::Http(504)];
        let told: Vec<bool> = recordings(3)
            .iter()
            .zip(unwell)
            .map(|(item, reason)| suspects.judge(item, &failed(Policy::Retry, reason)) != Verdict::Item)
            .collect();
        assert_eq!(told, [false, false, true]);
    }

    #[test]
    fn what_a_fault_of_the_pbx_cost_is_given_back_once() {
        let silent = &failed(Policy::Retry, Reason::Timeout);
        let mut suspects = Suspects::default();
        let items = [Item::Recording(1), Item::Recording(1), day(1), Item::Message(2), Item::Recording(3)];
        let told: Vec<Verdict> = items.iter().map(|item| suspects.judge(item, silent)).collect();
        let refund = |row, attempts| Refund { row, reason: "timeout".to_owned(), attempts };
        assert_eq!(told[3], Verdict::Confirmed { items: 3, refunds: vec![refund(1, 2), refund(2, 1)] });
        assert_eq!(told[4], Verdict::Confirmed { items: 4, refunds: vec![refund(3, 1)] });
    }
}
