//! What templates expect of Python's Jinja and of transformers.

use std::fmt::Write as _;

use minijinja::value::Value;

/// Python's `None` cannot be iterated over; ours can. Templates ask before they take the length of absent tools.
#[expect(clippy::needless_pass_by_value, reason = "tests take their argument by value")]
pub(super) fn iterable(value: Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// The source as our parser wants it. Line ends become line feeds, as in Jinja.
pub(super) fn prepared(source: &str) -> String {
    without_generation_tags(&source.replace("\r\n", "\n").replace('\r', "\n"))
}

/// `{% generation %}` becomes `{% if true %}`, `{% endgeneration %}` becomes `{% endif %}`: blocks that add nothing, with the
/// white space control that the tags had.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        result.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let word = tag
            .trim_start_matches("{%")
            .trim_end_matches("%}")
            .trim_matches(['-', '+'])
            .trim();
        match word {
            "generation" => result.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => result.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => result.push_str(tag),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// `strftime` of Friday, 26 July 2024, 00:00:00.
pub(super) fn strftime(format: &str) -> String {
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let directive = match characters.next() {
            // "%-d": without leading zeros. Those of this day that have one are the hours, minutes and seconds, all 0, and the month.
            Some('-') => match characters.next() {
                Some('m') => "7",
                Some('H' | 'M' | 'S') => "0",
                Some(other) => fixed(other),
                None => "",
            },
            Some(other) => fixed(other),
            None => "%",
        };
        let _ = write!(text, "{directive}");
    }
    text
}

fn fixed(directive: char) -> &'static str {
    match directive {
        'd' => "26",
        'm' => "07",
        'Y' => "2024",
        'y' => "24",
        'b' => "Jul",
        'B' => "July",
        'a' => "Fri",
        'A' => "Friday",
        'j' => "208",
        'H' | 'M' | 'S' => "00",
        'I' => "12",
        'p' => "AM",
        'F' => "2024-07-26",
        'T' => "00:00:00",
        'R' => "00:00",
        '%' => "%",
        _ => "",
    }
}
