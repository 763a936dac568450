//! From bytes to text, and which layout and delimiter the text has.

use std::fmt;
use std::str::FromStr;

use super::error::CurveFileError;

/// The layout of a file of curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One candidate a line, one column per data size.
    Wide,
    /// One observation a line.
    Long,
    /// One JSON object a line: an observation or a whole curve.
    JsonLines,
}

impl Format {
    /// All layouts.
    pub const ALL: [Self; 3] = [Self::Wide, Self::Long, Self::JsonLines];

    /// The layout's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Long => "long",
            Self::JsonLines => "jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The name is no layout's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown curve format `{0}`; known are wide, long and jsonl")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| ParseFormatError(super::cell::shown(text)))
    }
}

/// What was told from the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The layout.
    pub(super) format: Format,
    /// What separates fields; meaningless for JSON.
    pub(super) delimiter: u8,
}

/// The bytes as text, without a byte-order mark.
pub(super) fn decode<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, CurveFileError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let before = bytes.get(..offset).unwrap_or_default();
        let hint = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => " (it looks like UTF-16; save it as UTF-8)",
            [0x1f, 0x8b, ..] => " (it looks compressed; unpack it first)",
            [b'P', b'K', 3, 4, ..] => " (it looks like a spreadsheet or zip archive; export it as CSV)",
            _ => "",
        };
        let row = before.split(|byte| *byte == b'\n').count();
        CurveFileError::NotUtf8 {
            file: file.to_owned(),
            row,
            offset,
            hint,
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(CurveFileError::Empty { file: file.to_owned() });
    }
    Ok(text)
}

/// Tells the layout; `forced` wins, the content comes next, the extension only breaks ties.
pub(super) fn sniff(
    file: &str,
    text: &str,
    extension: Option<&str>,
    forced: Option<Format>,
) -> Result<Layout, CurveFileError> {
    let unknown = |reason| CurveFileError::UnknownFormat {
        file: file.to_owned(),
        reason,
    };
    // Not `trim_start`: a leading tab is an unnamed first column.
    let start = text.trim_start_matches(['\n', '\r', ' ']);
    let delimiter = delimiter(start, extension);
    if let Some(format) = forced {
        return Ok(Layout { format, delimiter });
    }
    if text.contains('\0') {
        return Err(unknown("the content is binary"));
    }
    match start.chars().next() {
        Some('{') => {
            return Ok(Layout {
                format: Format::JsonLines,
                delimiter,
            });
        }
        Some('[') => return Err(unknown("the content is a JSON array")),
        Some('<') => return Err(unknown("the content is HTML or XML")),
        _ => {}
    }
    let names = header_names(start, delimiter);
    if names.len() < 2 {
        return match extension {
            Some("jsonl" | "ndjson" | "json") => Ok(Layout {
                format: Format::JsonLines,
                delimiter,
            }),
            _ => Err(unknown("the first line has no comma, tab or semicolon")),
        };
    }
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let (size, loss) = (has("data_size"), has("test_loss"));
    let sizes = names
        .iter()
        .skip(1)
        .any(|name| super::cell::size_header(name).is_some());
    let format = if (size && loss) || (!sizes && (size || loss)) {
        Format::Long
    } else {
        Format::Wide
    };
    Ok(Layout { format, delimiter })
}

/// The first line's field names, trimmed and in lower case.
fn header_names(text: &str, delimiter: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    match reader.headers() {
        Ok(record) => record.iter().map(str::to_ascii_lowercase).collect(),
        Err(_) => Vec::new(),
    }
}

/// The most frequent of comma, tab and semicolon outside quotes in the first line.
fn delimiter(text: &str, extension: Option<&str>) -> u8 {
    let mut counts = [(b',', 0_usize), (b'\t', 0), (b';', 0)];
    if extension == Some("tsv") || extension == Some("tab") {
        counts.swap(0, 1);
    }
    let mut quoted = false;
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if !quoted => {
                for (delimiter, count) in &mut counts {
                    *count += usize::from(*delimiter == byte);
                }
            }
            _ => {}
        }
    }
    // The first of equals: a strict comparison keeps the order of preference.
    let [mut best, others @ ..] = counts;
    for other in others {
        if other.1 > best.1 {
            best = other;
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, extension: Option<&str>) -> Result<(Format, u8), String> {
        let layout = sniff("f", text, extension, None).map_err(|error| error.to_string())?;
        Ok((layout.format, layout.delimiter))
    }

    #[test]
    fn layouts_are_told_from_the_content() {
        assert_eq!(told("config name,0,200,size\n", None), Ok((Format::Wide, b',')));
        assert_eq!(told("name\t0\t200\n", None), Ok((Format::Wide, b'\t')));
        assert_eq!(told("name;0;200\n", Some("csv")), Ok((Format::Wide, b';')));
        assert_eq!(told("Candidate,Data_Size,Test_Loss\n", None), Ok((Format::Long, b',')));
        assert_eq!(
            told("candidate,data_size\n", None),
            Ok((Format::Long, b',')),
            "told what is missing later"
        );
        assert_eq!(told("model,200,400,data_size\n", None), Ok((Format::Wide, b',')));
        assert_eq!(
            told("\n {\"candidate\":1}\n", Some("csv")),
            Ok((Format::JsonLines, b',')),
            "content before extension"
        );
        assert_eq!(told("hello\n", Some("jsonl")), Ok((Format::JsonLines, b',')));
        assert_eq!(
            told("\"a,b,c\";200\n", None),
            Ok((Format::Wide, b';')),
            "quoted commas do not count"
        );
    }

    #[test]
    fn other_contents_are_unknown() {
        for text in ["hello\n", "[{}]", "<html>", "a,1\0,2"] {
            assert!(
                told(text, Some("csv")).unwrap_err().starts_with("f: unknown format: "),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_not_utf8_is_placed() {
        let error = decode("f", b"name,200\na,\xff1.5\n").unwrap_err().to_string();
        assert_eq!(error, "f: row 2: byte 11 of the file is not UTF-8");
        let error = decode("f", b"\xff\xfen\0").unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
        assert!(matches!(
            decode("f", b"\xef\xbb\xbf \r\n"),
            Err(CurveFileError::Empty { .. })
        ));
        assert_eq!(decode("f", b"\xef\xbb\xbfa").unwrap(), "a");
    }

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>(), Ok(format));
        }
        assert!(
            "xlsx"
                .parse::<Format>()
                .unwrap_err()
                .to_string()
                .contains("wide, long and jsonl")
        );
    }
}
