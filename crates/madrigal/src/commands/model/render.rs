//! `madrigal model render`: what a model is really sent.

use std::path::{Path, PathBuf};

use clap::Args;
use madrigal_engine::template::{ChatTemplate, CivilDateTime, RenderRequest};
use madrigal_journal::civil::civil_date;
use serde_json::{Map, Value};

use super::input;
use super::local::LocalModel;

use crate::failure::{Context, Failure, Result};
use crate::{output, runs};

const EXAMPLES: &str = "\
Prints the prompt to the byte, without a newline of its own. The model's weights are not needed: a folder with only a
chat_template.jinja or a tokenizer_config.json works.

Examples:
  madrigal model render model.gguf --messages messages.json
  madrigal model render ./Qwen3-0.6B --messages messages.json --var enable_thinking=false
  madrigal model render model.gguf --messages - --template mine.jinja --no-generation-prompt
  madrigal model render model.gguf --messages messages.json --tools tools.json --now 2025-08-05T12:00:00";

/// The exact prompt that the chat template makes of messages.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    model: LocalModel,

    /// JSON list of messages, [{"role": "user", "content": "…"}, …], or - for standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,

    /// Jinja template to use instead of the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,

    /// JSON list of the tools that the model may call
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,

    /// A variable of the template; the value is read as JSON, else as text; may be given more than once
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,

    /// Date and time that the template may print, e.g. 2025-08-05T12:00:00 [default: now, in UTC]
    #[arg(long, value_name = "TIME")]
    now: Option<String>,

    /// Do not end with what makes the model answer
    #[arg(long)]
    no_generation_prompt: bool,
}

pub(crate) fn render(args: &RenderArgs) -> Result {
    let path = args.model.path()?;
    let now = match &args.now {
        Some(text) => text.parse().map_err(Failure::usage)?,
        None => present(),
    };
    let vars = variables(&args.vars)?;
    let template = template(&path, args.template.as_deref())?;
    let messages = input::read_list(&args.messages, "messages")?;
    if let Some(index) = messages.iter().position(|message| !message.is_object()) {
        let name = args.messages.display();
        return Err(Failure::of(format_args!("read the messages {name}: message {} is no object", index + 1)));
    }
    let tools = match &args.tools {
        Some(path) => Some(Value::Array(input::read_list(path, "tools")?)),
        None => None,
    };
    let request = RenderRequest {
        messages: &messages,
        tools: tools.as_ref(),
        vars: &vars,
        add_generation_prompt: !args.no_generation_prompt,
        now,
    };
    let prompt = template.render(&request).map_err(Failure::of)?;
    if template.is_plain() {
        anstream::eprintln!(
            "note: {} has no chat template; messages are written as `Name: text`",
            output::neutral(&path.display().to_string())
        );
    }
    output::print_text(&prompt).doing("print")
}

/// The model's own template, or the one of a file with the model's special tokens.
fn template(model: &Path, instead: Option<&Path>) -> Result<ChatTemplate> {
    // `ChatTemplate::open` takes the absence of a template for a model without one.
    std::fs::metadata(model).doing(format_args!("open the model {}", model.display()))?;
    if let Some(file) = instead {
        let bytes = input::read(file, "template")?;
        let source = String::from_utf8(bytes)
            .map_err(|_| Failure::of(format_args!("read the template {}: it is not UTF-8", file.display())))?;
        return ChatTemplate::from_source_for(&source, model).map_err(Failure::of);
    }
    ChatTemplate::open(model).map_err(Failure::of)
}

/// The date and time now, in UTC.
fn present() -> CivilDateTime {
    let seconds = runs::now_ms() / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let small = |number: u64| u8::try_from(number).unwrap_or_default();
    let time = seconds % 86_400;
    let year = u16::try_from(year).unwrap_or_default();
    CivilDateTime::new(year, small(month), small(day), small(time / 3600), small(time / 60 % 60), small(time % 60))
        .unwrap_or(CivilDateTime::EPOCH)
}

fn variables(given: &[String]) -> Result<Map<String, Value>> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
                Ok((name.to_owned(), value))
            }
            _ => Err(Failure::wrong(format!(
                "`{}` is no variable; write --var NAME=VALUE, e.g. --var enable_thinking=false",
                output::neutral(text)
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_or_text() {
        let given =
            ["a=false", "b=7", "c=hello world", "d=\"7\"", "e=", "f=[1,{\"x\":null}]", "g=a=b"].map(str::to_owned);
        let expected =
            json!({ "a": false, "b": 7, "c": "hello world", "d": "7", "e": "", "f": [1, {"x": null}], "g": "a=b" });
        assert_eq!(Value::Object(variables(&given).unwrap()), expected);
        for wrong in ["enable_thinking", "=1"] {
            assert!(variables(&[wrong.to_owned()]).unwrap_err().message().contains("NAME=VALUE"), "{wrong}");
        }
    }
}
