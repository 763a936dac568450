//! Text in a picture: how wide it will be, and how to make it shorter.

/// Characters an XML document may hold, on one line: control characters and characters that reorder their neighbours
/// are shown escaped.
pub(super) fn clean(text: &str) -> String {
    crate::curves::printable(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// Estimated width in pixels. The font is not known, so this takes the advances of a common sans serif and adds a
/// little: labels must not collide in a wider font.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let advance: f64 = text.chars().map(advance).sum();
    advance * size * if bold { 1.13 } else { 1.06 }
}

/// Advance of a character in units of the font size.
fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.23,
        'f' | 't' | 'I' | ' ' | '.' | ',' | ':' | ';' | '/' | '!' | '[' | ']' | '\\' => 0.29,
        'r' | '-' | '(' | ')' | '·' | '"' => 0.34,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' => 0.51,
        'w' | 'C' | 'D' | 'H' | 'N' | 'R' | 'U' => 0.74,
        'm' | 'M' | 'G' | 'O' | 'Q' => 0.84,
        'W' | '@' | '%' | '…' | '★' => 1.0,
        'a'..='z' | '0'..='9' | '_' | '–' | '#' | '$' | '?' => 0.57,
        'A'..='Z' | '<' | '>' | '+' | '=' | '~' | '&' => 0.68,
        // Latin and Greek with marks are like their bases; everything else may be as wide as it is high.
        '\u{a0}'..='\u{3ff}' => 0.65,
        _ => 1.0,
    }
}

/// `text` in at most `limit` pixels; the middle is left out, where model names differ least.
pub(super) fn fitted(text: &str, size: f64, bold: bool, limit: f64) -> String {
    let text = clean(text);
    if width(&text, size, bold) <= limit {
        return text;
    }
    let chars: Vec<char> = text.chars().collect();
    let mut best = "…".to_owned();
    for kept in 1..chars.len() {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let start = chars.iter().take(head);
        let end = chars.iter().skip(chars.len() - tail);
        let short: String = start.chain(['…'].iter()).chain(end).collect();
        if width(&short, size, bold) > limit {
            break;
        }
        best = short;
    }
    best
}

/// `text` in at most two lines, broken at a space; what does not fit is left out at the end.
pub(super) fn two_lines(text: &str, size: f64, limit: f64) -> Vec<String> {
    let text = clean(text);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let current = lines.last().map_or("", String::as_str);
        let longer = if current.is_empty() {
            word.to_owned()
        } else {
            format!("{current} {word}")
        };
        let fits = width(&longer, size, false) <= limit || current.is_empty();
        let full = lines.len() == 2;
        match lines.last_mut() {
            Some(last) if fits => *last = fitted(&longer, size, false, limit),
            Some(last) if full => {
                last.push_str(" …");
                break;
            }
            _ => lines.push(fitted(word, size, false, limit)),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        let name = "organisation/model-with-a-long-name-7b";
        let short = fitted(name, 12.0, false, 120.0);
        assert!(
            short.starts_with("organ") && short.ends_with("-7b") && short.contains('…'),
            "{short}"
        );
        assert!(width(&short, 12.0, false) <= 120.0);
        assert_eq!(fitted("short", 12.0, false, 120.0), "short");
        assert_eq!(fitted("abc", 12.0, false, 0.0), "…");
    }

    #[test]
    fn subtitles_take_two_lines_at_most() {
        let words = "policy ats · predicted loss 1.5 · ".repeat(9);
        let lines = two_lines(&words, 13.0, 300.0);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| width(line, 13.0, false) <= 330.0), "{lines:?}");
        assert!(lines.last().unwrap().ends_with('…'));
        assert!(two_lines(" ", 13.0, 300.0).is_empty());
    }

    #[test]
    fn no_character_breaks_the_document() {
        assert_eq!(clean("a\u{0}\u{1b}\u{ffff}b"), "a\\u{0}\\u{1b}\u{fffd}b");
    }
}
