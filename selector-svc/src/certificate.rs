//! What anybody needs to recompute the ranking of a selection: one text, its digest, and the check.
//!
//! A certificate is [canonical JSON](mod@self#canonical-form) of: format and finepick version, the question (candidates, methods,
//! policy, parameters, budget, seeds, constraints), what was prepared (ladder, limits, exclusions, costs, history, digests of data
//! and models, trainers with their versions), every round with its losses (size, value, who measured it, what it cost, or the earlier
//! selection it was taken from), withdrawals, amendments of the budget, the decisions, the ranking and the choice.
//!
//! [`verify`] believes nothing of it but the losses, what was prepared, and the fitter's answers where the policy asked it: it plays the
//! race again and lists in plain words whatever comes out differently. Of an amended budget it is told the old one, the new one and what
//! was taken by then; limits and plan are recomputed. Wording (reasons, explanations) is not compared by recomputing, so that a newer
//! version may say the same in better words; the digest and the seal cover it.
//!
//! # Canonical form
//! Members sorted, no blanks, numbers as short as they read back the same; the module `canonical` says what differs from RFC 8785. The
//! digest is SHA-256 over the text's bytes. The member `seal` is the digest of the text with an empty seal: it tells a damaged file
//! from a whole one where no digest is at hand, and protects against no one who can compute a digest.

mod body;
mod canonical;
mod recompute;
mod shape;

use self::body::Body;
use self::recompute::recompute;
use crate::report::Named;
use crate::selection::State;

/// Version of the format that is written and read.
pub const FORMAT: u32 = 1;
/// Longest certificate that is read, bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// Most JSON objects in one; a selection of 1,000 contenders has about 100,000.
const MAX_OBJECTS: usize = 500_000;
/// Most differences that are listed.
const MAX_DIFFERENCES: usize = 100;

/// Maker of certificates.
#[derive(Clone, Copy, Debug)]
pub struct Certificate;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Digest, decisions and ranking are as they were.
    pub valid: bool,
    /// What differs, for people; empty when valid. At most about a hundred.
    pub differences: Vec<String>,
    /// The recomputed choice; absent: nothing could be recomputed.
    pub choice: Option<VerifiedChoice>,
}

/// The recomputed choice.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedChoice {
    /// Who.
    pub named: Named,
    /// Forecast of its loss at the full size, nats per token; absent: its policy forecasts none.
    pub predicted_loss: Option<f64>,
    /// Where the loss is expected; absent: the policy gives none.
    pub interval: Option<crate::policy::Interval>,
}

impl Certificate {
    /// Canonical JSON; `None` unless the selection has ended with a choice.
    #[must_use]
    pub fn of(id: &str, state: &State) -> Option<String> {
        let mut body = Body::of(id, state)?;
        body.seal = seal(&body)?;
        canonical_text(&body)
    }
}

fn canonical_text(body: &Body) -> Option<String> {
    Some(canonical::text(&serde_json::to_value(body).ok()?))
}

/// The digest of the text with an empty seal.
fn seal(body: &Body) -> Option<String> {
    let mut unsealed = body.clone();
    unsealed.seal.clear();
    Some(digest(&canonical_text(&unsealed)?))
}

/// `sha256:` and the digest of the text's bytes in hexadecimal.
#[must_use]
pub fn digest(json: &str) -> String {
    crate::digest::sha256(json.as_bytes())
}

/// Recomputes a certificate's ranking from its losses and compares. `expected_digest`: empty is not compared.
#[must_use]
pub fn verify(json: &str, expected_digest: &str) -> Verification {
    let mut differences = Vec::new();
    let choice = examine(json, expected_digest.trim(), &mut differences);
    let more = differences.len().saturating_sub(MAX_DIFFERENCES);
    if more > 0 {
        differences.truncate(MAX_DIFFERENCES);
        differences.push(format!("and {more} more differences"));
    }
    Verification {
        valid: differences.is_empty(),
        differences,
        choice,
    }
}

fn examine(json: &str, expected_digest: &str, differences: &mut Vec<String>) -> Option<VerifiedChoice> {
    if json.len() > MAX_BYTES {
        differences.push(format!(
            "{} bytes are more than the {MAX_BYTES} of the longest certificate",
            json.len()
        ));
        return None;
    }
    let actual = digest(json);
    if !expected_digest.is_empty() && !expected_digest.eq_ignore_ascii_case(&actual) {
        differences.push(format!("the digest of the text is {actual}, not {expected_digest}"));
    }
    let objects = json.bytes().filter(|byte| *byte == b'{').count();
    if objects > MAX_OBJECTS {
        differences.push(format!("{objects} JSON objects are more than any selection has"));
        return None;
    }
    let body: Body = match serde_json::from_str(json) {
        Ok(body) => body,
        Err(error) => {
            differences.push(format!("not a certificate: {error}"));
            return None;
        }
    };
    if body.format != FORMAT {
        let known = format!(
            "the certificate has format {}, this version reads format {FORMAT}",
            body.format
        );
        differences.push(known);
        return None;
    }
    if canonical_text(&body).as_deref() != Some(json) {
        let what = "the text is not the canonical form of what it says: it was reformatted, or has members that the format does not know";
        differences.push(what.to_owned());
    }
    if seal(&body).as_deref() != Some(body.seal.as_str()) {
        differences.push("the seal does not fit the text: something in it was changed".to_owned());
    }
    let misshapen = shape::check(&body);
    if !misshapen.is_empty() {
        differences.extend(misshapen);
        return None;
    }
    recompute(&body, differences)
}

#[cfg(test)]
mod tests;
