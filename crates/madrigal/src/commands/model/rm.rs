//! `madrigal model rm`.

use clap::Args;
use serde_json::json;

use super::pull::hub_name;
use crate::consent;
use crate::failure::{Context, Failure, Result};
use crate::hub::Cache;
use crate::output;
use crate::units::show_bytes;

const HELP: &str = "\
Only what lies in the cache is deleted; a file: of your own is yours to delete. A name without a
file means everything that was fetched of the repository. Contents that another file of the
repository shares stay.

Examples:
  madrigal model rm hf:Qwen/Qwen3-0.6B-GGUF:Q8_0
  madrigal model rm hf:Qwen/Qwen3-0.6B --yes";

/// Delete models that were pulled.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct RmArgs {
    /// The models
    #[arg(required = true, value_name = "hf:OWNER/REPO[:FILE-OR-QUANT]")]
    names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print a line of JSON per model
    #[arg(long)]
    json: bool,
}

pub(crate) fn rm(args: &RmArgs) -> Result {
    let cache = Cache::of_environment().map_err(Failure::of)?;
    let mut planned = Vec::new();
    for name in &args.names {
        let (repo, wanted) = hub_name(name)?;
        let deletion = cache.repo(&repo).deletion(wanted.as_deref()).map_err(Failure::of)?;
        let deletion = deletion.ok_or_else(|| {
            Failure::of(format_args!(
                "delete {name}: it is not in {}",
                output::neutral(&cache.root().display().to_string())
            ))
        })?;
        planned.push((name, deletion));
    }
    for (name, deletion) in planned {
        let size = show_bytes(deletion.bytes);
        if !args.yes && !consent::may_delete(&format!("{name} ({size})"))? {
            continue;
        }
        deletion.carry_out().map_err(Failure::of)?;
        if args.json {
            output::print_json(&json!({ "name": name, "bytes": deletion.bytes })).doing("print")?;
        } else {
            anstream::eprintln!("deleted {name}, {size} are free again");
        }
    }
    Ok(())
}
