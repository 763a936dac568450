//! What is left out of an answer that its client could not take.
//!
//! Clients take messages of 4 MiB unless they are told otherwise, and a thousand contenders with long names, references and attributes
//! say more than that. What can be asked for elsewhere, or was said by the client itself, goes first; the answer names it.

use finepick_proto::selector::v1 as wire;
use prost::Message;

/// Bytes of an answer: what clients take by default, with room for what is around it.
pub const MAX_ANSWER_BYTES: usize = (4 << 20) - (64 << 10);
/// Bytes of a what-if's list of runs.
const MAX_MISSING_BYTES: usize = 1 << 20;

/// A field's path, and how it is left out.
type Cut<T> = (&'static str, fn(&mut T));

const SELECTION: &[Cut<wire::Selection>] = &[
    ("spec.candidates.candidate.attributes", |selection| {
        let candidates = selection.spec.iter_mut().flat_map(|spec| &mut spec.candidates);
        for candidate in candidates.filter_map(|candidate| candidate.candidate.as_mut()) {
            candidate.attributes.clear();
        }
    }),
    ("spec.candidates", |selection| {
        if let Some(spec) = &mut selection.spec {
            spec.candidates.clear();
        }
    }),
    ("spec.constraints", |selection| {
        if let Some(spec) = &mut selection.spec {
            spec.constraints = None;
        }
    }),
    ("spec", |selection| selection.spec = None),
    ("contenders.observations", |selection| {
        for contender in &mut selection.contenders {
            contender.observations.clear();
        }
    }),
];

const REPORT: &[Cut<wire::SelectionReport>] = &[
    ("estimate.contenders", |report| {
        if let Some(estimate) = &mut report.estimate {
            estimate.contenders.clear();
        }
    }),
    ("decisions.contenders", |report| {
        for decision in &mut report.decisions {
            decision.contenders.clear();
        }
    }),
    ("contenders.warnings", |report| {
        for contender in &mut report.contenders {
            contender.warnings.clear();
        }
    }),
    ("crossovers", |report| report.crossovers.clear()),
    ("contenders.observations", |report| {
        for contender in &mut report.contenders {
            contender.observations.clear();
        }
    }),
];

/// Leaves out one field after the other until the message is small enough. The paths of what was left out.
fn cut<T: Message>(message: &mut T, most: usize, cuts: &[Cut<T>]) -> Vec<String> {
    let mut omitted = Vec::new();
    for (path, leave_out) in cuts {
        if message.encoded_len() <= most {
            break;
        }
        leave_out(message);
        omitted.push((*path).to_owned());
    }
    omitted
}

/// A selection that clients can take.
pub(super) fn selection(mut selection: wire::Selection) -> wire::Selection {
    selection.omitted = cut(&mut selection, MAX_ANSWER_BYTES, SELECTION);
    selection
}

/// A report that clients can take.
pub(super) fn report(mut report: wire::SelectionReport) -> wire::SelectionReport {
    report.omitted = cut(&mut report, MAX_ANSWER_BYTES, REPORT);
    report
}

/// A what-if that clients can take: its report and the runs that were never made.
#[must_use]
pub fn what_if(mut report: wire::SelectionReport, mut missing: Vec<wire::MissingRun>) -> wire::CloneSelectionResponse {
    let mut bytes = 0;
    let fit = missing.iter().take_while(|run| {
        // With the field's number and length.
        bytes += run.encoded_len() + 4;
        bytes <= MAX_MISSING_BYTES
    });
    let listed = fit.count();
    let more = missing.len() - listed;
    missing.truncate(listed);
    let left = MAX_ANSWER_BYTES.saturating_sub(bytes.min(MAX_MISSING_BYTES));
    let further = cut(&mut report, left, REPORT);
    for path in further {
        if !report.omitted.contains(&path) {
            report.omitted.push(path);
        }
    }
    wire::CloneSelectionResponse {
        report: Some(report),
        missing,
        missing_omitted: i32::try_from(more).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five texts of 60,000 bytes.
    fn large() -> Vec<wire::Contender> {
        let contender = wire::Contender {
            detail: "x".repeat(60_000),
            ..wire::Contender::default()
        };
        vec![contender; 5]
    }

    #[test]
    fn what_fits_is_whole() {
        let whole = wire::Selection {
            contenders: large(),
            spec: Some(wire::SelectionSpec::default()),
            ..wire::Selection::default()
        };
        assert_eq!(selection(whole.clone()), whole);
        let whole = wire::SelectionReport::default();
        assert_eq!(report(whole.clone()), whole);
    }

    #[test]
    fn what_is_too_large_goes_in_order_and_is_named() {
        let candidate = wire::SelectionCandidate {
            candidate: Some(finepick_proto::types::v1::Candidate {
                attributes: [("text".to_owned(), "x".repeat(5 << 20))].into(),
                ..finepick_proto::types::v1::Candidate::default()
            }),
            ..wire::SelectionCandidate::default()
        };
        let spec = |uri: usize| wire::SelectionSpec {
            candidates: vec![wire::SelectionCandidate {
                model: Some(finepick_proto::trainer::v1::Reference {
                    uri: "x".repeat(uri),
                    ..finepick_proto::trainer::v1::Reference::default()
                }),
                ..candidate.clone()
            }],
            ..wire::SelectionSpec::default()
        };
        let shown = |uri: usize| {
            let answer = wire::Selection {
                spec: Some(spec(uri)),
                ..wire::Selection::default()
            };
            selection(answer)
        };
        let small = shown(10);
        assert_eq!(small.omitted, ["spec.candidates.candidate.attributes"]);
        assert_eq!(small.spec.unwrap().candidates.len(), 1);
        let large = shown(5 << 20);
        assert_eq!(
            large.omitted,
            ["spec.candidates.candidate.attributes", "spec.candidates"]
        );
        assert!(large.encoded_len() <= MAX_ANSWER_BYTES);
    }

    #[test]
    fn a_what_if_has_room_for_the_runs_that_it_lists() {
        let run = wire::MissingRun {
            candidate_id: "x".repeat(256),
            ..wire::MissingRun::default()
        };
        let estimate = wire::SelectionEstimate {
            contenders: large(),
            ..wire::SelectionEstimate::default()
        };
        let contenders = vec![
            wire::ReportedContender {
                reason: "x".repeat(3_000_000),
                ..wire::ReportedContender::default()
            };
            1
        ];
        let answer = wire::SelectionReport {
            estimate: Some(estimate),
            contenders,
            ..wire::SelectionReport::default()
        };
        let found = what_if(report(answer), vec![run; 10_000]);
        assert!(found.encoded_len() <= MAX_ANSWER_BYTES, "{}", found.encoded_len());
        assert_eq!(
            found.missing.len() + usize::try_from(found.missing_omitted).unwrap(),
            10_000
        );
        assert!(found.missing.len() > 3_000);
        assert_eq!(found.report.unwrap().omitted, ["estimate.contenders"]);
    }
}
