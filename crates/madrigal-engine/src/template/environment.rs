//! The environment that a template runs in: transformers' settings, functions and filters, and the limits.
//!
//! The settings are those of `_compile_jinja_template` in transformers' `utils/chat_template_utils.py`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::{self, CodeGenerator, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde_json::Value as Json;

use super::guard::{self, Budget, Exceeded};
use super::{CivilDateTime, RenderRequest, SpecialTokens, TemplateError, json, python};

/// The longest template in use has some 30 KB.
const MAX_SOURCE_BYTES: usize = 512 << 10;
/// Operators, names and brackets in one tag; the compiler descends into a chain of them.
const MAX_LINKS: usize = 1000;
/// `elif`s; each one is an `if` inside the one before.
const MAX_ELIFS: usize = 500;
/// Instructions of one rendering; the costliest known template takes some 300 a message.
const FUEL: u64 = 10_000_000;
/// Macros and nested loops in each other.
const RECURSION: usize = 300;
/// Room for the deepest template that the limits above allow, on whatever thread the caller is.
const STACK_BYTES: usize = 32 << 20;

const NAME: &str = "chat_template";

type Compiled<'a> = (Instructions<'a>, BTreeMap<&'a str, Instructions<'a>>);

/// Whether `source` is a template.
pub(super) fn check(source: &str) -> Result<(), TemplateError> {
    on_own_stack(|| compile(&prepared(source)?).map(drop))
}

/// Renders a template.
pub(super) fn render(
    source: &str,
    special: &SpecialTokens,
    request: &RenderRequest<'_>,
) -> Result<String, TemplateError> {
    on_own_stack(|| render_here(source, special, request))
}

fn render_here(source: &str, special: &SpecialTokens, request: &RenderRequest<'_>) -> Result<String, TemplateError> {
    let source = prepared(source)?;
    let (instructions, blocks) = compile(&source)?;
    let refusal = Refusal::default();
    let budget = Budget::default();
    let environment = environment(request.now, &refusal, &budget);
    let mut text = String::new();
    let mut out = machinery::make_string_output(&mut text);
    let context = context(special, request);
    let result = machinery::eval(&environment, &instructions, context, &blocks, &mut out, AutoEscape::None);
    match result {
        Ok(_) => {
            drop(out);
            Ok(text)
        }
        Err(error) => Err(refusal.take().unwrap_or_else(|| render_error(&error))),
    }
}

/// What `raise_exception` was called with.
#[derive(Debug, Clone, Default)]
struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    fn set(&self, message: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    fn take(&self) -> Option<TemplateError> {
        let message = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(TemplateError::Refused { message })
    }
}

/// Parsing and rendering descend with the template's nesting; the caller's stack need not have room for that.
fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, TemplateError> + Send) -> Result<T, TemplateError> {
    let failed = |problem: String| TemplateError::Render { line: 0, problem };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(NAME.to_owned()).stack_size(STACK_BYTES);
        let thread =
            thread.spawn_scoped(scope, work).map_err(|error| failed(format!("no thread can be started: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the template engine panicked".to_owned())))
    })
}

/// The source as it is compiled: bounded, and with transformers' `generation` tags, which mark what an assistant said
/// and print nothing, as tags that minijinja knows.
fn prepared(source: &str) -> Result<String, TemplateError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(TemplateError::Limit { limit: "512 KiB of template" });
    }
    let mut prepared = String::with_capacity(source.len());
    let mut elifs = 0;
    let mut rest = source;
    while let Some(start) = rest.find("{%").into_iter().chain(rest.find("{{")).min() {
        let (before, tag) = rest.split_at(start);
        prepared.push_str(before);
        let end = tag_end(tag);
        let (tag, after) = tag.split_at(end);
        if links(tag) > MAX_LINKS {
            return Err(TemplateError::Limit { limit: "1000 operators in one tag" });
        }
        let word = tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']).trim();
        elifs += usize::from(word.starts_with("elif"));
        match word {
            "generation" if tag.starts_with("{%") => {
                prepared.push_str(&tag.replacen("generation", "if true", 1));
            }
            "endgeneration" if tag.starts_with("{%") => {
                prepared.push_str(&tag.replacen("endgeneration", "endif", 1));
            }
            _ => prepared.push_str(tag),
        }
        rest = after;
    }
    if elifs > MAX_ELIFS {
        return Err(TemplateError::Limit { limit: "500 elif tags" });
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// Where a tag ends, quoted text in it passed over.
fn tag_end(tag: &str) -> usize {
    let closing = if tag.starts_with("{%") { "%}" } else { "}}" };
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '"' || character == '\'' => quote = Some(character),
            None if tag[at..].starts_with(closing) => return at + closing.len(),
            None => {}
        }
    }
    tag.len()
}

/// How many things in a tag could be chained: everything but letters, digits, quoted text and what lists are made of.
fn links(tag: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut count = 0;
    let mut in_word = false;
    for character in tag.chars() {
        let word = character.is_alphanumeric() || character == '_';
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '"' || character == '\'' => quote = Some(character),
            None if word => count += usize::from(!in_word),
            None => count += usize::from("~+-*/%|.([{<>=!".contains(character)),
        }
        in_word = word && quote.is_none();
    }
    count
}

fn compile(source: &str) -> Result<Compiled<'_>, TemplateError> {
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| syntax_error(&error))?;
    let parsed = machinery::parse(source, NAME, syntax).map_err(|error| syntax_error(&error))?;
    let guarded = guard::guarded(&parsed).map_err(|error| syntax_error(&error))?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&guarded);
    Ok(generator.finish())
}

fn environment(now: CivilDateTime, refusal: &Refusal, budget: &Budget) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    guard::install(&mut environment, budget);

    let refusal = refusal.clone();
    environment.add_function("raise_exception", move |message: Value| -> Result<Value, Error> {
        let message = message.to_string();
        refusal.set(message.clone());
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: &str| {
        now.strftime(format).map_err(|directive| {
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now: the directive `{directive}` is not known"))
        })
    });

    let shared = budget.clone();
    environment.add_filter("tojson", move |value: Value, options: Kwargs| json::tojson(&shared, &value, &options));
    let shared = budget.clone();
    environment.add_filter("string", move |value: Value| {
        let mut text = String::new();
        shared.print(&mut text, &value).map(|()| text)
    });
    environment.add_filter("trim", |text: String, characters: Option<String>| {
        python::strip(&text, characters.as_deref()).to_owned()
    });
    let shared = budget.clone();
    environment.add_filter("replace", move |text: String, old: String, new: String, count: Option<i64>| {
        python::replace(&shared, &text, &old, &new, count)
    });
    let shared = budget.clone();
    environment.add_filter("join", move |items: Value, separator: Option<String>, options: Kwargs| {
        let separator = separator.or(options.get("d")?);
        let attribute: Option<Value> = options.get("attribute")?;
        options.assert_all_used()?;
        python::join_filter(&shared, &items, separator.as_deref(), attribute.as_ref())
    });
    let shared = budget.clone();
    environment.add_filter(
        "indent",
        move |text: String, width: Option<Value>, first: Option<bool>, blank: Option<bool>, options: Kwargs| {
            let width = width.or(options.get("width")?).unwrap_or_else(|| Value::from(4));
            let first = first.or(options.get("first")?).unwrap_or(false);
            let blank = blank.or(options.get("blank")?).unwrap_or(false);
            options.assert_all_used()?;
            python::indent(&shared, &text, &width, first, blank)
        },
    );
    for name in ["batch", "slice", "chain", "zip", "format", "pprint"] {
        environment.add_filter(name, python::refused(name));
    }
    environment.remove_global("debug");
    let shared = budget.clone();
    environment
        .set_unknown_method_callback(move |state, value, name, args| python::method(&shared, state, value, name, args));
    environment
}

/// The template's variables: later ones replace earlier ones, as in transformers.
fn context(special: &SpecialTokens, request: &RenderRequest<'_>) -> Value {
    let mut variables: Vec<(String, Value)> = vec![
        ("messages".to_owned(), request.messages.iter().map(value).collect()),
        ("tools".to_owned(), request.tools.map_or(Value::from(()), value)),
        ("documents".to_owned(), Value::from(())),
        ("add_generation_prompt".to_owned(), Value::from(request.add_generation_prompt)),
    ];
    variables.extend(special.iter().map(|(name, text)| (name.to_owned(), Value::from(text))));
    variables.extend(request.vars.iter().map(|(name, json)| (name.clone(), value(json))));
    Value::from_pairs(variables)
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, number) => Value::from(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, json)| (key.clone(), value(json)))),
    }
}

fn syntax_error(error: &Error) -> TemplateError {
    TemplateError::Syntax { line: error.line().unwrap_or_default(), problem: problem(error) }
}

fn render_error(error: &Error) -> TemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::Limit { limit: "10,000,000 instructions" };
    }
    let mut line = error.line();
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(Exceeded(limit)) = error.downcast_ref::<Exceeded>() {
            return TemplateError::Limit { limit };
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            if error.kind() == ErrorKind::OutOfFuel {
                return TemplateError::Limit { limit: "10,000,000 instructions" };
            }
            line = error.line().or(line);
            innermost = error;
        }
        cause = error.source();
    }
    TemplateError::Render { line: line.unwrap_or_default(), problem: problem(innermost) }
}

fn problem(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
