//! A device on which calls are being made: each row appears when its call ends, filed under its start.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::call::SimCall;
use super::clock::Moment;
use super::plan::{CallPlan, add_s};
use super::world::World;

/// The rows that are still to appear, by the moment of steady time at which they do.
#[derive(Debug, Default)]
pub(super) struct Upcoming {
    rows: BTreeMap<(Timestamp, u64), Row>,
    added: u64,
}

/// A row that is still to appear.
#[derive(Debug)]
enum Row {
    /// One of the rows around a planned recording.
    Planned { index: u64, place: usize },
    /// One that was given.
    Given(Box<SimCall>),
}

impl Upcoming {
    /// All rows of a plan, as their calls end.
    pub(super) fn of(plan: &CallPlan) -> Self {
        let mut upcoming = Self::default();
        for index in 0..plan.recordings() {
            for (place, row) in plan.rows(index).iter().enumerate() {
                upcoming.add(end(row), Row::Planned { index, place });
            }
        }
        upcoming
    }

    fn add(&mut self, at: Timestamp, row: Row) {
        self.rows.insert((at, self.added), row);
        self.added += 1;
    }

    /// Whether any row appears at `steady`.
    fn is_due(&self, steady: Timestamp) -> bool {
        self.rows.first_key_value().is_some_and(|((at, _), _)| *at <= steady)
    }

    fn next(&mut self, steady: Timestamp) -> Option<(Timestamp, Row)> {
        if !self.is_due(steady) {
            return None;
        }
        self.rows.pop_first().map(|((at, _), row)| (at, row))
    }
}

/// When the call of a row ends.
fn end(row: &SimCall) -> Timestamp {
    add_s(row.start, u64::from(row.call_duration_s))
}

impl World {
    /// Whether [`World::settle`] has something to do: asked before each look at the world, for nothing runs between.
    pub(super) fn is_unsettled(&self, now: Moment) -> bool {
        self.upcoming.as_ref().is_some_and(|upcoming| upcoming.is_due(now.steady))
            || (self.upcoming.is_some() && self.is_over_limit(now))
    }

    /// Brings the world up to a moment: calls that have ended appear, and what is beyond the limits goes.
    pub(super) fn settle(&mut self, now: Moment) {
        self.now = now;
        while let Some((at, row)) = self.upcoming.as_mut().and_then(|upcoming| upcoming.next(now.steady)) {
            let row = match row {
                Row::Planned { index, place } => self.plan.rows(index).swap_remove(place),
                Row::Given(row) => {
                    self.make_room(&row);
                    *row
                }
            };
            self.file(row, add_s(at, self.ready_after_s));
        }
        if self.upcoming.is_some() {
            self.clean_up(now);
        }
    }

    /// Notes that the clock was set: calls that start from now on are stamped by it. Where nothing lives, all calls
    /// are past, and none is renamed by that.
    pub(super) fn set_clock(&mut self, now: Moment) {
        if self.is_live {
            self.plan.set_clock_error(now.steady, now.error());
        }
        self.settle(now);
    }

    /// Turns planned rows into stored ones, which the device's own clean-up can take away.
    pub(super) fn come_alive(&mut self) {
        if self.upcoming.is_some() {
            return;
        }
        let planned = (0..self.plan.recordings()).filter(|index| !self.replaced.contains(index));
        let rows: Vec<SimCall> = planned.flat_map(|index| self.plan.rows(index)).collect();
        for row in rows {
            self.file(row, Timestamp::MIN);
        }
        self.upcoming = Some(Upcoming::default());
    }

    /// Keeps a given row until its call ends; returns it if that is already so.
    pub(super) fn hold_back(&mut self, call: SimCall) -> Option<SimCall> {
        let ends = end(&call).saturating_sub(self.now.error()).unwrap_or(Timestamp::MAX);
        let is_over = ends <= self.now.steady;
        match &mut self.upcoming {
            Some(upcoming) if self.is_live && !is_over => {
                upcoming.add(ends, Row::Given(Box::new(call)));
                None
            }
            _ => Some(call),
        }
    }
}
