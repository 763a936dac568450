//! Tokenizers are trained here on made-up text, so that none is committed.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use tempfile::TempDir;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::*;

/// A template in the form of `ChatML`.
pub(crate) const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
     + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Writes a byte-level tokenizer of some 400 tokens as `tokenizer.json`.
pub(crate) fn write_tokenizer(dir: &Path) {
    static TRAINED: OnceLock<String> = OnceLock::new();
    std::fs::write(dir.join("tokenizer.json"), TRAINED.get_or_init(train)).unwrap();
}

fn train() -> String {
    let words = [
        "mill", "wheel", "river", "grain", "stone", "turns", "the", "a", "of", "water", "über", "naïve",
    ];
    let lines: Vec<String> = (0..400_usize)
        .map(|line| {
            (0..8)
                .map(|word| words[(line * 7 + word * word) % words.len()])
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.with_post_processor(Some(bytes));
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(400)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec())
        .build()
        .into();
    tokenizer.train(&mut trainer, lines.into_iter()).unwrap();
    tokenizer.to_string(false).unwrap()
}

/// A folder with a tokenizer, and a `tokenizer_config.json` of this text.
pub(crate) fn folder(config: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    write_tokenizer(dir.path());
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    dir
}

/// A tokenizer with a chat template in the form of `ChatML`.
pub(crate) fn chat_tokenizer() -> Tokenizer {
    let config = serde_json::json!({"chat_template": CHATML, "eos_token": {"content": "<|im_end|>", "special": true}});
    Tokenizer::open(folder(&config.to_string()).path()).unwrap()
}

fn messages(turns: &[(&str, &str)]) -> Vec<Message> {
    turns
        .iter()
        .map(|(role, content)| Message {
            role: (*role).to_owned(),
            content: (*content).to_owned(),
        })
        .collect()
}

#[test]
fn texts_come_back() {
    let tokenizer = chat_tokenizer();
    for text in ["the mill turns", " naïve  über\n\n", "", "日本語 🦀", "a<|im_end|>b"] {
        let encoding = tokenizer.encode_with_offsets(text).unwrap();
        assert_eq!(tokenizer.decode(&encoding.ids).unwrap(), text);
        assert_eq!(encoding.ids.len(), encoding.offsets.len());
    }
    assert!(tokenizer.encode("the mill turns").unwrap().len() <= 4);
}

#[test]
fn special_tokens_are_recognised_and_never_added() {
    let tokenizer = chat_tokenizer();
    let end = tokenizer.id("<|im_end|>").unwrap();
    let ids = tokenizer.encode("mill<|im_end|>").unwrap();
    assert_eq!(ids.last(), Some(&end));
    assert_eq!(ids.iter().filter(|&&id| id == end).count(), 1);
    assert!(!tokenizer.encode("mill").unwrap().contains(&end));
}

#[test]
fn offsets_are_not_trimmed() {
    // With GPT-2's post-processor the token " wheel" would begin at the letter.
    let encoding = chat_tokenizer().encode_with_offsets("the wheel").unwrap();
    let ends: Vec<usize> = encoding.offsets.iter().map(|offset| offset.1).collect();
    assert_eq!(encoding.offsets[0].0, 0);
    assert!(
        encoding.offsets.iter().any(|offset| offset.0 == 3),
        "{:?}",
        encoding.offsets
    );
    assert_eq!(ends.last(), Some(&9));
}

#[test]
fn truncation_padding_and_added_tokens_of_the_file_do_not_count() {
    let dir = folder("{}");
    let path = dir.path().join("tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let plain = Tokenizer::open(dir.path())
        .unwrap()
        .encode("the mill turns the wheel")
        .unwrap();
    file["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    file["post_processor"] = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}});
    std::fs::write(&path, file.to_string()).unwrap();
    assert_eq!(
        Tokenizer::open(dir.path())
            .unwrap()
            .encode("the mill turns the wheel")
            .unwrap(),
        plain
    );
}

#[test]
fn vocabulary_is_one_more_than_the_largest_id() {
    let tokenizer = chat_tokenizer();
    assert!(
        (300..=400).contains(&tokenizer.vocabulary()),
        "{}",
        tokenizer.vocabulary()
    );
    let ids = tokenizer.encode("the mill über alles 日本語").unwrap();
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
}

#[test]
fn older_folders_have_vocab_and_merges() {
    let new = folder(r#"{"bos_token": "<|endoftext|>"}"#);
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(new.path().join("tokenizer.json")).unwrap()).unwrap();
    let old = TempDir::new().unwrap();
    std::fs::write(old.path().join("vocab.json"), file["model"]["vocab"].to_string()).unwrap();
    let merges: Vec<String> = file["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    std::fs::write(
        old.path().join("merges.txt"),
        format!("#version: 0.2\n{}\n", merges.join("\n")),
    )
    .unwrap();
    std::fs::write(
        old.path().join("special_tokens_map.json"),
        r#"{"eos_token": "<|endoftext|>"}"#,
    )
    .unwrap();
    let (new, old) = (
        Tokenizer::open(new.path()).unwrap(),
        Tokenizer::open(old.path()).unwrap(),
    );
    assert_eq!(old.eos_token(), Some("<|endoftext|>"));
    assert_eq!(new.bos_token(), Some("<|endoftext|>"));
    for text in ["the mill turns", " naïve\n", "stone<|endoftext|>water"] {
        assert_eq!(old.encode(text).unwrap(), new.encode(text).unwrap());
        assert_eq!(old.decode(&old.encode(text).unwrap()).unwrap(), text);
    }
}

#[test]
fn the_template_is_found_in_each_of_its_places() {
    let turns = messages(&[("user", "hi")]);
    let render = |config: &str, file: Option<&str>| {
        let dir = folder(config);
        if let Some(template) = file {
            std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
        }
        Tokenizer::open(dir.path()).unwrap().render(&turns, false)
    };
    assert_eq!(render(r#"{"chat_template": "one"}"#, None), Ok("one".into()));
    assert_eq!(
        render(r#"{"chat_template": "one"}"#, Some("two")),
        Ok("two".into()),
        "the file wins"
    );
    let named =
        r#"{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "three"}]}"#;
    assert_eq!(render(named, None), Ok("three".into()));
    assert_eq!(
        render(r#"{"chat_template": [{"name": "a", "template": "four"}]}"#, None),
        Ok("four".into())
    );
    assert_eq!(render("{}", None), Err(TokenizerError::NoChatTemplate));
    // Broken templates do not hinder work that needs none.
    assert!(matches!(
        render(r#"{"chat_template": "{% for %}"}"#, None),
        Err(TokenizerError::Template(_))
    ));
}

#[test]
fn refusals_name_the_file() {
    let empty = TempDir::new().unwrap();
    assert_eq!(
        Tokenizer::open(empty.path()).unwrap_err(),
        TokenizerError::Missing(empty.path().to_owned())
    );
    let dir = folder("[1]");
    let error = Tokenizer::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, TokenizerError::Malformed { path, .. } if path.ends_with("tokenizer_config.json")),
        "{error}"
    );
    std::fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    for bytes in [
        &b"{"[..],
        b"\xff\xfe",
        b"null",
        br#"{"model": {"type": "BPE", "vocab": {}, "merges": ["a"]}}"#,
    ] {
        std::fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
        let error = Tokenizer::open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, TokenizerError::Malformed { path, .. } if path.ends_with("tokenizer.json")),
            "{error}"
        );
    }
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    std::fs::create_dir(dir.path().join("tokenizer.json")).unwrap();
    assert!(matches!(Tokenizer::open(dir.path()), Err(TokenizerError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn spoilt_files_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = folder("{}");
        let path = dir.path().join("tokenizer.json");
        let mut bytes = std::fs::read(&path).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, bytes).unwrap();
        // It may well still be a tokenizer; then it works or refuses.
        match Tokenizer::open(dir.path()) {
            Ok(tokenizer) => {
                let ids = tokenizer.encode("the mill <|im_end|> über").unwrap_or_default();
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
            }
            Err(error) => prop_assert!(
                matches!(&error, TokenizerError::Malformed { path, .. } if path.ends_with("tokenizer.json")),
                "{error}"
            ),
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
        let refused = matches!(Tokenizer::open(dir.path()), Err(TokenizerError::Malformed { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,60}") {
        let tokenizer = TOKENIZER.with(std::rc::Rc::clone);
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), text);
    }
}

thread_local! {
    static TOKENIZER: std::rc::Rc<Tokenizer> = std::rc::Rc::new(chat_tokenizer());
}
