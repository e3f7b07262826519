//! Text and JSON that a command is given: in an argument, in a file, or on standard input.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::failure::{Context, Failure, Result};

/// A text to work on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct TextInput {
    /// The text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// A file that holds the text, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl TextInput {
    /// The text, to the byte.
    pub(super) fn read(&self) -> Result<String> {
        match (&self.text, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(path)) => {
                let bytes = read(path, "text")?;
                String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    Failure::of(format_args!("read the text {}: it is not UTF-8 at byte {at}", path.display()))
                })
            }
            // clap asks for one of the two.
            (None, None) => Err(Failure::wrong("give the text by --text or --file")),
        }
    }
}

/// The bytes of a file, or of standard input where it is called `-`; `what` stands in errors.
pub(super) fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).doing(format_args!("read the {what} from standard input"))?;
        return Ok(bytes);
    }
    fs::read(path).doing(format_args!("read the {what} {}", path.display()))
}

/// The JSON list in a file; `what` stands in errors.
pub(super) fn read_list(path: &Path, what: &str) -> Result<Vec<Value>> {
    let bytes = read(path, what)?;
    let name = path.display();
    match serde_json::from_slice(&bytes) {
        Ok(Value::Array(list)) => Ok(list),
        Ok(_) => {
            Err(Failure::of(format_args!("read the {what} {name}: it is JSON, but not a list: expected [{{…}}, …]")))
        }
        Err(error) => Err(Failure::of(format_args!("read the {what} {name}: it is not JSON: {error}"))),
    }
}
