//! What came of a run of the kit, as text, JSON or `JUnit` XML.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::verdict::Failure;

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its clauses hold.
    Passed,
    /// One does not.
    Failed(Failure),
    /// It does not apply, for this reason.
    Skipped(String),
}

/// A case and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseReport {
    /// See [`Case::id`](crate::Case::id).
    pub id: &'static str,
    /// See [`Case::clauses`](crate::Case::clauses).
    pub clauses: &'static [&'static str],
    /// See [`Case::proves`](crate::Case::proves).
    pub proves: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// Time it took, its runs' removal included.
    pub elapsed: Duration,
}

/// A run of the kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The target.
    pub target: String,
    /// Name and version of the trainer.
    pub trainer: String,
    /// Time it took in all.
    pub elapsed: Duration,
    /// The cases, in the order of the table.
    pub cases: Vec<CaseReport>,
}

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// `JUnit` XML, as CI systems read it.
    Junit,
}

impl Report {
    /// Whether no case failed.
    #[must_use]
    pub fn is_green(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&CaseReport, &Failure)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Failed(failure) => Some((case, failure)),
            Outcome::Passed | Outcome::Skipped(_) => None,
        })
    }

    /// (passed, failed, skipped)
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Outcome) -> bool| self.cases.iter().filter(|case| wanted(&case.outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Passed)),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        )
    }

    /// The report in this form.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
            Format::Junit => self.junit(),
        }
    }

    fn text(&self) -> String {
        let mut out = format!("{} at {}\n\n", visible(&self.trainer), self.target);
        for case in &self.cases {
            // Writing to a string cannot fail.
            let _ = match &case.outcome {
                Outcome::Passed => writeln!(out, "  ok    {:<28} {}", case.id, case.proves),
                Outcome::Skipped(reason) => writeln!(out, "  skip  {:<28} {}", case.id, visible(reason)),
                Outcome::Failed(failure) => writeln!(
                    out,
                    "  FAIL  {:<28} {}\n          clause    {} of docs/plugin-contract.md\n          expected  {}\n          got       {}",
                    case.id,
                    case.proves,
                    failure.clause,
                    visible(&failure.expected),
                    visible(&failure.got)
                ),
            };
        }
        let (passed, failed, skipped) = self.counts();
        let verdict = if failed == 0 { "conforms" } else { "does not conform" };
        let _ = writeln!(
            out,
            "\n{verdict}: {passed} passed, {failed} failed, {skipped} skipped, in {:.1} s",
            self.elapsed.as_secs_f64()
        );
        out
    }

    fn json(&self) -> String {
        let (passed, failed, skipped) = self.counts();
        let document = Document {
            target: &self.target,
            trainer: &self.trainer,
            conforms: failed == 0,
            passed,
            failed,
            skipped,
            seconds: self.elapsed.as_secs_f64(),
            cases: self.cases.iter().map(Row::from).collect(),
        };
        // The document holds strings and numbers alone: it has a JSON form.
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    fn junit(&self) -> String {
        let (_, failed, skipped) = self.counts();
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            out,
            "<testsuite name=\"finepick-conformance {}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{:.3}\">",
            escape(&self.trainer),
            self.cases.len(),
            self.elapsed.as_secs_f64()
        );
        for case in &self.cases {
            let (area, name) = case.id.split_once('.').unwrap_or(("", case.id));
            let seconds = case.elapsed.as_secs_f64();
            let _ = write!(
                out,
                "  <testcase classname=\"{area}\" name=\"{name}\" time=\"{seconds:.3}\""
            );
            let _ = match &case.outcome {
                Outcome::Passed => writeln!(out, "/>"),
                Outcome::Skipped(reason) => {
                    writeln!(out, ">\n    <skipped message=\"{}\"/>\n  </testcase>", escape(reason))
                }
                Outcome::Failed(failure) => writeln!(
                    out,
                    ">\n    <failure type=\"{}\" message=\"{}\">expected: {}\ngot: {}</failure>\n  </testcase>",
                    failure.clause,
                    escape(case.proves),
                    escape(&failure.expected),
                    escape(&failure.got)
                ),
            };
        }
        out.push_str("</testsuite>\n");
        out
    }
}

/// The JSON form of a report.
#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    trainer: &'a str,
    conforms: bool,
    passed: usize,
    failed: usize,
    skipped: usize,
    seconds: f64,
    cases: Vec<Row<'a>>,
}

/// The JSON form of a case.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    clauses: &'a [&'a str],
    proves: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    seconds: f64,
}

impl<'a> From<&'a CaseReport> for Row<'a> {
    fn from(case: &'a CaseReport) -> Self {
        let mut row = Self {
            id: case.id,
            clauses: case.clauses,
            proves: case.proves,
            outcome: "passed",
            clause: None,
            expected: None,
            got: None,
            reason: None,
            seconds: case.elapsed.as_secs_f64(),
        };
        match &case.outcome {
            Outcome::Passed => {}
            Outcome::Skipped(reason) => {
                row.outcome = "skipped";
                row.reason = Some(reason);
            }
            Outcome::Failed(failure) => {
                row.outcome = "failed";
                row.clause = Some(failure.clause);
                row.expected = Some(&failure.expected);
                row.got = Some(&failure.got);
            }
        }
        row
    }
}

/// Whether a character would act on a terminal, or hide, instead of being seen.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text of a trainer, for a terminal: nothing in it acts.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Text in XML; what XML cannot hold is shown as its number.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => out.extend(character.escape_unicode()),
            _ if acts(character) => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let case = |id, outcome| CaseReport {
            id,
            clauses: &["C-1.1"],
            proves: "Something <holds>.",
            outcome,
            elapsed: Duration::from_millis(1_500),
        };
        Report {
            target: "http://localhost:1".to_owned(),
            trainer: "dev.example 1".to_owned(),
            elapsed: Duration::from_secs(3),
            cases: vec![
                case("a.passes", Outcome::Passed),
                case("b.skipped", Outcome::Skipped("pause is not claimed".to_owned())),
                case(
                    "c.fails",
                    Outcome::Failed(Failure {
                        clause: "C-1.1",
                        expected: "\"x\" & more".to_owned(),
                        got: "\u{1b}[31mred\n<y>".to_owned(),
                    }),
                ),
            ],
        }
    }

    #[test]
    fn text_says_what_was_expected_what_came_and_the_clause() {
        let text = report().render(Format::Text);
        let expected = "\
dev.example 1 at http://localhost:1

  ok    a.passes                     Something <holds>.
  skip  b.skipped                    pause is not claimed
  FAIL  c.fails                      Something <holds>.
          clause    C-1.1 of docs/plugin-contract.md
          expected  \"x\" & more
          got       \\u{1b}[31mred\\u{a}<y>

does not conform: 1 passed, 1 failed, 1 skipped, in 3.0 s
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_the_same() {
        let document: serde_json::Value = serde_json::from_str(&report().render(Format::Json)).unwrap();
        assert_eq!(document["conforms"], false);
        assert_eq!(document["failed"], 1);
        assert_eq!(document["cases"][2]["got"], "\u{1b}[31mred\n<y>");
        assert_eq!(document["cases"][1]["reason"], "pause is not claimed");
        assert!(document["cases"][0].get("expected").is_none());
    }

    #[test]
    fn junit_is_escaped() {
        let xml = report().render(Format::Junit);
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(
            xml.contains("<testcase classname=\"a\" name=\"passes\" time=\"1.500\"/>"),
            "{xml}"
        );
        assert!(xml.contains("expected: &quot;x&quot; &amp; more"), "{xml}");
        assert!(xml.contains("got: \\u{1b}[31mred&#10;&lt;y&gt;"), "{xml}");
        assert!(!xml.contains('\u{1b}'), "{xml}");
    }
}
