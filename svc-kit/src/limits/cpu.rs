//! A bound on work that computes, which must not crowd out the runtime.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Status;

use crate::status;

/// Slots for CPU work on blocking threads.
#[derive(Debug, Clone)]
pub struct CpuSlots {
    slots: Arc<Semaphore>,
}

impl CpuSlots {
    /// So many pieces of work at the same time, at least 1.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Runs CPU work on a blocking thread, once a slot is free, in the caller's span. A caller who goes away while waiting frees
    /// its place; work that has begun is finished.
    ///
    /// # Errors
    /// INTERNAL when the work panicked or the runtime ends.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|error| status::bug(&error))?;
        let span = tracing::Span::current();
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            span.in_scope(work)
        });
        task.await.map_err(|error| status::bug(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn no_more_run_than_there_are_slots() {
        let slots = CpuSlots::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let (slots, running, most) = (slots.clone(), Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(async move {
                    slots
                        .run(move || {
                            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_millis(5));
                            running.fetch_sub(1, Ordering::SeqCst);
                            number
                        })
                        .await
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().unwrap(), number);
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_panic_is_internal_and_frees_its_slot() {
        let slots = CpuSlots::new(1);
        let broken: Result<(), _> = slots.run(|| panic!("on purpose")).await;
        assert_eq!(broken.unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(slots.run(|| 7).await.unwrap(), 7);
    }
}
