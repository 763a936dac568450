//! Learning-rate schedules: pure functions of the step, so that a resumed run goes on as if nothing had happened.

use thiserror::Error;

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Stays at the peak.
    Constant,
    /// Falls linearly to zero, which the step after the last would reach.
    #[default]
    Linear,
    /// Falls as half a cosine to zero.
    Cosine,
}

/// There is no such schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no schedule {0:?}; there are constant, linear and cosine")]
pub struct UnknownSchedule(pub String);

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Constant, Self::Linear, Self::Cosine];

    /// The name in contracts and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }

    /// The schedule of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn from_name(name: &str) -> Result<Self, UnknownSchedule> {
        Self::ALL
            .into_iter()
            .find(|schedule| schedule.name() == name)
            .ok_or_else(|| UnknownSchedule(name.to_owned()))
    }
}

/// A schedule over a number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    /// Highest rate, > 0.
    pub peak: f64,
    /// Share of the steps in which the rate rises linearly from zero, in [0, 1].
    pub warmup_ratio: f64,
    /// What comes after.
    pub schedule: Schedule,
    /// Steps in all.
    pub steps: u64,
}

impl LearningRate {
    /// Steps of the warm-up: the share, rounded up (as transformers does).
    #[must_use]
    pub fn warmup_steps(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share in [0, 1] of the steps lies between 0 and the steps"
        )]
        let steps = (self.warmup_ratio.clamp(0.0, 1.0) * self.steps as f64).ceil() as u64;
        steps.min(self.steps)
    }

    /// The rate of a step, counted from 0; the factors are those of `transformers.get_scheduler`.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        let warmup = self.warmup_steps();
        if step < warmup {
            return self.peak * step as f64 / warmup as f64;
        }
        let share = (step - warmup) as f64 / (self.steps - warmup).max(1) as f64;
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - share,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
        };
        self.peak * factor.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rates_are_those_of_transformers() {
        let rate = |schedule, step| {
            LearningRate {
                peak: 2.0,
                warmup_ratio: 0.25,
                schedule,
                steps: 8,
            }
            .at(step)
        };
        // transformers.get_scheduler(name, optimizer with lr 2, num_warmup_steps=2, num_training_steps=8)
        let linear = [0.0, 1.0, 2.0, 1.666_666_666_666_666_7, 1.333_333_333_333_333_3, 1.0];
        let cosine = [0.0, 1.0, 2.0, 1.866_025_403_784_438_6, 1.5, 1.0];
        for step in 0..6_u64 {
            let i = usize::try_from(step).unwrap();
            assert!((rate(Schedule::Linear, step) - linear[i]).abs() < 1e-12);
            assert!((rate(Schedule::Cosine, step) - cosine[i]).abs() < 1e-12);
            assert!((rate(Schedule::Constant, step) - linear[i].max(if step < 2 { 0.0 } else { 2.0 })).abs() < 1e-12);
        }
    }

    proptest! {
        #[test]
        fn rates_stay_between_zero_and_the_peak_and_rise_then_fall(
            steps in 1_u64..500, warmup_ratio in 0.0..=1.0_f64, which in 0_usize..3,
        ) {
            let rate = LearningRate { peak: 0.1, warmup_ratio, schedule: Schedule::ALL[which], steps };
            let warmup = rate.warmup_steps();
            let mut last = -1.0;
            for step in 0..steps {
                let now = rate.at(step);
                prop_assert!((0.0..=0.1).contains(&now));
                if step < warmup { prop_assert!(now > last); } else if step > warmup { prop_assert!(now <= last); }
                last = now;
            }
            prop_assert!(warmup == steps || (rate.at(warmup) - 0.1).abs() < 1e-15);
        }

        #[test]
        fn names_and_schedules_belong_together(which in 0_usize..3) {
            let schedule = Schedule::ALL[which];
            prop_assert_eq!(Schedule::from_name(schedule.name()), Ok(schedule));
            prop_assert!(Schedule::from_name(&schedule.name().to_uppercase()).is_err());
        }
    }
}
