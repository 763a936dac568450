//! The page and the kit agree: each clause that is cited exists, and each that exists is cited or excused.

use std::collections::BTreeSet;
use std::path::Path;

/// Numbers like `C-3.2` in a text.
fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices("C-").filter_map(|(at, _)| {
        let rest = text.get(at + 2..)?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number = rest.get(..end)?.trim_end_matches('.');
        (number.contains('.')).then(|| format!("C-{number}"))
    })
}

#[test]
fn every_clause_is_proved_or_excused_and_every_cited_clause_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugin-contract.md");
    let page = std::fs::read_to_string(page).expect("the contract");
    let written: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- **"))
        .filter_map(|line| numbers(line).next())
        .collect();
    let clauses: BTreeSet<_> = written.iter().cloned().collect();
    assert_eq!(clauses.len(), written.len(), "no number twice");
    assert!(clauses.len() > 50, "{clauses:?}");
    let cited: BTreeSet<String> = plugin_kit::cases()
        .iter()
        .flat_map(|case| case.clauses.iter().map(|clause| (*clause).to_owned()))
        .collect();
    let unknown: Vec<_> = cited.difference(&clauses).collect();
    assert!(unknown.is_empty(), "cited, and not on the page: {unknown:?}");
    let excuses = page
        .split("## What the kit does not prove")
        .nth(1)
        .expect("the excuses");
    let excused: BTreeSet<String> = numbers(excuses).collect();
    let open: Vec<_> = clauses
        .difference(&cited)
        .filter(|clause| !excused.contains(*clause))
        .collect();
    assert!(open.is_empty(), "neither proved nor excused: {open:?}");
    let stray: Vec<_> = excused.difference(&clauses).collect();
    assert!(stray.is_empty(), "excused, and not on the page: {stray:?}");
}

#[test]
fn ids_are_unique_and_cases_say_what_they_prove() {
    let cases = plugin_kit::cases();
    let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
    assert_eq!(ids.len(), cases.len());
    for case in &cases {
        assert!(case.proves.ends_with('.') && case.proves.len() > 20, "{}", case.id);
        assert!(case.id.contains('.') && !case.clauses.is_empty(), "{}", case.id);
    }
}
