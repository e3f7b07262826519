//! Where test data lies, and short ways to run a model on it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use madrigal_engine::{Engine, EngineOptions, GenerateRequest, Generated, Isa, Model, Positions, SamplerConfig};
use serde_json::Value;

/// The workspace's own test data.
pub(crate) fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// A file of the fixtures folder; announces the skipped test and returns `None` where it is missing.
pub(crate) fn fixture(test: &str, path: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MADRIGAL_FIXTURES").map_or_else(default, PathBuf::from);
    let file = folder.join(path);
    if file.exists() {
        return Some(file);
    }
    let line = format!("SKIPPED {test}: {} is missing", file.display());
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{line}").unwrap();
    }
    None
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

pub(crate) fn engine(path: &Path, isa: Isa, threads: usize) -> Engine {
    let model = Model::open(path).unwrap();
    Engine::start(model, EngineOptions { threads, isa: Some(isa), ..EngineOptions::default() }).unwrap()
}

pub(crate) fn greedy(max_tokens: usize) -> GenerateRequest {
    GenerateRequest { sampling: SamplerConfig::greedy(), max_tokens, ..GenerateRequest::default() }
}

/// One request on a sequence of its own.
pub(crate) fn generate(engine: &Engine, ids: &[u32], request: GenerateRequest) -> Generated {
    engine.sequence().generate(ids, request).blocking_finish().unwrap()
}

pub(crate) fn logits(engine: &Engine, ids: &[u32], positions: Positions) -> Vec<f32> {
    engine.sequence().blocking_logits(ids, positions).unwrap()
}
