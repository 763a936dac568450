//! Ranking from curves that are all measured up to one size: the answer, with everything that explains it.

mod outlook;

use self::outlook::{Entry, Outlook};
use crate::constraint::Constraints;
use crate::curve::{DataSize, Observation};
use crate::diagnostics::{Warning, WarningCode};
use crate::error::{InvalidParameter, RankError};
use crate::metrics::{Cost, Metrics};
use crate::policy::fitted::FittedForecasts;
use crate::policy::{Exclusion, Interval, LogLogLine, Member, Pool, Prediction, RankingPolicy, Stop};
use crate::ports::FitRequest;
use crate::table::{Candidate, CandidateTable};
use crate::win_share::{MAX_TOTAL_DRAWS, Normal, win_shares};

/// Most further sizes of one request.
pub const MAX_FORECAST_SIZES: usize = 256;
/// Coverage of intervals unless asked otherwise.
pub const DEFAULT_LEVEL: f64 = 0.9;

/// The question.
#[derive(Clone, Debug, PartialEq)]
pub struct RankRequest {
    /// Largest size that counts as measured, 1..=full.
    pub budget: DataSize,
    /// Size of the forecast; losses measured there serve the metrics alone (unless it equals the budget).
    pub full: DataSize,
    /// How to rank.
    pub policy: RankingPolicy,
    /// Who may be chosen.
    pub constraints: Constraints,
    /// Nominal coverage of intervals, .01..=.999.
    pub level: f64,
    /// Seed of simulations.
    pub seed: u64,
    /// Further sizes to forecast at, each > 0.
    pub forecast_data_sizes: Vec<DataSize>,
}

impl RankRequest {
    /// A request with the defaults: no constraints, level .9, seed 0, no further sizes.
    #[must_use]
    pub fn new(budget: DataSize, full: DataSize, policy: RankingPolicy) -> Self {
        Self {
            budget,
            full,
            policy,
            constraints: Constraints::default(),
            level: DEFAULT_LEVEL,
            seed: 0,
            forecast_data_sizes: Vec::new(),
        }
    }

    /// How many further sizes a request with this policy may have; the fitter forecasts at 256, the full size included.
    #[must_use]
    pub const fn max_forecast_sizes(policy: &RankingPolicy) -> usize {
        if policy.law().is_some() {
            MAX_FORECAST_SIZES - 1
        } else {
            MAX_FORECAST_SIZES
        }
    }

    fn validate(&self) -> Result<(), RankError> {
        if self.full.is_zero() {
            return Err(RankError::FullSizeZero);
        }
        if self.budget.is_zero() || self.budget > self.full {
            return Err(RankError::BudgetOutOfRange {
                budget: self.budget,
                full: self.full,
            });
        }
        self.policy.validate()?;
        self.constraints.validate()?;
        InvalidParameter::unless_within("interval_level", self.level, 0.01, 0.999)?;
        let limit = Self::max_forecast_sizes(&self.policy);
        if self.forecast_data_sizes.len() > limit || self.forecast_data_sizes.iter().any(|s| s.is_zero()) {
            let description = format!("at most {limit} sizes, each above 0");
            return Err(InvalidParameter::new("forecast_data_sizes", description).into());
        }
        Ok(())
    }
}

/// A candidate in the ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCandidate {
    /// Its name.
    pub candidate: String,
    /// 1 is the best; ties keep the order of the table.
    pub rank: usize,
    /// What the policy orders by, lower is better: the predicted loss, or −parameters for `model_size`.
    pub score: f64,
    /// Loss at the full size, nats. Absent: the policy ranks without a forecast.
    pub predicted_loss: Option<f64>,
    /// Where the loss is expected; see [`rank`] for its calibration. Absent: a warning says why.
    pub interval: Option<Interval>,
    /// Share of simulations in which this candidate is the best; not a calibrated probability.
    pub win_share: Option<f64>,
    /// Sizes that the forecast rests on, ascending.
    pub data_sizes_used: Vec<DataSize>,
    /// Where the policy stopped taking points.
    pub stop: Stop,
    /// The fitted log-log line, for the policies that fit one.
    pub line: Option<LogLogLine>,
    /// At the further sizes of the request, in their order; empty where the policy gives none.
    pub forecasts: Vec<Prediction>,
    /// Remarks.
    pub warnings: Vec<Warning>,
    /// The measured loss at the full size, where known.
    pub true_loss: Option<f64>,
}

impl RankedCandidate {
    /// Number of points used.
    #[must_use]
    pub fn points_used(&self) -> usize {
        self.data_sizes_used.len()
    }

    /// Smallest size used.
    #[must_use]
    pub fn first_size_used(&self) -> Option<DataSize> {
        self.data_sizes_used.first().copied()
    }
}

/// A candidate that is not ranked, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcludedCandidate {
    /// Its name.
    pub candidate: String,
    /// The rule with its numbers.
    pub exclusion: Exclusion,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Name of the policy.
    pub policy: &'static str,
    /// Largest size that was looked at.
    pub budget: DataSize,
    /// Size of the forecast.
    pub full: DataSize,
    /// Best first.
    pub candidates: Vec<RankedCandidate>,
    /// Those that could not be ranked, in the order of the table.
    pub excluded: Vec<ExcludedCandidate>,
    /// Absent where a ranked candidate's loss at the full size is unknown.
    pub metrics: Option<Metrics>,
    /// What the observations up to the budget cost, over all candidates that meet the constraints.
    pub cost: Cost,
    /// Fine-tuning all of them at the full size, examples.
    pub exhaustive_examples: u64,
    /// Remarks on the whole ranking.
    pub warnings: Vec<Warning>,
}

/// Splits a table into those that meet the constraints and those that do not.
pub(crate) fn eligible<'a>(
    table: &'a CandidateTable,
    constraints: &Constraints,
) -> (Vec<&'a Candidate>, Vec<ExcludedCandidate>) {
    let (mut live, mut excluded) = (Vec::new(), Vec::new());
    for candidate in table.candidates() {
        match constraints.check(candidate) {
            Ok(()) => live.push(candidate),
            Err(exclusion) => excluded.push(ExcludedCandidate {
                candidate: candidate.name().to_owned(),
                exclusion,
            }),
        }
    }
    (live, excluded)
}

/// What to ask the fitter before [`rank`]; `None` where the policy needs no fitter.
///
/// # Errors
/// As [`rank`].
pub fn fit_request(table: &CandidateTable, request: &RankRequest) -> Result<Option<FitRequest>, RankError> {
    request.validate()?;
    let Some((law, parameters)) = request.policy.law() else {
        return Ok(None);
    };
    let (live, _) = eligible(table, &request.constraints);
    let curve = |c: &&Candidate| (c.name().to_owned(), c.curve().up_to(request.budget).to_vec());
    let mut data_sizes = vec![request.full];
    data_sizes.extend(&request.forecast_data_sizes);
    Ok(Some(FitRequest {
        law,
        parameters: *parameters,
        curves: live
            .iter()
            .map(curve)
            .filter(|(_, points)| !points.is_empty())
            .collect(),
        data_sizes,
        level: request.level,
        seed: request.seed,
    }))
}

/// Ranks the candidates that meet the constraints by their losses up to the budget size.
///
/// `fitted`: the fitter's answers to [`fit_request`], for the policies with a law.
///
/// # Intervals
/// For `ats`, `ats_corrected`, `rwl` and `local_trend` an interval reaches from the policy's forecast of ln loss as far as
/// the pooled local linear trend's predictive deviation says ([`Calibration`]): up to a factor 64 between full and largest
/// size q = .014² with the lower side widened 1.25 times, beyond it q = .020², 1.6 times below and .5 times above. The
/// lower side is the longer one because curves accelerate: nearly all misses of symmetric intervals lie below.
///
/// Share of true losses within nominal 90 % intervals, published curves of 30 models (budgets 1/8…1/64 | 1/128…1/512):
///
/// | policy | FLAN | WMT19 | all |
/// |---|---|---|---|
/// | `ats` | .94 / 1.00 | .87 / .91 | .93 |
/// | `ats_corrected` | .94 / 1.00 | .86 / .88 | .92 |
/// | `rwl` | .98 / 1.00 | .95 / .96 | .97 |
/// | `local_trend` | .98 / 1.00 | 1.00 / .92 | .98 |
///
/// For comparison: the regression interval of `ats`'s own line covers .33 / .16 and .51 / .30; symmetric trend intervals with
/// q = .010² (.014² beyond 64) about `ats`'s forecast .64 / .79 and .73 / .51. The factors were chosen on these two data sets,
/// so expect a little less on others. `rectified_fit` and `vanilla_fit` carry the fitter's own intervals.
///
/// # Errors
/// [`RankError`] where the question makes no sense; trouble with one candidate is that candidate's exclusion.
pub fn rank(
    table: &CandidateTable,
    request: &RankRequest,
    fitted: Option<&FittedForecasts>,
) -> Result<Ranking, RankError> {
    request.validate()?;
    let (live, mut excluded) = eligible(table, &request.constraints);
    let pool = Pool::new(live, request.budget, request.full);
    ensure_measured(&pool, request)?;
    let policy = request.policy.build(fitted);
    let outlook = Outlook::new(&pool, policy.interval_source(), request);
    let draws = u64::from(request.policy.draws()).saturating_mul(pool.members().len() as u64);
    if draws > MAX_TOTAL_DRAWS {
        let description = format!("draws times candidates must not exceed {MAX_TOTAL_DRAWS}");
        return Err(InvalidParameter::new("simulations", description).into());
    }

    let mut entries: Vec<Entry> = Vec::with_capacity(pool.members().len());
    for (index, (member, outcome)) in pool.members().iter().zip(policy.forecast(&pool)).enumerate() {
        match outcome {
            Ok(forecast) => entries.push(outlook.entry(index, member, forecast)),
            Err(exclusion) => {
                excluded.push(ExcludedCandidate {
                    candidate: member.candidate.name().to_owned(),
                    exclusion,
                });
            }
        }
    }
    entries.sort_by(|a, b| a.answer.score.total_cmp(&b.answer.score).then(a.index.cmp(&b.index)));
    let place = |name: &str| table.candidates().iter().position(|c| c.name() == name);
    excluded.sort_by_cached_key(|e| place(&e.candidate));
    let warnings = share_wins(&mut entries, request);
    let correlated: Vec<f64> = entries.iter().map(|e| e.correlated).collect();
    let candidates: Vec<RankedCandidate> = entries
        .into_iter()
        .enumerate()
        .map(|(i, e)| RankedCandidate {
            rank: i + 1,
            ..e.answer
        })
        .collect();
    let part = |m: &Member<'_>| {
        let examples = m
            .seen
            .iter()
            .fold(0_u64, |sum, p| sum.saturating_add(p.data_size().examples()));
        (examples, m.candidate.attributes().parameters())
    };
    Ok(Ranking {
        policy: policy.name(),
        budget: request.budget,
        full: request.full,
        metrics: metrics(&candidates, &correlated),
        candidates,
        excluded,
        cost: Cost::sum(pool.members().iter().map(part)),
        exhaustive_examples: request.full.examples().saturating_mul(pool.members().len() as u64),
        warnings,
    })
}

/// A budget below every measured size is a mistake of the request, unless the policy looks at no curve.
fn ensure_measured(pool: &Pool<'_>, request: &RankRequest) -> Result<(), RankError> {
    let needs_curve = !matches!(request.policy, RankingPolicy::ZeroShot | RankingPolicy::ModelSize);
    let empty = pool.members().iter().all(|member| member.seen.is_empty());
    if !(needs_curve && empty) || pool.members().is_empty() {
        return Ok(());
    }
    let sizes = pool
        .members()
        .iter()
        .filter_map(|m| m.candidate.curve().observations().first());
    Err(RankError::NothingMeasured {
        budget: request.budget,
        smallest: sizes.map(Observation::data_size).min(),
    })
}

fn metrics(candidates: &[RankedCandidate], correlated: &[f64]) -> Option<Metrics> {
    let truths: Vec<(&str, f64)> = candidates
        .iter()
        .map(|c| Some((c.candidate.as_str(), c.true_loss?)))
        .collect::<Option<_>>()?;
    Metrics::compare(&truths, 0, Some(correlated))
}

/// Fills the win shares in where every ranked candidate has a predictive distribution.
fn share_wins(entries: &mut [Entry], request: &RankRequest) -> Vec<Warning> {
    let Some(normals) = entries.iter().map(|e| e.normal).collect::<Option<Vec<Normal>>>() else {
        return Vec::new();
    };
    for (entry, share) in entries
        .iter_mut()
        .zip(win_shares(&normals, request.policy.draws(), request.seed))
    {
        entry.answer.win_share = Some(share);
    }
    let ([first, second, ..], [a, b, ..]) = (normals.as_slice(), &*entries) else {
        return Vec::new();
    };
    let (gap, uncertainty) = ((second.mean - first.mean).abs(), first.sd.hypot(second.sd));
    if gap >= uncertainty {
        return Vec::new();
    }
    let detail = format!(
        "the forecasts of {:?} and {:?} differ by {gap:.3} in ln loss, less than their uncertainty of {uncertainty:.3}",
        a.answer.candidate, b.answer.candidate
    );
    vec![Warning::new(WarningCode::TooCloseToCall, detail)]
}
