//! The leaves of a JSON text and where they stand in it: to change one and nothing else.

use std::ops::Range;

/// A number, a text, a word; or a whole member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// Names of the members on the way, with `*` for positions in lists and for names that are data.
    pub(crate) kind: String,
    /// Where its value stands.
    pub(crate) value: Range<usize>,
    /// Where its member stands, with one comma: what is to be cut out to remove it; `None`: it is the only one, or stands in a list.
    pub(crate) member: Option<Range<usize>>,
}

/// All leaves of canonical JSON, in order. Empty lists and objects are none.
pub(crate) fn leaves(text: &str) -> Vec<Leaf> {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
        path: Vec::new(),
        found: Vec::new(),
    };
    scan.value(None);
    scan.found
}

/// Objects whose members' names are data.
const MAPS: [&str; 5] = ["costs", "by_name", "labels", "other", "attributes"];

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<String>,
    found: Vec<Leaf>,
}

impl Scan<'_> {
    fn byte(&self) -> u8 {
        self.bytes[self.at]
    }

    /// From the first byte of a value to the one behind it; `begin`: where its member does.
    fn value(&mut self, begin: Option<usize>) {
        match self.byte() {
            b'{' => self.object(),
            b'[' => self.list(),
            _ => self.leaf(begin),
        }
    }

    fn leaf(&mut self, begin: Option<usize>) {
        let from = self.at;
        if self.byte() == b'"' {
            self.text();
        } else {
            while !matches!(self.byte(), b',' | b'}' | b']') {
                self.at += 1;
            }
        }
        let member = begin.and_then(|begin| match (self.byte(), self.bytes[begin - 1]) {
            (b',', _) => Some(begin..self.at + 1),
            (_, b',') => Some(begin - 1..self.at),
            _ => None,
        });
        self.found.push(Leaf {
            kind: self.path.join("."),
            value: from..self.at,
            member,
        });
    }

    fn text(&mut self) {
        self.at += 1;
        while self.byte() != b'"' {
            self.at += 1 + usize::from(self.byte() == b'\\');
        }
        self.at += 1;
    }

    fn list(&mut self) {
        self.at += 1;
        self.path.push("*".to_owned());
        while self.byte() != b']' {
            self.value(None);
            self.at += usize::from(self.byte() == b',');
        }
        self.path.pop();
        self.at += 1;
    }

    fn object(&mut self) {
        let of_data = self.path.last().is_some_and(|name| MAPS.contains(&name.as_str()));
        self.at += 1;
        while self.byte() != b'}' {
            let begin = self.at;
            self.text();
            let name = std::str::from_utf8(&self.bytes[begin + 1..self.at - 1]).expect("UTF-8");
            self.path.push(if of_data { "*".to_owned() } else { name.to_owned() });
            // The colon.
            self.at += 1;
            self.value(Some(begin));
            self.path.pop();
            self.at += usize::from(self.byte() == b',');
        }
        self.at += 1;
    }
}

/// Other values for a leaf, canonical as the whole text is.
pub(crate) fn others(value: &str) -> Vec<String> {
    match value {
        "true" => vec!["false".to_owned()],
        "false" => vec!["true".to_owned()],
        "null" => vec!["1".to_owned(), "\"x\"".to_owned()],
        text if text.starts_with('"') => vec![format!("{}x\"", &text[..text.len() - 1])],
        number => {
            // Not by a little: sums are compared but for their last digits.
            if let Ok(whole) = number.parse::<i64>() {
                return vec![(whole + whole / 2 + 1).to_string()];
            }
            let number: f64 = number.parse().expect("a number");
            vec![(number * 1.5 + 0.25).to_string()]
        }
    }
}

#[test]
fn leaves_are_found_with_their_members() {
    let text = r#"{"a":[1,{"b":"x\"y"}],"c":null,"costs":{"one":2.5},"d":[]}"#;
    let found = leaves(text);
    let told: Vec<(&str, &str)> = found
        .iter()
        .map(|leaf| (leaf.kind.as_str(), &text[leaf.value.clone()]))
        .collect();
    assert_eq!(
        told,
        [("a.*", "1"), ("a.*.b", r#""x\"y""#), ("c", "null"), ("costs.*", "2.5")]
    );
    let members: Vec<Option<&str>> = found
        .iter()
        .map(|leaf| leaf.member.clone().map(|member| &text[member]))
        .collect();
    assert_eq!(members, [None, None, Some(r#""c":null,"#), None]);
    assert_eq!(others("\"a\""), ["\"ax\""]);
    assert_eq!(others("0.5"), ["1"]);
    assert_eq!(others("7"), ["11"]);
}
