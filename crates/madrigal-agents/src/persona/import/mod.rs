//! Character cards (Tavern V1, V2, V3; JSON or PNG) as personas.
//!
//! Owns which field of a card goes where in a persona file. Does not own reading the file, nor judging the result:
//! [`super::check()`] does that.

mod card;
mod embedded;

use super::draft::{PersonaDraft, one_line, summarise};
use super::{MAX_BYTES, MAX_NAME_CHARS};
use card::Card;

/// Whom a card calls the user.
const PARTNER: &str = "your conversation partner";

/// The largest card file, in bytes; pictures may be big.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// A card as a persona file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCard {
    /// The character's name.
    pub name: String,
    /// The persona file.
    pub markdown: String,
    /// What of the card has no place in a persona, for people to read.
    pub left_out: Vec<String>,
}

/// A card that cannot be read. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is over [`MAX_FILE_BYTES`].
    #[error("read the character card: the file has {bytes} bytes; {MAX_FILE_BYTES} is the most")]
    FileTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Neither a PNG nor JSON.
    #[error("read the character card: it is neither a PNG picture nor a JSON object")]
    UnknownFormat,
    /// The picture is damaged.
    #[error("read the character card: the PNG is damaged: {reason}")]
    Png {
        /// What its reader said.
        reason: String,
    },
    /// The picture is a picture only.
    #[error("read the character card: the PNG holds no `chara` or `ccv3` text, so it is a picture without a character")]
    NoCard,
    /// The text in the picture is not Base64.
    #[error("read the character card: the PNG's `{keyword}` text is not Base64: {reason}")]
    Base64 {
        /// Which text.
        keyword: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The JSON is malformed.
    #[error("read the character card: the JSON is malformed: {reason}")]
    Json {
        /// What its reader said, with line and column.
        reason: String,
    },
    /// The JSON is something else.
    #[error("read the character card: the JSON is no character card: {reason}")]
    NotACard {
        /// What is missing.
        reason: String,
    },
    /// A version of the format that is not known.
    #[error(
        "read the character card: unknown kind `{spec}`; known are chara_card_v2, chara_card_v3 and V1 cards without `spec`"
    )]
    UnknownSpec {
        /// What the card calls itself.
        spec: String,
    },
    /// The persona would be longer than a persona may be.
    #[error("make a persona of the character card: it has {bytes} bytes of text; {MAX_BYTES} is the most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Makes a persona file of a character card's bytes.
///
/// # Errors
/// When the bytes hold no card, or one that cannot be a persona.
pub fn import_card(bytes: &[u8]) -> Result<ImportedCard, ImportError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ImportError::FileTooLong { bytes: bytes.len() });
    }
    let json = if embedded::is_png(bytes) {
        embedded::card_text(bytes)?
    } else if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') || bytes.starts_with(b"\xef\xbb\xbf")
    {
        bytes.to_vec()
    } else {
        return Err(ImportError::UnknownFormat);
    };
    let card = Card::parse(&json)?;
    let (draft, left_out) = draft_of(&card);
    let markdown = draft.render();
    if markdown.len() > MAX_BYTES {
        return Err(ImportError::TooLong { bytes: markdown.len() });
    }
    Ok(ImportedCard { name: draft.name, markdown, left_out })
}

fn draft_of(card: &Card) -> (PersonaDraft, Vec<String>) {
    let name: String = one_line(&card.name).chars().take(MAX_NAME_CHARS).collect();
    let name = name.trim_end().to_owned();
    let shown = one_line(card.nickname.as_deref().unwrap_or(&name));
    let mut macros = Macros { name: &shown, unknown: Vec::new() };
    let mut text = |text: &str| macros.replace(text);

    let mut background = text(&card.description);
    let scenario = text(&card.scenario);
    let personality = text(&card.personality);
    if background.trim().is_empty() {
        background = if personality.trim().is_empty() { format!("You are {shown}.") } else { personality.clone() };
    }
    let summary = summarise(&background);
    if !background.contains(&shown) {
        background = format!("You are {shown}.\n\n{background}");
    }
    let mut sections = Vec::new();
    let mut section = |title: &str, body: String| {
        if !body.trim().is_empty() {
            sections.push((title.to_owned(), body));
        }
    };
    let tags: Vec<String> = card.tags.iter().map(|tag| one_line(tag)).filter(|tag| !tag.is_empty()).collect();
    let character = match (personality.trim(), tags.as_slice()) {
        ("", []) => String::new(),
        ("", tags) => format!("Known for: {}.", tags.join(", ")),
        (personality, _) => personality.to_owned(),
    };
    section("Core Characteristics", character);
    section("Scenario", scenario);
    section("Things You Know", lore(card, &mut text));
    section("Examples of How You Talk", examples(&text(&card.mes_example), &shown));
    let greeting = text(&card.first_mes);
    if !greeting.trim().is_empty() {
        section("Opening", format!("When you are asked to begin, begin in this manner:\n\n{}", quote(&greeting)));
    }
    section("Further Instructions", text(&card.system_prompt));
    section("Keep in Mind", text(&card.post_history_instructions));

    let mut left_out = card.left_out.clone();
    for name in macros.unknown {
        left_out.push(format!("the macro {name} is not known and stands in the text as it was"));
    }
    let draft = PersonaDraft {
        role: "Character".to_owned(),
        talkativeness: card.talkativeness,
        summary: Some(summary),
        background,
        sections,
        guidelines: vec![
            format!("Stay in character as {shown}."),
            "Let the others speak and act for themselves.".to_owned(),
            "Take up what was said last before you add something of your own.".to_owned(),
        ],
        remember: Some(format!("you are {shown}: speak and act as {shown} would.")),
        name,
        ..PersonaDraft::default()
    };
    (draft, left_out)
}

/// The lorebook's entries, each with what brings it up.
fn lore(card: &Card, text: &mut impl FnMut(&str) -> String) -> String {
    let mut lore = String::new();
    for entry in &card.lore {
        let keys: Vec<String> = entry.keys.iter().map(|key| one_line(key)).filter(|key| !key.is_empty()).collect();
        let content = one_line(&text(&entry.content));
        if keys.is_empty() {
            lore.push_str(&format!("- {content}\n"));
        } else {
            lore.push_str(&format!("- {}: {content}\n", keys.join(", ")));
        }
    }
    lore
}

/// Example dialogues as quotations, one for each `<START>`.
fn examples(text: &str, name: &str) -> String {
    text.split("<START>")
        .map(str::trim)
        .filter(|dialogue| !dialogue.is_empty())
        .map(|dialogue| {
            let dialogue = dialogue
                .replace(&format!("{name}:"), &format!("**{name}**:"))
                .replace(&format!("{PARTNER}:"), "**They**:");
            quote(&dialogue)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn quote(text: &str) -> String {
    text.trim()
        .lines()
        .map(|line| match line.trim_end() {
            "" => ">\n".to_owned(),
            line => format!("> {line}\n"),
        })
        .collect()
}

/// Replaces the placeholders that cards use.
struct Macros<'a> {
    name: &'a str,
    /// The ones that were left as they are.
    unknown: Vec<String>,
}

impl Macros<'_> {
    fn replace(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '<']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let (found, after) = self.at_start(rest);
            match found {
                Some(found) => out.push_str(&found),
                None => out.push_str(&rest[..rest.len() - after.len()]),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// What the placeholder at the start of `text` stands for, if it is one, and the text after it.
    fn at_start<'t>(&mut self, text: &'t str) -> (Option<String>, &'t str) {
        for (mark, meaning) in [("<BOT>", self.name), ("<CHAR>", self.name), ("<USER>", PARTNER)] {
            if let Some(head) = text.get(..mark.len())
                && head.eq_ignore_ascii_case(mark)
            {
                return (Some(meaning.to_owned()), &text[mark.len()..]);
            }
        }
        // No macro is longer than this; the bound keeps text full of braces cheap.
        let inside = text.strip_prefix("{{").and_then(|inside| {
            let end = inside.as_bytes().iter().take(400).position(|byte| *byte == b'}')?;
            let after = inside[end..].strip_prefix("}}")?;
            Some((&inside[..end], after))
        });
        let Some((inside, after)) = inside else {
            return (None, &text[1..]);
        };
        let inside = inside.trim();
        let meaning = match inside.to_lowercase().as_str() {
            "char" | "bot" => self.name,
            "user" => PARTNER,
            "original" | "trim" | "noop" => "",
            "newline" => "\n",
            _ if inside.starts_with("//") || inside.starts_with("comment:") => "",
            _ => {
                let known = inside.split([':', ' ']).next().unwrap_or_default();
                let name = format!("`{{{{{}}}}}`", one_line(known));
                if !self.unknown.contains(&name) && self.unknown.len() < 20 {
                    self.unknown.push(name);
                }
                return (None, after);
            }
        };
        (Some(meaning.to_owned()), after)
    }
}

#[cfg(test)]
mod tests;
