//! Time: the machine's, faster or slower, or one that tests turn by hand.

use std::fmt::Debug;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest wait at once; who waits for longer looks at the clock again.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// Simulated time, since the trainer's start.
pub trait Clock: Debug + Send + Sync + 'static {
    /// What time it is.
    fn now(&self) -> Duration;

    /// The wall clock's time at a simulated moment.
    fn wall(&self, at: Duration) -> SystemTime;

    /// How long a simulated time takes.
    fn real(&self, simulated: Duration) -> Duration;

    /// Resolves at a moment, or some time before it; never, for `None`.
    fn wait(&self, until: Option<Duration>) -> BoxFuture<'static, ()>;
}

/// Simulated time that passes `speed` times as fast as tokio's.
#[derive(Debug, Clone, Copy)]
pub struct RealClock {
    start: Instant,
    epoch: SystemTime,
    speed: f64,
}

impl RealClock {
    /// A clock that starts now. `speed`: simulated seconds in a second, > 0.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time is read")]
    pub fn new(speed: f64) -> Self {
        Self {
            start: Instant::now(),
            epoch: SystemTime::now(),
            speed: if speed.is_finite() { speed.max(1e-6) } else { 1.0 },
        }
    }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX / 4)
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        scale(self.start.elapsed(), self.speed)
    }

    fn wall(&self, at: Duration) -> SystemTime {
        self.epoch.checked_add(self.real(at)).unwrap_or(self.epoch)
    }

    fn real(&self, simulated: Duration) -> Duration {
        scale(simulated, 1.0 / self.speed)
    }

    fn wait(&self, until: Option<Duration>) -> BoxFuture<'static, ()> {
        let Some(until) = until else { return pending().boxed() };
        let left = self.real(until.saturating_sub(self.now())).min(MAX_WAIT);
        tokio::time::sleep(left).boxed()
    }
}

/// Simulated time that stands until it is told to go on. Clones share one time; wall time starts at the epoch of Unix.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Duration>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: Arc::new(watch::Sender::new(Duration::ZERO)),
        }
    }

    /// Lets time go on.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.saturating_add(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn wall(&self, at: Duration) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(at).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn real(&self, simulated: Duration) -> Duration {
        simulated
    }

    fn wait(&self, until: Option<Duration>) -> BoxFuture<'static, ()> {
        let Some(until) = until else { return pending().boxed() };
        let mut now = self.now.subscribe();
        async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                pending::<()>().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn real_time_passes_as_fast_as_it_is_told() {
        let clock = RealClock::new(60.0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.now(), Duration::from_mins(2));
        assert_eq!(clock.real(Duration::from_secs(30)), Duration::from_millis(500));
        let ahead = clock
            .wall(Duration::from_mins(1))
            .duration_since(clock.wall(Duration::ZERO));
        assert_eq!(ahead.unwrap(), Duration::from_secs(1));
        clock.wait(Some(Duration::from_mins(3))).await;
        assert!(clock.now() >= Duration::from_mins(3));
        clock.wait(Some(Duration::ZERO)).await;
        let never = tokio::time::timeout(Duration::from_hours(48), clock.wait(None)).await;
        assert!(never.is_err());
    }

    #[tokio::test]
    async fn turned_time_stands_until_it_is_turned() {
        let clock = ManualClock::new();
        let waiting = tokio::spawn(clock.wait(Some(Duration::from_secs(5))));
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
        assert_eq!(clock.now(), Duration::from_secs(5));
        clock.advance(Duration::MAX);
        assert_eq!(clock.wall(clock.now()), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn absurd_speeds_and_times_do_not_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let clock = RealClock::new(speed);
            let _ = (
                clock.now(),
                clock.real(Duration::MAX),
                clock.wall(Duration::MAX),
                clock.wait(Some(Duration::MAX)),
            );
        }
    }
}
