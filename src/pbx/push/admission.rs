//! Who may come in: so many at a time and in a second, from one address and in all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bounds on what is received, whoever sends it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections from one address at one time.
    pub connections_per_source: usize,
    pub connections: usize,
    /// Most connections from one address in a second.
    pub per_second: u32,
    /// The longest time that a message may take.
    pub patience: Duration,
}

impl Default for Limits {
    /// A PBX opens one connection for each report, and sixty of them may share an address.
    fn default() -> Self {
        Self {
            connections_per_source: 32,
            connections: 256,
            per_second: 200,
            patience: Duration::from_secs(5),
        }
    }
}

/// Who is in. Only PBXs' addresses are ever counted, so it does not grow.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    visits: Mutex<Visits>,
}

#[derive(Debug, Default)]
struct Visits {
    open: usize,
    sources: HashMap<IpAddr, Source>,
}

#[derive(Debug)]
struct Source {
    open: usize,
    second: Instant,
    in_second: u32,
}

/// One connection that was let in; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    admission: Arc<Admission>,
    from: IpAddr,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, visits: Mutex::default() })
    }

    /// Lets a connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr, now: Instant) -> Option<Visit> {
        let mut visits = self.visits();
        let Visits { open, sources } = &mut *visits;
        let source = sources.entry(from).or_insert(Source { open: 0, second: now, in_second: 0 });
        if now.duration_since(source.second) >= Duration::from_secs(1) {
            (source.second, source.in_second) = (now, 0);
        }
        let is_room = *open < self.limits.connections && source.open < self.limits.connections_per_source;
        if !is_room || source.in_second >= self.limits.per_second {
            return None;
        }
        *open += 1;
        source.open += 1;
        source.in_second += 1;
        Some(Visit { admission: Arc::clone(self), from })
    }

    fn visits(&self) -> MutexGuard<'_, Visits> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut visits = self.admission.visits();
        visits.open -= 1;
        if let Some(source) = visits.sources.get_mut(&self.from) {
            source.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn so_many_at_a_time_from_one_address_and_in_all() {
        let limits = Limits { connections_per_source: 2, connections: 3, ..Limits::default() };
        let (admission, now) = (Admission::new(limits), Instant::now());
        let first = admission.enter(ip(1), now).unwrap();
        let _second = admission.enter(ip(1), now).unwrap();
        assert!(admission.enter(ip(1), now).is_none());
        let _third = admission.enter(ip(2), now).unwrap();
        assert!(admission.enter(ip(3), now).is_none());
        drop(first);
        assert!(admission.enter(ip(3), now).is_some());
    }

    #[test]
    fn so_many_in_a_second() {
        let (admission, now) =
            (Admission::new(Limits { per_second: 5, ..Limits::default() }), Instant::now());
        assert_eq!((0..9).filter(|_| admission.enter(ip(1), now).is_some()).count(), 5);
        assert!(admission.enter(ip(2), now).is_some());
        assert!(admission.enter(ip(1), now + Duration::from_secs(1)).is_some());
    }
}
