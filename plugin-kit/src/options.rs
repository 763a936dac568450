//! What the kit is told: where the trainer is, and what it can train on.

use std::path::PathBuf;
use std::time::Duration;

/// Options of a run of the kit. The defaults suit the simulated trainer.
#[derive(Debug, Clone)]
pub struct Options {
    /// `http://host:port` or `https://host:port`.
    pub target: String,
    /// Authority that signed the trainer's certificate, PEM; with `https` only.
    pub tls_ca: Option<PathBuf>,
    /// Reference to a checkpoint that the trainer can read.
    pub model: String,
    /// Reference to data that it can read.
    pub data: String,
    /// Subset sizes, ascending, of which a run ends within `run_timeout`.
    pub sizes: Vec<i64>,
    /// A subset size that keeps a run busy for longer than any case lasts; runs of it are cancelled.
    pub long_size: i64,
    /// Passes over the data of such runs. Absent: the trainer's default.
    pub long_epochs: Option<i32>,
    /// Capabilities that the trainer must claim: a case that is skipped for lack of one of them fails.
    pub capabilities: Vec<String>,
    /// Only cases whose id matches one of these patterns (`*` stands for anything). Empty: all.
    pub cases: Vec<String>,
    /// Time a call may take.
    pub call_timeout: Duration,
    /// Time a run of `sizes` may take, queue included.
    pub run_timeout: Duration,
    /// Time a case may take.
    pub case_timeout: Duration,
    /// Runs that the kit creates at most to fill slots and queue.
    pub max_load: usize,
    /// Cases at the same time.
    pub parallel: usize,
}

impl Options {
    /// The defaults for this target.
    #[must_use]
    pub fn to(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            tls_ca: None,
            model: "sim://tiny-20m".to_owned(),
            data: "sim://data".to_owned(),
            sizes: vec![0, 2_000, 4_000],
            long_size: 1_000_000_000,
            long_epochs: None,
            capabilities: Vec::new(),
            cases: Vec::new(),
            call_timeout: Duration::from_secs(5),
            run_timeout: Duration::from_secs(20),
            case_timeout: Duration::from_secs(45),
            max_load: 1_500,
            parallel: 8,
        }
    }

    /// Whether the case with this id is wanted.
    #[must_use]
    pub fn wants(&self, id: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|pattern| matches(pattern, id))
    }
}

/// Whether the text matches the pattern; `*` stands for any number of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| text.get(at..).is_some_and(|tail| matches(rest, tail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, wanted) in [
            ("watch.*", "watch.resume", true),
            ("*.queued", "cancel.queued", true),
            ("*", "anything", true),
            ("w*h.*me", "watch.resume", true),
            ("watch", "watch.resume", false),
            ("watch.resume", "watch.resume", true),
            ("*x*", "watch.resume", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
