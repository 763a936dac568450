//! Properties of reading: nothing panics, and what is written in any layout is read back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use finepick_cli::curves::{self, CurvePoint, CurveRow, Format, ReadOptions, Source};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn options(format: Option<Format>) -> ReadOptions {
    ReadOptions {
        format,
        ..ReadOptions::default()
    }
}

/// Candidates, families and attributes with awkward but allowed text.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9é中/\"'#;,|{}-]{1,12}( [a-z0-9]{1,4})?"
}

fn row() -> impl Strategy<Value = CurveRow> {
    let points = prop::collection::btree_map(0_u64..(1 << 53), 1e-300..1e6_f64, 1..8);
    let attributes = prop::collection::btree_map(prop::sample::select(vec!["licence", "x y", "n,o"]), text(), 0..3);
    let parameters = prop::option::of(1_u64..(1 << 53));
    (text(), prop::option::of(text()), parameters, attributes, points).prop_map(
        |(candidate, family, parameters, attributes, points)| CurveRow {
            candidate,
            family,
            parameters,
            attributes: attributes
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            observations: points
                .into_iter()
                .map(|(data_size, test_loss)| CurvePoint {
                    data_size,
                    test_loss,
                    standard_error: None,
                    weight: None,
                })
                .collect(),
            row: 0,
        },
    )
}

/// Tables with unique names.
fn rows() -> impl Strategy<Value = Vec<CurveRow>> {
    prop::collection::vec(row(), 1..6).prop_map(|rows| {
        let unique: BTreeMap<_, _> = rows.into_iter().map(|row| (row.candidate.clone(), row)).collect();
        unique.into_values().collect()
    })
}

fn attribute_names(rows: &[CurveRow]) -> Vec<String> {
    rows.iter()
        .flat_map(|row| row.attributes.keys().cloned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn write(records: Vec<Vec<String>>, delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    for record in records {
        writer.write_record(record).unwrap();
    }
    writer.into_inner().unwrap()
}

fn described(row: &CurveRow, names: &[String]) -> Vec<String> {
    let mut cells = vec![
        row.family.clone().unwrap_or_default(),
        row.parameters.map(|count| count.to_string()).unwrap_or_default(),
    ];
    cells.extend(
        names
            .iter()
            .map(|name| row.attributes.get(name).cloned().unwrap_or_default()),
    );
    cells
}

fn wide(rows: &[CurveRow], delimiter: u8) -> Vec<u8> {
    let names = attribute_names(rows);
    let sizes: BTreeSet<u64> = rows
        .iter()
        .flat_map(|row| row.observations.iter().map(|p| p.data_size))
        .collect();
    let mut header = vec!["config name".to_owned(), "family".to_owned(), "size".to_owned()];
    header.extend(names.iter().cloned());
    header.extend(sizes.iter().rev().map(ToString::to_string));
    let mut records = vec![header];
    for row in rows {
        let mut record = vec![row.candidate.clone()];
        record.extend(described(row, &names));
        record.extend(sizes.iter().rev().map(|size| {
            let point = row.observations.iter().find(|point| point.data_size == *size);
            point.map(|point| point.test_loss.to_string()).unwrap_or_default()
        }));
        records.push(record);
    }
    write(records, delimiter)
}

fn long(rows: &[CurveRow], delimiter: u8) -> Vec<u8> {
    let names = attribute_names(rows);
    let mut header: Vec<String> = ["candidate", "data_size", "test_loss", "family", "parameters"]
        .map(str::to_owned)
        .to_vec();
    header.extend(names.iter().cloned());
    let mut records = vec![header];
    for row in rows {
        for point in row.observations.iter().rev() {
            let mut record = vec![
                row.candidate.clone(),
                point.data_size.to_string(),
                point.test_loss.to_string(),
            ];
            record.extend(described(row, &names));
            records.push(record);
        }
    }
    write(records, delimiter)
}

fn json_lines(rows: &[CurveRow], whole_curves: bool) -> Vec<u8> {
    let mut lines = Vec::new();
    for row in rows {
        let points = row
            .observations
            .iter()
            .map(|p| json!({"data_size": p.data_size, "test_loss": p.test_loss}));
        let mut head = Map::new();
        head.insert("candidate".to_owned(), json!(row.candidate));
        head.insert("family".to_owned(), json!(row.family));
        head.insert("parameters".to_owned(), json!(row.parameters));
        head.insert("attributes".to_owned(), json!(row.attributes));
        if whole_curves {
            head.insert("observations".to_owned(), points.collect());
            lines.push(Value::Object(head));
        } else {
            for point in points {
                let mut line = head.clone();
                line.extend(point.as_object().unwrap().clone());
                lines.push(Value::Object(line));
            }
        }
    }
    lines
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(
            "
",
        )
        .into_bytes()
}

fn read_back(bytes: &[u8], format: Format, forced: bool) -> Result<Vec<CurveRow>, TestCaseError> {
    let table = curves::read_bytes(&Source::Stdin, bytes, &options(forced.then_some(format)))
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(table.format, format);
    prop_assert_eq!(&table.rejected, &[]);
    Ok(table.rows.into_iter().map(|row| CurveRow { row: 0, ..row }).collect())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [None, Some(Format::Wide), Some(Format::Long), Some(Format::JsonLines)] {
            if let Ok(table) = curves::read_bytes(&Source::Stdin, &bytes, &options(format)) {
                prop_assert!(!table.rows.is_empty());
            }
        }
    }

    #[test]
    fn near_misses_never_panic_and_keep_the_promises(
        head in prop::sample::select(vec![
            "name,200,400", "candidate,data_size,test_loss", "a\t0\t1\t2", "{\"candidate\":\"a\",", "\"x\",1", "",
        ]),
        tail in "([,;\t\"\n\r]|[0-9.eE+-]{1,3}|candidate|data_size|NaN|inf|size|:|\\{|\\}|\\[|\\]|a|é| ){0,60}",
    ) {
        let text = format!("{head}{tail}");
        match curves::read_bytes(&Source::Stdin, text.as_bytes(), &options(None)) {
            Ok(table) => for row in &table.rows {
                prop_assert!(!row.candidate.is_empty() && row.candidate.len() <= 256);
                prop_assert!(row.observations.windows(2).all(|pair| pair[0].data_size < pair[1].data_size));
                prop_assert!(row.observations.iter().all(|p| p.test_loss > 0.0 && p.test_loss <= 1e6));
            },
            Err(error) => prop_assert!(error.to_string().starts_with("standard input: "), "{}", error),
        }
    }

    #[test]
    fn every_layout_round_trips(rows in rows(), delimiter in prop::sample::select(vec![b',', b'\t', b';'])) {
        prop_assert_eq!(&read_back(&wide(&rows, delimiter), Format::Wide, false)?, &rows);
        prop_assert_eq!(&read_back(&long(&rows, delimiter), Format::Long, false)?, &rows);
        prop_assert_eq!(&read_back(&json_lines(&rows, true), Format::JsonLines, false)?, &rows);
        prop_assert_eq!(&read_back(&json_lines(&rows, false), Format::JsonLines, true)?, &rows);
    }
}
