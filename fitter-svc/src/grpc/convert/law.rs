//! Laws and coefficients: numbers of the wire against kinds of the domain, and the list of all laws.

use finepick_proto::fitter::v1 as pb;
use tonic::Status;

use super::{Violations, wire_count};
use crate::law::joint::JointLawKind;
use crate::law::{CoefficientName, LawKind};

/// Laws on a page where nothing is asked for.
const DEFAULT_PAGE: usize = 50;
/// Largest page.
const MAX_PAGE: i32 = 1_000;
const RECTIFIED: &str = "Lin et al., ICML 2024, arXiv 2402.02314";
const FINETUNING: &str = "Zhang et al., ICLR 2024, arXiv 2402.17193";

/// All laws in the order of their numbers.
const CURVE_LAWS: [(pb::Law, LawKind, &str); 4] = [
    (pb::Law::Rectified, LawKind::Rectified, RECTIFIED),
    (
        pb::Law::PowerWithFloor,
        LawKind::PowerWithFloor,
        "Hoffmann et al. 2022, arXiv 2203.15556",
    ),
    (pb::Law::Power, LawKind::Power, "Kaplan et al. 2020, arXiv 2001.08361"),
    (pb::Law::Vanilla, LawKind::Vanilla, RECTIFIED),
];
const JOINT_LAWS: [(pb::Law, JointLawKind, &str); 4] = [
    (pb::Law::Multiplicative, JointLawKind::Multiplicative, FINETUNING),
    (
        pb::Law::Additive,
        JointLawKind::Additive,
        "Hoffmann et al. 2022, arXiv 2203.15556",
    ),
    (
        pb::Law::RectifiedJoint,
        JointLawKind::RectifiedJoint,
        "finepick, after arXiv 2402.02314 and 2402.17193",
    ),
    (
        pb::Law::RectifiedJointCommon,
        JointLawKind::RectifiedJointCommon,
        "finepick, after arXiv 2402.02314",
    ),
];

pub(super) fn wire_law(kind: LawKind) -> pb::Law {
    match kind {
        LawKind::Rectified => pb::Law::Rectified,
        LawKind::PowerWithFloor => pb::Law::PowerWithFloor,
        LawKind::Power => pb::Law::Power,
        LawKind::Vanilla => pb::Law::Vanilla,
    }
}

pub(super) fn wire_joint_law(kind: JointLawKind) -> pb::Law {
    match kind {
        JointLawKind::Multiplicative => pb::Law::Multiplicative,
        JointLawKind::Additive => pb::Law::Additive,
        JointLawKind::RectifiedJoint => pb::Law::RectifiedJoint,
        JointLawKind::RectifiedJointCommon => pb::Law::RectifiedJointCommon,
    }
}

/// A law in the data size; `None` where it is left open.
#[expect(clippy::option_option, reason = "outer: the field was good; inner: it was given")]
pub(super) fn curve_law(path: &str, number: i32, violations: &mut Violations) -> Option<Option<LawKind>> {
    let law = known(path, number, violations)?;
    if law == pb::Law::Unspecified {
        return Some(None);
    }
    let kind = CURVE_LAWS
        .iter()
        .find(|(wire, ..)| *wire == law)
        .map(|(_, kind, _)| *kind);
    if kind.is_none() {
        violations.push(path, format!("{} is a joint law: use FitJointLaw", law.as_str_name()));
    }
    kind.map(Some)
}

/// A joint law; unspecified: the rectified one.
pub(super) fn joint_law(path: &str, number: i32, violations: &mut Violations) -> Option<JointLawKind> {
    let law = known(path, number, violations)?;
    if law == pb::Law::Unspecified {
        return Some(JointLawKind::RectifiedJoint);
    }
    let kind = JOINT_LAWS
        .iter()
        .find(|(wire, ..)| *wire == law)
        .map(|(_, kind, _)| *kind);
    if kind.is_none() {
        violations.push(path, format!("{} is not a joint law", law.as_str_name()));
    }
    kind
}

fn known(path: &str, number: i32, violations: &mut Violations) -> Option<pb::Law> {
    violations.take(
        path,
        pb::Law::try_from(number).map_err(|_| format!("{number} is not a law")),
    )
}

/// One page of the laws.
///
/// # Errors
/// A page size out of range, or a page token that no answer of ours held.
pub fn list_laws(request: &pb::ListLawsRequest) -> Result<pb::ListLawsResponse, Status> {
    let mut violations = Violations::default();
    if !(0..=MAX_PAGE).contains(&request.page_size) {
        violations.push(
            "page_size",
            format!("must be within 0 .. {MAX_PAGE}, is {}", request.page_size),
        );
    }
    let all = all_laws();
    let start = match request.page_token.strip_prefix("after-").map(str::parse::<usize>) {
        _ if request.page_token.is_empty() => 0,
        Some(Ok(position)) if position < all.len() => position,
        _ => {
            violations.push("page_token", "is none that ListLaws has returned");
            0
        }
    };
    violations.finish()?;
    let size = usize::try_from(request.page_size)
        .ok()
        .filter(|size| *size > 0)
        .unwrap_or(DEFAULT_PAGE);
    let end = start.saturating_add(size);
    let next_page_token = if end < all.len() {
        format!("after-{end}")
    } else {
        String::new()
    };
    Ok(pb::ListLawsResponse {
        laws: all.into_iter().skip(start).take(size).collect(),
        next_page_token,
    })
}

fn all_laws() -> Vec<pb::LawInfo> {
    let curve = CURVE_LAWS
        .iter()
        .map(|(law, kind, source)| info(*law, kind.formula(), kind.coefficient_names(), false, source));
    let joint = JOINT_LAWS
        .iter()
        .map(|(law, kind, source)| info(*law, kind.formula(), kind.coefficient_names(), true, source));
    curve.chain(joint).collect()
}

fn info(law: pb::Law, formula: &str, names: &[CoefficientName], joint: bool, source: &str) -> pb::LawInfo {
    let coefficient = |name: &CoefficientName| pb::CoefficientInfo {
        name: name.name().to_owned(),
        symbol: name.symbol().to_owned(),
        unit: name.unit().to_owned(),
        range: name.range().to_owned(),
    };
    pb::LawInfo {
        law: law.into(),
        formula: formula.to_owned(),
        coefficients: names.iter().map(coefficient).collect(),
        joint,
        source: source.to_owned(),
        min_points: wire_count(names.len()),
    }
}
