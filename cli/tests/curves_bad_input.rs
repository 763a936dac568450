//! What is wrong with a file names file, row and column; what is wrong with one candidate spares the others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fmt::Write as _;
use std::path::PathBuf;

use finepick_cli::curves::{self, CurveFileError, CurveTable, Limits, ReadOptions, RejectedRow, Source};

fn try_read(bytes: &[u8], options: &ReadOptions) -> Result<CurveTable, CurveFileError> {
    curves::read_bytes(&Source::Path(PathBuf::from("c.csv")), bytes, options)
}

fn error(text: &str) -> String {
    try_read(text.as_bytes(), &ReadOptions::default())
        .map(|table| format!("{table:?}"))
        .unwrap_err()
        .to_string()
}

/// The faults of a text in which `good` is the only usable candidate.
fn faults(text: &str) -> Vec<String> {
    let table = try_read(text.as_bytes(), &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<_> = table.rows.iter().map(|row| row.candidate.as_str()).collect();
    assert_eq!(names, ["good"], "{text}");
    assert_eq!(table.rejected.len(), table.rejected_total);
    table.rejected.iter().map(ToString::to_string).collect()
}

#[test]
fn each_bad_loss_names_row_and_column() {
    for (cell, reason) in [
        ("-1", "the loss `-1` is not above 0 (losses are nats per token)"),
        ("0", "the loss `0` is not above 0 (losses are nats per token)"),
        (
            "NaN",
            "the loss `NaN` is not finite (leave a cell empty where nothing was measured)",
        ),
        (
            "inf",
            "the loss `inf` is not finite (leave a cell empty where nothing was measured)",
        ),
        (
            "2e6",
            "the loss `2e6` is above 1e6 nats per token, which cannot be meant",
        ),
        ("x", "the loss `x` is not a number"),
        (
            "\"1,5\"",
            "the loss `1,5` is not a number (write a decimal point, no comma)",
        ),
    ] {
        let wide = format!("name,200,400\ngood,3,2\nbad,3,{cell}\n");
        assert_eq!(faults(&wide), [format!("c.csv: row 3, column `400` (bad): {reason}")]);
        let long = format!("candidate,data_size,test_loss\nbad,200,3\ngood,200,3\nbad,400,{cell}\n");
        assert_eq!(
            faults(&long),
            [format!("c.csv: row 4, column `test_loss` (bad): {reason}")]
        );
    }
}

#[test]
fn all_faults_of_a_line_are_reported() {
    let text = "name,200,400,size,family\nbad,-1,x,-7,\"a\u{7}b\"\ngood,3,2,1.5e9,\n";
    assert_eq!(
        faults(text),
        [
            "c.csv: row 2, column `200` (bad): the loss `-1` is not above 0 (losses are nats per token)",
            "c.csv: row 2, column `400` (bad): the loss `x` is not a number",
            "c.csv: row 2, column `size` (bad): the number of parameters `-7` is negative",
            "c.csv: row 2, column `family` (bad): the value `a\\u{7}b` holds the control character \\u{7}",
        ]
    );
}

#[test]
fn names_are_checked() {
    let long = "n".repeat(257);
    let text = format!("config name,200\n,3\n\"a\u{1b}b\",3\n{long},3\ngood,3\ntwice,3\ntwice,3\n");
    let faults = faults(&text);
    assert_eq!(faults.len(), 4, "{faults:?}");
    assert_eq!(
        faults[0],
        "c.csv: row 2, column `config name`: the candidate has no name"
    );
    assert!(
        faults[1].contains("row 3") && faults[1].contains("control character \\u{1b}"),
        "{}",
        faults[1]
    );
    assert!(
        faults[2].contains("row 4") && faults[2].contains("257 bytes"),
        "{}",
        faults[2]
    );
    assert_eq!(
        faults[3],
        "c.csv: row 7, column `config name` (twice): the candidate is in row 6 already; names are unique in a wide file"
    );
}

#[test]
fn ragged_lines_say_how_many_fields_they_have() {
    assert_eq!(
        faults("name,200,400\nshort,3\ngood,3,2\nlong,1,2,3\n"),
        [
            "c.csv: row 2 (short): has 2 fields where the header has 3",
            "c.csv: row 4 (long): has 4 fields where the header has 3",
        ]
    );
    let long = "candidate,data_size,test_loss\nbad,200,3\nbad,400\ngood,200,3\n";
    assert_eq!(
        faults(long),
        ["c.csv: row 3 (bad): has 2 fields where the header has 3"]
    );
}

#[test]
fn repeated_points_and_disagreeing_attributes_name_both_rows() {
    let text = "candidate,data_size,test_loss,family,size\n\
                a,200,3,F,7\ngood,200,3,,\na,400,2,G,8\ngood,400,2,H,\nb,200,3,,\nb,200,3,,\n";
    assert_eq!(
        faults(text),
        [
            "c.csv: row 4, column `family` (a): `G` disagrees with `F` in row 2",
            "c.csv: row 4, column `size` (a): `8` disagrees with `7` in row 2",
            "c.csv: row 7, column `data_size` (b): data size 200 of this candidate is in row 6 already",
        ]
    );
}

#[test]
fn a_long_line_needs_a_size_and_sound_numbers() {
    let text = "candidate,data_size,test_loss,weight,standard_error\n\
                a,,3,,\nb,-5,3,,\nc,1.5,3,,\nd,9007199254740992,3,,\ne,1,3,0,\nf,1,3,,-1\ngood,0,3,1,0\n";
    let faults = faults(text);
    for (fault, part) in faults.iter().zip([
        "row 2, column `data_size` (a): a loss without a data size",
        "row 3, column `data_size` (b): the data size `-5` is negative",
        "row 4, column `data_size` (c): the data size `1.5` is not a whole number",
        "row 5, column `data_size` (d): the data size `9007199254740992` is not below 2^53",
        "row 6, column `weight` (e): the weight `0` is not a finite number above 0",
        "row 7, column `standard_error` (f): the standard error `-1` is not a finite number of at least 0",
    ]) {
        assert!(fault.ends_with(part), "{fault}");
    }
    assert_eq!(faults.len(), 6);
}

#[test]
fn json_faults_name_the_key() {
    let text = r#"{"candidate":"good","data_size":200,"test_loss":3}
{"candidate":"a","data_size":"200","test_loss":3}
{"candidate":"b","observations":[{"data_size":200,"test_loss":3},{"data_size":400,"test_loss":-1,"loss":2}]}
{"candidate":7}
{"candidate":"c",
[1]
{"candidate":"d","data_size":1,"data_size":2,"test_loss":3}
{"candidate":"e","data_size":1,"test_loss":3,"tags":["x"],"size":1.5}
{"candidate":"f","observations":[],"test_loss":3}
"#;
    assert_eq!(
        faults(text),
        [
            "c.csv: row 2, column `data_size` (a): is a string, not a number",
            "c.csv: row 3, column `observations[1].loss` (b): unknown key; an observation has data_size, test_loss, standard_error, weight",
            "c.csv: row 3, column `observations[1].test_loss` (b): the loss `-1` is not above 0 (losses are nats per token)",
            "c.csv: row 4: `candidate` is a number, not a string",
            "c.csv: row 5: is not valid JSON at character 17: EOF while parsing a value",
            "c.csv: row 6: holds an array, not an object",
            "c.csv: row 7: is not valid JSON at character 44: key `data_size` appears twice",
            "c.csv: row 8, column `tags` (e): an attribute is a string or number, not an array",
            "c.csv: row 8, column `size` (e): the number of parameters `1.5` is not a whole number",
            "c.csv: row 9, column `test_loss` (f): belongs to an observation, but the line is a whole curve",
        ]
    );
}

#[test]
fn faults_are_bounded_but_counted() {
    let mut text = String::from("name,200\ngood,3\n");
    for index in 0..1000 {
        writeln!(text, "bad{index},-1").unwrap();
    }
    let table = try_read(text.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(
        (table.rows.len(), table.rejected.len(), table.rejected_total),
        (1, 100, 1000)
    );
    assert_eq!(
        table.rejected.first(),
        Some(&RejectedRow {
            file: "c.csv".to_owned(),
            candidate: "bad0".to_owned(),
            row: 3,
            column: Some("200".to_owned()),
            message: "the loss `-1` is not above 0 (losses are nats per token)".to_owned(),
        })
    );
}

#[test]
fn nothing_left_is_an_error_that_lists_the_faults() {
    let text = "name,200\na,-1\nb,x\nc,0\nd,NaN\n";
    let message = error(text);
    assert!(
        message.starts_with("c.csv: no usable curve is left: row 2, column `200` (a): "),
        "{message}"
    );
    assert!(message.ends_with("; and 1 more"), "{message}");
}

#[test]
fn unusable_files_are_named() {
    assert_eq!(error(""), "c.csv: is empty");
    assert_eq!(error("\u{feff} \r\n\n"), "c.csv: is empty");
    assert_eq!(error("name,200,400\n"), "c.csv: has a header but no data rows");
    assert_eq!(error("name,200,400\n,,\n"), "c.csv: has a header but no data rows");
    assert!(error("name,size,family\na,1,b\n").starts_with("c.csv: row 1: no column is a data size"));
    assert!(error("\n\ncandidate,data_size\na,1\n").starts_with("c.csv: row 3: column `test_loss` is missing"));
    assert!(error("data_size,test_loss\n1,2\n").contains("column `candidate` is missing"));
    assert!(error("hello world\n").starts_with("c.csv: unknown format: "));
    assert_eq!(
        error("name,200,x,200\na,1,2,3\n"),
        "c.csv: row 1: column `200` appears twice, as fields 2 and 4"
    );
    assert_eq!(
        error("name,200,0200\na,1,2\n"),
        "c.csv: row 1: column `0200` appears twice, as fields 2 and 3"
    );
    assert_eq!(
        error("name,200,size,Parameters\na,1,2,3\n"),
        "c.csv: row 1: column `Parameters` appears twice, as fields 3 and 4"
    );
    assert!(error("name,200,note,note\na,1,2,3\n").contains("column `note` appears twice"));
    assert!(error("candidate,data_size,test_loss,weight,weight\na,1,2,3,4\n").contains("`weight` appears twice"));
    assert!(error("name,99999999999999999999\na,1\n").contains("column `99999999999999999999` cannot be a data size"));
    assert!(error("name,9007199254740992\na,1\n").contains("below 2^53"));
    assert!(error("name,-200\na,1\n").contains("without a sign"));
}

#[test]
fn broken_quotes_are_placed() {
    assert_eq!(
        error("name,200\na,1\n\"b,2\nc,3\n"),
        "c.csv: row 3: broken quoting: a quoted field is never closed"
    );
    assert_eq!(
        error("name,200\n\n\"a\"x,1\n"),
        "c.csv: row 3: broken quoting: a quoted field goes on after its closing quote"
    );
}

#[test]
fn paths_that_are_no_files_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    let missing = Source::Path(directory.path().join("missing.csv"));
    assert!(matches!(
        curves::read(&missing, &options),
        Err(CurveFileError::NotFound { .. })
    ));
    let folder = Source::Path(directory.path().to_path_buf());
    let error = curves::read(&folder, &options).unwrap_err();
    assert!(matches!(error, CurveFileError::Directory { .. }), "{error}");
    let path = directory.path().join("latin1.csv");
    std::fs::write(&path, b"name,200\ncaf\xe9,3\n").unwrap();
    let error = curves::read(&Source::Path(path), &options).unwrap_err().to_string();
    assert!(
        error.ends_with("latin1.csv: row 2: byte 12 of the file is not UTF-8"),
        "{error}"
    );
}

#[test]
fn limits_have_names() {
    let default = Limits::default;
    let wide = "name,200,400,x,y\na,3,2,1,1\nb,3,2,1,1\n";
    let json = "{\"candidate\":\"a\",\"data_size\":1,\"test_loss\":1}\n{}\n";
    let few_bytes = Limits {
        max_bytes: 8,
        ..default()
    };
    let few_rows = Limits {
        max_rows: 1,
        ..default()
    };
    let few_columns = Limits {
        max_columns: 4,
        ..default()
    };
    let few_attributes = Limits {
        max_attributes: 1,
        ..default()
    };
    let few_observations = Limits {
        max_observations: 3,
        ..default()
    };
    for (limits, text, expected) in [
        (few_bytes.clone(), wide, "c.csv: is larger than the limit of 8 bytes"),
        (few_rows.clone(), wide, "c.csv: row 3: more than 1 rows"),
        (few_columns, wide, "c.csv: row 1: more than 4 columns"),
        (few_attributes, wide, "c.csv: row 1: more than 1 attribute columns"),
        (few_observations, wide, "c.csv: row 3: more than 3 observations"),
        (few_rows, json, "c.csv: row 2: more than 1 rows"),
    ] {
        let options = ReadOptions {
            limits,
            ..ReadOptions::default()
        };
        assert_eq!(try_read(text.as_bytes(), &options).unwrap_err().to_string(), expected);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.csv");
    std::fs::write(&path, wide).unwrap();
    let options = ReadOptions {
        limits: few_bytes,
        ..ReadOptions::default()
    };
    assert!(matches!(
        curves::read(&Source::Path(path), &options),
        Err(CurveFileError::TooLarge { limit: 8, .. })
    ));
}
