//! Who is connected, and which connection gives way to a new one.
//!
//! Idle connections give way: first those that were answered, then those that have asked nothing yet, each time the oldest.
//! Requests in progress are bounded in number, so that there is always a connection that can give way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::limits::Source;

/// Idle connections: they have sent no whole request yet, or were answered.
const QUIET_MAX: usize = 256;
/// Of these, those of one source.
const QUIET_OF_ONE_MAX: usize = 128;
/// Requests in progress, except those about health.
const ANSWERED_MAX: usize = 32;
/// Of these, those of one source: fewer than may wait for entries. This machine is exempt: a proxy on it speaks for many.
const ANSWERED_OF_ONE_MAX: usize = 12;
const HEALTH_MAX: usize = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<House>>);

#[derive(Debug, Default)]
struct House {
    /// Counts connections as they become idle.
    count: u64,
    /// The idle connections in the order in which they give way, each with what ends it.
    quiet: BTreeMap<Turn, (Source, CancellationToken)>,
    /// The requests in progress.
    answered: Vec<(Source, About)>,
}

/// When an idle connection gives way: answered ones first, then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    has_asked_nothing: bool,
    number: u64,
}

/// What a request is about: it decides which places the request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Health has places of its own.
    Health,
    Other,
}

/// A connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Guests,
    pub(super) source: Source,
    /// Cancelled when it has to give way.
    pub(super) end: CancellationToken,
    /// Its place among the idle ones; none while a request is in progress.
    turn: Mutex<Option<Turn>>,
}

#[derive(Debug)]
pub(super) struct Answering {
    guest: Arc<Guest>,
    about: About,
}

impl Guests {
    /// Admits a connection, which is idle. If there are too many, another one ends.
    pub(super) fn admit(&self, source: Source) -> Arc<Guest> {
        let end = CancellationToken::new();
        let turn = self.with(|house| house.seat(source, true, end.clone()));
        Arc::new(Guest { guests: self.clone(), source, end, turn: Mutex::new(Some(turn)) })
    }

    fn with<T>(&self, work: impl FnOnce(&mut House) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl House {
    /// Adds an idle connection, and ends another if there are too many.
    fn seat(&mut self, source: Source, has_asked_nothing: bool, end: CancellationToken) -> Turn {
        let of_his = self.quiet.values().filter(|(other, _)| *other == source).count();
        if of_his >= QUIET_OF_ONE_MAX {
            self.end_next_of(source);
        } else if self.quiet.len() >= QUIET_MAX {
            self.end_next_of(self.fullest());
        }
        self.count += 1;
        let turn = Turn { has_asked_nothing, number: self.count };
        self.quiet.insert(turn, (source, end));
        turn
    }

    fn end_next_of(&mut self, source: Source) {
        let next = self.quiet.iter().find(|(_, (other, _))| *other == source).map(|(turn, _)| *turn);
        if let Some((_, end)) = next.and_then(|turn| self.quiet.remove(&turn)) {
            end.cancel();
        }
    }

    /// The source with the most idle connections.
    fn fullest(&self) -> Source {
        let mut counts: BTreeMap<Source, usize> = BTreeMap::new();
        self.quiet.values().for_each(|(source, _)| *counts.entry(*source).or_default() += 1);
        let fullest = counts.into_iter().max_by_key(|(_, count)| *count);
        fullest.map(|(source, _)| source).expect("it is asked only when there are many")
    }

    /// Whether one more request may be answered; if so, counts it.
    fn begin(&mut self, source: Source, about: About) -> bool {
        let alike = self.answered.iter().filter(|(_, other)| *other == about);
        let (total, of_his) = (alike.clone().count(), alike.filter(|(other, _)| *other == source).count());
        let has_room = match about {
            About::Health => total < HEALTH_MAX,
            About::Other => {
                total < ANSWERED_MAX && (of_his < ANSWERED_OF_ONE_MAX || source.is_this_machine())
            }
        };
        if has_room {
            self.answered.push((source, about));
        }
        has_room
    }

    fn finish(&mut self, source: Source, about: About) {
        let begun = self.answered.iter().position(|one| *one == (source, about));
        self.answered.swap_remove(begun.expect("what is finished was begun"));
    }
}

impl Guest {
    /// Begins to answer a request; the connection gives way to nobody until the result is dropped. None if all places are
    /// taken.
    pub(super) fn begin(self: &Arc<Self>, about: About) -> Option<Answering> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.guests.with(|house| {
            let begun = house.begin(self.source, about);
            if begun && let Some(turn) = turn.take() {
                house.quiet.remove(&turn);
            }
            begun
        });
        begun.then(|| Answering { guest: Arc::clone(self), about })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let guest = &self.guest;
        let mut turn = guest.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = guest.guests.with(|house| {
            house.finish(guest.source, self.about);
            Some(house.seat(guest.source, false, guest.end.clone()))
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.guests.with(|house| house.quiet.remove(&turn));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: usize) -> Source {
        Source::of(std::net::IpAddr::from([192, 0, 2, u8::try_from(number).unwrap()]))
    }

    fn ended(guests: &[Arc<Guest>]) -> Vec<usize> {
        guests.iter().enumerate().filter(|(_, guest)| guest.end.is_cancelled()).map(|(at, _)| at).collect()
    }

    #[test]
    fn of_a_source_who_was_answered_gives_way_first_and_then_the_oldest_who_has_asked_nothing() {
        let guests = Guests::default();
        let admitted: Vec<_> = (0..QUIET_OF_ONE_MAX).map(|_| guests.admit(source(1))).collect();
        let answering = admitted[0].begin(About::Other).unwrap();
        let _new = guests.admit(source(1));
        assert!(ended(&admitted).is_empty(), "one of them is answered");
        let _another = guests.admit(source(1));
        assert_eq!(ended(&admitted), [1]);
        drop(answering);
        assert_eq!(ended(&admitted), [1, 2]);
        // Who was answered is quiet again, and gives way before who waits for his request to be read.
        let _third = guests.admit(source(1));
        assert_eq!(ended(&admitted), [0, 1, 2]);
    }

    #[test]
    fn a_source_with_many_connections_gives_way_to_others() {
        let guests = Guests::default();
        let few: Vec<_> = (0..56).map(|_| guests.admit(source(1))).collect();
        let many: Vec<_> =
            (0..200).map(|number| guests.admit(source(2 + number / QUIET_OF_ONE_MAX))).collect();
        let _new: Vec<_> = (0..3).map(|_| guests.admit(source(9))).collect();
        assert!(ended(&few).is_empty());
        assert_eq!(ended(&many), [0, 1, 2]);
    }

    #[test]
    fn one_source_takes_some_of_the_places_and_none_of_those_for_health() {
        let guests = Guests::default();
        let begin = |number, about| guests.admit(source(number)).begin(about);
        let first: Vec<_> = (0..20).filter_map(|_| begin(1, About::Other)).collect();
        assert_eq!(first.len(), ANSWERED_OF_ONE_MAX);
        let others: Vec<_> = (2..40).filter_map(|number| begin(number, About::Other)).collect();
        assert_eq!(first.len() + others.len(), ANSWERED_MAX);
        let health: Vec<_> = (0..20).filter_map(|_| begin(1, About::Health)).collect();
        assert_eq!(health.len(), HEALTH_MAX);
        drop((first, others, health));
        assert!(begin(1, About::Other).is_some());
        assert!(guests.with(|house| house.answered.is_empty() && house.quiet.is_empty()));
    }
}
