//! A `tokenizer.json` of anyone: it encodes and decodes, or is refused with an error.
#![no_main]

use madrigal_engine::tokenizer::{Encode, Tokenizer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::open(&madrigal_fuzz::file("tokenizer.json", bytes)) else {
        return;
    };
    for text in ["aba b<think>", " é\u{1f3b5}\n\n  x", ""] {
        if let Ok(ids) = tokenizer.encode(text, Encode::default()) {
            let _ = tokenizer.decode(&ids);
        }
    }
});
