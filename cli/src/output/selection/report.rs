//! The report of a selection.

use finepick_proto::selector::v1 as selector;
use serde::Serialize;

use super::super::{HistoryAlone, Metrics, warnings};
use super::{Choice, Estimate, Interval, Point, Spending, WarningDetail, named, points, seconds, short, state_word};

/// A contender in the ranking.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct RankedContender {
    /// The checkpoint.
    pub candidate: String,
    /// The tuning method.
    pub method: String,
    /// 1 is the best.
    pub rank: i32,
    /// Forecast (or measurement) at the full size, nats per token; `null`: none.
    pub predicted_loss: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Share of simulations that it wins.
    pub win_share: Option<f64>,
    /// Measured losses.
    pub observations: Vec<Point>,
    /// Round after which it was dropped; `null`: kept to the end.
    pub dropped_after_round: Option<i32>,
    /// For people: why it has this place.
    pub reason: String,
    /// What its runs cost.
    pub spent: Option<Spending>,
    /// Remarks.
    pub warnings: Vec<WarningDetail>,
}

/// A contender that is not ranked.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Unranked {
    /// The checkpoint.
    pub candidate: String,
    /// The tuning method.
    pub method: String,
    /// Why, machine-readable.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
}

/// A contender in a decision.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Judged {
    /// The checkpoint.
    pub candidate: String,
    /// The tuning method.
    pub method: String,
    /// `kept`, `dropped`, `chosen`, `stopped`, `excluded`.
    pub verdict: String,
    /// Forecast that it was judged by, nats per token.
    pub score: Option<f64>,
    /// Standard deviation of the forecast's logarithm.
    pub log_score_deviation: Option<f64>,
    /// Largest size that it was judged at.
    pub data_size: i64,
    /// The rule with its numbers.
    pub reason: String,
}

/// A decision of the policy.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Decision {
    /// From 1.
    pub round: i32,
    /// The rule.
    pub rule: String,
    /// Largest size that the live contenders have reached.
    pub data_size: i64,
    /// Sizes at which they were newly trained.
    pub trained_data_sizes: Vec<i64>,
    /// Best first, the excluded ones last.
    pub contenders: Vec<Judged>,
    /// The best dropped one's score.
    pub threshold: Option<f64>,
    /// What training the dropped ones to the end would have cost, examples.
    pub saved_examples: i64,
    /// Expected loss given away by dropping, nats per token.
    pub expected_regret: Option<f64>,
    /// What the next round trains at.
    pub next_data_sizes: Vec<i64>,
    /// Spent when it was made.
    pub spent: Option<Spending>,
    /// RFC 3339.
    pub time: Option<String>,
    /// For people.
    pub explanation: String,
}

impl From<&selector::Decision> for Decision {
    fn from(decision: &selector::Decision) -> Self {
        let judged = |judged: &selector::JudgedContender| Judged {
            candidate: judged.candidate_id.clone(),
            method: judged.method_id.clone(),
            verdict: short(judged.verdict().as_str_name(), "CONTENDER_VERDICT_"),
            score: judged.score,
            log_score_deviation: judged.log_score_deviation,
            data_size: judged.data_size,
            reason: judged.reason.clone(),
        };
        Self {
            round: decision.round,
            rule: decision.rule.clone(),
            data_size: decision.data_size,
            trained_data_sizes: decision.trained_data_sizes.clone(),
            contenders: decision.contenders.iter().map(judged).collect(),
            threshold: decision.threshold,
            saved_examples: decision.saved_examples,
            expected_regret: decision.expected_regret,
            next_data_sizes: decision.next_data_sizes.clone(),
            spent: decision.spent.as_ref().map(Spending::from),
            time: decision.time.as_ref().map(ToString::to_string),
            explanation: decision.explanation.clone(),
        }
    }
}

/// Actual / estimated.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Accuracy {
    /// Of the examples.
    pub examples: Option<f64>,
    /// Of the device-seconds.
    pub device_seconds: Option<f64>,
    /// Of the wall time.
    pub wall_time: Option<f64>,
}

/// Where one method overtakes another.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Crossover {
    /// The checkpoint.
    pub candidate: String,
    /// Better below the critical size.
    pub method_below: String,
    /// Better above it.
    pub method_above: String,
    /// Examples.
    pub critical_data_size: Option<f64>,
    /// Lower end of its interval.
    pub lower: Option<f64>,
    /// Upper end of its interval.
    pub upper: Option<f64>,
    /// For people.
    pub detail: String,
}

/// What came of a selection.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Report {
    /// Whose.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// The choice.
    pub choice: Option<Choice>,
    /// Size of the whole data set, examples.
    pub full_size: i64,
    /// The policy.
    pub policy: String,
    /// Best first.
    pub contenders: Vec<RankedContender>,
    /// Those without a rank.
    pub excluded: Vec<Unranked>,
    /// All decisions.
    pub decisions: Vec<Decision>,
    /// What was spent.
    pub spent: Option<Spending>,
    /// What reusing losses saved.
    pub saved: Option<Spending>,
    /// What trying all would have cost.
    pub exhaustive: Option<Spending>,
    /// Spent examples over those of trying all.
    pub spent_share: f64,
    /// The estimate made before the first run.
    pub estimate: Option<Estimate>,
    /// How far it was off.
    pub accuracy: Option<Accuracy>,
    /// With more than one method.
    pub crossovers: Vec<Crossover>,
    /// With a warm start.
    pub history_alone: Option<HistoryAlone>,
    /// Remarks.
    pub warnings: Vec<WarningDetail>,
    /// From creation to the end, or to now.
    pub elapsed_seconds: Option<f64>,
    /// Attempts without a loss.
    pub failed_attempts: i32,
}

impl From<&selector::SelectionReport> for Report {
    fn from(report: &selector::SelectionReport) -> Self {
        let spending = |spending: &Option<selector::Spending>| spending.as_ref().map(Spending::from);
        Self {
            id: report.selection_id.clone(),
            state: state_word(report.state()),
            choice: report.choice.as_ref().map(Choice::from),
            full_size: report.data_size_full,
            policy: report.policy.clone(),
            contenders: report.contenders.iter().map(ranked).collect(),
            excluded: report.excluded.iter().map(unranked).collect(),
            decisions: report.decisions.iter().map(Decision::from).collect(),
            spent: spending(&report.spent),
            saved: spending(&report.saved),
            exhaustive: spending(&report.exhaustive),
            spent_share: report.spent_share,
            estimate: report.estimate.as_ref().map(Estimate::from),
            accuracy: report.accuracy.as_ref().map(|accuracy| Accuracy {
                examples: accuracy.examples,
                device_seconds: accuracy.device_seconds,
                wall_time: accuracy.wall_time,
            }),
            crossovers: report.crossovers.iter().map(crossover).collect(),
            history_alone: report.history_alone.as_ref().map(|alone| HistoryAlone {
                chosen: alone.chosen.clone(),
                rank_correlation: alone.rank_correlation,
                used: alone.used,
                metrics: alone.metrics.as_ref().map(Metrics::from),
            }),
            warnings: warnings(&report.warnings).1,
            elapsed_seconds: report.elapsed.as_ref().map(|time| seconds(time.seconds, time.nanos)),
            failed_attempts: report.failed_attempts,
        }
    }
}

fn ranked(contender: &selector::ReportedContender) -> RankedContender {
    RankedContender {
        candidate: contender.candidate_id.clone(),
        method: contender.method_id.clone(),
        rank: contender.rank,
        predicted_loss: contender.predicted_loss,
        interval: contender.interval.map(Interval::from),
        win_share: contender.win_share,
        observations: points(&contender.observations),
        dropped_after_round: contender.dropped_after_round,
        reason: contender.reason.clone(),
        spent: contender.spent.as_ref().map(Spending::from),
        warnings: warnings(&contender.warnings).1,
    }
}

fn unranked(contender: &selector::UnrankedContender) -> Unranked {
    Unranked {
        candidate: contender.candidate_id.clone(),
        method: contender.method_id.clone(),
        reason: named(contender.reason().as_str_name(), "EXCLUSION_REASON_").unwrap_or_default(),
        detail: contender.detail.clone(),
    }
}

fn crossover(crossover: &selector::MethodCrossover) -> Crossover {
    Crossover {
        candidate: crossover.candidate_id.clone(),
        method_below: crossover.method_below.clone(),
        method_above: crossover.method_above.clone(),
        critical_data_size: crossover.critical_data_size,
        lower: crossover.lower,
        upper: crossover.upper,
        detail: crossover.detail.clone(),
    }
}

impl Report {
    /// Whether candidates and methods were chosen together.
    #[must_use]
    pub fn several_methods(&self) -> bool {
        let ranked = self.contenders.iter().map(|contender| contender.method.as_str());
        let unranked = self.excluded.iter().map(|contender| contender.method.as_str());
        let mut methods = ranked.chain(unranked);
        let first = methods.next();
        methods.any(|method| Some(method) != first)
    }

    /// A contender's name in this report.
    #[must_use]
    pub fn name(&self, candidate: &str, method: &str) -> String {
        super::contender_name(candidate, method, self.several_methods())
    }
}
