//! The title of a persona file: `# Role Persona: Name (lang) [gender]`.
//!
//! Owns how a title is taken apart. Does not own where it stands or what the front matter adds.

/// A title's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    /// What stands before the first colon, without the word "Persona" at its end.
    pub role: String,
    /// What stands after it; `None` where there is no colon.
    pub name: Option<String>,
    /// The tag or word in round brackets.
    pub language: Option<String>,
    /// What stands in square brackets.
    pub gender: Option<String>,
}

impl Title {
    /// Reads the text of the heading, without its `#`.
    #[must_use]
    pub fn parse(heading: &str) -> Self {
        let (role, name) = match heading.split_once(':') {
            Some((role, name)) => (role, Some(name)),
            None => (heading, None),
        };
        let (mut language, mut gender) = (None, None);
        let name = name.map(|name| {
            let mut rest = name.trim();
            // In either order, each at most once; what does not fit stays part of the name.
            loop {
                if gender.is_none()
                    && let Some((before, inside)) = last_group(rest, '[', ']')
                {
                    gender = Some(inside.to_owned());
                    rest = before;
                } else if language.is_none()
                    && let Some((before, inside)) = last_group(rest, '(', ')')
                    && is_language_like(inside)
                {
                    language = Some(inside.to_owned());
                    rest = before;
                } else {
                    break rest.to_owned();
                }
            }
        });
        Self { role: without_persona(role).to_owned(), name, language, gender }
    }
}

/// Splits `before (inside)` at its last group.
fn last_group(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let (before, inside) = text.strip_suffix(close)?.rsplit_once(open)?;
    let inside = inside.trim();
    (!inside.is_empty()).then(|| (before.trim_end(), inside))
}

/// A tag such as `en` or `pt-BR`, or one word such as `German`. "(the Younger)" belongs to a name.
fn is_language_like(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '-') && text.starts_with(char::is_alphabetic)
}

fn without_persona(role: &str) -> &str {
    let role = role.trim();
    let cut = role.len().saturating_sub("persona".len());
    match role.get(cut..) {
        Some(word) if word.eq_ignore_ascii_case("persona") && !role[..cut].ends_with(char::is_alphanumeric) => {
            role[..cut].trim_end()
        }
        _ => role,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn titles_come_apart() {
        let cases = [
            ("Physicist Persona: Dr. Ada Noor (en) [female]", "Physicist", "Dr. Ada Noor", Some("en"), Some("female")),
            ("Physicist Persona: Ada [female] (en-GB)", "Physicist", "Ada", Some("en-GB"), Some("female")),
            ("Physicist persona : Ada", "Physicist", "Ada", None, None),
            ("Poet: Ada (Deutsch)", "Poet", "Ada", Some("Deutsch"), None),
            ("Poet: Ada (the Younger)", "Poet", "Ada (the Younger)", None, None),
            ("Poet: A (b) (de)", "Poet", "A (b)", Some("de"), None),
            ("Poet: Ada: the second (en)", "Poet", "Ada: the second", Some("en"), None),
            ("Persona: Bob", "", "Bob", None, None),
            ("Nonpersona: Bob", "Nonpersona", "Bob", None, None),
            ("Poet: (en) [male]", "Poet", "", Some("en"), Some("male")),
            ("Poet: Ada []", "Poet", "Ada []", None, None),
            ("Poet: ", "Poet", "", None, None),
        ];
        for (heading, role, name, language, gender) in cases {
            let title = Title::parse(heading);
            assert_eq!(
                (title.role.as_str(), title.name.as_deref(), title.language.as_deref(), title.gender.as_deref()),
                (role, Some(name), language, gender),
                "{heading:?}"
            );
        }
        assert_eq!(Title::parse("Just a heading").name, None);
    }

    proptest! {
        #[test]
        fn nothing_panics(heading in any::<String>()) {
            let _ = Title::parse(&heading);
        }
    }
}
