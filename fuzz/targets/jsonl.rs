//! Text data: as lines of JSON, an array of JSON, plain text; and their tokens.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use finepick_fuzz::with_files;
use libfuzzer_sys::fuzz_target;
use trainer_svc::dataset::{Examples, ReadOptions, Split, Tokenized};
use trainer_svc::tokenizer::Tokenizer;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/gpt2-verse-xs");
    Tokenizer::open(&model).expect("the zoo has tokenizers")
});

fuzz_target!(|data: &[u8]| {
    for name in ["data.jsonl", "data.json", "data.txt", "data"] {
        with_files(&[(name, data)], |folder| {
            let path = folder.join(name);
            for strict in [false, true] {
                let options = ReadOptions {
                    strict,
                    paragraphs: strict,
                    line_bytes: 2_000,
                    text_bytes: 20_000,
                    examples: 1_000,
                    ..ReadOptions::default()
                };
                let Ok(examples) = Examples::read(&path, &options) else { continue };
                assert!(examples.len() <= 1_000);
                let _ = Split::inside(&examples);
                let _ = Tokenized::new(&examples, &TOKENIZER, 16);
            }
        });
    }
});
