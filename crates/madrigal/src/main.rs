//! The command line of Madrigal: reads arguments, wires the crates together, prints.
//!
//! The only crate that looks at the environment, the clock and the terminal; everything below is passed what it
//! needs.

mod cli;
mod commands;
mod confinement;
mod consent;
mod embedded;
mod failure;
mod hashes;
mod hub;
mod kept_kv;
mod loading;
mod output;
mod personas;
mod runs;
mod seating;
mod settings;
mod sitting;
mod stage;
mod surroundings;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything is parsed: this happens for every program that agents wrote, and costs its time.
    #[cfg(target_os = "linux")]
    if std::env::args_os().nth(1).is_some_and(|command| command == confinement::SHIM_COMMAND) {
        return madrigal_sandbox::shim::run(std::env::args_os().skip(2));
    }
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Talk(args) => commands::talk::talk(*args, &cli.place),
        Command::Persona(args) => commands::persona::persona(args),
        Command::Model(args) => commands::model::model(args),
        Command::Run(args) => commands::run::run(args, &cli.place),
        Command::Swarm(args) => commands::swarm::swarm(args),
        Command::Env(args) => commands::env::env(&args, &cli.place),
        Command::Completions { shell } => commands::completions::completions(shell),
        Command::CliReference => commands::reference::reference(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
