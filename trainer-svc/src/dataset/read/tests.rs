use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::dataset::Message;

fn read_as(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Examples, DataError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Examples::read(&path, options)
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Result<Examples, DataError> {
    read_as(name, bytes.as_ref(), &ReadOptions::default())
}

fn texts(examples: &Examples) -> Vec<&str> {
    examples
        .examples()
        .iter()
        .map(|example| match example {
            Example::Text(text) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn reasons(examples: &Examples) -> Vec<(u64, &str)> {
    let first = &examples.skipped().first;
    first.iter().map(|row| (row.number, row.reason.as_str())).collect()
}

#[test]
fn json_lines_of_all_kinds_with_every_kind_of_fault() {
    let mut bytes = b"\xef\xbb\xbf{\"text\": \"one\"}\r\n\n".to_vec();
    bytes.extend(
        b"{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n",
    );
    bytes.extend(
        b"{\"text\": \n{\"text\": \"\xff\"}\n{\"text\": \"a\0b\"}\n{\"text\": \" \"}\n{\"text\": \"\\u0000 last\"}",
    );
    let examples = read("data.jsonl", &bytes).unwrap();
    assert_eq!(
        examples.examples(),
        [
            Example::Text("one".into()),
            Example::Completion {
                prompt: "p".into(),
                completion: "c".into()
            },
            Example::Messages(vec![Message {
                role: "user".into(),
                content: "hi".into()
            }]),
            Example::Text("\0 last".into()),
        ]
    );
    assert_eq!(examples.skipped().empty, 1);
    assert_eq!(
        reasons(&examples),
        [
            (5, "not JSON: EOF while parsing a value at column 9"),
            (6, "not UTF-8 at byte 11"),
            (7, "NUL at byte 12"),
        ]
    );
}

#[test]
fn the_digest_is_that_of_the_bytes() {
    let examples = read("data.txt", "abc").unwrap();
    // sha256sum of "abc", FIPS 180-2 appendix B.1.
    let wanted = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(examples.digest(), wanted);
    assert_eq!((examples.files()[0].bytes, examples.files()[0].examples), (3, 1));
}

#[test]
fn strict_refuses_with_the_number_and_the_first() {
    let options = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let error = read_as("data.jsonl", b"{\"text\": \"a\"}\n[]\n5\n", &options).unwrap_err();
    let DataError::Broken { count: 2, first } = &error else {
        panic!("{error}")
    };
    assert_eq!(first[0].number, 2);
    assert!(
        error
            .to_string()
            .contains("data.jsonl: line 2: an array where an object is wanted"),
        "{error}"
    );
}

#[test]
fn only_twenty_broken_lines_are_kept() {
    let examples = read("data.jsonl", format!("{}{{\"text\": \"a\"}}", "x\n".repeat(100))).unwrap();
    assert_eq!((examples.skipped().broken, examples.skipped().first.len()), (100, 20));
}

#[test]
fn text_by_lines_and_by_paragraphs() {
    let bytes = "one\r\ntwo\n\n \nthree\n  four \n";
    assert_eq!(
        texts(&read("a.txt", bytes).unwrap()),
        ["one", "two", "three", "  four "]
    );
    let options = ReadOptions {
        paragraphs: true,
        ..ReadOptions::default()
    };
    let examples = read_as("a.txt", bytes.as_bytes(), &options).unwrap();
    assert_eq!(texts(&examples), ["one\ntwo", "three\n  four "]);
    let examples = read_as("a.txt", b"a\n\xff\nb\n\nc", &options).unwrap();
    assert_eq!(texts(&examples), ["c"]);
    assert_eq!(
        reasons(&examples),
        [(1, "line 2 of the paragraph: not UTF-8 at byte 1")]
    );
}

#[test]
fn bounds_hold() {
    let small = ReadOptions {
        line_bytes: 8,
        examples: 3,
        file_bytes: 64,
        text_bytes: 16,
        ..ReadOptions::default()
    };
    let examples = read_as("a.txt", b"12345678\r\n123456789\n1234567890123\nx", &small).unwrap();
    assert_eq!(texts(&examples), ["12345678", "x"]);
    assert_eq!(
        reasons(&examples),
        [(2, "longer than 8 bytes"), (3, "longer than 8 bytes")]
    );
    let what = |bytes: &[u8]| match read_as("a.txt", bytes, &small) {
        Err(DataError::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(b"a\nb\nc\nd"), "number of examples");
    assert_eq!(what(b"1234567\n1234567\n1234567"), "text in bytes");
    assert_eq!(what(&[b'a'; 65]), "size in bytes");
    let paragraphs = ReadOptions {
        paragraphs: true,
        ..small
    };
    let examples = read_as("a.txt", b"12345\n6789\n\nx", &paragraphs).unwrap();
    assert_eq!(reasons(&examples), [(1, "a paragraph of more than 8 bytes")]);
    let json = read_as("a.json", br#"[{"text": "123456789"}, {"text": "x"}]"#, &paragraphs).unwrap();
    assert_eq!(reasons(&json), [(1, "9 bytes of text, the limit is 8")]);
}

#[test]
fn json_arrays() {
    let examples = read("a.json", "\u{feff} [{\"text\": \"a\"}, 5, {\"text\": \"b\"}]\n").unwrap();
    assert_eq!(texts(&examples), ["a", "b"]);
    assert_eq!(reasons(&examples), [(2, "a number where an object is wanted")]);
    // Lines in a file named .json, as published data often has it; and an array without a name that says so.
    assert_eq!(
        texts(&read("a.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n").unwrap()),
        ["a", "b"]
    );
    assert_eq!(texts(&read("a.data", "[{\"text\": \"a\"}]").unwrap()), ["a"]);
    for (bytes, line, message) in [
        ("[{\"text\": \"a\"},\n{\"te", 2, "EOF while parsing a string"),
        ("[{\"text\": \"a\"}] x", 1, "trailing characters"),
        ("5", 1, "invalid type: integer `5`, expected an array of objects"),
    ] {
        let error = read("a.json", bytes).unwrap_err();
        assert!(
            matches!(&error, DataError::Json { line: l, message: m, .. } if *l == line && m == message),
            "{error:?}"
        );
    }
    let deep = format!("[{}", "[".repeat(100_000));
    assert!(matches!(read("a.json", deep), Err(DataError::Json { .. })));
}

#[test]
fn unknown_and_unreadable_files() {
    let found = |name: &str, bytes: &[u8]| match read(name, bytes) {
        Err(DataError::Format { found, .. }) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found("a.csv", b"x,y"), "a file ending in .csv");
    assert_eq!(found("a", b"x"), "a file without ending");
    assert_eq!(found("a.txt", b"\xff\xfea\0"), "text in UTF-16, UTF-8 is wanted");
    assert_eq!(found("a.jsonl.gz", b"\x1f\x8b\x08"), "compressed by gzip");
    assert!(matches!(
        read("a.jsonl", ""),
        Err(DataError::NoExamples {
            broken: 0,
            empty: 0,
            ..
        })
    ));
    let error = read("a.jsonl", "x\n").unwrap_err();
    assert!(error.to_string().contains("(1 broken, 0 empty; "), "{error}");
    assert!(matches!(
        Examples::read(Path::new("/nowhere/at/all"), &ReadOptions::default()),
        Err(DataError::Io { .. })
    ));
    assert!(matches!(
        Examples::read(Path::new("/dev/zero"), &ReadOptions::default()),
        Err(DataError::Format { .. })
    ));
}

#[test]
fn folders_are_read_by_name() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let read = || Examples::read(dir.path(), &ReadOptions::default());
    assert!(matches!(read(), Err(DataError::Format { .. })));
    file("b.txt", "two");
    file("a.jsonl", "{\"text\": \"one\"}\nx\n");
    file("README.md", "not data");
    file(".hidden.txt", "not data");
    std::fs::create_dir(dir.path().join("c.txt")).unwrap();
    let examples = read().unwrap();
    assert_eq!(texts(&examples), ["one", "two"]);
    assert_eq!(
        examples.files().iter().map(|file| file.examples).collect::<Vec<_>>(),
        [1, 1]
    );
    assert!(examples.skipped().first[0].file.ends_with("a.jsonl"));
    let digest = examples.digest().to_owned();
    file("README.md", "changed");
    assert_eq!(read().unwrap().digest(), digest);
    std::fs::rename(dir.path().join("b.txt"), dir.path().join("d.txt")).unwrap();
    assert_ne!(read().unwrap().digest(), digest);
}

/// A Parquet file: one column of text per name, one of numbers, and conversations.
fn parquet_file(names: &[&str], rows: &[&str], messages: bool) -> Vec<u8> {
    let columns: Vec<String> = names
        .iter()
        .map(|name| format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"))
        .collect();
    let columns = columns.concat();
    let conversation = "REQUIRED GROUP messages (LIST) { REPEATED GROUP list { REQUIRED GROUP element { \
                        REQUIRED BYTE_ARRAY role (UTF8); REQUIRED BYTE_ARRAY content (UTF8); } } }";
    let schema = format!(
        "message m {{ {columns} REQUIRED INT64 id; {} }}",
        if messages { conversation } else { "" }
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let compression = parquet::basic::Compression::SNAPPY;
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(*row)).collect();
    for _ in names {
        let mut column = group.next_column().unwrap().unwrap();
        // The first row is null.
        let levels: Vec<i16> = (0..rows.len()).map(|row| i16::from(row > 0)).collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts[1..], Some(&levels), None)
            .unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int64Type>()
        .write_batch(&vec![7; rows.len()], None, None)
        .unwrap();
    column.close().unwrap();
    if messages {
        // Two turns per row.
        for field in ["user", "assistant"] {
            let _ = field;
            let mut column = group.next_column().unwrap().unwrap();
            let values: Vec<ByteArray> = rows
                .iter()
                .flat_map(|row| [ByteArray::from("user"), ByteArray::from(*row)])
                .collect();
            let repeated: Vec<i16> = rows.iter().flat_map(|_| [0, 1]).collect();
            let defined = vec![1; values.len()];
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&defined), Some(&repeated))
                .unwrap();
            column.close().unwrap();
        }
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_has_the_same_fields_as_columns() {
    let examples = read("a.parquet", parquet_file(&["text"], &["", "one", "zwei", ""], false)).unwrap();
    assert_eq!(texts(&examples), ["one", "zwei"]);
    assert_eq!(examples.skipped().empty, 1);
    assert_eq!(
        reasons(&examples),
        [(1, "fields none; wanted: text, or prompt and completion, or messages")]
    );
    let examples = read(
        "a.jsonl",
        parquet_file(&["prompt", "completion", "other"], &["", "x"], false),
    )
    .unwrap();
    let (prompt, completion) = ("x".to_owned(), "x".to_owned());
    assert_eq!(examples.examples(), [Example::Completion { prompt, completion }]);
    let examples = read("a.parquet", parquet_file(&[], &["a", "b"], true)).unwrap();
    let Example::Messages(messages) = &examples.examples()[1] else {
        panic!()
    };
    assert_eq!(messages.len(), 2);
    assert_eq!((messages[0].role.as_str(), messages[1].content.as_str()), ("user", "b"));
    let error = read("a.parquet", parquet_file(&["body"], &["", "x"], false)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("columns body, id; wanted: text, or prompt and completion, or messages"),
        "{error}"
    );
    assert!(matches!(read("a.parquet", "PAR1"), Err(DataError::Parquet { .. })));
    assert!(matches!(read("a.parquet", "x"), Err(DataError::Parquet { .. })));
}

#[test]
fn a_dictionary_that_claims_too_much_is_refused() {
    // The header of a dictionary page: its number of entries (field 1 of field 7) as a zigzag varint. Three rows, three entries.
    let bytes = parquet_file(&["text"], &["", "one", "two", "three"], false);
    let place = bytes
        .windows(4)
        .position(|window| window == [0x4c, 0x15, 0x06, 0x15])
        .unwrap();
    let mut claims = bytes[..place + 2].to_vec();
    claims.extend([0xfe, 0xff, 0xff, 0xff, 0x0f]);
    claims.extend(&bytes[place + 3..]);
    let error = read("a.parquet", claims).unwrap_err();
    assert!(
        error.to_string().contains("a dictionary of 2147483647 entries in"),
        "{error}"
    );
}

#[test]
fn a_list_that_claims_more_entries_than_there_are_bytes_ends_with_the_file() {
    // An unknown field of the first page's header: a list (type 9) of floating-point numbers (type 7), 2^62 of them.
    let mut bytes = parquet_file(&["text"], &["", "one", "two", "three"], false);
    let list = [&[0xf9, 0xf7][..], &[0xff; 8], &[0x3f]].concat();
    bytes[4..4 + list.len()].copy_from_slice(&list);
    let error = read("a.parquet", bytes).unwrap_err();
    assert!(matches!(error, DataError::Parquet { .. }), "{error}");
}

/// Bounds so small that a spoilt length cannot cost much.
fn bounded() -> ReadOptions {
    ReadOptions {
        text_bytes: 1 << 20,
        examples: 1_000,
        ..ReadOptions::default()
    }
}

proptest! {
    #[test]
    fn spoilt_parquet_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = parquet_file(&["text"], &["", "one", "two", "three"], true);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(4));
        }
        match read_as("a.parquet", &bytes, &bounded()) {
            Ok(examples) => prop_assert!(!examples.is_empty()),
            Err(error) => prop_assert!(error.to_string().contains("a.parquet"), "{error}"),
        }
    }

    #[test]
    fn any_bytes_do_no_harm(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'"'), Just(b'{')], 0..300),
        ending in prop::sample::select(vec!["jsonl", "json", "txt", "parquet", "data"]),
        paragraphs in any::<bool>(),
        parquet in prop::bool::weighted(0.2),
    ) {
        let mut bytes = bytes;
        if parquet {
            bytes.splice(0..0, *b"PAR1");
            bytes.extend(b"PAR1");
        }
        let options = ReadOptions { paragraphs, ..bounded() };
        match read_as(&format!("a.{ending}"), &bytes, &options) {
            Ok(examples) => {
                prop_assert_eq!(examples.files()[0].bytes, bytes.len() as u64);
                prop_assert!(examples.examples().iter().all(|example| !example.is_empty()));
            }
            Err(error) => prop_assert!(error.to_string().contains(&format!("a.{ending}")), "{error}"),
        }
    }

    #[test]
    fn lines_come_back_as_they_were(lines in prop::collection::vec("[^\\r\\n\\x00]{1,30}", 1..20), crlf in any::<bool>()) {
        let wanted: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
        // A mark at the very beginning would be taken off.
        prop_assume!(!wanted.is_empty() && !lines[0].starts_with('\u{feff}'));
        let text = lines.join(if crlf { "\r\n" } else { "\n" });
        let examples = read("a.txt", text).unwrap();
        prop_assert_eq!(texts(&examples), wanted);
    }
}
