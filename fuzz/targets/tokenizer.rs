//! `tokenizer.json`, and `tokenizer_config.json` with the chat template; what can be read must also be usable.

#![no_main]

use finepick_fuzz::{halves, let_caught_panics_be, with_files};
use libfuzzer_sys::fuzz_target;
use trainer_svc::dataset::Message;
use trainer_svc::tokenizer::Tokenizer;

const TEXTS: [&str; 4] = ["", "The mill by the river.", "Ä 漢字\u{200d}🙂\t\r\n 12,345.6e-7", "<|im_start|>aaaaaaaaaaaaaaaaaaaaaaaa"];

fuzz_target!(init: let_caught_panics_be(), |data: &[u8]| {
    let (tokenizer, config) = halves(data);
    let mut files = vec![("tokenizer.json", tokenizer)];
    files.extend(config.map(|config| ("tokenizer_config.json", config)));
    with_files(&files, |folder| {
        let Ok(tokenizer) = Tokenizer::open(folder) else { return };
        for text in TEXTS {
            let Ok(encoding) = tokenizer.encode_with_offsets(text) else { continue };
            assert_eq!(encoding.ids.len(), encoding.offsets.len());
            let _ = tokenizer.decode(&encoding.ids);
        }
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let _ = tokenizer.render(&[message("system", "s"), message("user", "hi"), message("assistant", "yes")], false);
        let _ = tokenizer.render(&[message("user", "hi")], true);
    });
});
