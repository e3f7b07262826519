//! Language tags and what the languages are called.
//!
//! Owns the names by which a model is told which language to speak. Does not own translation.

/// Whether `text` has the form of a language tag: `en`, `pt-BR`, `zh-Hans-CN`.
#[must_use]
pub fn is_language_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default();
    (2..=3).contains(&primary.len())
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The English name of the language with the given tag, for the common ones.
#[must_use]
pub fn language_name(tag: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 34] = [
        ("ar", "Arabic"),
        ("bg", "Bulgarian"),
        ("ca", "Catalan"),
        ("cs", "Czech"),
        ("da", "Danish"),
        ("de", "German"),
        ("el", "Greek"),
        ("en", "English"),
        ("es", "Spanish"),
        ("et", "Estonian"),
        ("fa", "Persian"),
        ("fi", "Finnish"),
        ("fr", "French"),
        ("he", "Hebrew"),
        ("hi", "Hindi"),
        ("hr", "Croatian"),
        ("hu", "Hungarian"),
        ("id", "Indonesian"),
        ("it", "Italian"),
        ("ja", "Japanese"),
        ("ko", "Korean"),
        ("nl", "Dutch"),
        ("no", "Norwegian"),
        ("pl", "Polish"),
        ("pt", "Portuguese"),
        ("ro", "Romanian"),
        ("ru", "Russian"),
        ("sk", "Slovak"),
        ("sv", "Swedish"),
        ("th", "Thai"),
        ("tr", "Turkish"),
        ("uk", "Ukrainian"),
        ("vi", "Vietnamese"),
        ("zh", "Chinese"),
    ];
    let primary = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    NAMES.iter().find(|(tag, _)| *tag == primary).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_names() {
        let cases = [
            ("en", true, Some("English")),
            ("pt-BR", true, Some("Portuguese")),
            ("zh-Hans-CN", true, Some("Chinese")),
            ("DE", true, Some("German")),
            ("tlh", true, None),
            ("German", false, None),
            ("e", false, None),
            ("en-", false, Some("English")),
            ("", false, None),
        ];
        for (tag, is_tag, name) in cases {
            assert_eq!((is_language_tag(tag), language_name(tag)), (is_tag, name), "{tag:?}");
        }
    }
}
