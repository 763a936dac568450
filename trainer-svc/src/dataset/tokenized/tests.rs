use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::{CHATML, chat_tokenizer, folder};

fn text(text: &str) -> Example {
    Example::Text(text.to_owned())
}

fn completion(prompt: &str, completion: &str) -> Example {
    Example::Completion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    }
}

fn chat(turns: &[(&str, &str)]) -> Example {
    let message = |(role, content): &(&str, &str)| Message {
        role: (*role).to_owned(),
        content: (*content).to_owned(),
    };
    Example::Messages(turns.iter().map(message).collect())
}

fn one(example: Example, tokenizer: &Tokenizer) -> Tokenized {
    Tokenized::new(&Examples::of(vec![example]), tokenizer, 256).unwrap()
}

/// The text of the tokens that count.
fn counted(tokenized: &Tokenized, tokenizer: &Tokenizer) -> String {
    let pairs = tokenized.ids(0).iter().zip(tokenized.counts(0));
    let ids: Vec<u32> = pairs.filter(|(_, counts)| **counts).map(|(&id, _)| id).collect();
    tokenizer.decode(&ids).unwrap()
}

#[test]
fn of_text_all_but_the_first_token_count() {
    let tokenizer = chat_tokenizer();
    let tokenized = one(text("the mill turns the wheel"), &tokenizer);
    assert_eq!(tokenized.ids(0), tokenizer.encode("the mill turns the wheel").unwrap());
    assert!(!tokenized.counts(0)[0]);
    assert!(tokenized.counts(0)[1..].iter().all(|&counts| counts));
    assert_eq!(tokenized.predicted(0), tokenized.ids(0).len() - 1);
}

#[test]
fn of_a_completion_the_tokens_that_end_beyond_the_prompt_count() {
    let tokenizer = chat_tokenizer();
    let tokenized = one(completion("the mill", " turns the wheel"), &tokenizer);
    assert_eq!(tokenized.ids(0), tokenizer.encode("the mill turns the wheel").unwrap());
    assert_eq!(counted(&tokenized, &tokenizer), " turns the wheel");
    // A token across the border belongs to the completion: "the mi" + "ll" is written with the token " mill".
    let across = one(completion("the mi", "ll turns"), &tokenizer);
    assert_eq!(counted(&across, &tokenizer), " mill turns");
    // Without a prompt it is text.
    assert_eq!(
        one(completion("", "the mill"), &tokenizer).counts(0),
        one(text("the mill"), &tokenizer).counts(0)
    );
    // White space alone is a completion, too.
    assert_eq!(counted(&one(completion("mill", "\n"), &tokenizer), &tokenizer), "\n");
}

#[test]
fn of_a_conversation_the_assistant_s_turns_count() {
    let tokenizer = chat_tokenizer();
    let turns = [
        ("system", "grain"),
        ("user", "the mill"),
        ("assistant", "turns"),
        ("user", "a"),
        ("assistant", "wheel"),
    ];
    let tokenized = one(chat(&turns), &tokenizer);
    assert_eq!(counted(&tokenized, &tokenizer), "turns<|im_end|>\nwheel<|im_end|>\n");
    let whole = tokenizer.decode(tokenized.ids(0)).unwrap();
    assert!(
        whole.starts_with("<|im_start|>system\ngrain<|im_end|>\n<|im_start|>user\nthe mill<|im_end|>\n"),
        "{whole}"
    );
    // The first message of all may be the assistant's.
    let tokenized = one(chat(&[("assistant", "turns")]), &tokenizer);
    assert_eq!(counted(&tokenized, &tokenizer), "turns<|im_end|>\n");
}

fn with_template(template: &str) -> Tokenizer {
    let config = serde_json::json!({"chat_template": template});
    Tokenizer::open(folder(&config.to_string()).path()).unwrap()
}

#[test]
fn templates_without_a_generation_prompt_and_those_that_think() {
    // No generation prompt: what the template writes before the answer is learnt with it.
    let plain = with_template("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
    let tokenized = one(chat(&[("user", "a"), ("assistant", "mill")]), &plain);
    assert_eq!(counted(&tokenized, &plain), "[assistant] mill\n");
    // A generation prompt that is not how answers begin: the header counts, too.
    let thinks = with_template(&CHATML.replace("assistant\\n'", "assistant\\n<think>'"));
    let tokenized = one(chat(&[("user", "a"), ("assistant", "mill")]), &thinks);
    assert_eq!(counted(&tokenized, &thinks), "<|im_start|>assistant\nmill<|im_end|>\n");
}

#[test]
fn templates_that_rewrite_what_they_wrote_are_refused() {
    // Like one that drops the thoughts of all answers but the last.
    let last = "{% for m in messages %}{{ m.content if loop.last else 'x' }}\n{% endfor %}";
    let tokenizer = with_template(last);
    let error = Tokenized::new(
        &Examples::of(vec![chat(&[
            ("assistant", "mill"),
            ("user", "a"),
            ("assistant", "turns"),
        ])]),
        &tokenizer,
        64,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("up to message 0 differently when more follows"),
        "{error}"
    );
}

#[test]
fn faults_of_single_examples_are_counted_and_named() {
    let refuse = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}";
    let tokenizer = with_template(&format!("{refuse}{CHATML}"));
    let examples = Examples::of(vec![
        chat(&[("user", "a"), ("assistant", "mill")]),
        chat(&[("assistant", "mill")]),
        chat(&[("user", "a")]),
        text("a"),
        completion(&"mill ".repeat(40), "turns"),
    ]);
    let tokenized = Tokenized::new(&examples, &tokenizer, 24).unwrap();
    let refused = UnusableReason::Refused(TokenizerError::Template("user first (line 1)".into()));
    let wanted = [
        (1, refused),
        (2, UnusableReason::NothingCounts),
        (3, UnusableReason::TooShort),
        (4, UnusableReason::Truncated),
    ];
    let found = tokenized
        .first_unusable()
        .iter()
        .map(|unusable| (unusable.index, unusable.reason.clone()));
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    assert_eq!((tokenized.unusable(), tokenized.truncated()), (4, 1));
    assert_eq!(tokenized.predicted_total(), tokenized.predicted(0) as u64);
    assert!(tokenized.predicted(0) > 0);
}

#[test]
fn refusals() {
    let tokenizer = chat_tokenizer();
    let short = Examples::of(vec![text("a"), text("a")]);
    assert_eq!(
        Tokenized::new(&short, &tokenizer, 8),
        Err(DataError::NothingToPredict {
            examples: 2,
            first: Some("fewer than two tokens".into())
        })
    );
    assert_eq!(Tokenized::new(&short, &tokenizer, 1), Err(DataError::SequenceLength(1)));
    assert_eq!(
        Tokenized::of(&short, &[0, 5], &tokenizer, 8),
        Err(DataError::NoSuchExample { index: 5, examples: 2 })
    );
    assert!(Tokenized::of(&short, &[], &tokenizer, 8).unwrap().is_empty());
    let untalkative = Tokenizer::open(folder("{}").path()).unwrap();
    let error = Tokenized::new(&Examples::of(vec![chat(&[("assistant", "a")])]), &untalkative, 8).unwrap_err();
    assert_eq!(error, DataError::Tokenizer(TokenizerError::NoChatTemplate));
}

#[test]
fn truncation_is_counted() {
    let tokenizer = chat_tokenizer();
    let long = "the mill turns the wheel of the mill";
    let whole = tokenizer.encode(long).unwrap();
    let tokenized = Tokenized::new(&Examples::of(vec![text(long), text("the mill")]), &tokenizer, 4).unwrap();
    assert_eq!(tokenized.ids(0), &whole[..4]);
    assert_eq!(
        (tokenized.truncated(), tokenized.truncated_tokens()),
        (1, whole.len() as u64 - 4)
    );
    assert_eq!(
        tokenized.largest_id(),
        whole[..4].iter().chain(tokenized.ids(1)).copied().max()
    );
    assert_eq!(tokenized.ids(2), [0_u32; 0]);
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let tokenizer = chat_tokenizer();
    let texts = (0..300).map(|number| text(&format!("the mill {number} turns over {}", number * 37)));
    let examples = Examples::of(texts.collect());
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Tokenized::new(&examples, &tokenizer, 12).unwrap())
    };
    assert_eq!(with(1), with(4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_counts_covers_the_completion(prompt in "[a-z éü\\n🦀]{0,20}", answer in "[a-z éü\\n🦀]{1,20}") {
        thread_local!(static TOKENIZER: Tokenizer = chat_tokenizer());
        TOKENIZER.with(|tokenizer| {
            let examples = Examples::of(vec![completion(&prompt, &answer), text("the mill turns")]);
            let tokenized = Tokenized::new(&examples, tokenizer, 512).unwrap();
            let whole = tokenizer.encode_with_offsets(&format!("{prompt}{answer}")).unwrap();
            prop_assert_eq!(tokenized.ids(0), &whole.ids[..]);
            for (place, (offset, &counts)) in whole.offsets.iter().zip(tokenized.counts(0)).enumerate() {
                prop_assert_eq!(counts, place > 0 && offset.1 > prompt.len());
            }
            Ok(())
        })?;
    }
}
