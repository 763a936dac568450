//! `tojson` as transformers has it: Python's `json.dumps(value, ensure_ascii=False, …)`.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Levels of lists and maps.
const DEPTH: usize = 64;

struct Style {
    indent: Option<usize>,
    between: String,
    after_key: String,
    sorted: bool,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "filters take their named arguments by value"
)]
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson: ensure_ascii is not supported",
        ));
    }
    let between = if indent.is_some() { "," } else { ", " };
    let [between, after_key] = match separators {
        None => [between.to_owned(), ": ".to_owned()],
        Some(separators) => separators
            .try_into()
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators are two texts"))?,
    };
    let style = Style {
        indent: indent.map(|indent| indent.min(16)),
        between,
        after_key,
        sorted: sorted.unwrap_or(false),
    };
    let mut text = String::new();
    write(value, &style, 0, &mut text)?;
    Ok(text)
}

fn write(value: &Value, style: &Style, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: too deeply nested"));
    }
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => text.push_str(&value.to_string()),
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), text),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            list(('[', ']'), items.len(), style, depth, text, |index, text| {
                write(&items[index], style, depth + 1, text)
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                keys.sort();
            }
            list(('{', '}'), keys.len(), style, depth, text, |index, text| {
                quoted(&keys[index].to_string(), text);
                text.push_str(&style.after_key);
                write(&value.get_item(&keys[index])?, style, depth + 1, text)
            })?;
        }
        other => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: {other} is not JSON"),
            ));
        }
    }
    Ok(())
}

fn list(
    brackets: (char, char),
    count: usize,
    style: &Style,
    depth: usize,
    text: &mut String,
    mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |text: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    text.push(brackets.0);
    for index in 0..count {
        if index > 0 {
            text.push_str(&style.between);
        }
        line(text, depth + 1);
        item(index, text)?;
    }
    if count > 0 {
        line(text, depth);
    }
    text.push(brackets.1);
    Ok(())
}

/// With the escapes of `json.dumps`, which are those of `serde_json`.
fn quoted(content: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(content).to_string());
}
