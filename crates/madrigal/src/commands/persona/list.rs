//! `madrigal persona list`.

use clap::Args;
use madrigal_agents::persona::{LibraryEntry, Origin, Persona};
use serde_json::{Value, json};

use crate::failure::{Context, Failure, Result};
use crate::output::{self, BOLD, DIM, RED, neutral};
use crate::personas::PersonaFolders;

const EXAMPLES: &str = "\
Examples:
  madrigal persona list
  madrigal persona list --personas my-cast --json";

/// The personas there are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    personas: PersonaFolders,

    /// Print a line of JSON per persona
    #[arg(long)]
    json: bool,
}

pub(crate) fn list(args: &ListArgs) -> Result {
    let entries = args.personas.library().list().map_err(Failure::of)?;
    if args.json {
        for entry in &entries {
            output::print_json(&facts(entry)).doing("print")?;
        }
        return Ok(());
    }
    let width = entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for entry in &entries {
        text.push_str(&format!("{BOLD}{:<width$}{BOLD:#}  ", neutral(&entry.name)));
        match &entry.persona {
            Ok(persona) => {
                text.push_str(&neutral(&persona.description()));
                text.push_str(&format!("{DIM}{}{DIM:#}\n", neutral(&remarks(entry, persona))));
            }
            Err(error) => text.push_str(&format!("{RED}unusable{RED:#}: failed to {}\n", neutral(&error.to_string()))),
        }
    }
    output::print(text).doing("print")
}

/// What stands behind the description: language, gender, model, file.
fn remarks(entry: &LibraryEntry, persona: &Persona) -> String {
    let model = persona.model.as_ref().map(ToString::to_string);
    let file = match &entry.origin {
        Origin::BuiltIn => None,
        Origin::File(path) => Some(path.display().to_string()),
    };
    let known: Vec<String> =
        [persona.language.clone(), persona.gender.clone(), model, file].into_iter().flatten().collect();
    if known.is_empty() { String::new() } else { format!(" [{}]", known.join(", ")) }
}

fn facts(entry: &LibraryEntry) -> Value {
    let origin = origin(&entry.origin);
    match &entry.persona {
        Ok(persona) => json!({
            "name": entry.name,
            "agent": persona.name,
            "role": persona.role,
            "language": persona.language,
            "gender": persona.gender,
            "model": persona.model.as_ref().map(ToString::to_string),
            "origin": origin,
            "description": persona.description(),
        }),
        Err(error) => json!({ "name": entry.name, "origin": origin, "error": format!("failed to {error}") }),
    }
}

/// `built-in`, or the file.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::BuiltIn => "built-in".to_owned(),
        Origin::File(path) => path.display().to_string(),
    }
}
