//! Trying again: what for, how long after, and how often at most.
//!
//! Only UNAVAILABLE with `RetryInfo` is tried again: servers send it for what a later attempt can cure, and
//! [`Transport`](super::Transport) makes it of a connection that fails or breaks. Since a connection may break after the
//! server has acted, only idempotent calls belong here. Waits are jittered, never shorter than the server asks for, and
//! never reach beyond the caller's deadline. Over all calls that share a [`Retry`], attempts beyond the first are a bounded
//! share: a service in trouble is not buried under retries.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::retry::budget::{Budget, TpsBudget};

use super::dice::Dice;
use crate::server::Call;

/// Time that a call counts for the budget.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Most of a wait that is added to what a server asks for, so that its clients do not come back all at once.
const SPREAD: f64 = 0.1;

/// How eagerly to try again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Attempts of one call, the first included; at least 1.
    pub attempts: u32,
    /// Wait before the second attempt; doubled from attempt to attempt.
    pub backoff_first: Duration,
    /// The longest own wait; a server may ask for more.
    pub backoff_last: Duration,
    /// Retries as a share of calls, 0 to 1,000.
    pub budget_ratio: f32,
    /// Retries a second that are allowed beyond that share, for clients that call rarely.
    pub budget_reserve: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff_first: Duration::from_millis(50),
            backoff_last: Duration::from_secs(5),
            budget_ratio: 0.2,
            budget_reserve: 10,
        }
    }
}

/// Tries idempotent calls again; clones share one budget.
#[derive(Clone)]
pub struct Retry {
    config: RetryConfig,
    budget: Arc<TpsBudget>,
    dice: Arc<Dice>,
}

impl Retry {
    /// With a fresh budget.
    #[must_use]
    pub fn new(config: RetryConfig) -> Self {
        // The budget's own bounds, which it would panic beyond.
        let ratio = if config.budget_ratio.is_nan() {
            0.0
        } else {
            config.budget_ratio.clamp(0.0, 1_000.0)
        };
        let reserve = config.budget_reserve.min(1_000_000);
        Self {
            config,
            budget: Arc::new(TpsBudget::new(BUDGET_WINDOW, reserve, ratio)),
            dice: Arc::new(Dice::new()),
        }
    }

    /// Never tries again.
    #[must_use]
    pub fn never() -> Self {
        Self::new(RetryConfig {
            attempts: 1,
            ..RetryConfig::default()
        })
    }

    /// A fresh sequence of waits.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            next: self.config.backoff_first,
            first: self.config.backoff_first,
            last: self.config.backoff_last,
            dice: Arc::clone(&self.dice),
        }
    }

    /// Counts a call that is no retry; [`Retry::run`] does so by itself.
    pub fn deposit(&self) {
        self.budget.deposit();
    }

    /// Takes one retry from the budget; `false`: it is used up for now.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.budget.withdraw()
    }

    /// Makes attempts until one succeeds or nothing is left to try: no retryable error, no attempt, no budget, or no time
    /// before `deadline` and before that of the call being served. The last attempt's error is returned.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn run<T, F>(&self, deadline: Option<Instant>, mut attempt: impl FnMut() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let callers = Call::current().and_then(|call| call.deadline());
        let deadline = deadline.into_iter().chain(callers).min();
        let mut backoff = self.backoff();
        self.deposit();
        for _ in 1..self.config.attempts {
            let status = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let Some(asked) = retry_delay(&status) else {
                return Err(status);
            };
            let wait = backoff.wait(asked);
            let too_late = deadline.is_some_and(|deadline| Instant::now() + wait >= deadline);
            if too_late || !self.withdraw() {
                return Err(status);
            }
            tracing::debug!(?wait, reason = status.message(), "trying again");
            tokio::time::sleep(wait).await;
        }
        attempt().await
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new(RetryConfig::default())
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Waits that double, with jitter: between half of the step and all of it.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    last: Duration,
    dice: Arc<Dice>,
}

impl Backoff {
    /// Doubling from `first` to `last`.
    #[must_use]
    pub fn new(first: Duration, last: Duration) -> Self {
        Self {
            next: first,
            first,
            last,
            dice: Arc::new(Dice::new()),
        }
    }

    /// The next wait, at least as long as the other side asks for (zero: it asks for nothing).
    pub fn wait(&mut self, asked: Duration) -> Duration {
        let step = self.next.min(self.last);
        self.next = (self.next * 2).min(self.last);
        let own = step.mul_f64(0.5 + 0.5 * self.dice.unit());
        // Whatever a server asks for, an hour is long enough, and never overflows a clock.
        let asked = asked.min(Duration::from_hours(1));
        own.max(asked.mul_f64(1.0 + SPREAD * self.dice.unit()))
    }

    /// Begins anew, after something went well.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// How long a client should wait before it tries again; `None`: it should not.
#[must_use]
pub fn retry_delay(status: &Status) -> Option<Duration> {
    if status.code() != Code::Unavailable {
        return None;
    }
    let info = status.get_error_details().retry_info()?.clone();
    Some(info.retry_delay.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::status;

    fn busy(delay: Duration) -> Status {
        status::unavailable("OVERLOADED", "busy", delay)
    }

    /// Runs attempts that fail until the n-th; returns the outcome and how many were made.
    async fn attempts(retry: &Retry, deadline: Option<Instant>, n: u32, error: Status) -> (Result<(), Status>, u32) {
        let made = Cell::new(0);
        let outcome = retry
            .run(deadline, || {
                made.set(made.get() + 1);
                let done = made.get() >= n;
                let error = error.clone();
                async move { if done { Ok(()) } else { Err(error) } }
            })
            .await;
        (outcome, made.get())
    }

    #[tokio::test(start_paused = true)]
    async fn only_unavailable_with_retry_info_is_tried_again() {
        let retry = Retry::default();
        let (outcome, made) = attempts(&retry, None, 3, busy(Duration::ZERO)).await;
        assert!(outcome.is_ok() && made == 3, "{outcome:?} {made}");
        for error in [
            Status::unavailable("no RetryInfo"),
            status::deadline_exceeded("late"),
            Status::internal("bug"),
            Status::aborted("stale"),
        ] {
            let (outcome, made) = attempts(&retry, None, 3, error).await;
            assert!(outcome.is_err() && made == 1, "{outcome:?} {made}");
        }
        let (outcome, made) = attempts(&retry, None, 100, busy(Duration::ZERO)).await;
        assert!(outcome.is_err() && made == RetryConfig::default().attempts);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_as_long_as_asked_for_and_end_before_the_deadline() {
        let retry = Retry::default();
        let started = Instant::now();
        let (outcome, _) = attempts(&retry, None, 2, busy(Duration::from_secs(7))).await;
        let waited = started.elapsed();
        assert!(outcome.is_ok());
        assert!((7.0..=7.71).contains(&waited.as_secs_f64()), "{waited:?}");

        let started = Instant::now();
        let deadline = Some(Instant::now() + Duration::from_secs(5));
        let (outcome, made) = attempts(&retry, deadline, 2, busy(Duration::from_secs(7))).await;
        assert!(outcome.is_err() && made == 1, "there is no time for a second one");
        assert_eq!(started.elapsed(), Duration::ZERO, "and no use in waiting");

        let mut headers = http::HeaderMap::new();
        headers.insert("grpc-timeout", http::HeaderValue::from_static("5S"));
        let call = Call::from_headers(&headers);
        let (_, made) = call
            .scope(attempts(&retry, None, 2, busy(Duration::from_secs(7))))
            .await;
        assert_eq!(made, 1, "the deadline of the call being served counts");
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_bounds_retries_to_a_share_of_calls() {
        let retry = Retry::new(RetryConfig {
            budget_ratio: 0.1,
            budget_reserve: 1,
            backoff_first: Duration::from_micros(1),
            backoff_last: Duration::from_micros(1),
            ..RetryConfig::default()
        });
        let mut retries = 0;
        for _ in 0..1_000 {
            let (outcome, made) = attempts(&retry, None, 100, busy(Duration::ZERO)).await;
            assert!(outcome.is_err());
            retries += made - 1;
        }
        // A tenth of 1,000 calls, and 1 a second in the window of 10 s.
        assert!((100..=111).contains(&retries), "{retries} retries");
    }

    #[test]
    fn waits_double_with_jitter_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for step in [100, 200, 400, 400, 400] {
            let wait = backoff.wait(Duration::ZERO).as_millis();
            assert!((step / 2..=step).contains(&wait), "{wait} of {step}");
        }
        backoff.reset();
        assert!(backoff.wait(Duration::ZERO) <= Duration::from_millis(100));
        assert!(
            backoff.wait(Duration::MAX) <= Duration::from_hours(2),
            "no absurd wait, no overflow"
        );
    }

    #[test]
    fn absurd_settings_do_not_panic() {
        for (budget_ratio, budget_reserve) in [(f32::NAN, u32::MAX), (-1.0, 0), (f32::INFINITY, u32::MAX)] {
            let retry = Retry::new(RetryConfig {
                budget_ratio,
                budget_reserve,
                ..RetryConfig::default()
            });
            retry.deposit();
            let _ = retry.withdraw();
        }
    }
}
