//! `madrigal persona new`: a persona from a few answers.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::Args;
use madrigal_agents::model_name::ModelName;
use madrigal_agents::persona::{PersonaDraft, SharedInstructions};

use super::file;
use crate::failure::{Context, Failure, Result};
use crate::output::BOLD;

const EXAMPLES: &str = "\
Asks on the terminal, one line an answer, for what no flag says; --name and --who together ask for nothing more.

Examples:
  madrigal persona new
  madrigal persona new --name 'Livia Ferro' --role 'Alpine Botanist' --who 'You are Livia Ferro, a botanist in Chur.' \\
      --style 'Latin names first' --knows 'saxifrages; lichens' --out personas/botanist.md";

/// Who speaks where nothing else is said.
const USUAL_GUIDELINES: [&str; 3] = [
    "Take up what was said last before you add something of your own.",
    "Ask when you do not understand, and say so when you do not agree.",
    "Keep to a few sentences at a time.",
];

/// Write a persona by answering a few questions.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct NewArgs {
    /// The persona's name
    #[arg(long)]
    name: Option<String>,

    /// What it is, e.g. 'Alpine Botanist'
    #[arg(long)]
    role: Option<String>,

    /// Tag of the language that it speaks, e.g. en
    #[arg(long)]
    language: Option<String>,

    /// Its gender, in any words
    #[arg(long)]
    gender: Option<String>,

    /// Who it is, in the words that it is told: You are …
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,

    /// How it speaks; separate several with semicolons
    #[arg(long, value_name = "TEXT")]
    style: Option<String>,

    /// What it knows about; separate several with semicolons
    #[arg(long, value_name = "TEXT")]
    knows: Option<String>,

    /// What characterises it; separate several with semicolons
    #[arg(long, value_name = "TEXT")]
    traits: Option<String>,

    /// Who it is, in a line, for windows too small for more [default: the beginning of --who]
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,

    /// The chat model that it asks for
    #[arg(long)]
    model: Option<String>,

    /// The softmax temperature that it asks for, 0 to 2
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,

    /// How much it wants to speak, 0 to 1
    #[arg(long, value_name = "SHARE")]
    talkativeness: Option<f32>,

    /// The shared instructions that it follows: conversation or turing-test
    #[arg(long, value_name = "NAME")]
    instructions: Option<SharedInstructions>,

    /// The file to write [default: personas/NAME.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn new(args: NewArgs) -> Result {
    let model = match &args.model {
        Some(name) => Some(ModelName::parse_with(name, Path::exists).map_err(Failure::usage)?),
        None => None,
    };
    // Nobody should answer seven questions in vain.
    if let Some(path) = args.out.as_deref().filter(|path| path.exists()) {
        let path = path.display();
        return Err(Failure::of(format_args!("write the persona {path}: the file exists; name another one by --out")));
    }
    let mut asking = Asking { enough: args.name.is_some() && args.who.is_some() };
    let name = asking.need(args.name, "Name", "the persona needs a name")?;
    let role = asking.may(args.role, "Role, e.g. Alpine Botanist")?;
    let language = asking.may(args.language, "Language, e.g. en")?;
    let background = asking.need(args.who, "Who are they? You are …", "the persona needs to be someone")?;
    let style = asking.may(args.style, "How do they speak? (separate with ;)")?;
    let expertise = asking.may(args.knows, "What do they know about? (separate with ;)")?;
    let traits = asking.may(args.traits, "What are they like? (separate with ;)")?;
    let draft = PersonaDraft {
        language: Some(language).filter(|language| !language.is_empty()),
        gender: args.gender,
        model,
        temperature: args.temperature,
        talkativeness: args.talkativeness,
        summary: args.summary,
        instructions: args.instructions,
        background,
        traits: items(&traits),
        expertise: items(&expertise),
        style: items(&style),
        guidelines: USUAL_GUIDELINES.map(str::to_owned).to_vec(),
        name,
        role,
        ..PersonaDraft::default()
    };
    let path = args.out.unwrap_or_else(|| file::usual_path(&draft.name));
    file::write(&path, &draft.render(), false, &[], args.json)
}

/// Questions on the terminal, a line an answer.
struct Asking {
    /// The flags said enough; what they do not say stays out.
    enough: bool,
}

impl Asking {
    /// An answer that there must be.
    fn need(&mut self, given: Option<String>, question: &str, why: &str) -> Result<String> {
        let answer = match given {
            Some(given) => given,
            None => ask(question)?,
        };
        if answer.trim().is_empty() {
            return Err(Failure::wrong(format!("{why}: answer the question, or give --name and --who")));
        }
        Ok(answer.trim().to_owned())
    }

    /// An answer that may be empty.
    fn may(&mut self, given: Option<String>, question: &str) -> Result<String> {
        match given {
            Some(given) => Ok(given.trim().to_owned()),
            None if self.enough => Ok(String::new()),
            None => ask(question),
        }
    }
}

/// A line from standard input; empty at its end.
fn ask(question: &str) -> Result<String> {
    anstream::eprint!("{BOLD}{question}:{BOLD:#} ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).doing("read the answer")?;
    Ok(line.trim().to_owned())
}

/// The parts of an answer between semicolons.
fn items(answer: &str) -> Vec<String> {
    answer.split(';').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
