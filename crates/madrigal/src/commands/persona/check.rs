//! `madrigal persona check`.

use std::path::{Path, PathBuf};

use clap::Args;
use madrigal_agents::persona::{self, Finding, Origin, PersonaLibrary, Severity, built_in};
use serde_json::{Value, json};

use super::file::{self, finding_json, located};
use crate::failure::{Context, Failure, Result};
use crate::output::{self, neutral};
use crate::personas::PersonaFolders;

const EXAMPLES: &str = "\
An error keeps a persona from being seated, and the exit code is 1; a warning does not.

Examples:
  madrigal persona check personas/*.md
  madrigal persona check physicist --json";

/// Find what is wrong with persona files, and what could be better.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Files, or names of `persona list`
    #[arg(value_name = "FILE|NAME", required = true)]
    names: Vec<String>,

    /// Print a line of JSON per persona
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    personas: PersonaFolders,
}

pub(crate) fn check(args: &CheckArgs) -> Result {
    let library = args.personas.library();
    let mut broken = false;
    for name in &args.names {
        let (file, bytes) = source(&library, name)?;
        let findings = persona::check_bytes(&bytes, &file);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        broken |= errors > 0;
        if args.json {
            output::print_json(&facts(&file, &findings, errors)).doing("print")?;
            continue;
        }
        for finding in &findings {
            output::print(format!("{}\n", neutral(&located(&file, finding)))).doing("print")?;
        }
        if findings.is_empty() {
            output::print(format!("{}: sound\n", neutral(&file))).doing("print")?;
        }
    }
    if broken { Err(Failure::said()) } else { Ok(()) }
}

fn facts(file: &str, findings: &[Finding], errors: usize) -> Value {
    json!({
        "file": file,
        "errors": errors,
        "warnings": findings.len() - errors,
        "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

/// What the persona is called and its bytes, which need not make a persona.
fn source(library: &PersonaLibrary, name: &str) -> Result<(String, Vec<u8>)> {
    // The library's names win over files of this folder, as they do where a persona is seated.
    let entry = library.list().map_err(Failure::of)?.into_iter().find(|entry| entry.name == name);
    let path = match entry.map(|entry| entry.origin) {
        Some(Origin::BuiltIn) => {
            return Ok((name.to_owned(), built_in(name).unwrap_or_default().as_bytes().to_vec()));
        }
        Some(Origin::File(path)) => path,
        None if Path::new(name).exists() => PathBuf::from(name),
        None => {
            return Err(match library.find(name) {
                Err(error) => Failure::of(error),
                Ok(_) => Failure::of(format_args!("read the persona {name}: it appeared only now; check again")),
            });
        }
    };
    let bytes = file::read(&path, persona::MAX_BYTES, "persona")?;
    Ok((path.display().to_string(), bytes))
}
