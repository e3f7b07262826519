//! Which local model is meant, and how it is run.

use std::path::{Path, PathBuf};

use clap::Args;
use madrigal_agents::model_name::{ModelName, ModelNameError};
use madrigal_engine::{Engine, EngineOptions, Model};

use crate::embedded;
use crate::failure::{Failure, Result};
use crate::loading::{self, LocalOptions, parsed};
use crate::output::neutral;
use crate::units;

/// The model of a command.
#[derive(Debug, Args)]
pub(super) struct LocalModel {
    /// A .gguf file or a model's folder: its path, file:PATH, hf:OWNER/REPO[:FILE-OR-QUANT] once it is pulled, or embedded
    #[arg(value_name = "MODEL")]
    name: String,
}

impl LocalModel {
    /// Where the model lies.
    pub(super) fn path(&self) -> Result<PathBuf> {
        match ModelName::parse_with(&self.name, Path::exists) {
            Ok(ModelName::File(path)) => Ok(path),
            Ok(ModelName::Embedded) => embedded::path(),
            Ok(ModelName::Hf { owner, repo, file }) => Ok(loading::pulled(&owner, &repo, file.as_deref())?.0),
            Err(ModelNameError::Unknown { shown, what: "name", .. }) => Err(Failure::of(format_args!(
                "open the model `{}`: there is no such file or folder; `madrigal model list` shows what is here",
                neutral(&shown)
            ))),
            Err(error) => Err(Failure::usage(error)),
            Ok(other) => Err(Failure::wrong(format!(
                "`{other}` is no local model, and this command needs one: name a .gguf file or a model's folder, e.g. \
                 file:model.gguf"
            ))),
        }
    }
}

/// How the model is run.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// Threads [default: all cores]; results do not depend on it
    #[arg(long, value_name = "N", env = "MADRIGAL_THREADS")]
    threads: Option<usize>,

    /// Tokens of the window, where it should be narrower than the model's
    #[arg(long, value_name = "N", env = "MADRIGAL_CONTEXT")]
    context: Option<usize>,

    /// Memory that weights and context may take, e.g. 8GiB
    #[arg(long, value_name = "SIZE", env = "MADRIGAL_MEMORY_LIMIT", value_parser = units::bytes)]
    memory_limit: Option<u64>,

    /// Number format of the KV cache: f32 or bf16 [default: f32 for F32 and F16 files, else bf16]
    #[arg(long, value_name = "FORMAT", env = "MADRIGAL_KV")]
    kv: Option<String>,

    /// Bits that activations keep beside quantised weights: 8 or 14 [default: 8 for models at least 1,024 wide, else 14]
    #[arg(long, value_name = "BITS", env = "MADRIGAL_ACTIVATIONS")]
    activations: Option<String>,

    /// Instruction-set path of the kernels: portable, avx2, avx512 or neon [default: the best one here]
    #[arg(long, value_name = "ISA", env = "MADRIGAL_ISA")]
    isa: Option<String>,
}

impl Running {
    /// Opens and starts the model.
    pub(super) fn start(&self, model: &LocalModel) -> Result<Engine> {
        let options = self.options()?;
        let model = Model::open(&model.path()?).map_err(Failure::of)?;
        Engine::start(model, options).map_err(Failure::of)
    }

    /// For the engine.
    pub(super) fn options(&self) -> Result<EngineOptions> {
        if self.threads == Some(0) {
            return Err(Failure::wrong("--threads must be at least 1"));
        }
        let options = LocalOptions {
            threads: self.threads,
            memory_limit: self.memory_limit,
            context: self.context,
            isa: parsed("isa", self.isa.as_deref())?,
            kv: parsed("kv", self.kv.as_deref())?,
            activations: parsed("activations", self.activations.as_deref())?,
        };
        Ok(options.engine())
    }
}
