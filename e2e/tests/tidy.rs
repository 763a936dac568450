//! The house rules that a machine can check. ARCHITECTURE.md states them.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use e2e::root;

/// Source files below a folder, with their text.
fn sources(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), ending, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no {ending} files in {folder}");
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).expect("text")))
        .collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

const CRATES: [&str; 12] = [
    "proto",
    "svc-kit",
    "fitter-svc",
    "selector-svc",
    "trainer-client",
    "trainer-kit",
    "trainer-sim",
    "trainer-svc",
    "plugin-kit",
    "gateway",
    "cli",
    "e2e",
];

/// Lines outside comments that mention one of the words.
fn mentions(folder: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(folder, ".rs") {
        let name = relative(&path);
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn main_is_a_paragraph() {
    for (path, text) in CRATES.iter().flat_map(|folder| sources(folder, ".rs")) {
        if path.ends_with("src/main.rs") {
            assert!(
                text.lines().count() <= 40,
                "{} has {} lines",
                relative(&path),
                text.lines().count()
            );
        }
    }
}

#[test]
fn no_service_knows_another() {
    for (folder, others) in [
        (
            "fitter-svc/src",
            &["selector_svc", "gateway::", "finepick_cli", "proto::selector"][..],
        ),
        ("selector-svc/src", &["fitter_svc", "gateway::", "finepick_cli"]),
        (
            "trainer-sim/src",
            &[
                "fitter_svc",
                "selector_svc",
                "gateway::",
                "finepick_cli",
                "trainer_client",
            ],
        ),
        (
            "trainer-svc/src",
            &[
                "fitter_svc",
                "selector_svc",
                "trainer_sim",
                "gateway::",
                "finepick_cli",
                "trainer_client",
            ],
        ),
        (
            "trainer-kit/src",
            &[
                "fitter_svc",
                "selector_svc",
                "trainer_sim",
                "trainer_svc",
                "gateway::",
                "finepick_cli",
                "trainer_client",
            ],
        ),
        (
            "trainer-client/src",
            &["fitter_svc", "selector_svc", "trainer_sim", "gateway::", "finepick_cli"],
        ),
        (
            "gateway/src",
            &["fitter_svc", "selector_svc", "trainer_sim", "finepick_cli"],
        ),
        (
            "svc-kit/src",
            &[
                "fitter_svc",
                "selector_svc",
                "gateway::",
                "finepick_cli",
                "finepick_proto::",
            ],
        ),
        ("proto/src", &["svc_kit", "fitter_svc", "selector_svc"]),
    ] {
        assert_eq!(mentions(folder, others, &[]), Vec::<String>::new());
    }
}

#[test]
fn heavy_imports_live_in_one_place() {
    assert_eq!(
        mentions("fitter-svc/src", &["argmin::", "use argmin"], &["fitter-svc/src/fit"]),
        Vec::<String>::new()
    );
    assert_eq!(
        mentions(
            "trainer-svc/src",
            &["use ort::", " ort::", "(ort::"],
            &["trainer-svc/src/session"]
        ),
        Vec::<String>::new()
    );
    for service in ["fitter-svc", "selector-svc", "trainer-kit", "trainer-svc"] {
        let folder = format!("{service}/src");
        // The worker joins the training to the run manager, the configuration and the hub; the driver joins selections to their
        // trainers and their store.
        let adapters = [
            "grpc",
            "config",
            "main.rs",
            "lib.rs",
            "worker",
            "driver",
            "store/sqlite",
            "trainers",
            "desk",
        ]
        .map(|place| format!("{service}/src/{place}"));
        let adapters: Vec<&str> = adapters.iter().map(String::as_str).collect();
        let transport = ["tonic::", "finepick_proto::", "svc_kit::", "tokio::"];
        assert_eq!(
            mentions(&folder, &transport, &adapters),
            Vec::<String>::new(),
            "the domain of {service} is pure"
        );
    }
}

#[test]
fn modules_are_files_beside_their_folders() {
    for (path, _) in CRATES.iter().flat_map(|folder| sources(folder, ".rs")) {
        // Cargo treats every file of tests/ as a test of its own; a shared one must be a folder's mod.rs.
        let shared_by_tests = path.components().any(|part| part.as_os_str() == "tests");
        assert!(!path.ends_with("mod.rs") || shared_by_tests, "{}", relative(&path));
    }
}

#[test]
fn exemptions_from_lints_carry_their_reason() {
    for (path, text) in CRATES.iter().flat_map(|folder| sources(folder, ".rs")) {
        for lint in ["allow", "expect"] {
            let attribute = format!("[{lint}(");
            for (at, found) in text.match_indices(&attribute) {
                let rest = &text[at + found.len()..];
                let end = rest.find(")]").unwrap_or(rest.len());
                assert!(rest[..end].contains("reason"), "{}: {}", relative(&path), &rest[..end]);
            }
        }
    }
}

#[test]
fn nothing_in_the_contracts_is_undocumented() {
    // buf's COMMENTS rules check every element; here only that no comment is a placeholder.
    for (path, text) in sources("proto/finepick", ".proto") {
        for placeholder in ["TODO", "TBD", "FIXME", "XXX"] {
            assert!(!text.contains(placeholder), "{}: {placeholder}", relative(&path));
        }
    }
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut documents = vec!["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .into_iter()
        .map(|name| {
            (
                root().join(name),
                std::fs::read_to_string(root().join(name)).expect(name),
            )
        })
        .collect::<Vec<_>>();
    documents.extend(sources("docs", ".md"));
    for (path, text) in documents {
        let dir = path.parent().expect("a folder");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                dir.join(target).exists(),
                "{} links to {target}, which does not exist",
                relative(&path)
            );
        }
    }
}

#[test]
fn the_readme_is_short_and_has_its_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.lines().count() < 200);
    assert!(readme.contains("make demo") && readme.contains("make test"));
}
