//! What to beware of: of each contender's curve, and of the whole.

use super::ReportedContender;
use super::build::Conclusion;
use crate::curve::{DataSize, Observation};
use crate::diagnostics::{Warning, WarningCode, curve_warnings};
use crate::explain;
use crate::selection::State;
use crate::trend::{TrendVariances, is_far};

/// Of one contender: its curve's shape, the distance of the forecast, what its fit said.
pub(super) fn of_contender(
    state: &State,
    contender: usize,
    curve: &[Observation],
    noise: Option<f64>,
    has_interval: bool,
) -> Vec<Warning> {
    let mut warnings = if curve.is_empty() {
        Vec::new()
    } else {
        curve_warnings(curve, noise)
    };
    let full = state.prepared.as_ref().map(|prepared| prepared.data_size_full);
    if let (Some(last), Some(full)) = (curve.last(), full)
        && is_far(last.data_size(), full)
    {
        warnings.push(far(last.data_size(), full));
    }
    if !has_interval && !curve.is_empty() {
        let detail = "the policy gives no interval for this contender";
        warnings.push(Warning::new(WarningCode::NoInterval, detail));
    }
    let assumed = TrendVariances::RANK.observation;
    if curve.iter().any(|point| point.log_variance(assumed) > assumed) {
        let detail = format!(
            "a measurement is less exact than the forecasts assume (standard error above {} of the loss)",
            explain::percent(assumed.sqrt())
        );
        warnings.push(Warning::new(WarningCode::NoisyObservations, detail));
    }
    warnings.extend(of_fit(state, contender));
    warnings.extend(unpaid(state, contender, curve));
    warnings
}

/// Of one whose run was not paid for: what its forecast rests on.
fn unpaid(state: &State, contender: usize, curve: &[Observation]) -> Option<Warning> {
    let why = &state.unpaid(contender)?.detail;
    let detail = match curve.last() {
        Some(last) => format!(
            "judged by its losses up to {} alone: {why}",
            explain::examples(last.data_size().examples())
        ),
        None => why.clone(),
    };
    Some(Warning::new(WarningCode::UnpaidRun, detail))
}

fn far(seen: DataSize, full: DataSize) -> Warning {
    let detail = format!(
        "the forecast reaches from {} to {}, over 64 times as far as anything measured of it",
        explain::grouped(seen.examples()),
        explain::examples(full.examples())
    );
    Warning::new(WarningCode::LongExtrapolation, detail)
}

/// The fitter's remarks on this contender's law, where the policy asked it.
fn of_fit(state: &State, contender: usize) -> Vec<Warning> {
    let fitted = state.rounds.iter().rev().find_map(|round| round.fitted.as_ref());
    let name = state.spec.contender_name(contender);
    let forecast = fitted.and_then(|fitted| fitted.get(&name)?.ok());
    forecast.map_or_else(Vec::new, |forecast| forecast.warnings.clone())
}

/// Of the whole selection.
pub(super) fn of_the_whole(state: &State, conclusion: &Conclusion, contenders: &[ReportedContender]) -> Vec<Warning> {
    let mut warnings = conclusion.warnings.clone();
    warnings.extend(too_close(state, contenders));
    warnings.extend(before_the_power_phase(contenders));
    let far_off = |entry: &&ReportedContender| entry.warnings.iter().any(|w| w.code == WarningCode::LongExtrapolation);
    if let Some(leader) = contenders.first().filter(far_off) {
        let detail = format!(
            "the choice rests on a long forecast: {} was measured at less than 1/64 of the data",
            state.spec.contender_name(leader.named.contender)
        );
        warnings.push(Warning::new(WarningCode::LongExtrapolation, detail));
    }
    let of_the_leader = |code: WarningCode| contenders.first()?.warnings.iter().find(|warning| warning.code == code);
    if let (Some(unpaid), Some(leader)) = (of_the_leader(WarningCode::UnpaidRun), contenders.first()) {
        let name = state.spec.contender_name(leader.named.contender);
        let detail = format!("the choice was not run as far as planned: {name} is {}", unpaid.detail);
        warnings.push(Warning::new(WarningCode::UnpaidRun, detail));
    }
    warnings.extend(over_the_limit(state));
    warnings
}

/// The best two differ by less than the uncertainty of their difference.
fn too_close(state: &State, contenders: &[ReportedContender]) -> Option<Warning> {
    let [first, second, ..] = contenders else { return None };
    let uncertainty = first.log_sd?.hypot(second.log_sd?);
    let gap = (second.predicted_loss?.ln() - first.predicted_loss?.ln()).abs();
    if gap.is_nan() || gap >= uncertainty {
        return None;
    }
    let name = |entry: &ReportedContender| state.spec.contender_name(entry.named.contender);
    let detail = format!(
        "too close to call: {} and {} are expected to differ by {} of the loss, which is less than the {} by which the forecasts may be off",
        name(first),
        name(second),
        explain::percent(gap.exp_m1()),
        explain::percent(uncertainty.exp_m1())
    );
    Some(Warning::new(WarningCode::TooCloseToCall, detail))
}

/// Curves that still steepen: their forecasts are upper bounds.
fn before_the_power_phase(contenders: &[ReportedContender]) -> Option<Warning> {
    let steepening = |entry: &&ReportedContender| entry.warnings.iter().any(|w| w.code == WarningCode::UpperBound);
    let many = contenders.iter().filter(steepening).count();
    let leader = contenders.first()?;
    if many == 0 {
        return None;
    }
    let of_the_leader = if steepening(&leader) {
        ", the leader's among them"
    } else {
        ""
    };
    let detail = format!(
        "{} of {} still fall faster with every doubling of the data{of_the_leader}: their forecasts are upper bounds, the losses \
         will probably be lower",
        many,
        explain::count(contenders.len(), "curve", "curves")
    );
    Some(Warning::new(WarningCode::UpperBound, detail))
}

fn over_the_limit(state: &State) -> Option<Warning> {
    let unit = state.limits.allow(state.spent).err()?;
    let detail = format!(
        "more was spent than the budget in force allows ({}): {}",
        unit.as_words(),
        explain::spending(&state.spent, &state.limits.currency)
    );
    Some(Warning::new(WarningCode::BudgetExceeded, detail))
}
