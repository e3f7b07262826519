//! A file of kept keys and values of anyone: it is restored, or refused with an error.
//!
//! Where the input has no first line of its own it follows the right one, with the right digest behind it, so that what
//! stands between is reached.
#![no_main]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use madrigal_engine::{Engine, EngineOptions, Model};
use sha2::{Digest, Sha256};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/parity/llama-tied/model-f32.gguf");
    let options = EngineOptions { threads: 1, memory_limit: Some(64 << 20), ..EngineOptions::default() };
    Engine::start(Model::open(&model).expect("the tiny model opens"), options).expect("its engine starts")
});

/// What the engine itself writes of nothing: its first line and the digest.
static EMPTY: LazyLock<String> = LazyLock::new(|| {
    let file = File::create(path()).expect("a temporary file");
    ENGINE.sequence().save("fuzz", file).expect("nothing is saved");
    let bytes = std::fs::read(path()).expect("what was written");
    String::from_utf8_lossy(&bytes[..bytes.len() - 32]).into_owned()
});

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("madrigal-fuzz-{}.kv", std::process::id()))
}

fn restore(bytes: &[u8]) {
    std::fs::write(path(), bytes).expect("a temporary file");
    let _ = ENGINE.sequence().restore("fuzz", File::open(path()).expect("it is there"));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    restore(bytes);
    let Some((&tokens, content)) = bytes.split_first() else { return };
    let mut whole = EMPTY.replace("\"tokens\":0", &format!("\"tokens\":{tokens}")).into_bytes();
    whole.extend_from_slice(content);
    let digest = Sha256::digest(&whole);
    whole.extend_from_slice(&digest);
    restore(&whole);
});
