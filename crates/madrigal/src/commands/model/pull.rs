//! `madrigal model pull`.

use std::path::PathBuf;

use clap::Args;
use madrigal_agents::model_name::ModelName;
use serde_json::{Value, json};

use super::progress::Progress;
use crate::failure::{Context, Failure, Result};
use crate::hub::{Access, Cache, Hub, Pulled, RepoName, pull as pull_model};
use crate::output::{self, DIM, neutral};
use crate::sitting;
use crate::surroundings;
use crate::units::show_bytes;

const HELP: &str = "\
A model is a .gguf file of the repository, named by file or by quantisation, or the repository
itself with config.json, tokenizer.json and safetensors. Without a name after the repository it
is the latter, else the only .gguf, else the one in Q4_K_M or Q8_0. A split .gguf is fetched
whole.

What is fetched lies in the cache that Hugging Face's own tools use, which HF_HUB_CACHE or
HF_HOME may move. Its checksum is compared; what was interrupted goes on where it stopped.
HF_ENDPOINT names another hub; HF_TOKEN opens repositories that ask who comes.

Examples:
  madrigal model pull hf:Qwen/Qwen3-0.6B-GGUF:Q8_0
  madrigal model pull hf:Qwen/Qwen3-0.6B
  madrigal talk physicist sceptic --model hf:Qwen/Qwen3-0.6B-GGUF:Q8_0";

/// Fetch models from the Hugging Face Hub.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct PullArgs {
    /// The models
    #[arg(required = true, value_name = "hf:OWNER/REPO[:FILE-OR-QUANT]")]
    names: Vec<String>,
    /// Print a line of JSON per model, and nothing else
    #[arg(long)]
    json: bool,
}

pub(crate) fn pull(args: &PullArgs) -> Result {
    let names = args.names.iter().map(|name| hub_name(name)).collect::<Result<Vec<_>>>()?;
    let cache = Cache::of_environment().map_err(Failure::of)?;
    let access = Access::of_environment().map_err(|error| Failure::usage(format_args!("read HF_ENDPOINT: {error}")))?;
    let mut hub = Hub::new(access).map_err(Failure::of)?;
    for (repo, wanted) in names {
        let mut progress = if args.json { Progress::silent() } else { Progress::new() };
        let pulled =
            sitting::runtime()?
                .block_on(pull_model(&mut hub, &cache, &repo, wanted.as_deref(), &mut |step| progress.show(&step)));
        progress.end();
        let pulled = pulled.map_err(Failure::of)?;
        if args.json {
            output::print_json(&result(&pulled)).doing("print")?;
        } else {
            tell(&pulled)?;
        }
    }
    Ok(())
}

/// The repository and what is wanted of it.
pub(super) fn hub_name(name: &str) -> Result<(RepoName, Option<String>)> {
    match name.parse() {
        Ok(ModelName::Hf { owner, repo, file }) => Ok((RepoName { owner, repo }, file)),
        Err(error) if name.starts_with("hf:") => Err(Failure::usage(error)),
        _ => Err(Failure::wrong(format!(
            "`{}` is no model of a hub; name one as hf:OWNER/REPO[:FILE-OR-QUANT], e.g. hf:Qwen/Qwen3-0.6B-GGUF:Q8_0",
            neutral(&madrigal_agents::base_url::hide_users(name))
        ))),
    }
}

fn result(pulled: &Pulled) -> Value {
    let files: Vec<Value> = pulled
        .files
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "blob": file.checksum.hex() }))
        .collect();
    json!({
        "name": pulled.name.to_string(),
        "path": pulled.path,
        "commit": pulled.commit,
        "bytes": bytes(pulled),
        "downloaded": pulled.downloaded,
        "files": files,
    })
}

fn bytes(pulled: &Pulled) -> u64 {
    pulled.files.iter().map(|file| file.bytes).sum()
}

fn tell(pulled: &Pulled) -> Result {
    let came = match pulled.downloaded {
        0 => "all of it was here already".to_owned(),
        bytes => format!("{} fetched", show_bytes(bytes)),
    };
    let name = pulled.name.to_string();
    let path: &PathBuf = &pulled.path;
    anstream::eprintln!(
        "{DIM}{}, {came}, in {}\n  {} talk physicist sceptic --model {}{DIM:#}",
        show_bytes(bytes(pulled)),
        neutral(&path.display().to_string()),
        surroundings::program(),
        neutral(&name)
    );
    output::print(format!("{}\n", neutral(&name))).doing("print")
}
