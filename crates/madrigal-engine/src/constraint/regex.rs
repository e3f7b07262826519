//! Regular expressions: their syntax checked, and written so that they can stand in a grammar.
//!
//! Expressions are parsed here, because errors must say where, and printed anew from what was understood: comments,
//! flags and white space of the extended syntax are gone then, and nothing is left that a grammar could misread.

use regex_syntax::ast::Span;
use regex_syntax::hir::{Hir, Look, print::Printer};
use regex_syntax::{Error, ParserBuilder};

use super::ConstraintError;

/// Groups in groups.
const DEEPEST: u32 = 100;

/// A grammar of the texts that match the whole expression.
pub(super) fn grammar(pattern: &str) -> Result<String, ConstraintError> {
    let parsed = ParserBuilder::new().nest_limit(DEEPEST).build().parse(pattern).map_err(|error| syntax(&error))?;
    let anchors = [Look::Start, Look::End];
    if let Some(look) = parsed.properties().look_set().iter().find(|look| !anchors.contains(look)) {
        let message = format!("it looks around ({look:?}), which cannot be kept while a text grows");
        return Err(ConstraintError::Regex { message });
    }
    of_hir(&parsed)
}

/// A grammar of exactly these texts.
pub(super) fn grammar_of_choices(choices: &[String]) -> Result<String, ConstraintError> {
    of_hir(&Hir::alternation(choices.iter().map(|choice| Hir::literal(choice.as_bytes())).collect()))
}

fn of_hir(parsed: &Hir) -> Result<String, ConstraintError> {
    if parsed.properties().maximum_len() == Some(0) {
        return Err(ConstraintError::Regex { message: "it matches no text but the empty one".to_owned() });
    }
    let mut printed = String::new();
    let failed = |_| ConstraintError::Regex { message: "it cannot be written".to_owned() };
    Printer::new().print(parsed, &mut printed).map_err(failed)?;
    // What could end the expression, or the line that it stands in. All else that is special is escaped already.
    let mut rule = String::from("start: /(?:");
    let mut escaped = false;
    for character in printed.chars() {
        match character {
            '/' if !escaped => rule.push_str("\\/"),
            '\n' => rule.push_str(if escaped { "n" } else { "\\n" }),
            '\r' => rule.push_str(if escaped { "r" } else { "\\r" }),
            _ => rule.push(character),
        }
        escaped = character == '\\' && !escaped;
    }
    rule.push_str(")/");
    Ok(rule)
}

fn syntax(error: &Error) -> ConstraintError {
    let at = |span: &Span, message: String| {
        let (line, column) = (span.start.line, span.start.column);
        ConstraintError::RegexSyntax { line, column, message }
    };
    match error {
        Error::Parse(error) => at(error.span(), error.kind().to_string()),
        Error::Translate(error) => at(error.span(), error.kind().to_string()),
        _ => ConstraintError::Regex { message: error.to_string() },
    }
}
