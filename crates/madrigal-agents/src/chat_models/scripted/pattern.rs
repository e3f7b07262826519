//! Decomposition patterns: what a clause must look like for a rule to apply, and which of its words are caught.
//!
//! `*` any words, `+` at least one, `_` exactly one, `@name` one of a class, `[a b]` one of these, anything else
//! itself. All but plain words catch what they stand for, numbered from 1.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::words::Word;

/// A decomposition pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// As it stands in the script.
    pub(super) source: String,
    elements: Vec<Element>,
}

#[derive(Debug, Clone)]
enum Element {
    Word(String),
    OneOf(BTreeSet<String>),
    Run { at_least: usize },
    One,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(source: &str, classes: &BTreeMap<String, BTreeSet<String>>) -> Result<Self, String> {
        let mut elements = Vec::new();
        let mut tokens = source.split_whitespace();
        while let Some(token) = tokens.next() {
            elements.push(match token {
                "*" => Element::Run { at_least: 0 },
                "+" => Element::Run { at_least: 1 },
                "_" => Element::One,
                _ if token.starts_with('@') => {
                    let class = classes.get(&token[1..]).ok_or_else(|| format!("no class is called {token}"))?;
                    Element::OneOf(class.clone())
                }
                _ if token.starts_with('[') => {
                    let mut words = BTreeSet::new();
                    let mut token = &token[1..];
                    loop {
                        let (word, closed) = token.strip_suffix(']').map_or((token, false), |word| (word, true));
                        if !word.is_empty() {
                            words.insert(word.to_lowercase());
                        }
                        if closed {
                            break;
                        }
                        token = tokens.next().ok_or("a bracket is not closed")?;
                    }
                    Element::OneOf(words)
                }
                _ => Element::Word(token.to_lowercase()),
            });
        }
        if elements.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        Ok(Self { source: source.trim().to_owned(), elements })
    }

    /// How many parts it catches.
    pub(super) fn caught(&self) -> usize {
        self.elements.iter().filter(|element| !matches!(element, Element::Word(_))).count()
    }

    /// Matches a whole clause; runs take as few words as they can. Returns what each catching element caught.
    pub(super) fn decompose(&self, words: &[Word]) -> Option<Vec<Range<usize>>> {
        let mut caught = Vec::new();
        let mut dead = vec![false; (self.elements.len() + 1) * (words.len() + 1)];
        self.walk(0, 0, words, &mut caught, &mut dead).then_some(caught)
    }

    fn walk(&self, e: usize, w: usize, words: &[Word], caught: &mut Vec<Range<usize>>, dead: &mut [bool]) -> bool {
        let Some(element) = self.elements.get(e) else {
            return w == words.len();
        };
        // Places that led nowhere once are not tried again, so that the time is bounded by their number.
        let place = e * (words.len() + 1) + w;
        if dead[place] {
            return false;
        }
        let word = words.get(w).map(|word| word.lower.as_str());
        let found = match element {
            Element::Word(wanted) => word == Some(wanted) && self.walk(e + 1, w + 1, words, caught, dead),
            Element::OneOf(wanted) => {
                word.is_some_and(|word| wanted.contains(word)) && self.catch(w..w + 1, e, words, caught, dead)
            }
            Element::One => word.is_some() && self.catch(w..w + 1, e, words, caught, dead),
            Element::Run { at_least } => {
                (w + at_least..=words.len()).any(|end| self.catch(w..end, e, words, caught, dead))
            }
        };
        dead[place] = !found;
        found
    }

    fn catch(
        &self,
        span: Range<usize>,
        e: usize,
        words: &[Word],
        caught: &mut Vec<Range<usize>>,
        dead: &mut [bool],
    ) -> bool {
        let (before, end) = (caught.len(), span.end);
        caught.push(span);
        let found = self.walk(e + 1, end, words, caught, dead);
        if !found {
            caught.truncate(before);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace().map(Word::new).collect()
    }

    #[test]
    fn patterns_catch_what_their_wild_parts_stand_for() {
        let classes = BTreeMap::from([("family".to_owned(), BTreeSet::from(["mother".to_owned(), "aunt".to_owned()]))]);
        let cases: [(&str, &str, Option<&[&str]>); 12] = [
            ("* i remember +", "sometimes I remember the sea", Some(&["sometimes", "the sea"])),
            ("* i remember +", "I remember", None),
            ("i am *", "I am", Some(&[""])),
            ("* you * me", "you do not like me", Some(&["", "do not like"])),
            ("* you * me", "why do you think you know me", Some(&["why do", "think you know"])),
            ("* my @family *", "it was my aunt again", Some(&["it was", "aunt", "again"])),
            ("* my @family *", "it was my dog again", None),
            ("i [want need] _", "i need help", Some(&["need", "help"])),
            ("i [want need] _", "i need some help", None),
            ("a * a * a", "a b a c a", Some(&["b", "c"])),
            ("*", "", Some(&[""])),
            ("no", "no no", None),
        ];
        for (pattern, text, expected) in cases {
            let pattern = Pattern::parse(pattern, &classes).unwrap();
            let words = words(text);
            let caught = pattern.decompose(&words).map(|spans| {
                spans.into_iter().map(|span| super::super::words::joined(&words[span])).collect::<Vec<_>>()
            });
            let expected = expected.map(|parts| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
            assert_eq!(caught, expected, "{} on {text:?}", pattern.source);
        }
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        let none = BTreeMap::new();
        assert!(Pattern::parse("* @nobody", &none).unwrap_err().contains("@nobody"));
        assert!(Pattern::parse("[a b", &none).unwrap_err().contains("bracket"));
        assert!(Pattern::parse("", &none).unwrap_err().contains("empty"));
    }

    #[test]
    fn many_wild_parts_over_a_long_clause_end_soon() {
        let pattern = Pattern::parse("* a * a * a * a * a * a * a * b", &BTreeMap::new()).unwrap();
        assert_eq!(pattern.decompose(&words(&"a ".repeat(64))), None);
    }
}
