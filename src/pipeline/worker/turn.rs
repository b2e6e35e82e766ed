//! A turn among the downloads of all PBXs. One that brings next to nothing is lent to others meanwhile: a PBX that is
//! slow, hangs, or is asked slowly on purpose, takes nothing from those that are well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// A wait longer than this lends the turn; speed is looked at as often.
const PATIENCE: Duration = Duration::from_secs(1);
/// A download that is slower than this lends its turn until it is faster.
const SLOW_BYTES_S: f64 = 32.0 * 1024.0;

#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Semaphore>,
    /// `None` while it is lent.
    permit: Option<OwnedSemaphorePermit>,
    /// What came since when: the present speed.
    moved_bytes: usize,
    since: Instant,
}

impl Turn {
    /// Waits for a turn; served in order.
    pub(super) async fn take(turns: &Arc<Semaphore>) -> Self {
        let permit = permit(turns).await;
        Self { turns: Arc::clone(turns), permit, moved_bytes: 0, since: Instant::now() }
    }

    /// Waits for `work` of the PBX. If that takes long the turn is lent, and not taken back: a ticket must not wait.
    pub(super) async fn lend_if_slow<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if self.permit.is_some() {
            if let Ok(done) = timeout(PATIENCE, &mut work).await {
                return done;
            }
            self.permit = None;
        }
        work.await
    }

    /// Notes that so many bytes came, and lends the turn or takes it back as the speed demands.
    pub(super) async fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < PATIENCE {
            return;
        }
        let is_slow = (self.moved_bytes as f64) < SLOW_BYTES_S * elapsed.as_secs_f64();
        match (is_slow, &self.permit) {
            (true, _) => self.permit = None,
            (false, None) => self.permit = permit(&self.turns).await,
            (false, Some(_)) => {}
        }
        (self.moved_bytes, self.since) = (0, Instant::now());
    }
}

async fn permit(turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Some(Arc::clone(turns).acquire_owned().await.expect("the semaphore is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_lent_while_nothing_comes_and_taken_back_when_much_does() {
        let turns = Arc::new(Semaphore::new(1));
        let mut turn = Turn::take(&turns).await;
        turn.lend_if_slow(async {}).await;
        assert_eq!(turns.available_permits(), 0);
        turn.lend_if_slow(tokio::time::sleep(PATIENCE * 2)).await;
        assert_eq!(turns.available_permits(), 1);
        turn.moved(10 << 20).await;
        assert_eq!(turns.available_permits(), 0);
        turn.since -= PATIENCE;
        turn.moved(1000).await;
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn nothing_is_said_of_the_speed_of_a_moment() {
        let turns = Arc::new(Semaphore::new(1));
        let mut turn = Turn::take(&turns).await;
        turn.moved(0).await;
        assert_eq!(turns.available_permits(), 0);
    }

    #[tokio::test]
    async fn slow_is_less_than_32_kib_in_each_second() {
        let turns = Arc::new(Semaphore::new(1));
        for (kib, lent) in [(31 * 4, 1), (64 * 4, 0)] {
            let mut turn = Turn::take(&turns).await;
            turn.since -= PATIENCE * 4;
            turn.moved(kib << 10).await;
            assert_eq!(turns.available_permits(), lent, "{kib} KiB in 4 s");
        }
    }
}
