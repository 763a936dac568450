//! One JSON object to one example.

use serde_json::{Map, Value};

use super::example::{Example, Message};

/// The fields that make an example. The first group that is complete counts: messages, prompt and completion, text.
pub(super) const FIELDS: [&str; 4] = ["messages", "prompt", "completion", "text"];

/// The example in a JSON value, or what is wrong with it.
pub(super) fn example(value: Value) -> Result<Example, String> {
    let Value::Object(mut object) = value else {
        return Err(format!("{} where an object is wanted", kind(&value)));
    };
    if let Some(messages) = object.remove("messages") {
        return conversation(messages);
    }
    if object.contains_key("prompt") || object.contains_key("completion") {
        return match (take(&mut object, "prompt")?, take(&mut object, "completion")?) {
            (Some(prompt), Some(completion)) => Ok(Example::Completion { prompt, completion }),
            (None, _) => Err("completion without prompt".to_owned()),
            (_, None) => Err("prompt without completion".to_owned()),
        };
    }
    match take(&mut object, "text")? {
        Some(text) => Ok(Example::Text(text)),
        None => Err(format!(
            "fields {}; wanted: text, or prompt and completion, or messages",
            names(&object)
        )),
    }
}

fn conversation(messages: Value) -> Result<Example, String> {
    let Value::Array(messages) = messages else {
        return Err(format!("messages: {} where an array is wanted", kind(&messages)));
    };
    if messages.is_empty() {
        return Err("messages: no message".to_owned());
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| match message {
            Value::Object(mut object) => {
                let mut field = |name| take(&mut object, name)?.ok_or_else(|| format!("{name} is missing"));
                Ok(Message {
                    role: field("role").map_err(|reason| format!("messages[{index}]: {reason}"))?,
                    content: field("content").map_err(|reason| format!("messages[{index}]: {reason}"))?,
                })
            }
            other => Err(format!("messages[{index}]: {} where an object is wanted", kind(&other))),
        })
        .collect::<Result<Vec<_>, String>>()
        .map(Example::Messages)
}

/// A field that must be a string if it is there.
fn take(object: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match object.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{name}: {} where a string is wanted", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A few of the names, for the message.
fn names(object: &Map<String, Value>) -> String {
    if object.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<String> = object
        .keys()
        .take(8)
        .map(|name| name.chars().take(40).collect())
        .collect();
    if object.len() > names.len() {
        names.push("…".to_owned());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Example, String> {
        example(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn the_three_kinds() {
        assert_eq!(parse(r#"{"text":"a","id":3}"#), Ok(Example::Text("a".into())));
        assert_eq!(
            parse(r#"{"prompt":"a","completion":"b","text":"c"}"#),
            Ok(Example::Completion {
                prompt: "a".into(),
                completion: "b".into()
            })
        );
        assert_eq!(
            parse(r#"{"messages":[{"role":"user","content":"hi","name":"x"}]}"#),
            Ok(Example::Messages(vec![Message {
                role: "user".into(),
                content: "hi".into()
            }]))
        );
    }

    #[test]
    fn refusals_say_what_was_found_and_wanted() {
        let reason = |text| parse(text).unwrap_err();
        assert_eq!(reason("[1]"), "an array where an object is wanted");
        assert_eq!(reason(r#"{"text":5}"#), "text: a number where a string is wanted");
        assert_eq!(reason(r#"{"prompt":"a"}"#), "prompt without completion");
        assert_eq!(reason(r#"{"completion":"a"}"#), "completion without prompt");
        assert_eq!(
            reason(r#"{"body":"a"}"#),
            "fields body; wanted: text, or prompt and completion, or messages"
        );
        assert_eq!(reason(r#"{"messages":[]}"#), "messages: no message");
        assert_eq!(
            reason(r#"{"messages":[{"role":"user","content":null}]}"#),
            "messages[0]: content: null where a string is wanted"
        );
        assert_eq!(
            reason(r#"{"messages":[{"content":""}]}"#),
            "messages[0]: role is missing"
        );
    }
}
