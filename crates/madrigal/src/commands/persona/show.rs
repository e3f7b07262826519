//! `madrigal persona show`.

use clap::Args;
use madrigal_agents::persona::{Instructions, Persona};
use serde_json::{Value, json};

use crate::failure::{Context, Failure, Result};
use crate::output;
use crate::personas::PersonaFolders;

const EXAMPLES: &str = "\
Examples:
  madrigal persona show physicist              the file
  madrigal persona show physicist --prompt     what a model is told
  madrigal persona show physicist > personas/my-physicist.md";

/// A persona's file, or what a model is told of it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The persona: a name of `persona list`, or a file
    name: String,

    /// Show what a model is told: title, instructions, control messages and the rest of the file
    #[arg(long)]
    prompt: bool,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    personas: PersonaFolders,
}

pub(crate) fn show(args: &ShowArgs) -> Result {
    let persona = args.personas.library().find(&args.name).map_err(Failure::of)?;
    if args.json {
        return output::print_json(&facts(&persona)).doing("print");
    }
    let text = if args.prompt { &persona.system_prompt() } else { &persona.source };
    output::print_text(text).doing("print")
}

fn facts(persona: &Persona) -> Value {
    json!({
        "name": persona.name,
        "role": persona.role,
        "language": persona.language,
        "gender": persona.gender,
        "model": persona.model.as_ref().map(ToString::to_string),
        "temperature": persona.temperature,
        "talkativeness": persona.talkativeness,
        "voice": persona.voice,
        "summary": persona.summary,
        "instructions": match &persona.instructions {
            Instructions::Shared(shared) => shared.name(),
            Instructions::Own(_) => "own",
        },
        "file": persona.file,
        "source": persona.source,
        "prompt": persona.system_prompt(),
        "short_prompt": persona.short_prompt(),
    })
}
