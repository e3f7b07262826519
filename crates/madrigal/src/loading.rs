//! Loading local models: one engine per set of weights, and the hashes that a run records.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use madrigal_agents::model_name::ModelName;
use madrigal_engine::{Engine, EngineOptions, Isa, KvType, MemoryBudget, Model, Precision};
use madrigal_journal::event::FileHash;

use crate::embedded;
use crate::failure::{Context, Failure, Result};
use crate::hashes::Hashes;
use crate::hub::{Cache, PulledModel, RepoName};
use crate::output::neutral;
use crate::surroundings;

/// How local models are run.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalOptions {
    pub(crate) threads: Option<usize>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) context: Option<usize>,
    pub(crate) isa: Option<Isa>,
    pub(crate) kv: Option<KvType>,
    pub(crate) activations: Option<Precision>,
}

impl LocalOptions {
    /// For the engine.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions {
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            isa: self.isa,
            kv: self.kv,
            activations: self.activations,
            memory_limit: self.memory_limit,
            context: self.context,
            ..EngineOptions::default()
        }
    }
}

/// A flag's value, with an error of one line.
pub(crate) fn parsed<T: FromStr<Err: Display>>(flag: &str, value: Option<&str>) -> Result<Option<T>> {
    let parse = |text: &str| {
        text.parse().map_err(|error| Failure::usage(format_args!("read --{flag} {}: {error}", neutral(text))))
    };
    value.map(parse).transpose()
}

/// The models that are loaded, each once.
pub(crate) struct Loader {
    options: LocalOptions,
    /// The memory limit, which holds for all engines together.
    budget: Option<Arc<MemoryBudget>>,
    engines: HashMap<PathBuf, Engine>,
    files: Vec<FileHash>,
}

impl Loader {
    pub(crate) fn new(options: LocalOptions) -> Self {
        let budget = options.memory_limit.map(|limit| Arc::new(MemoryBudget::new(limit)));
        Self { options, budget, engines: HashMap::new(), files: Vec::new() }
    }

    /// The engine that runs the model at `path`, which people call `name`.
    pub(crate) fn engine(&mut self, path: &Path, name: &str) -> Result<Engine> {
        let real = path.canonicalize().doing(format_args!("open the model {}", path.display()))?;
        if let Some(engine) = self.engines.get(&real) {
            return Ok(engine.clone());
        }
        let model = Model::open(path).map_err(Failure::of)?;
        for (role, file) in model.files() {
            self.files.push(hash(role, name, file)?);
        }
        let options = EngineOptions { memory_limit: None, budget: self.budget.clone(), ..self.options.engine() };
        let engine = Engine::start(model, options).map_err(Failure::of)?;
        self.engines.insert(real, engine.clone());
        Ok(engine)
    }

    /// The hashes of all that was loaded.
    pub(crate) fn files(&self) -> &[FileHash] {
        &self.files
    }
}

/// Where the model of a `hf:` name lies, and its exact name; an error tells the command that fetches it.
pub(crate) fn pulled(owner: &str, repo: &str, file: Option<&str>) -> Result<(PathBuf, ModelName)> {
    let name = ModelName::Hf { owner: owner.to_owned(), repo: repo.to_owned(), file: file.map(str::to_owned) };
    let cache = Cache::of_environment().map_err(Failure::of)?;
    let found = cache.repo(&RepoName { owner: owner.to_owned(), repo: repo.to_owned() }).find(file);
    match found.map_err(Failure::of)? {
        Some(PulledModel { path, file }) => {
            Ok((path, ModelName::Hf { owner: owner.to_owned(), repo: repo.to_owned(), file }))
        }
        None => Err(Failure::of(format_args!(
            "open {name}: it is not on this machine; fetch it with `{} model pull {name}`",
            surroundings::program()
        ))),
    }
}

/// Where the local model that a run calls `name` lay.
pub(crate) fn recorded_path(files: &[FileHash], name: &str) -> Option<PathBuf> {
    let weights = recorded_file(files.iter().find(|file| file.model == name && file.role == "weights")?).ok()?;
    let is_gguf = weights.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if is_gguf { Some(weights) } else { weights.parent().map(Path::to_owned) }
}

/// The hash of a model's file, computed if the file is not known.
pub(crate) fn hash(role: &str, model: &str, path: &Path) -> Result<FileHash> {
    file_hash(role, model, path, Belief::Known)
}

/// Whether a hash that was computed before counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// For a file that has not changed since.
    Known,
    /// Never: every byte is read.
    Nothing,
}

fn file_hash(role: &str, model: &str, path: &Path, belief: Belief) -> Result<FileHash> {
    let hashes = Hashes::of_user();
    let hashed = match belief {
        Belief::Known => hashes.get(path),
        Belief::Nothing => hashes.compute(path),
    };
    let hashed = hashed.doing(format_args!("hash {}", path.display()))?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    Ok(FileHash { role: role.to_owned(), model: model.to_owned(), path, bytes: hashed.bytes, sha256: hashed.sha256 })
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

/// Where a recorded file is now: what comes with this program is wherever it was laid down here.
fn recorded_file(file: &FileHash) -> Result<PathBuf> {
    let path = PathBuf::from(&file.path);
    if file.model == ModelName::Embedded.to_string() && !path.exists() { embedded::path() } else { Ok(path) }
}

/// The recorded files that are not what they were.
pub(crate) fn changed_files(recorded: &[FileHash], belief: Belief) -> Vec<FileChange> {
    recorded
        .iter()
        .filter_map(|file| {
            match recorded_file(file).and_then(|path| file_hash(&file.role, &file.model, &path, belief)) {
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
            }
        })
        .collect()
}
