//! What `persona check` says about a file: everything that is wrong, and everything that could be better.
//!
//! Owns the warnings. The errors are [`Persona::parse`]'s own, so that a file without errors always loads.

use std::fmt;

use super::front_matter;
use super::language::is_language_tag;
use super::markdown::{self, Block, Fences};
use super::{Instructions, MAX_SUMMARY_CHARS, Persona};
use crate::control::ControlWord;
use crate::model_name::suggestion;

/// A file longer than this takes a good part of most windows, in characters (about 6,000 tokens of English).
const LONG_CHARS: usize = 24_000;

/// The sections that every persona should have.
const STANDARD_SECTIONS: [&str; 3] = ["Background and Identity", "Core Characteristics", "Interaction Guidelines"];

const CONTROL_WORDS: [&str; 7] = ["/start", "/help", "/bye", "/stop", "/end", "/quit", "/exit"];

/// Something to say about a persona file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, where it concerns one.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The persona loads but could be better.
    Warning,
    /// The persona does not load.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}: {}", self.severity, self.text),
            None => write!(f, "{}: {}", self.severity, self.text),
        }
    }
}

/// Looks at a persona's bytes as [`Persona::from_bytes`] would read them.
#[must_use]
pub fn check_bytes(bytes: &[u8], file: &str) -> Vec<Finding> {
    match (std::str::from_utf8(bytes), Persona::from_bytes(bytes, file)) {
        (Ok(source), Ok(persona)) => warnings(source, &persona),
        (_, Err(error)) => {
            vec![Finding { line: error.line, severity: Severity::Error, text: error.problem.to_string() }]
        }
        // `from_bytes` refuses what is not UTF-8.
        (Err(_), Ok(_)) => Vec::new(),
    }
}

/// Looks at a persona's text: the error that keeps it from loading, or else the warnings, in the order of the lines.
#[must_use]
pub fn check(source: &str, file: &str) -> Vec<Finding> {
    check_bytes(source.as_bytes(), file)
}

fn warnings(source: &str, persona: &Persona) -> Vec<Finding> {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let Ok(parts) = front_matter::split(text) else {
        return Vec::new();
    };
    let (markdown, first_line) = parts.markdown;
    let blocks = markdown::blocks(markdown, first_line);
    let mut findings = Findings(Vec::new());
    findings.front_matter(parts.yaml, persona);
    findings.sections(&blocks, persona);
    findings.control_words(markdown, first_line, persona);
    findings.placeholders(markdown, first_line);
    let chars = source.chars().count();
    if chars > LONG_CHARS {
        findings.warn(
            None,
            format!("the file has {chars} characters; over {LONG_CHARS} leave little room for the conversation"),
        );
    }
    let mut findings = findings.0;
    findings.sort_by_key(|finding| finding.line.unwrap_or(0));
    findings
}

struct Findings(Vec<Finding>);

impl Findings {
    fn warn(&mut self, line: Option<usize>, text: impl Into<String>) {
        self.0.push(Finding { line, severity: Severity::Warning, text: text.into() });
    }

    fn front_matter(&mut self, yaml: Option<(&str, usize)>, persona: &Persona) {
        let line_of = |key: &str| {
            let (yaml, first_line) = yaml?;
            let index = yaml.lines().position(|line| line.trim_start().starts_with(key))?;
            Some(first_line + index)
        };
        match &persona.summary {
            None => self.warn(
                None,
                "there is no `summary` in the front matter; without one the persona cannot sit in a window of \
                 1,024 tokens or less",
            ),
            Some(summary) => {
                let chars = summary.chars().count();
                if chars > MAX_SUMMARY_CHARS {
                    self.warn(
                        line_of("summary"),
                        format!(
                            "the summary has {chars} characters; over {MAX_SUMMARY_CHARS} may not fit a tiny window"
                        ),
                    );
                }
            }
        }
        if let Some(language) = &persona.language
            && !is_language_tag(language)
        {
            self.warn(
                line_of("language"),
                format!("the language `{language}` is no tag such as `en` or `pt-BR`; translation needs one"),
            );
        }
        if persona.role.is_empty() {
            self.warn(None, "the title gives no role; expected `# Role Persona: Name`");
        }
        let has_own = matches!(persona.instructions, Instructions::Own(_));
        if let Some(line) = line_of("instructions").filter(|_| has_own) {
            self.warn(Some(line), "`instructions` has no effect: the file's own `## Instructions` take its place");
        }
    }

    fn sections(&mut self, blocks: &[Block<'_>], persona: &Persona) {
        let speaks_english =
            persona.language.as_deref().is_none_or(|language| language.to_ascii_lowercase().starts_with("en"));
        if speaks_english {
            for name in STANDARD_SECTIONS {
                if !blocks.iter().any(|block| block.is_named(name)) {
                    self.warn(None, format!("there is no `## {name}` section"));
                }
            }
            let closing = persona.body.trim_end().rsplit("\n\n").next().unwrap_or_default();
            if !closing.trim_start().starts_with("Remember") {
                self.warn(None, "there is no closing paragraph that begins with “Remember”");
            }
        } else if !blocks.iter().any(|block| block.level == 2) {
            self.warn(None, "there are no `##` sections");
        }
        for (index, block) in blocks.iter().enumerate() {
            if block.level == 0 {
                continue;
            }
            if block.level == 1 && index > 1 {
                self.warn(Some(block.line), "a second title; a file holds one persona, sections begin with `##`");
            }
            if block.level == 2
                && blocks[..index].iter().any(|earlier| earlier.level == 2 && earlier.is_named(block.heading))
            {
                self.warn(Some(block.line), format!("a second section `{}`", block.heading));
            }
            let has_text = !block.text.trim().is_empty();
            let has_parts = blocks.get(index + 1).is_some_and(|next| next.level > block.level);
            if block.level > 1 && !has_text && !has_parts {
                self.warn(Some(block.line), format!("the section `{}` is empty", block.heading));
            }
        }
    }

    fn control_words(&mut self, markdown: &str, first_line: usize, persona: &Persona) {
        let mut fences = Fences::default();
        for (index, line) in markdown.lines().enumerate() {
            if fences.covers(line) {
                continue;
            }
            let number = first_line + index;
            if ControlWord::parse(line).is_some() {
                self.warn(
                    Some(number),
                    format!(
                        "the line consists of the control word `{}` alone; a model that repeats it ends the \
                         conversation — put it into a sentence",
                        line.trim()
                    ),
                );
            }
            for word in slash_words(line) {
                let known = CONTROL_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
                let like = mistyped(word);
                if !known && (like.is_some() || line.contains(&format!("`{word}`"))) {
                    self.warn(
                        Some(number),
                        format!(
                            "`{word}` is no control word{}; there are {}",
                            suggestion(like),
                            CONTROL_WORDS.join(" ")
                        ),
                    );
                }
            }
        }
        let own = match (&persona.control_messages, &persona.instructions) {
            (Some(own), Instructions::Own(instructions)) => format!("{own}\n{instructions}"),
            (Some(own), Instructions::Shared(_)) => own.clone(),
            (None, _) => return,
        };
        for word in &CONTROL_WORDS[..5] {
            if !slash_words(&own).any(|used| used.eq_ignore_ascii_case(word)) {
                self.warn(None, format!("the file's own control messages do not explain `{word}`"));
            }
        }
    }

    fn placeholders(&mut self, markdown: &str, first_line: usize) {
        for (index, line) in markdown.lines().enumerate() {
            let item = line.trim().trim_start_matches(|c: char| c.is_ascii_digit() || "-*.) ".contains(c));
            let is_ellipsis = matches!(item, "" | "…") && (line.contains("...") || line.contains('…'));
            if is_ellipsis || line.contains("{{") || line.contains("TODO") {
                self.warn(Some(first_line + index), "something is left to fill in here");
            }
        }
    }
}

/// The control word that `word` is a slip of the hand away from.
fn mistyped(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let slips = if word.len() <= 5 { 1 } else { 2 };
    CONTROL_WORDS
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&word, known), known))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Words that begin with a slash, as control words do; paths, dates and fractions are none.
fn slash_words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | ':')))
        .map(|word| word.trim_end_matches(['.', ':', '-']))
        .filter(|word| {
            word.strip_prefix('/').is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphabetic()))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = "---\nsummary: A botanist.\n---\n# Botanist Persona: Livia (en)\n\n## Background and Identity\nYou are Livia.\n\n## Core Characteristics\n- Curious\n\n## Interaction Guidelines\n1. Name the plant.\n\nRemember, you are Livia.\n";

    #[test]
    fn a_sound_persona_has_no_findings() {
        assert_eq!(check(SOUND, "livia.md"), []);
    }

    #[test]
    fn findings_name_the_line_and_what_to_do() {
        let long_summary = "word ".repeat(40);
        let cases = [
            ("an error", "---\ntemprature: 1\n---\n# A: B\nx\n".to_owned()),
            ("bare", "# Botanist: Livia\nYou are Livia.\n".to_owned()),
            ("long summary", SOUND.replace("A botanist.", &long_summary)),
            ("language", SOUND.replace("(en)", "(English)")),
            ("no role", SOUND.replace("Botanist Persona", "Persona")),
            ("empty section", SOUND.replace("- Curious\n", "")),
            ("second title", SOUND.replace("## Interaction", "# Interaction")),
            ("twice", SOUND.replace("Remember", "## Core characteristics:\n- Bold\n\nRemember")),
            ("unknown word", SOUND.replace("- Curious", "- Say /strat or `/farewell`, read /usr/bin, 3/4, and/or /x")),
            ("word alone", SOUND.replace("- Curious", "- Curious\n/bye\n```\n/stop\n```")),
            ("left open", SOUND.replace("- Curious", "- Curious\n- ...\n3. …\n---\n{{char}} is TODO")),
            ("german", "---\nsummary: x\n---\n# Dichter: Paul (de)\nDu bist Paul.\n".to_owned()),
            ("long", SOUND.replace("- Curious", &"- Curious about everything\n".repeat(1000))),
            (
                "own instructions",
                SOUND
                    .replace("summary: A botanist.", "summary: A botanist.\ninstructions: turing-test")
                    .replace("## Background", "## Instructions\n- Be kind.\n\n### Control messages\n- `/start`: go\n- `/END`: go away\n\n## Background"),
            ),
        ];
        let mut report = String::new();
        for (title, source) in cases {
            report.push_str(&format!("{title}\n"));
            for finding in check(&source, "livia.md") {
                report.push_str(&format!("  {finding}\n"));
            }
        }
        insta::assert_snapshot!(report);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let findings = check_bytes(b"# A: B\nx\n\xff\n", "x.md");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].to_string(), "line 3: error: it is not UTF-8 text");
    }

    proptest! {
        #[test]
        fn nothing_panics(source in "(---\n)?([#a-z/`:.{é]{0,4}[ \n]?){0,40}") {
            let _ = check(&source, "x.md");
        }
    }
}
