//! Loading local models: one engine per set of weights, and the hashes that a run records.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use madrigal_agents::model_name::ModelName;
use madrigal_engine::{Engine, EngineOptions, Isa, KvType, Model};
use madrigal_journal::event::FileHash;
use sha2::{Digest, Sha256};

use crate::failure::{Context, Failure, Result};

/// How local models are run.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalOptions {
    pub(crate) threads: Option<usize>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) context: Option<usize>,
    pub(crate) isa: Option<Isa>,
    pub(crate) kv: Option<KvType>,
}

impl LocalOptions {
    /// For the engine.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions {
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            isa: self.isa,
            kv: self.kv,
            memory_limit: self.memory_limit,
            context: self.context,
            ..EngineOptions::default()
        }
    }
}

/// The models that are loaded, each once.
pub(crate) struct Loader {
    options: LocalOptions,
    engines: HashMap<PathBuf, Engine>,
    files: Vec<FileHash>,
}

impl Loader {
    pub(crate) fn new(options: LocalOptions) -> Self {
        Self { options, engines: HashMap::new(), files: Vec::new() }
    }

    /// The engine that runs the model at `path`.
    pub(crate) fn engine(&mut self, path: &Path) -> Result<Engine> {
        let real = path.canonicalize().doing(format_args!("open the model {}", path.display()))?;
        if let Some(engine) = self.engines.get(&real) {
            return Ok(engine.clone());
        }
        let model = Model::open(path).map_err(Failure::of)?;
        for (role, file) in model.files() {
            self.files.push(hash(role, &ModelName::File(path.to_owned()).to_string(), file)?);
        }
        let engine = Engine::start(model, self.options.engine()).map_err(Failure::of)?;
        self.engines.insert(real, engine.clone());
        Ok(engine)
    }

    /// The hashes of all that was loaded.
    pub(crate) fn files(&self) -> &[FileHash] {
        &self.files
    }
}

/// Hashes a file of a model.
pub(crate) fn hash(role: &str, model: &str, path: &Path) -> Result<FileHash> {
    let what = format!("hash {}", path.display());
    let mut file = File::open(path).doing(&what)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).doing(&what)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    Ok(FileHash { role: role.to_owned(), model: model.to_owned(), path, bytes, sha256 })
}

/// What became of a recorded file, for people.
pub(crate) enum FileChange {
    /// It is not what it was.
    Differs(String),
    /// It cannot be read.
    Gone(String),
}

impl FileChange {
    /// What became of it.
    pub(crate) fn what(&self) -> &str {
        match self {
            Self::Differs(what) | Self::Gone(what) => what,
        }
    }
}

/// The recorded files that are not what they were.
pub(crate) fn changed_files(recorded: &[FileHash]) -> Vec<FileChange> {
    recorded
        .iter()
        .filter_map(|file| match hash(&file.role, &file.model, Path::new(&file.path)) {
            Err(failure) => Some(FileChange::Gone(failure.message().to_owned())),
            Ok(now) if now.sha256 == file.sha256 => None,
            Ok(now) => Some(FileChange::Differs(format!(
                "the {} of {} differ: {} was sha256 {} ({} bytes) and is {} ({} bytes)",
                file.role,
                file.model,
                file.path,
                &file.sha256.get(..12).unwrap_or_default(),
                file.bytes,
                &now.sha256[..12],
                now.bytes
            ))),
        })
        .collect()
}
