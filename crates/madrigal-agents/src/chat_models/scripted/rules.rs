//! How a script is followed: keywords by rank, patterns in order, answers in rotation.
//!
//! Owns the machinery that Weizenbaum described in 1966 (keyword stack, decomposition, reassembly, links, memory).
//! Does not own what is said when nothing matches, nor feelings.

use super::choices::Choices;
use super::script::{Answer, Call, Line, List, Rule, Script};
use super::words::{Clause, joined};
use crate::chat_model::Draw;

/// Longer parts of what was heard are not repeated.
const ECHO_WORDS: usize = 16;
/// Links that are followed before a rule is given up: a script may link in a circle.
const LINKS: usize = 8;

/// One message being answered.
pub(super) struct Heard<'a> {
    pub(super) script: &'a Script,
    pub(super) clauses: &'a [Clause],
    pub(super) own_name: &'a str,
    pub(super) draw: Draw,
}

/// What a script has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) text: String,
    pub(super) leaves: bool,
    /// The topic that is at hand now.
    pub(super) about: Option<usize>,
}

/// A keyword that was found, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyword {
    pub(super) key: usize,
    pub(super) clause: usize,
    /// The key's rank, less what it has tired.
    pub(super) rank: u32,
}

/// Answers a [`Call`] of the script.
pub(super) type OnCall<'a> = dyn FnMut(&Call, &mut Choices) -> Option<String> + 'a;

impl Heard<'_> {
    /// The keywords, the highest rank first; among equals what was said last, for that is what people answer.
    pub(super) fn keywords(&self, choices: &Choices) -> Vec<Keyword> {
        let mut found: Vec<Keyword> = Vec::new();
        for (clause, Clause { words, .. }) in self.clauses.iter().enumerate().rev() {
            for at in 0..words.len() {
                for key in self.script.keys_at(&words[at..]) {
                    if found.iter().any(|keyword| (keyword.key, keyword.clause) == (key, clause)) {
                        continue;
                    }
                    let tired = self.script.tire * choices.recent_uses(key);
                    let rank = self.script.keys[key].rank.saturating_sub(tired);
                    found.push(Keyword { key, clause, rank });
                }
            }
        }
        found.sort_by_key(|keyword| std::cmp::Reverse(keyword.rank));
        found
    }

    /// Goes through the keywords until one of them has something to say that is not stale.
    pub(super) fn answer(&self, choices: &mut Choices, on_call: &mut OnCall<'_>) -> Option<Answered> {
        let keywords = self.keywords(choices);
        keywords.into_iter().find_map(|keyword| {
            let answered = self.try_key(keyword, 0, choices, on_call)?;
            choices.key_used(keyword.key);
            Some(answered)
        })
    }

    fn try_key(
        &self,
        keyword: Keyword,
        links: usize,
        choices: &mut Choices,
        on_call: &mut OnCall<'_>,
    ) -> Option<Answered> {
        let key = &self.script.keys[keyword.key];
        for rule in &key.rules {
            let Some(caught) = self.caught(rule, &self.clauses[keyword.clause]) else {
                continue;
            };
            for chosen in choices.order(rule.id, rule.answers.len(), self.draw) {
                let answered = match &rule.answers[chosen] {
                    Answer::Say(line) => self.fresh(line, &caught, choices).map(|text| Answered {
                        text,
                        leaves: line.leaves,
                        about: key.about,
                    }),
                    Answer::Link(target) if links < LINKS => {
                        let linked = Keyword { key: *target, ..keyword };
                        self.try_key(linked, links + 1, choices, on_call)
                    }
                    Answer::Link(_) => None,
                    Answer::NextKeyword => return None,
                    Answer::Call(call) => {
                        on_call(call, choices).map(|text| Answered { text, leaves: false, about: key.about })
                    }
                };
                if answered.is_some() {
                    choices.used(rule.id, chosen);
                    return answered;
                }
            }
        }
        None
    }

    /// What is to be remembered of the message, if anything is: the part that was caught, and what to say of it.
    pub(super) fn recollection(&self, choices: &mut Choices) -> Option<(String, String)> {
        for rule in &self.script.memory {
            for clause in self.clauses.iter().rev() {
                let Some(caught) = self.caught(rule, clause) else {
                    continue;
                };
                for chosen in choices.order(rule.id, rule.answers.len(), self.draw) {
                    let Answer::Say(line) = &rule.answers[chosen] else {
                        continue;
                    };
                    if let Some(text) = self.fresh(line, &caught, choices) {
                        choices.used(rule.id, chosen);
                        return Some((caught.get(1)?.clone(), text));
                    }
                }
            }
        }
        None
    }

    /// The caught parts, turned towards the other speaker ("my" becomes "your").
    fn caught(&self, rule: &Rule, clause: &Clause) -> Option<Vec<String>> {
        let spans = rule.pattern.decompose(&clause.words)?;
        let turned = spans.into_iter().map(|span| {
            if span.len() > ECHO_WORDS {
                return String::new();
            }
            joined(&self.script.post.apply(&clause.words[span]))
        });
        Some(turned.collect())
    }

    fn fresh(&self, line: &Line, caught: &[String], choices: &Choices) -> Option<String> {
        line.render(caught, self.own_name).filter(|text| choices.is_fresh(text))
    }
}

/// The first line of `lines`, in their order, that is not stale.
pub(super) fn first_fresh(lines: &[Line], own_name: &str, choices: &Choices) -> Option<String> {
    lines.iter().filter_map(|line| line.render(&[], own_name)).find(|text| choices.is_fresh(text))
}

/// The next line of a list in rotation that is not stale.
pub(super) fn next_fresh(list: &List, own_name: &str, draw: Draw, choices: &mut Choices) -> Option<Answered> {
    for chosen in choices.order(list.id, list.lines.len(), draw) {
        let line = &list.lines[chosen];
        if let Some(text) = line.render(&[], own_name).filter(|text| choices.is_fresh(text)) {
            choices.used(list.id, chosen);
            return Some(Answered { text, leaves: line.leaves, about: None });
        }
    }
    None
}

/// The next line of a list that is not stale, or else the one that was said longest ago.
pub(super) fn next_of(list: &List, own_name: &str, draw: Draw, choices: &mut Choices) -> Option<Answered> {
    next_fresh(list, own_name, draw, choices).or_else(|| {
        let lines = list.lines.iter().filter_map(|line| Some((line.leaves, line.render(&[], own_name)?)));
        let (leaves, text) = lines.min_by_key(|(_, text)| choices.last_said(text))?;
        Some(Answered { text, leaves, about: None })
    })
}
