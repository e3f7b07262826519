//! Finding the texts of added tokens (`<|im_start|>`, `<think>` …) in a prompt.
//!
//! Matching follows the `tokenizers` crate: the leftmost match, of those the longest, with its `single_word`, `lstrip`
//! and `rstrip`. One thing differs on purpose: tokens marked `normalized` are looked for in the text as it is, not in
//! its normalised form, so that they are found wherever they stand.

/// The added tokens of a vocabulary.
pub(super) struct AddedTokens {
    /// 256 lists by first byte, each the longest first.
    by_first_byte: Vec<Vec<AddedToken>>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    /// Matches only between characters that belong to no word.
    pub(super) single_word: bool,
    /// Takes the white space before it along.
    pub(super) lstrip: bool,
    /// Takes the white space after it along.
    pub(super) rstrip: bool,
}

/// A stretch of a text that was cut at its added tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment<'a> {
    /// An added token.
    Token(u32),
    /// Ordinary text.
    Text {
        /// Where it begins in the whole.
        start: usize,
        /// The text.
        text: &'a str,
    },
}

impl AddedToken {
    /// A token that matches anywhere and takes nothing along.
    pub(super) fn plain(id: u32, content: &str) -> Self {
        Self { id, content: content.to_owned(), single_word: false, lstrip: false, rstrip: false }
    }

    fn matches_between(&self, before: &str, after: &str) -> bool {
        !self.single_word
            || !(before.chars().next_back().is_some_and(is_word) || after.chars().next().is_some_and(is_word))
    }
}

impl AddedTokens {
    pub(super) fn new(tokens: impl IntoIterator<Item = AddedToken>) -> Self {
        let mut by_first_byte = vec![Vec::new(); 256];
        for token in tokens {
            if let Some(&first) = token.content.as_bytes().first() {
                by_first_byte[usize::from(first)].push(token);
            }
        }
        for tokens in &mut by_first_byte {
            tokens.sort_by(|a: &AddedToken, b| b.content.len().cmp(&a.content.len()).then(a.id.cmp(&b.id)));
        }
        Self { by_first_byte }
    }

    /// Cuts a text at the added tokens in it.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<Segment<'a>> {
        let mut segments = Vec::new();
        let mut text_start = 0;
        let mut at = 0;
        while at < text.len() {
            let Some(token) = self.match_at(text, at) else {
                at += 1;
                continue;
            };
            let mut end = at + token.content.len();
            if !token.matches_between(&text[..at], &text[end..]) {
                at = end;
                continue;
            }
            let mut start = at;
            if token.lstrip {
                start = text_start + text[text_start..at].trim_end().len();
            }
            if token.rstrip {
                end += text[end..].len() - text[end..].trim_start().len();
            }
            if text_start < start {
                segments.push(Segment::Text { start: text_start, text: &text[text_start..start] });
            }
            segments.push(Segment::Token(token.id));
            text_start = end;
            at = end;
        }
        if text_start < text.len() {
            segments.push(Segment::Text { start: text_start, text: &text[text_start..] });
        }
        segments
    }

    /// The longest token that stands at byte `at`. Contents are UTF-8, so a match begins and ends between characters.
    fn match_at(&self, text: &str, at: usize) -> Option<&AddedToken> {
        let rest = text.as_bytes().get(at..)?;
        let candidates = self.by_first_byte.get(usize::from(*rest.first()?))?;
        candidates.iter().find(|token| rest.starts_with(token.content.as_bytes()))
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tokens: &[AddedToken], text: &str, expected: &[Segment<'_>]) {
        assert_eq!(AddedTokens::new(tokens.iter().cloned()).split(text), expected, "{text}");
    }

    fn text(start: usize, text: &str) -> Segment<'_> {
        Segment::Text { start, text }
    }

    #[test]
    fn leftmost_longest_matches_cut_the_text() {
        let tokens = [AddedToken::plain(1, "<a>"), AddedToken::plain(2, "<a><b>"), AddedToken::plain(3, "é")];
        check(&tokens, "", &[]);
        check(&tokens, "x<a", &[text(0, "x<a")]);
        check(&tokens, "x<a><b>y", &[text(0, "x"), Segment::Token(2), text(7, "y")]);
        check(&tokens, "<a><a>é", &[Segment::Token(1), Segment::Token(1), Segment::Token(3)]);
        check(&tokens, "è<a>", &[text(0, "è"), Segment::Token(1)]);
    }

    #[test]
    fn strips_and_word_borders_are_kept() {
        let strip = AddedToken { lstrip: true, rstrip: true, ..AddedToken::plain(1, "<s>") };
        check(&[strip], "a \n<s>  b <s>", &[text(0, "a"), Segment::Token(1), text(8, "b"), Segment::Token(1)]);
        let word = AddedToken { single_word: true, ..AddedToken::plain(1, "day") };
        check(&[word], "day monday day", &[Segment::Token(1), text(3, " monday "), Segment::Token(1)]);
    }
}
