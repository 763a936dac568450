//! One data size: its epochs, its steps, its early stopping, its held-out loss.

use std::time::Instant;

use super::measure::Measurement;
use super::prepare::Prepared;
use super::schedule::LearningRate;
use super::state::{Position, Tensors};
use super::tuner::{StepOutcome, StepSettings, Tuner};
use super::{Ending, Measured, Observer, Report, TrainError, Wish, evaluate};
use crate::dataset::{Batch, Batches};

/// A loss that has grown to so many times the larger of the first loss and that of guessing has exploded.
const EXPLOSION: f64 = 4.0;
/// Prefix of the best epoch's weights in a saved state.
const BEST: &str = "best/";

/// A data size while it is tuned.
pub(super) struct Stage<'p> {
    prepared: &'p Prepared<'p>,
    index: usize,
    size: usize,
    rate: LearningRate,
    steps_per_epoch: u64,
    position: Position,
    best_weights: Option<Tensors>,
    best: Option<Measurement>,
    last_saved: Instant,
}

impl<'p> Stage<'p> {
    pub(super) fn new(prepared: &'p Prepared<'p>, index: usize) -> Result<Self, TrainError> {
        let size = prepared.job.sizes.get(index).copied();
        let size = size.ok_or_else(|| TrainError::Unused(format!("size {index}")))?;
        let tuning = &prepared.job.tuning;
        let steps_per_epoch = prepared.steps_per_epoch(size);
        if size > 0 && steps_per_epoch == 0 {
            return Err(TrainError::NothingToPredict);
        }
        Ok(Self {
            rate: LearningRate {
                peak: tuning.learning_rate,
                warmup_ratio: tuning.warmup_ratio,
                schedule: tuning.schedule,
                steps: prepared.steps(size),
            },
            prepared,
            index,
            size,
            steps_per_epoch,
            position: Position {
                stage: index,
                ..Position::default()
            },
            best_weights: None,
            best: None,
            last_saved: Instant::now(),
        })
    }

    pub(super) fn prepared(&self) -> &'p Prepared<'p> {
        self.prepared
    }

    /// Which of the sizes it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Tunes from the checkpoint, or from where an earlier attempt had come.
    pub(super) fn tune(
        &mut self,
        tuner: &mut Tuner<'_>,
        observer: &mut dyn Observer,
        resumed: Option<(Position, Tensors)>,
    ) -> Result<Ending, TrainError> {
        if self.size == 0 {
            self.prepared.put_starts(tuner)?;
            return Ok(Ending::Done);
        }
        tuner.begin(self.prepared.job.tuning.accumulation > 1)?;
        match resumed {
            Some((position, tensors)) if !tensors.is_empty() => self.resume(tuner, observer, position, &tensors)?,
            _ => self.prepared.put_starts(tuner)?,
        }
        while self.position.step < self.rate.steps {
            let ending = self.epoch(tuner, observer)?;
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
        Ok(Ending::Done)
    }

    fn resume(
        &mut self,
        tuner: &mut Tuner<'_>,
        observer: &mut dyn Observer,
        position: Position,
        tensors: &Tensors,
    ) -> Result<(), TrainError> {
        tuner.restore(tensors)?;
        let best: Tensors = tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(BEST)?.to_owned(), tensor.clone())))
            .collect();
        self.best_weights = (!best.is_empty()).then_some(best);
        let text = format!("goes on after step {} of {} examples", position.step, self.size);
        observer.report(Report::Note(text));
        self.position = position;
        Ok(())
    }

    /// The rest of the epoch that the position lies in. `Some`: tuning ends here.
    fn epoch(&mut self, tuner: &mut Tuner<'_>, observer: &mut dyn Observer) -> Result<Option<Ending>, TrainError> {
        let epoch = self.position.step / self.steps_per_epoch;
        let order = self.order(epoch);
        let tuning = &self.prepared.job.tuning;
        let mut batches = Batches::new(
            &self.prepared.training,
            &order,
            tuning.batch_size,
            &self.prepared.buckets,
        );
        let done = self.position.step % self.steps_per_epoch;
        batches.skip_batches(
            usize::try_from(done)
                .unwrap_or(usize::MAX)
                .saturating_mul(tuning.accumulation),
        );
        loop {
            if observer.wish() == Wish::Pause {
                self.save(tuner, observer)?;
                return Ok(Some(Ending::Paused));
            }
            let step: Vec<Batch> = batches.by_ref().take(tuning.accumulation.max(1)).collect();
            if step.is_empty() || self.position.step >= self.rate.steps {
                break;
            }
            self.step(tuner, observer, &step)?;
            if self.last_saved.elapsed() >= self.prepared.job.checkpoint_interval {
                self.save(tuner, observer)?;
            }
        }
        self.end_epoch(tuner, observer, epoch)
    }

    /// The epoch's examples: indices of the tokenized subset.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let tuning = &self.prepared.job.tuning;
        let mut examples: Vec<usize> = (0..self.size).collect();
        if tuning.order == crate::dataset::EpochOrder::AsIs {
            // The subset lies in its permutation's order; as is means the order of the data.
            examples.sort_by_key(|&index| self.prepared.places.get(index));
            return examples;
        }
        tuning.order.epoch(&examples, tuning.seed, epoch)
    }

    fn step(&mut self, tuner: &mut Tuner<'_>, observer: &mut dyn Observer, step: &[Batch]) -> Result<(), TrainError> {
        let tuning = &self.prepared.job.tuning;
        let settings = StepSettings {
            step: self.position.step,
            learning_rate: self.rate.at(self.position.step),
            weight_decay: tuning.weight_decay,
            clip_norm: tuning.clip_norm,
            seed: tuning.seed,
        };
        let outcome = tuner.step(step, &settings, observer)?;
        self.position.step += 1;
        self.check(outcome)?;
        #[expect(clippy::cast_possible_truncation, reason = "it was computed in f32")]
        self.position.losses.push(outcome.loss as f32);
        observer.report(Report::Step {
            step: self.prepared.steps_before(self.index) + self.position.step,
            total: self.prepared.total_steps(),
            loss: outcome.loss,
            tokens: step.iter().map(|batch| batch.tokens as u64).sum(),
        });
        Ok(())
    }

    /// A loss that is no number, or has exploded, ends the run: what comes after means nothing.
    fn check(&self, outcome: StepOutcome) -> Result<(), TrainError> {
        let first = self.position.losses.first().copied().map(f64::from);
        let guessing = (self.prepared.model.decoder.vocabulary() as f64).ln();
        let exploded = first.filter(|first| outcome.loss > EXPLOSION * first.max(guessing));
        if outcome.loss.is_finite() && outcome.gradient_norm.is_finite() && exploded.is_none() {
            return Ok(());
        }
        Err(TrainError::Diverged {
            step: self.position.step,
            loss: outcome.loss,
            gradient_norm: outcome.gradient_norm,
            first: exploded,
        })
    }

    /// Early stopping: measures, keeps the best, and says whether it is time to end.
    fn end_epoch(
        &mut self,
        tuner: &mut Tuner<'_>,
        observer: &mut dyn Observer,
        epoch: u64,
    ) -> Result<Option<Ending>, TrainError> {
        let Some(patience) = self.prepared.job.tuning.patience else {
            return Ok(None);
        };
        let now = u32::try_from(epoch + 1).unwrap_or(u32::MAX);
        let measured = self.evaluate(tuner, observer)?;
        let is_better = self.position.best.is_none_or(|(loss, _)| measured.loss < loss);
        observer.report(Report::Note(format!("after epoch {now}: held-out loss {measured}")));
        if is_better {
            self.position.best = Some((measured.loss, now));
            self.best_weights = Some(tuner.weights()?);
            self.best = Some(measured);
        }
        let since = self.position.best.map_or(0, |(_, best)| now - best);
        let is_over = since >= patience || self.position.step >= self.rate.steps;
        if !is_over {
            return Ok(None);
        }
        if let Some(best) = &self.best_weights {
            for (name, tensor) in best {
                tuner.set(name, tensor)?;
            }
        }
        Ok(Some(Ending::Done))
    }

    fn evaluate(&self, tuner: &mut Tuner<'_>, observer: &mut dyn Observer) -> Result<Measurement, TrainError> {
        let prepared = self.prepared;
        evaluate(
            tuner,
            &prepared.held_out,
            &prepared.buckets,
            prepared.job.tuning.batch_size,
            observer,
        )
    }

    /// Measures and reports the held-out loss of this size.
    pub(super) fn measure(&self, tuner: &mut Tuner<'_>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let measurement = match self.best {
            Some(best) => best,
            None => self.evaluate(tuner, observer)?,
        };
        observer.report(Report::Evaluated {
            on: Measured::HeldOut,
            data_size: self.size,
            measurement,
        });
        Ok(())
    }

    fn save(&mut self, tuner: &Tuner<'_>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let mut tensors = tuner.state()?;
        for (name, tensor) in self.best_weights.iter().flatten() {
            tensors.insert(format!("{BEST}{name}"), tensor.clone());
        }
        if self.prepared.save(&self.position, &tensors)? {
            let step = self.prepared.steps_before(self.index) + self.position.step;
            observer.report(Report::Saved { step });
        }
        self.last_saved = Instant::now();
        Ok(())
    }
}
