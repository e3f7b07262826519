//! A GGUF file of anyone: its header, metadata and tensor table are read, or refused with an error.
#![no_main]

use std::path::Path;

use madrigal_engine::gguf::Gguf;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Gguf::parse(Path::new("fuzz.gguf"), bytes);
});
