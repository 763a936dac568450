//! `config.json`: the architecture, and its training graph where it is not large.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use trainer_svc::arch;
use trainer_svc::method::{GraphShape, Lora, Method, Prompt};

fuzz_target!(|data: &[u8]| {
    let Ok(config) = serde_json::from_slice::<Map<String, Value>>(data) else { return };
    let Ok(decoder) = arch::decoder(&config) else { return };
    let Ok(outline) = arch::outline(decoder.as_ref()) else { return };
    if outline.layers.len() > 100 {
        return;
    }
    let shape = GraphShape {
        rows: 2,
        length: 3,
        training: true,
    };
    let lora = Method::Lora(Lora {
        rank: 2,
        alpha: 4.0,
        dropout: 0.1,
        targets: Vec::new(),
    });
    let prompt = Method::Prompt(Prompt {
        length: 2,
        initial_text: String::new(),
    });
    for method in [Method::Full, lora, prompt] {
        let _ = method.build(decoder.as_ref(), shape);
    }
});
