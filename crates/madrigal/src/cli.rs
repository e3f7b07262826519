//! The top of the command line. Each command's own arguments stand in its own file.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands;

const EXAMPLES: &str = "\
Examples:
  madrigal talk                                     three people talk at once, on the embedded model
  madrigal talk physicist sceptic --model model.gguf --seed-prompt 'What is time?'
  madrigal talk physicist@ollama:llama3.2 human     you and a model
  madrigal run list                                 what was said before
  madrigal run verify latest                        was it really so?
  madrigal env                                      what this machine gives";

/// One model, many voices: agents on one local language model and on remote ones converse; every run is recorded,
/// reproducible, forkable.
#[derive(Debug, Parser)]
#[command(name = "madrigal", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where runs are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Folder that holds the runs [default: runs]
    #[arg(long, global = true, value_name = "DIR", env = "MADRIGAL_RUNS")]
    pub(crate) runs: Option<PathBuf>,
}

impl Place {
    /// The folder, where it was named.
    pub(crate) fn named(&self) -> Option<&Path> {
        self.runs.as_deref()
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        self.named().unwrap_or(Path::new("runs"))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a conversation here (the main job)
    Talk(Box<commands::talk::TalkArgs>),
    /// List, show, write, check and import personas
    Persona(commands::persona::PersonaArgs),
    /// Inspect models and use them directly
    Model(commands::model::ModelArgs),
    /// List, show, verify, replay, resume, fork and export what was recorded
    Run(commands::run::RunArgs),
    /// Tasks for agents that write programs
    Swarm(commands::swarm::SwarmArgs),
    /// What this machine gives: instruction set, memory, providers and servers, each with a ready command
    Env(commands::env::EnvArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print this reference as Markdown
    #[command(hide = true)]
    CliReference,
}
