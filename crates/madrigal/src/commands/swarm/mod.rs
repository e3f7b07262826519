//! `madrigal swarm`: agents that write programs.

mod tasks;

use clap::{Args, Subcommand};

use crate::failure::Result;

const EXAMPLES: &str = "\
Examples:
  madrigal swarm tasks generate --families 8 --out tasks.jsonl";

/// Tasks for agents that write programs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SwarmArgs {
    #[command(subcommand)]
    command: SwarmCommand,
}

#[derive(Debug, Subcommand)]
enum SwarmCommand {
    /// Where tasks come from
    Tasks(tasks::TasksArgs),
}

pub(crate) fn swarm(args: SwarmArgs) -> Result {
    match args.command {
        SwarmCommand::Tasks(args) => tasks::tasks(args),
    }
}
