//! A persona in the making: answers in, Markdown out.
//!
//! Owns the layout of new persona files, whether the answers come from a person or from a character card. Does not
//! own asking for them.

use serde::Serialize;

use super::markdown;
use super::title::Title;
use super::{MAX_SUMMARY_CHARS, SharedInstructions};
use crate::model_name::ModelName;

/// What a new persona file is made of. Empty fields leave their section out.
///
/// Free texts may be Markdown; headings in them sink below the file's own. Texts in lists become single lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PersonaDraft {
    /// The persona's name.
    pub name: String,
    /// What it is, e.g. `Alpine Botanist`.
    pub role: String,
    /// A language tag such as `en`.
    pub language: Option<String>,
    /// Its gender, in any words.
    pub gender: Option<String>,
    /// The chat model that it asks for.
    pub model: Option<ModelName>,
    /// The softmax temperature that it asks for.
    pub temperature: Option<f32>,
    /// How much it wants to speak, 0 to 1.
    pub talkativeness: Option<f32>,
    /// Who it is, in a line; made from `background` where it is `None`.
    pub summary: Option<String>,
    /// The shared instructions, where not the default ones.
    pub instructions: Option<SharedInstructions>,
    /// Who it is, in prose.
    pub background: String,
    /// What characterises it.
    pub traits: Vec<String>,
    /// What it knows about.
    pub expertise: Vec<String>,
    /// How it talks.
    pub style: Vec<String>,
    /// What it does in a conversation.
    pub guidelines: Vec<String>,
    /// Further sections, title and text, ahead of the guidelines.
    pub sections: Vec<(String, String)>,
    /// What to keep in mind above all, in a sentence after "Remember, ".
    pub remember: Option<String>,
}

#[derive(Serialize)]
struct FrontMatter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    talkativeness: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'static str>,
}

impl PersonaDraft {
    /// The persona file. [`super::check()`] says whether the answers made a good one.
    #[must_use]
    pub fn render(&self) -> String {
        let name = one_line(&self.name);
        // The first colon of a title ends the role.
        let role = one_line(&self.role).replace(':', " –");
        let language = self.language.as_deref().map(one_line).filter(|text| !text.is_empty());
        let gender = self.gender.as_deref().map(one_line).filter(|text| !text.is_empty());
        let (heading, in_title) = title(&role, &name, language.as_deref(), gender.as_deref());
        let summary = match &self.summary {
            Some(summary) => one_line(summary),
            None => summarise(&self.background),
        };
        let front = FrontMatter {
            name: Some(name.as_str()).filter(|_| !in_title.name),
            model: self.model.as_ref().map(ModelName::to_string),
            temperature: self.temperature,
            language: language.as_deref().filter(|_| !in_title.groups),
            gender: gender.as_deref().filter(|_| !in_title.groups),
            talkativeness: self.talkativeness,
            summary: Some(summary.as_str()).filter(|text| !text.is_empty()),
            instructions: self.instructions.map(SharedInstructions::name),
        };
        let mut file = front_matter(&front);
        file.push_str(&format!("# {heading}\n"));
        section(&mut file, "Background and Identity", &self.background);
        section(&mut file, "Core Characteristics", &list(&self.traits, false));
        section(&mut file, "Areas of Expertise", &list(&self.expertise, false));
        section(&mut file, "Communication Style", &list(&self.style, false));
        for (title, text) in &self.sections {
            section(&mut file, &one_line(title), text);
        }
        section(&mut file, "Interaction Guidelines", &list(&self.guidelines, true));
        let remember = self.remember.as_deref().map(one_line).filter(|text| !text.is_empty());
        let remember =
            remember.unwrap_or_else(|| format!("you are {name}: stay in character, and listen as well as you talk."));
        file.push_str(&format!("\nRemember, {remember}\n"));
        file
    }
}

/// What a title could hold; the front matter says the rest.
struct InTitle {
    name: bool,
    groups: bool,
}

/// The longest title that reads back as it was meant: a name may look as if it ended with a language.
fn title(role: &str, name: &str, language: Option<&str>, gender: Option<&str>) -> (String, InTitle) {
    let role = match role {
        "" => "Persona".to_owned(),
        role => format!("{role} Persona"),
    };
    let bare = format!("{role}: {name}");
    let mut full = bare.clone();
    if let Some(language) = language {
        full.push_str(&format!(" ({language})"));
    }
    if let Some(gender) = gender {
        full.push_str(&format!(" [{gender}]"));
    }
    let reads_as = |heading: &str, language: Option<&str>, gender: Option<&str>| {
        let line = format!("# {heading}");
        markdown::heading(&line).is_some_and(|(_, heading)| {
            let title = Title::parse(heading);
            title.name.as_deref() == Some(name)
                && title.language.as_deref() == language
                && title.gender.as_deref() == gender
        })
    };
    if reads_as(&full, language, gender) {
        (full, InTitle { name: true, groups: true })
    } else if reads_as(&bare, None, None) {
        (bare, InTitle { name: true, groups: false })
    } else {
        (role, InTitle { name: false, groups: false })
    }
}

/// The YAML block, or nothing where there is nothing to say.
fn front_matter(front: &FrontMatter<'_>) -> String {
    // Strings and numbers always serialise.
    match serde_saphyr::to_string(front) {
        Ok(yaml) if yaml.contains(':') => format!("---\n{}\n---\n", yaml.trim_end()),
        _ => String::new(),
    }
}

fn section(file: &mut String, title: &str, text: &str) {
    let text = sink_headings(text);
    let text = text.trim();
    if !text.is_empty() && !title.is_empty() {
        file.push_str(&format!("\n## {title}\n{text}\n"));
    }
}

fn list(items: &[String], numbered: bool) -> String {
    items
        .iter()
        .map(|item| one_line(item))
        .filter(|item| !item.is_empty())
        .enumerate()
        .map(|(index, item)| if numbered { format!("{}. {item}\n", index + 1) } else { format!("- {item}\n") })
        .collect()
}

/// `text` without control characters and with its headings below those that mean something in a persona file.
pub(super) fn sink_headings(text: &str) -> String {
    let text: String = text
        .replace("\r\n", "\n")
        .chars()
        .map(|c| if c == '\r' { '\n' } else { c })
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let mut fences = markdown::Fences::default();
    let mut sunk = String::with_capacity(text.len());
    for line in text.lines() {
        let in_code = fences.covers(line);
        match markdown::heading(line) {
            Some((level, heading)) if !in_code => {
                sunk.push_str(&format!("{} {heading}", "#".repeat((level + 3).min(6))));
            }
            _ => sunk.push_str(line.trim_end()),
        }
        sunk.push('\n');
    }
    // An open fence would swallow the sections that follow.
    let closing = fences.closing();
    if !closing.is_empty() {
        sunk.push_str(&closing);
        sunk.push('\n');
    }
    sunk
}

/// All of `text` on one line, without control characters.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first sentences of `text`, as many as a summary may have; a cut one ends with an ellipsis.
pub(super) fn summarise(text: &str) -> String {
    let text: String =
        text.lines().filter(|line| markdown::heading(line).is_none()).map(|line| format!("{line} ")).collect();
    let text = one_line(&text.replace(['*', '_', '`', '#'], ""));
    if text.chars().count() <= MAX_SUMMARY_CHARS {
        return text;
    }
    let most = text.char_indices().nth(MAX_SUMMARY_CHARS).map_or(text.len(), |(at, _)| at);
    let head = &text[..most];
    let sentence_end = ['.', '!', '?', '。']
        .into_iter()
        .filter_map(|mark| {
            head.match_indices(mark)
                .map(|(at, mark)| at + mark.len())
                .filter(|end| text[*end..].starts_with(' ') || mark == '。')
                .rfind(|end| *end >= 30)
        })
        .max();
    match sentence_end {
        Some(end) => head[..end].to_owned(),
        None => {
            let room = head.char_indices().nth(MAX_SUMMARY_CHARS - 1).map_or(head.len(), |(at, _)| at);
            let cut = head[..room].rfind(' ').unwrap_or(room);
            format!("{}…", head[..cut].trim_end_matches([',', ';', ':', ' ']))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::persona::{Persona, check};

    fn livia() -> PersonaDraft {
        PersonaDraft {
            name: "Livia Ferro".into(),
            role: "Alpine Botanist".into(),
            language: Some("en".into()),
            gender: Some("female".into()),
            model: Some(ModelName::Human),
            temperature: Some(0.7),
            talkativeness: Some(0.25),
            background: "You are Livia Ferro, a botanist. You live at 2,100 metres.\n\n# Youth\nYou were born in Chur."
                .into(),
            traits: vec!["Patient".into(), "Short\nof breath: never".into()],
            expertise: vec!["Saxifrages".into()],
            style: vec!["Latin names first".into()],
            guidelines: vec!["Answer with a plant.".into(), "Ask where it grew.".into()],
            sections: vec![("Tools".into(), "- A lens\n```\n# not a heading".into())],
            instructions: Some(SharedInstructions::TuringTest),
            ..PersonaDraft::default()
        }
    }

    #[test]
    fn a_draft_becomes_a_sound_persona() {
        let file = livia().render();
        insta::assert_snapshot!(file);
        assert_eq!(check(&file, "livia.md"), []);
        let persona = Persona::parse(&file, "livia.md").unwrap();
        assert_eq!(persona.model, Some(ModelName::Human));
        assert_eq!(
            persona.summary.unwrap(),
            "You are Livia Ferro, a botanist. You live at 2,100 metres. You were born in Chur."
        );
    }

    #[test]
    fn odd_names_go_to_the_front_matter() {
        let cases = [
            ("A (b)", Some("en"), Some("female")),
            ("A [b]", None, None),
            ("A (b)", None, None),
            ("A: B", Some("en"), None),
            ("Ann", Some("Swiss German"), Some("x ] y")),
            ("- yes #1 'x'", Some("en"), None),
            ("no", None, Some("no")),
        ];
        for (name, language, gender) in cases {
            let draft = PersonaDraft {
                name: name.into(),
                role: "Poet: lyrical".into(),
                language: language.map(str::to_owned),
                gender: gender.map(str::to_owned),
                background: "You write.".into(),
                ..PersonaDraft::default()
            };
            let persona = Persona::parse(&draft.render(), "x.md").unwrap();
            assert_eq!(persona.name, name);
            assert_eq!(persona.role, "Poet – lyrical");
            assert_eq!((persona.language.as_deref(), persona.gender.as_deref()), (language, gender));
        }
    }

    #[test]
    fn summaries_end_at_a_sentence_or_a_word() {
        let long = "word ".repeat(60);
        let cases = [
            ("Short.".to_owned(), "Short.".to_owned()),
            ("# Title\n**Bold** text".into(), "Bold text".into()),
            (
                format!("A sentence of more than thirty letters. {long}"),
                "A sentence of more than thirty letters.".into(),
            ),
            (long, format!("{}…", "word ".repeat(31).trim_end())),
            ("字".repeat(200), format!("{}…", "字".repeat(159))),
        ];
        for (text, expected) in cases {
            let summary = summarise(&text);
            assert_eq!(summary, expected);
            assert!(summary.chars().count() <= MAX_SUMMARY_CHARS);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_back(
            name in "[A-Za-z\\[\\]()':#\\- é]{1,20}",
            role in "[a-z: #\\[(]{0,12}",
            language in proptest::option::of("[a-zA-Z\\- ]{1,8}"),
            gender in proptest::option::of("[a-z\\] ]{1,8}"),
            background in "([#`~a-z: -]{0,6}\n){0,8}",
            text in any::<String>(),
        ) {
            let draft = PersonaDraft {
                name: name.clone(),
                role,
                language: language.clone(),
                gender: gender.clone(),
                background,
                traits: vec![text.clone()],
                sections: vec![("More".into(), text)],
                ..PersonaDraft::default()
            };
            let file = draft.render();
            prop_assume!(!one_line(&name).is_empty());
            let persona = Persona::parse(&file, "x.md").map_err(|error| TestCaseError::fail(format!("{error}\n{file}")))?;
            prop_assert_eq!(persona.name, one_line(&name));
            prop_assert_eq!(persona.language, language.map(|text| one_line(&text)).filter(|text| !text.is_empty()));
            prop_assert_eq!(persona.gender, gender.map(|text| one_line(&text)).filter(|text| !text.is_empty()));
            prop_assert!(persona.body.trim_end().rsplit("\n\n").next().unwrap_or_default().starts_with("Remember, "));
        }
    }
}
