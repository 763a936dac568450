//! The three layouts and their variations read to the same curves.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use finepick_cli::curves::{self, CurveTable, Format, ReadOptions, Source};

fn read(name: &str, text: &str) -> CurveTable {
    curves::read_bytes(
        &Source::Path(PathBuf::from(name)),
        text.as_bytes(),
        &ReadOptions::default(),
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

const WIDE: &str = "config name,0,400,200,size,family,licence\n\
                    org/a,4.5,3.5,4.0,124440576,A,mit\n\
                    org/b,4.25,,3.75,,B,\n";

#[test]
fn a_wide_file_sorts_sizes_and_keeps_attributes() {
    let table = read("data/some.csv", WIDE);
    assert_eq!(
        (table.name.as_str(), table.file.as_str(), table.format),
        ("some", "data/some.csv", Format::Wide)
    );
    assert_eq!((table.rejected_total, table.notes.len()), (0, 0));
    let [a, b] = table.rows.as_slice() else {
        panic!("{table:?}")
    };
    let points: Vec<_> = a.observations.iter().map(|p| (p.data_size, p.test_loss)).collect();
    assert_eq!(points, [(0, 4.5), (200, 4.0), (400, 3.5)]);
    assert_eq!(
        (a.family.as_deref(), a.parameters, a.row),
        (Some("A"), Some(124_440_576), 2)
    );
    assert_eq!(a.attributes.get("licence").map(String::as_str), Some("mit"));
    let points: Vec<_> = b.observations.iter().map(|p| (p.data_size, p.test_loss)).collect();
    assert_eq!(points, [(0, 4.25), (200, 3.75)], "an empty cell is not measured");
    assert_eq!((b.parameters, b.attributes.len(), b.row), (None, 0, 3));
}

#[test]
fn long_and_json_lines_hold_the_same_curves() {
    let long = "test_loss,candidate,data_size,parameters,family,licence\n\
                3.5,org/a,400,124440576,A,mit\n\
                3.75,org/b,200.0,,B,\n\
                4.5,org/a,0,,,\n\
                4.25,org/b,0,,B,\n\
                ,org/b,400,,,\n\
                4.0,org/a,200,1.24440576e8,A,mit\n";
    let observations = r#"{"candidate":"org/a","data_size":400,"test_loss":3.5,"size":124440576,"family":"A","licence":"mit"}
{"candidate":"org/a","data_size":200,"test_loss":4}

{"candidate":"org/a","data_size":0,"test_loss":4.5,"licence":null}
{"candidate":"org/b","data_size":0,"test_loss":4.25,"family":"B"}
{"candidate":"org/b","data_size":200,"test_loss":3.75}
{"candidate":"org/b","data_size":400,"test_loss":null}
"#;
    let whole = r#"{"candidate":"org/a","parameters":124440576.0,"family":"A","attributes":{"licence":"mit"},"observations":[{"data_size":200,"test_loss":4.0},{"data_size":0,"test_loss":4.5},{"data_size":400,"test_loss":3.5}]}
{"candidate":"org/b","family":"B","observations":[{"data_size":0,"test_loss":4.25},{"data_size":200,"test_loss":3.75},{"data_size":400,"test_loss":null}]}
"#;
    let without_lines = |table: CurveTable| -> Vec<_> {
        table
            .rows
            .into_iter()
            .map(|row| {
                (
                    row.candidate,
                    row.family,
                    row.parameters,
                    row.attributes,
                    row.observations,
                )
            })
            .collect()
    };
    let expected = without_lines(read("t.csv", WIDE));
    for (format, text) in [
        (Format::Long, long),
        (Format::JsonLines, observations),
        (Format::JsonLines, whole),
    ] {
        let table = read("t.csv", text);
        assert_eq!((table.format, table.rejected.as_slice()), (format, [].as_slice()));
        assert_eq!(without_lines(table), expected, "{text}");
    }
}

#[test]
fn standard_errors_and_weights_are_read() {
    let long = "candidate;data_size;test_loss;standard_error;weight\na;200;3;0;2.5\na;400;2.5;0.125;\n";
    let json = r#"{"candidate":"a","observations":[{"data_size":200,"test_loss":3,"standard_error":0,"weight":2.5},{"data_size":400,"test_loss":2.5,"standard_error":0.125}]}"#;
    for text in [long, json] {
        let table = read("t", text);
        let row = table.rows.first().unwrap();
        let extra: Vec<_> = row.observations.iter().map(|p| (p.standard_error, p.weight)).collect();
        assert_eq!(extra, [(Some(0.0), Some(2.5)), (Some(0.125), None)]);
    }
}

#[test]
fn byte_order_mark_line_ends_delimiters_quotes_and_blank_lines_do_not_matter() {
    let expected = read("t.csv", WIDE).rows;
    for text in [
        format!("\u{feff}{WIDE}"),
        WIDE.replace('\n', "\r\n"),
        WIDE.replace('\n', "\r"),
        WIDE.replace(',', "\t"),
        WIDE.replace(',', ";"),
        WIDE.replace(',', " , "),
        WIDE.replace("org/a", "\"org/a\"")
            .replace("config name", "\"config name\""),
        format!("{WIDE}\n\n,,,,,,\n"),
        WIDE.trim_end().to_owned(),
    ] {
        assert_eq!(read("t.csv", &text).rows, expected, "{text:?}");
    }
    let lines: Vec<_> = read("t.csv", &WIDE.replace('\n', "\r\n\r\n"))
        .rows
        .iter()
        .map(|row| row.row)
        .collect();
    assert_eq!(lines, [3, 5], "lines are those an editor shows");
}

#[test]
fn quoted_cells_may_hold_delimiters_quotes_and_line_breaks() {
    let table = read("t.csv", "name,200,note x\n\"a, \"\"b\"\"\",3,1\nc,2,2\n");
    let names: Vec<_> = table.rows.iter().map(|row| row.candidate.as_str()).collect();
    assert_eq!(names, ["a, \"b\"", "c"]);
    let table = read("t.csv", "\"two\nlines\",200\na,3\n");
    assert_eq!(table.rows.first().map(|row| row.row), Some(3));
}

#[test]
fn only_plain_integers_are_sizes_and_the_near_misses_are_noted() {
    let table = read("t.csv", "name,200,1e3,1_000,7b\na,3,2,1,x\n");
    let row = table.rows.first().unwrap();
    assert_eq!(row.observations.len(), 1);
    assert_eq!(
        row.attributes.keys().map(String::as_str).collect::<Vec<_>>(),
        ["1_000", "1e3", "7b"]
    );
    assert_eq!(table.notes.len(), 2, "{:?}", table.notes);
    assert!(
        table.notes.iter().all(|note| note.starts_with("t.csv: column `1")),
        "{:?}",
        table.notes
    );
}

#[test]
fn a_forced_format_wins_over_the_content() {
    let options = ReadOptions {
        format: Some(Format::Wide),
        ..ReadOptions::default()
    };
    let text = b"candidate,data_size,test_loss,200\na,x,y,3\n";
    let table = curves::read_bytes(&Source::Stdin, text, &options).unwrap();
    assert_eq!(
        (table.name.as_str(), table.file.as_str(), table.format),
        ("stdin", "standard input", Format::Wide)
    );
    assert_eq!(table.rows.first().unwrap().attributes.len(), 2);
}

#[test]
fn the_dash_is_standard_input() {
    assert_eq!(Source::from_argument(Path::new("-")), Source::Stdin);
    assert_eq!(Source::from_argument(Path::new("a.csv")).name(), "a");
}

#[test]
fn a_file_of_ten_megabytes_is_read_whole() {
    let mut text = String::from("name,200,400,800\n");
    while text.len() < 10_000_000 {
        let number = text.len();
        writeln!(text, "candidate-{number},3.123456789,2.987654321,2.5").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.csv");
    std::fs::write(&path, &text).unwrap();
    let table = curves::read(&Source::from_argument(&path), &ReadOptions::default()).unwrap();
    assert_eq!(table.rows.len(), text.lines().count() - 1);
    assert_eq!(table.name, "large");
}

#[test]
fn the_published_benchmark_is_read() {
    let Some(folder) = benchmark_folder() else {
        eprintln!("no benchmark data: set FINEPICK_BENCHMARK_DIR; skipped");
        return;
    };
    for name in ["flan", "wmt19"] {
        let path = folder.join("benchmark").join(format!("{name}.csv"));
        let table = curves::read(&Source::Path(path), &ReadOptions::default()).unwrap();
        assert_eq!(
            (table.name.as_str(), table.rows.len(), table.rejected_total),
            (name, 30, 0)
        );
        for row in &table.rows {
            assert_eq!(
                (row.observations.len(), row.attributes.len()),
                (15, 0),
                "{}",
                row.candidate
            );
            assert_eq!(row.observations.last().map(|point| point.data_size), Some(1_638_400));
            assert!(row.parameters.is_some() && row.family.is_some(), "{}", row.candidate);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the data lies is the one thing a test takes from outside"
)]
fn benchmark_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("FINEPICK_BENCHMARK_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    folder.join("benchmark/flan.csv").is_file().then_some(folder)
}
