//! How fast a PBX answers, compared with what is usual of it: pure, so that a table can test it.
//!
//! Only requests for tickets are compared: they are alike, small, and the most frequent. A PBX that is busy with calls
//! answers them later; then we ask less, in proportion, until it is well again.

use std::collections::VecDeque;
use std::time::Duration;

/// Answers that make up the present, and that must be known before anything is judged. Their median decides, so that
/// one or two slow answers mean nothing.
const RECENT: usize = 5;
/// So many times the usual time is slow, and so many times is well again.
const SLOW_TIMES: f64 = 4.0;
const WELL_TIMES: f64 = 2.0;
/// A PBX that usually answers faster than this is not slow because it answers like this.
const USUAL_LEAST_S: f64 = 0.1;
/// How much of an answer goes into the usual time, and how much of a late one: so little that being late does not become
/// the usual before it is noticed, but a change that lasts does, after some hundred answers.
const LEARN: f64 = 0.05;
const LEARN_LATE: f64 = 0.002;
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pace {
    usual_s: Option<f64>,
    recent_s: VecDeque<f64>,
    is_slow: bool,
}

impl Pace {
    /// Notes how long an answer took to come.
    pub fn note(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        self.recent_s.push_back(took_s);
        if self.recent_s.len() < RECENT {
            return;
        }
        self.recent_s.drain(..self.recent_s.len() - RECENT);
        let recent_s = median(&self.recent_s);
        let usual_s = self.usual_s.get_or_insert(recent_s);
        // A single answer of minutes must not make all that follows look fast.
        let learnt_s = took_s.min(*usual_s * SLOW_TIMES);
        let is_late = self.is_slow || took_s > usual_s.max(USUAL_LEAST_S) * WELL_TIMES;
        *usual_s += (learnt_s - *usual_s) * if is_late { LEARN_LATE } else { LEARN };
        let times = recent_s / usual_s.max(USUAL_LEAST_S);
        self.is_slow = times >= if self.is_slow { WELL_TIMES } else { SLOW_TIMES };
    }

    /// Whether it has answered several times as slowly as usual for a while: then one connection is enough.
    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// What is usual of it; `None` until that is known.
    pub fn usual(&self) -> Option<Duration> {
        self.usual_s.map(Duration::from_secs_f64)
    }

    /// How long its answers take at present; `None` until that is known.
    pub fn recent(&self) -> Option<Duration> {
        (self.recent_s.len() >= RECENT).then(|| Duration::from_secs_f64(median(&self.recent_s)))
    }

    /// How long to leave it alone between two requests: as long as it is late.
    pub fn pause(&self) -> Duration {
        match (self.is_slow, self.recent(), self.usual()) {
            (true, Some(recent), Some(usual)) => recent.saturating_sub(usual).min(PAUSE_MAX),
            _ => Duration::ZERO,
        }
    }
}

fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers_ms: &[(usize, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (count, ms) in answers_ms {
            (0..*count).for_each(|_| pace.note(Duration::from_millis(*ms)));
        }
        pace
    }

    #[test]
    fn slow_is_several_times_the_usual_for_a_while() {
        // (answers: how many, ms each), whether that is slow, and the pause in ms, to 10.
        type Row = (&'static [(usize, u64)], bool, u128);
        let table: [Row; 13] = [
            (&[], false, 0),
            (&[(4, 5000)], false, 0),
            // Slow from the first is what is usual of it.
            (&[(50, 3000)], false, 0),
            (&[(20, 200)], false, 0),
            (&[(20, 200), (2, 5000)], false, 0),
            (&[(20, 200), (3, 2000)], true, 1800),
            (&[(20, 200), (3, 700)], false, 0),
            (&[(20, 200), (1, 5000), (4, 200), (1, 5000)], false, 0),
            // A local network answers in a millisecond, and 300 are no reason to worry.
            (&[(20, 1), (20, 300)], false, 0),
            (&[(20, 1), (5, 800)], true, 790),
            (&[(20, 200), (10, 60_000)], true, 10_000),
            // Half way back is not well; all the way is.
            (&[(20, 200), (5, 2000), (10, 700)], true, 490),
            (&[(20, 200), (5, 2000), (3, 250)], false, 0),
        ];
        for (answers, slow, pause_ms) in table {
            let pace = after(answers);
            assert_eq!(pace.is_slow(), slow, "{answers:?}: {pace:?}");
            assert!(pace.pause().as_millis().abs_diff(pause_ms) <= 60, "{answers:?}: {:?}", pace.pause());
        }
    }

    #[test]
    fn a_change_that_lasts_becomes_the_usual() {
        let pace = after(&[(20, 200), (100, 1000)]);
        assert!(pace.is_slow(), "{pace:?}");
        let pace = after(&[(20, 200), (1000, 1000)]);
        assert!(!pace.is_slow(), "{pace:?}");
    }
}
