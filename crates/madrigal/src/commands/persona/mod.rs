//! `madrigal persona`: who can be seated, and how new ones come to be.

mod check;
mod file;
mod import;
mod list;
mod new;
mod show;

use clap::{Args, Subcommand};

use crate::failure::Result;

const EXAMPLES: &str = "\
A persona is a Markdown file that says who an agent is. Some come with the program; those in ./personas (or --personas)
are found by the file's name without .md, any other by its path.

Examples:
  madrigal persona list
  madrigal persona show physicist
  madrigal persona new
  madrigal persona check personas/*.md
  madrigal persona import card.png";

/// List, show, write, check and import personas.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PersonaArgs {
    #[command(subcommand)]
    command: PersonaCommand,
}

#[derive(Debug, Subcommand)]
enum PersonaCommand {
    /// The personas there are
    List(list::ListArgs),
    /// A persona's file, or what a model is told of it
    Show(show::ShowArgs),
    /// Write a persona by answering a few questions
    New(Box<new::NewArgs>),
    /// Find what is wrong with persona files, and what could be better
    Check(check::CheckArgs),
    /// Make a persona of a character card (SillyTavern, Tavern; PNG or JSON)
    Import(import::ImportArgs),
}

pub(crate) fn persona(args: PersonaArgs) -> Result {
    match args.command {
        PersonaCommand::List(args) => list::list(&args),
        PersonaCommand::Show(args) => show::show(&args),
        PersonaCommand::New(args) => new::new(*args),
        PersonaCommand::Check(args) => check::check(&args),
        PersonaCommand::Import(args) => import::import(&args),
    }
}
