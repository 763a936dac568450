//! Wrong input gets an answer that names its place, and costs nobody else theirs.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::process::{Output, Stdio};

use e2e::{binary, command, finepick};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with one curve file.
struct File {
    _dir: TempDir,
    path: String,
}

fn file(name: &str, content: impl AsRef<[u8]>) -> File {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, content).expect("the file is written");
    File {
        path: path.display().to_string(),
        _dir: dir,
    }
}

fn rank(path: &str, extra: &[&str]) -> Output {
    finepick(
        &[
            &[
                "rank",
                "--curves",
                path,
                "--budget-size",
                "800",
                "--full-size",
                "6400",
                "--format",
                "json",
            ],
            extra,
        ]
        .concat(),
    )
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const GOOD: &str = "name,100,200,400,800\ngood,4.0,3.6,3.2,2.9\n";

#[test]
fn a_bad_cell_is_named_and_the_other_candidates_are_answered() {
    for (cell, why) in [
        ("-3.5", "negative"),
        ("0", "zero"),
        ("nan", "not a number"),
        ("NaN", "not a number"),
        ("inf", "infinite"),
        ("1e300", "absurd"),
        ("three", "text"),
    ] {
        let file = file("curves.csv", format!("{GOOD}bad,4.1,{cell},3.1,2.8\n"));
        let output = rank(&file.path, &[]);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(3), "{why}: {text}");
        for place in ["curves.csv", "3", "200", "bad"] {
            assert!(text.contains(place), "{why}: {place:?} is not named in {text:?}");
        }
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer all the same");
        assert_eq!(answer["candidates"][0]["candidate"], "good");
        assert_eq!(answer["excluded"][0]["candidate"], "bad");
        assert_eq!(answer["excluded"][0]["reason"], "bad_row");

        let strict = rank(&file.path, &["--strict"]);
        assert_eq!(strict.status.code(), Some(2));
        assert!(strict.stdout.is_empty());
    }
}

#[test]
fn a_file_that_is_no_table_is_refused_whole() {
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("empty.csv", Vec::new(), "empty"),
        ("header.csv", b"name,100,200\n".to_vec(), "header.csv"),
        ("latin1.csv", b"name,100,200,400\nmod\xe8le,3,2,1\n".to_vec(), "UTF-8"),
        ("twice.csv", b"name,100,200,200\na,3,2,1\n".to_vec(), "200"),
        (
            "huge.csv",
            b"name,100,200,99999999999999999999999\na,3,2,1\n".to_vec(),
            "99999999999999999999999",
        ),
        ("nosizes.csv", b"name,colour\na,red\n".to_vec(), "nosizes.csv"),
        (
            "broken.jsonl",
            b"{\"candidate\": \"a\", \"data_size\":\n".to_vec(),
            "broken.jsonl",
        ),
    ];
    for (name, content, expected) in cases {
        let file = file(name, content);
        let output = rank(&file.path, &[]);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(name) && text.contains(expected), "{name}: {text}");
        assert!(output.stdout.is_empty(), "{name}");
    }
    let missing = rank("no/such/file.csv", &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(told(&missing).contains("no/such/file.csv"));
}

#[test]
fn candidates_without_enough_points_are_excluded_with_the_reason() {
    let file = file(
        "curves.csv",
        "name,100,200,400,800\nfull,4.0,3.6,3.2,2.9\none,,,,3.0\nflat,3,3,3,3\nnone,,,,\n",
    );
    let output = rank(&file.path, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    let ranked: Vec<&str> = answer["candidates"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["candidate"].as_str())
        .collect();
    assert!(ranked.contains(&"full") && ranked.contains(&"flat"), "{ranked:?}");
    let excluded = answer["excluded"].as_array().expect("a list");
    let reason = |name: &str| {
        excluded
            .iter()
            .find(|e| e["candidate"] == name)
            .map(|e| e["reason"].clone())
    };
    assert_eq!(reason("one"), Some("too_few_points".into()));
    assert_eq!(reason("none"), Some("too_few_points".into()));
}

#[test]
fn degenerate_curves_get_a_verdict_not_an_error() {
    let file = file(
        "curves.csv",
        "name,100,200,400,800,1600\none,,,,3.0,\nflat,3,3,3,3,3\nrising,1,2,3,4,5\ngood,5,4.2,3.6,3.2,2.9\n",
    );
    let output = finepick(&["fit", "--curves", &file.path, "--predict", "6400", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let answers: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    let verdict = |name: &str| {
        let all = answers.as_array().expect("a list");
        all.iter()
            .find(|a| a["candidate"] == name)
            .and_then(|a| a["verdict"].as_str())
            .expect("a verdict")
            .to_owned()
    };
    assert_eq!(verdict("one"), "TOO_FEW_POINTS");
    assert_eq!(verdict("rising"), "NON_MONOTONE");
    assert_ne!(verdict("flat"), "OK");
}

#[test]
fn a_budget_without_columns_is_told() {
    let file = file("curves.csv", GOOD);
    let output = finepick(&[
        "rank",
        "--curves",
        &file.path,
        "--budget-size",
        "50",
        "--full-size",
        "6400",
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("data_size_budget"), "{}", told(&output));
}

#[test]
fn wrong_flags_are_refused_with_what_is_allowed() {
    let file = file("curves.csv", GOOD);
    let path = file.path.as_str();
    let rank = "rank --curves FILE --full-size 6400";
    let cases = [
        (format!("{rank} --budget-size 800 --policy oracle"), "local-trend"),
        ("fit --curves FILE --law moore".to_owned(), "rectified"),
        (rank.to_owned(), "--budget-size"),
        (format!("{rank} --budget-size 9000"), "data_size_full"),
        (format!("{rank} --budget-size -1"), "--budget-size"),
        (format!("{rank} --budget-ratio 3/2"), "ratio"),
        (format!("{rank} --budget-size 800 --where family"), "--where"),
        (format!("{rank} --budget-size 800 --level 1.5"), "interval_level"),
        (
            "simulate --curves FILE --full-size 6400 --budget-ratio 0".to_owned(),
            "ratio",
        ),
    ];
    for (question, expected) in cases {
        let words: Vec<&str> = question
            .split(' ')
            .map(|word| if word == "FILE" { path } else { word })
            .collect();
        let output = finepick(&words);
        let text = told(&output);
        assert_eq!(output.status.code(), Some(2), "{question:?}: {text}");
        assert!(text.contains(expected), "{question:?}: {expected:?} is not in {text:?}");
    }
}

#[test]
fn standard_input_is_a_file_like_any_other() {
    let mut child = command(&binary("finepick"))
        .args([
            "rank",
            "--curves",
            "-",
            "--budget-size",
            "800",
            "--full-size",
            "6400",
            "--format",
            "csv",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("finepick starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(GOOD.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("rank,candidate,") && text.contains("\n1,good,"),
        "{text}"
    );
}

#[test]
fn a_file_of_10_mb_with_too_many_candidates_is_refused_by_the_limit() {
    use std::fmt::Write as _;
    let mut text = String::from("name,100,200,400,800\n");
    while text.len() < 10 << 20 {
        let index = text.len();
        let _ = writeln!(
            text,
            "candidate-number-{index:012}-with-a-rather-long-name,4.{index},3.{index},2.{index},1.{index}"
        );
    }
    let file = file("large.csv", text);
    let output = finepick(&[
        "fit",
        "--curves",
        &file.path,
        "--law",
        "power",
        "--uncertainty",
        "none",
        "--format",
        "csv",
    ]);
    // Far more candidates than a request may hold: the limit is told by its name, and nothing breaks.
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("LIMIT_EXCEEDED"), "{}", told(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn an_unreachable_endpoint_is_told_with_status_1() {
    let file = file("curves.csv", GOOD);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let output = rank(&file.path, &["--endpoint", &url, "--timeout", "5"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let output = rank(&file.path, &["--endpoint", "not a url"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}
