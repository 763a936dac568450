//! Why, in plain words: for people who have not read the paper.

use super::record::Scored;
use crate::conclude;
use crate::curve::DataSize;
use crate::explain;
use crate::policy::{Decision, Stop, StopReason};
use crate::selection::{State, Verdict};
use crate::simulate::SelectionPolicy;

/// Names that a sentence lists.
const NAMES: usize = 5;

/// A decision and everything that is said of it.
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) decision: &'a Decision,
    /// Best first.
    pub(super) scored: &'a [Scored],
    /// How many are out since this round.
    pub(super) excluded: usize,
    pub(super) full: DataSize,
    /// Scores are not losses at the full size.
    pub(super) stand_in: bool,
    pub(super) finished: bool,
    pub(super) next: Vec<DataSize>,
    /// Examples.
    pub(super) spent: u64,
    pub(super) saved_examples: u64,
    pub(super) expected_regret: Option<f64>,
}

impl Scene<'_> {
    /// Why a contender stands where it stands.
    pub(super) fn reason(&self, place: usize) -> String {
        let Some(own) = self.scored.get(place) else {
            return String::new();
        };
        let standing = format!("place {} of {}", place + 1, self.scored.len());
        let Some(score) = own.log_score else {
            return self.without_score(place);
        };
        let forecast = self.expectation(own);
        let because = match own.verdict {
            Verdict::Chosen => match self.scored.get(1) {
                Some(second) => format!("the best; {}", Self::against("the next one", second, own)),
                None => "the only one left".to_owned(),
            },
            Verdict::Kept if self.decision.tests.is_empty() => {
                format!("among the best {}, which go on", self.decision.kept)
            }
            Verdict::Kept => format!("goes on: {}", self.test(own)),
            Verdict::Stopped => self.test(own),
            Verdict::Dropped | Verdict::Excluded => self.dropped(place, own),
        };
        debug_assert!(score.is_finite(), "only finite scores are scored");
        let judged_by = Self::judged_by(own).map_or_else(String::new, |words| format!("; {words}"));
        format!("{standing}: {forecast}; {because}{judged_by}")
    }

    /// Of one whose run was not paid for.
    fn judged_by(own: &Scored) -> Option<String> {
        let why = own.unpaid.as_ref()?;
        let reach = explain::examples(own.data_size.examples());
        Some(format!("judged by its losses up to {reach} alone: {why}"))
    }

    fn expectation(&self, own: &Scored) -> String {
        let score = own.log_score.unwrap_or(f64::NAN);
        if !self.stand_in {
            return explain::expectation(score, own.log_sd, self.full);
        }
        let loss = explain::loss(conclude::nats(score));
        if own.data_size.is_zero() {
            return format!("loss {loss} before fine-tuning");
        }
        format!("loss {loss} at {}", explain::examples(own.data_size.examples()))
    }

    fn against(name: &str, other: &Scored, own: &Scored) -> String {
        match (other.log_score, own.log_score) {
            (Some(theirs), Some(mine)) => explain::against(name, (theirs, other.log_sd), (mine, own.log_sd)),
            _ => String::new(),
        }
    }

    fn dropped(&self, place: usize, own: &Scored) -> String {
        let last_kept = self.decision.kept.clamp(1, self.scored.len()) - 1;
        let Some(kept) = self.scored.get(last_kept) else {
            return "dropped".to_owned();
        };
        let gap = if self.finished {
            Self::against(&format!("the choice, {},", kept.name), kept, own)
        } else {
            Self::against(&format!("the last one that goes on, {},", kept.name), kept, own)
        };
        match self.decision.wanted {
            Some(wanted) if place < wanted && !self.finished => {
                format!(
                    "{gap}; the plan keeps {wanted}, what is left of the budget pays for {}",
                    self.decision.kept
                )
            }
            _ => gap,
        }
    }

    /// What Accept then Stop found.
    fn test(&self, own: &Scored) -> String {
        let threshold = match &self.state.spec.policy {
            SelectionPolicy::Ats(parameters, _) => parameters.stop_threshold,
            _ => return "no more runs are needed".to_owned(),
        };
        let Some(stop) = own.test else {
            return "its line was settled before".to_owned();
        };
        let Stop {
            reason,
            standardized_residual,
            tested,
        } = stop;
        let at = tested.map_or_else(String::new, |size| {
            format!(" at {}", explain::examples(size.examples()))
        });
        let off = standardized_residual.map_or_else(
            || "off a line that all larger sizes lie on exactly".to_owned(),
            |many| format!("{many:.1} deviations off the line through the larger sizes"),
        );
        match (reason, own.verdict) {
            (StopReason::Outlier, _) => {
                format!("its loss{at} is {off}, more than {threshold}: smaller sizes say nothing of the trend any more")
            }
            (StopReason::AllAccepted, Verdict::Kept) => {
                format!("its loss{at} is {off}, not more than {threshold}: the next smaller size is tried")
            }
            (_, Verdict::Kept) => "its first line stands; the next smaller size is tried".to_owned(),
            _ => "no smaller size is tried".to_owned(),
        }
    }

    fn without_score(&self, place: usize) -> String {
        let chosen = place == 0;
        match (&self.state.spec.policy, chosen) {
            (SelectionPolicy::Random, true) => "chosen by chance, with the selection's seed".to_owned(),
            (SelectionPolicy::Random, false) => "not chosen, by chance".to_owned(),
            (_, true) => "the most weights".to_owned(),
            (_, false) => format!("place {} of {} by number of weights", place + 1, self.scored.len()),
        }
    }

    /// One paragraph.
    pub(super) fn explanation(&self, round: usize) -> String {
        let mut sentences = vec![self.measured(round)];
        if self.scored.is_empty() {
            sentences.push("Nobody could be judged.".to_owned());
        } else if self.finished {
            sentences.push(self.choice());
        } else {
            sentences.push(self.going_on());
        }
        let unpaid = self.scored.first().and_then(Self::judged_by).filter(|_| self.finished);
        if let (Some(words), Some(best)) = (unpaid, self.scored.first()) {
            sentences.push(format!("{} is {words}.", best.name));
        }
        if self.excluded > 0 {
            let many = explain::count(self.excluded, "contender is", "contenders are");
            sentences.push(format!("{many} out, each for the reason beside its name."));
        }
        if self.saved_examples > 0 {
            let saved = explain::examples(self.saved_examples);
            sentences.push(format!(
                "Training the dropped ones to the full size would have cost {saved}."
            ));
        }
        if let Some(regret) = self.expected_regret {
            let loss = explain::loss(regret);
            let little = if regret < 0.0005 {
                "less than 0.001".to_owned()
            } else {
                loss
            };
            sentences.push(format!(
                "By the forecasts, dropping them gives away {little} of loss on average."
            ));
        }
        if self
            .scored
            .iter()
            .any(|scored| scored.log_sd.is_some_and(|sd| sd > 0.0))
        {
            sentences.push(explain::GLOSS.to_owned());
        }
        sentences.join(" ")
    }

    fn measured(&self, round: usize) -> String {
        let many = explain::count(self.scored.len(), "contender", "contenders");
        let sizes: Vec<String> = self
            .decision
            .trained
            .iter()
            .map(|size| explain::grouped(size.examples()))
            .collect();
        let what = match (self.decision.trained.as_slice(), self.decision.trained.last()) {
            ([], _) => "nothing was trained".to_owned(),
            (_, Some(last)) if last.is_zero() => format!("{many} were evaluated before fine-tuning"),
            _ if self.decision.tests.is_empty() => {
                format!("{many} were trained at {} examples", explain::list(&sizes, 16))
            }
            _ => format!(
                "those still under test were trained at {} examples",
                explain::list(&sizes, 16)
            ),
        };
        let spent = explain::examples(self.spent);
        let basis = if self.stand_in {
            "They are compared as they are, without a forecast.".to_owned()
        } else if self.scored.iter().all(|scored| scored.data_size >= self.full) {
            "Their losses at the full size are measured.".to_owned()
        } else {
            let full = explain::examples(self.full.examples());
            format!("How each loss fell with more data is carried on to {full}, the full size.")
        };
        let basis = if self.decision.trained.is_empty() {
            String::new()
        } else {
            format!(" {basis}")
        };
        format!("Round {}: {what}; {spent} are spent so far.{basis}", round + 1)
    }

    fn choice(&self) -> String {
        let Some(best) = self.scored.first() else {
            return String::new();
        };
        let Some(_) = best.log_score else {
            return format!("{} is the choice: {}.", best.name, self.without_score(0));
        };
        let own = self.expectation(best);
        match self.scored.get(1) {
            Some(second) => {
                let gap = Self::against(&format!("the next one, {},", second.name), second, best);
                format!("{} is the choice: {own}; {gap}.", best.name)
            }
            None => format!("{} is the choice, the only one left: {own}.", best.name),
        }
    }

    fn going_on(&self) -> String {
        let names = |verdict: Verdict| {
            let of = self.scored.iter().filter(move |scored| scored.verdict == verdict);
            of.map(|scored| scored.name.clone()).collect::<Vec<String>>()
        };
        let (kept, stopped, dropped) = (names(Verdict::Kept), names(Verdict::Stopped), names(Verdict::Dropped));
        let sizes: Vec<String> = self.next.iter().map(|size| explain::grouped(size.examples())).collect();
        let next = explain::list(&sizes, 16);
        let verb = if kept.len() == 1 { "goes" } else { "go" };
        let mut sentence = format!("{} {verb} on to {next} examples", explain::list(&kept, NAMES));
        if !stopped.is_empty() {
            let many = explain::count(stopped.len(), "needs", "need");
            sentence = format!("{sentence}; {many} no more runs: smaller sizes would not change their lines");
        }
        if let Some(best) = self.scored.iter().find(|scored| scored.verdict == Verdict::Dropped) {
            let many = explain::count(dropped.len(), "is", "are");
            let own = self.expectation(best);
            sentence = format!("{sentence}; {many} dropped, the best of them {} ({own})", best.name);
        }
        format!("{sentence}.")
    }
}

/// Why nobody has a score.
pub(super) fn nobody(state: &State, contenders: usize) -> String {
    let many = explain::count(contenders, "contender", "contenders");
    let reason = state.withdrawn.first().map(|(contender, _, exclusion)| {
        format!(
            "; the first, {}: {}",
            state.spec.contender_name(*contender),
            exclusion.detail
        )
    });
    format!("none of {many} has a score{}", reason.unwrap_or_default())
}
