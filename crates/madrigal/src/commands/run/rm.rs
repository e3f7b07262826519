//! `madrigal run rm`.

use std::fs;

use clap::Args;

use crate::cli::Place;
use crate::consent;
use crate::failure::{Context, Result};
use crate::runs;

/// Delete runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  madrigal run rm 20261120-215301\n  madrigal run rm latest --yes")]
pub(crate) struct RmArgs {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) fn rm(args: &RmArgs, place: &Place) -> Result {
    let found = args.names.iter().map(|name| runs::find(place.root(), name)).collect::<Result<Vec<_>>>()?;
    for run in found {
        if !args.yes && !consent::may_delete(&run.dir.display().to_string())? {
            continue;
        }
        fs::remove_dir_all(&run.dir).doing(format_args!("delete {}", run.dir.display()))?;
        anstream::eprintln!("deleted {}", run.dir.display());
    }
    Ok(())
}
