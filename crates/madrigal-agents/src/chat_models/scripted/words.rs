//! How a script reads a message: clauses of words, and the substitutions made in them before and after matching.
//!
//! Owns what counts as a word and where a clause ends. Does not own what a script makes of them.

use std::collections::BTreeMap;

/// Only this much of the end of a message is read: people answer what was said last.
const READ_CHARS: usize = 16_384;
/// Longer clauses are read in pieces, so that matching stays cheap whatever is said.
const CLAUSE_WORDS: usize = 64;
/// Longer words are cut, so that nobody is made to echo a page.
const WORD_CHARS: usize = 40;

/// One word: as it is compared and as it is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) lower: String,
    pub(super) shown: String,
}

impl Word {
    pub(super) fn new(shown: &str) -> Self {
        Self { lower: shown.to_lowercase(), shown: shown.to_owned() }
    }
}

/// What stands between two marks of punctuation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) words: Vec<Word>,
    /// Whether a question mark ends it.
    pub(super) question: bool,
}

/// Reads the words of `text` that are said to others: no terminal escapes, no control characters.
pub(super) fn clauses(text: &str, pre: &Substitutions) -> Vec<Clause> {
    let from = text.char_indices().rev().nth(READ_CHARS - 1).map_or(0, |(at, _)| at);
    let mut reading = Reading { sentence_start: true, ..Reading::default() };
    let mut chars = text[from..].chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' | '\u{9b}' => {
                skip_escape(c, &mut chars);
                reading.end_word();
            }
            '\u{2018}' | '\u{2019}' | '\'' => reading.apostrophe(),
            '-' if chars.peek().is_some_and(|next| next.is_alphanumeric()) && !reading.word.is_empty() => {
                reading.word.push('-');
            }
            '.' if chars.peek().is_some_and(|next| next.is_alphanumeric()) && !reading.word.is_empty() => {
                reading.word.push('.');
            }
            '.' | '!' | '?' | '\n' | '…' => {
                reading.end_clause(c == '?');
                reading.sentence_start = true;
            }
            ',' | ';' | ':' | '(' | ')' | '"' | '“' | '”' | '–' | '—' => {
                reading.end_clause(false);
            }
            c if c.is_alphanumeric() => reading.word.push(c),
            _ => reading.end_word(),
        }
    }
    reading.end_clause(false);
    for clause in &mut reading.clauses {
        clause.words = pre.apply(&clause.words);
    }
    reading.clauses
}

/// Drops the rest of a terminal escape sequence (ECMA-48: CSI … final byte, OSC … BEL or ST, or two characters).
fn skip_escape(introducer: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let kind = if introducer == '\u{9b}' { Some('[') } else { chars.next() };
    match kind {
        Some('[') => {
            for c in chars.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[derive(Default)]
struct Reading {
    clauses: Vec<Clause>,
    words: Vec<Word>,
    word: String,
    sentence_start: bool,
}

impl Reading {
    fn apostrophe(&mut self) {
        if !self.word.is_empty() {
            self.word.push('\'');
        }
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        let word = word.trim_end_matches('\'');
        if word.is_empty() {
            return;
        }
        let word: String = word.chars().take(WORD_CHARS).collect();
        let lower = word.to_lowercase();
        // A capital letter that only the sentence asked for is not repeated in the middle of another one.
        let keeps_case = !self.sentence_start || lower == "i" || lower.starts_with("i'");
        let shown = if keeps_case { word } else { lower.clone() };
        self.sentence_start = false;
        if lower == "but" {
            self.end_clause(false);
            return;
        }
        self.words.push(Word { lower, shown });
        if self.words.len() == CLAUSE_WORDS {
            self.end_clause(false);
        }
    }

    fn end_clause(&mut self, question: bool) {
        if !self.word.is_empty() {
            self.end_word();
        }
        if self.words.is_empty() {
            // The question mark of "is it (really)?" belongs to what stood before the bracket.
            if let (true, Some(last)) = (question, self.clauses.last_mut()) {
                last.question = true;
            }
            return;
        }
        self.clauses.push(Clause { words: std::mem::take(&mut self.words), question });
    }
}

/// Phrases that are replaced by others, the longest first, each place once.
#[derive(Debug, Clone, Default)]
pub(super) struct Substitutions {
    by_first: BTreeMap<String, Vec<Substitution>>,
}

#[derive(Debug, Clone)]
struct Substitution {
    from: Vec<String>,
    /// Matches only where the words end.
    at_end: bool,
    to: Vec<Word>,
}

impl Substitutions {
    /// Replaces `from` (words; a last `$` stands for the end) by `to`. False when `from` holds no word.
    pub(super) fn add(&mut self, from: &str, to: &str) -> bool {
        let mut from: Vec<String> = from.split_whitespace().map(str::to_lowercase).collect();
        let at_end = from.last().is_some_and(|last| last == "$");
        if at_end {
            from.pop();
        }
        let Some(first) = from.first().cloned() else {
            return false;
        };
        let to = to.split_whitespace().map(Word::new).collect();
        let entries = self.by_first.entry(first).or_default();
        entries.push(Substitution { from, at_end, to });
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.from.len(), entry.at_end)));
        true
    }

    pub(super) fn apply(&self, words: &[Word]) -> Vec<Word> {
        let mut result = Vec::with_capacity(words.len());
        let mut rest = words;
        while let Some((first, after)) = rest.split_first() {
            let found =
                self.by_first.get(&first.lower).and_then(|entries| entries.iter().find(|entry| entry.matches(rest)));
            if let Some(entry) = found {
                result.extend_from_slice(&entry.to);
                rest = &rest[entry.from.len()..];
            } else {
                result.push(first.clone());
                rest = after;
            }
        }
        result
    }
}

impl Substitution {
    fn matches(&self, words: &[Word]) -> bool {
        words.len() >= self.from.len()
            && (!self.at_end || words.len() == self.from.len())
            && self.from.iter().zip(words).all(|(from, word)| *from == word.lower)
    }
}

/// Joins words as they are shown.
pub(super) fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.shown.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, bool)> {
        clauses(text, &Substitutions::default()).iter().map(|clause| (joined(&clause.words), clause.question)).collect()
    }

    #[test]
    fn punctuation_and_but_end_a_clause() {
        let cases: [(&str, &[(&str, bool)]); 9] = [
            ("Well, my boyfriend made me come here.", &[("well", false), ("my boyfriend made me come here", false)]),
            ("Do you know Paris?", &[("do you know Paris", true)]),
            ("I like it but I can’t stay", &[("I like it", false), ("I can't stay", false)]),
            ("3.5 is half-way (isn't it)?", &[("3.5 is half-way", false), ("isn't it", true)]),
            ("\u{1b}[31mred\u{1b}[0m alert", &[("red alert", false)]),
            ("a\u{1b}]0;title\u{7}b\0c", &[("a b c", false)]),
            ("🙂🙂", &[]),
            ("مرحبا بالعالم", &[("مرحبا بالعالم", false)]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(text, q)| ((*text).to_owned(), *q)).collect();
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_read_from_their_end_and_in_pieces() {
        let text = "word ".repeat(20_000) + "the last one";
        let read = clauses(&text, &Substitutions::default());
        assert!(read.iter().all(|clause| clause.words.len() <= CLAUSE_WORDS));
        assert!(joined(&read[read.len() - 1].words).ends_with("the last one"));
        let one = clauses(&"x".repeat(100_000), &Substitutions::default());
        assert_eq!(one[0].words[0].shown.len(), WORD_CHARS);
    }

    #[test]
    fn the_longest_substitution_wins() {
        let mut table = Substitutions::default();
        assert!(table.add("you", "I") && table.add("you $", "me") && table.add("you are", "I am"));
        assert!(!table.add("$", "nothing"));
        let apply = |text: &str| joined(&table.apply(&text.split(' ').map(Word::new).collect::<Vec<_>>()));
        assert_eq!(apply("you are tall"), "I am tall");
        assert_eq!(apply("you like you"), "I like me");
    }
}
