//! A GGUF file of anyone: header, metadata, tensor table and the vocabulary in it are read, or refused with an error.
#![no_main]

use std::path::Path;

use madrigal_engine::gguf::Gguf;
use madrigal_engine::tokenizer::{Encode, Tokenizer};
use madrigal_engine::weights::Weights;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse(Path::new("fuzz.gguf"), bytes) else {
        return;
    };
    let mut weights = Weights::from_gguf(&gguf);
    let _ = weights.matrix("token_embd.weight", 2, 4);
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else {
        return;
    };
    if let Ok(ids) = tokenizer.encode("ab <s> é\u{1f3b5}", Encode::default()) {
        let _ = tokenizer.decode(&ids);
    }
});
