//! Answers of `finepick clone` and `finepick verify`.

use std::fmt::Write as _;

use finepick_proto::selector::v1 as pb;
use serde::Serialize;

use super::table;
use crate::curves::printable;
use crate::output::selection::{Choice, Report};
use crate::terminal::Terminal;
use crate::text::examples;

/// Missing runs that are listed one by one.
const LISTED: usize = 20;

/// What would have come of a selection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct CloneAnswer {
    /// As far as the recorded losses reach.
    pub(super) report: Report,
    /// Runs that would have been needed and were never made.
    pub(super) missing: Vec<Missing>,
    /// How many more there are, that did not fit the answer.
    pub(super) missing_omitted: usize,
}

/// A run that was never made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Missing {
    candidate: String,
    method: String,
    data_size: i64,
}

impl From<&pb::MissingRun> for Missing {
    fn from(run: &pb::MissingRun) -> Self {
        Self {
            candidate: run.candidate_id.clone(),
            method: run.method_id.clone(),
            data_size: run.data_size,
        }
    }
}

impl CloneAnswer {
    /// For people.
    pub(super) fn to_text(&self, terminal: &Terminal) -> String {
        let mut text = table::report(&self.report, terminal);
        text.push_str("\nThis was decided from losses that were measured already: nothing was trained.\n");
        if self.missing.is_empty() {
            text.push_str("All losses that it needed were there.\n");
            return text;
        }
        let several = self.report.several_methods();
        text.push_str("Losses that it needed and that nobody has measured; with them the answer could be another:\n");
        for run in self.missing.iter().take(LISTED) {
            let name = crate::output::selection::contender_name(&run.candidate, &run.method, several);
            let _ = writeln!(text, "  {} at {} examples", printable(&name), examples(run.data_size));
        }
        let more = self.missing.len().saturating_sub(LISTED) + self.missing_omitted;
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
        text
    }
}

/// Whether a certificate holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct VerifyAnswer {
    /// Digest, decisions and ranking are as they were.
    pub(super) valid: bool,
    /// What is not.
    differences: Vec<String>,
    /// The recomputed choice.
    choice: Option<Choice>,
}

impl From<&pb::VerifyCertificateResponse> for VerifyAnswer {
    fn from(response: &pb::VerifyCertificateResponse) -> Self {
        Self {
            valid: response.valid,
            differences: response.differences.clone(),
            choice: response.choice.as_ref().map(Choice::from),
        }
    }
}

impl VerifyAnswer {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut text = if self.valid {
            "valid: digest, decisions and ranking come out as they are written\n".to_owned()
        } else {
            "NOT valid\n".to_owned()
        };
        for difference in &self.differences {
            let _ = writeln!(text, "  {}", printable(difference));
        }
        if let Some(choice) = &self.choice {
            let _ = writeln!(
                text,
                "recomputed choice: {} ({})",
                printable(&choice.candidate),
                printable(&choice.method)
            );
        }
        text
    }
}
