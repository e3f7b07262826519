//! `doctor`: a listener after the design of Weizenbaum's ELIZA ("ELIZA — a computer program for the study of natural
//! language communication between man and machine", CACM 9(1), 1966), with a script of our own.
//!
//! Owns what is done with a message: keywords first, then something remembered, then words that fit anything.

use std::collections::VecDeque;
use std::sync::LazyLock;

use futures::future::BoxFuture;
use madrigal_journal::event::Source;

use super::choices::Choices;
use super::rules::{Answered, Heard, next_of};
use super::script::Script;
use super::{Prompted, end, leaves, message, speak, words};
use crate::chat_model::{ChatError, ChatModel, Reply, ReplyEvent, ReplyRequest};
use crate::control::ControlWord;

/// Things that are remembered at most; the oldest is forgotten first.
const REMEMBERED: usize = 12;
/// Own turns before a remembered thing is brought up: sooner it would be an echo.
const RIPE: u32 = 3;
/// Own turns after which a remembered thing comes before a keyword of [`WEAK`] rank.
const OVERRIPE: u32 = 6;
/// Up to this rank a keyword says little about what was meant.
const WEAK: u32 = 2;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let files = [
        ("english.txt", include_str!("../../../scripts/english.txt")),
        ("doctor.txt", include_str!("../../../scripts/doctor.txt")),
    ];
    Script::parse(&files).expect("the script is part of the program and a test reads it")
});

/// The listener.
#[derive(Debug, Clone, Default)]
pub struct Doctor {
    state: State,
}

#[derive(Debug, Clone, Default)]
struct State {
    choices: Choices,
    memory: VecDeque<Remembered>,
    left: bool,
}

#[derive(Debug, Clone)]
struct Remembered {
    what: String,
    text: String,
    turn: u32,
}

impl Doctor {
    /// A listener that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it says to `request`, and its state when that is said.
    fn answer(&self, request: &ReplyRequest<'_>) -> (Reply, State) {
        let mut state = self.state.clone();
        let turn = state.choices.begin_turn();
        let reply = match Prompted::by(request) {
            Prompted::Control(ControlWord::Start) => message(state.list("introduction", request)),
            Prompted::Control(ControlWord::Help) => message(state.list("help", request)),
            Prompted::Control(ControlWord::Bye) => message(state.list("farewell", request)),
            Prompted::Control(ControlWord::End | ControlWord::Stop) => end(),
            _ if state.left => end(),
            Prompted::Nothing => message(state.list("opening", request)),
            Prompted::Silence => message(state.list("silence", request)),
            Prompted::Message(text) => message(state.respond(text, turn, "none", request)),
            Prompted::SeedPrompt(text) => message(state.respond(text, turn, "seed", request)),
        };
        state.choices.say(&reply.text);
        state.left = leaves(request, &reply);
        (reply, state)
    }
}

impl State {
    fn list(&mut self, name: &str, request: &ReplyRequest<'_>) -> Option<Answered> {
        next_of(SCRIPT.list(name)?, &request.context.agent, request.draw, &mut self.choices)
    }

    fn respond(&mut self, text: &str, turn: u32, otherwise: &str, request: &ReplyRequest<'_>) -> Option<Answered> {
        let clauses = words::clauses(text, &SCRIPT.pre);
        if clauses.is_empty() {
            return self.list("wordless", request);
        }
        let own_name = &request.context.agent;
        let heard = Heard { script: &SCRIPT, clauses: &clauses, own_name, draw: request.draw };
        let weak = heard.keywords(&self.choices).first().is_none_or(|keyword| keyword.rank <= WEAK);
        let answered = if weak { self.recall(turn, OVERRIPE) } else { None }
            .or_else(|| heard.answer(&mut self.choices, &mut |_, _| None))
            .or_else(|| self.recall(turn, RIPE))
            .or_else(|| self.list(otherwise, request));
        if let Some((what, text)) = heard.recollection(&mut self.choices)
            && self.memory.iter().all(|remembered| remembered.what != what)
        {
            self.memory.push_back(Remembered { what, text, turn });
            if self.memory.len() > REMEMBERED {
                self.memory.pop_front();
            }
        }
        answered
    }

    /// The oldest thing remembered, once it is `age` own turns old.
    fn recall(&mut self, turn: u32, age: u32) -> Option<Answered> {
        while self.memory.front().is_some_and(|oldest| turn - oldest.turn >= age) {
            let Remembered { text, .. } = self.memory.pop_front()?;
            if self.choices.is_fresh(&text) {
                return Some(Answered { text, leaves: false, about: None });
            }
        }
        None
    }
}

impl ChatModel for Doctor {
    fn name(&self) -> String {
        "doctor".to_owned()
    }

    fn source(&self) -> Source {
        Source::Scripted
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        let (reply, state) = self.answer(&request);
        speak(reply, on_event, || self.state = state)
    }

    fn adopt(&mut self, request: &ReplyRequest<'_>, recorded: &Reply) {
        let (_, mut state) = self.answer(request);
        // What was really said is what rests, and it alone decides who has left.
        state.choices.say(&recorded.text);
        state.left = leaves(request, recorded);
        self.state = state;
    }

    fn state(&self) -> Option<String> {
        let next = self.state.memory.front().map(|oldest| format!(" · next: {}", oldest.text));
        Some(format!("remembers {}{}", self.state.memory.len(), next.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::Answer;
    use super::super::tests::{ask, context, said};
    use super::super::words::{Clause, Word, joined};
    use super::*;
    use crate::chat_model::Draw;

    const DRAW: Draw = Draw { seed: 7, seat: 0, turn: 1 };

    #[test]
    fn the_script_has_all_that_is_asked_of_it() {
        let lists = ["opening", "introduction", "help", "farewell", "silence", "wordless", "seed", "none"];
        for list in lists {
            assert!(SCRIPT.list(list).is_some_and(|list| !list.lines.is_empty()), "{list}");
        }
        assert!(SCRIPT.keys.len() >= 60, "{} keywords", SCRIPT.keys.len());
        assert!(!SCRIPT.memory.is_empty());
        for key in &SCRIPT.keys {
            assert!(key.rules.iter().all(|rule| !rule.answers.is_empty()), "{}", key.name);
        }
    }

    /// The keyword and the pattern that answer a message first.
    fn matched(text: &str) -> Option<(&'static str, &'static str)> {
        let clauses = words::clauses(text, &SCRIPT.pre);
        let heard = Heard { script: &SCRIPT, clauses: &clauses, own_name: "Doctor", draw: DRAW };
        heard.keywords(&Choices::default()).into_iter().find_map(|keyword| {
            let key = &SCRIPT.keys[keyword.key];
            let words = &clauses[keyword.clause].words;
            let rule = key.rules.iter().find(|rule| rule.pattern.decompose(words).is_some())?;
            let passes_on = matches!(rule.answers[..], [Answer::NextKeyword]);
            (!passes_on).then_some((key.name.as_str(), rule.pattern.source.as_str()))
        })
    }

    #[test]
    fn the_highest_keyword_and_its_first_pattern_decide() {
        let cases = [
            ("My mother was always right.", Some(("family", "* my @family [is are was were] +"))),
            ("Well, my mother!", Some(("family", "* my @family *"))),
            ("I remember the harbour", Some(("remember", "* i [remember recall] +"))),
            ("Do you remember me?", Some(("remember", "* do you [remember recall] +"))),
            ("I'm not afraid.", Some(("iam", "* i am not +"))),
            ("I am very sad today.", Some(("iam", "* i [am feel was felt] * @sad *"))),
            ("I can't sleep.", Some(("sleep", "* [cannot not] sleep *"))),
            ("They follow me", Some(("followed", "*"))),
            ("They took my notebook.", Some(("proof", "*"))),
            ("They took it all.", Some(("they", "* they [took stole broke cut changed opened] +"))),
            ("Why don't you like me?", Some(("youme", "* do not you +"))),
            ("You hate me, and I am fine. You don't trust me.", Some(("trust", "* you do not trust me *"))),
            ("Everybody laughs at me.", Some(("everybody", "* [everybody everyone] +"))),
            ("Are you a machine?", Some(("computer", "* are you [a an] [computer machine robot program chatbot] *"))),
            ("goodbye", Some(("goodbye", "[goodbye bye farewell]"))),
            ("I said goodbye to the sea.", Some(("ido", "* i [told tell said] +"))),
            ("I want to be left in peace.", Some(("want", "* i @wish +"))),
            ("Yes.", Some(("yes", "[yes certainly sure exactly right okay]"))),
            ("Colourless green ideas.", None),
        ];
        for (text, expected) in cases {
            assert_eq!(matched(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_said_back_is_turned_around() {
        let cases = [
            ("i am your friend", "you are my friend"),
            ("my house is mine", "your house is yours"),
            ("you are like me", "I am like you"),
            ("what you told me about myself", "what I told you about yourself"),
            ("they talk about you", "they talk about me"),
            ("you hurt me", "I hurt you"),
            ("he wants to help you", "he wants to help me"),
            ("i was what you were", "you were what I was"),
            ("your ideas and yours alone", "my ideas and mine alone"),
            ("the sea", "the sea"),
        ];
        for (heard, expected) in cases {
            let words: Vec<_> = heard.split(' ').map(Word::new).collect();
            assert_eq!(joined(&SCRIPT.post.apply(&words)), expected, "{heard}");
        }
    }

    #[test]
    fn contractions_are_opened_before_matching() {
        let heard =
            |text| words::clauses(text, &SCRIPT.pre).iter().map(|c: &Clause| joined(&c.words)).collect::<Vec<_>>();
        assert_eq!(heard("I’m sure they can't, but Mom won't"), ["I am sure they cannot", "mother will not"]);
    }

    fn answers(messages: &[&str]) -> Vec<Reply> {
        let mut doctor = Doctor::new();
        let mut context = context("Doctor", &["Doctor", "Ada"]);
        let mut answers = Vec::new();
        for (turn, message) in (1..).zip(messages) {
            context.said.push(said(2 * turn, Some("Ada"), message));
            answers.push(ask(&mut doctor, &context, 7, turn, None));
            context.said.push(said(2 * turn + 1, Some("Doctor"), &answers[answers.len() - 1].text));
        }
        answers
    }

    #[test]
    fn what_was_said_about_ones_own_comes_back_when_nothing_else_matches() {
        let replies = answers(&["My grandmother had a boat.", "Blue.", "Green.", "Red.", "White.", "Black."]);
        let recalled = replies[1..].iter().filter(|reply| reply.text.contains("grandmother")).count();
        assert_eq!(recalled, 1, "{replies:#?}");
        assert!(!replies[1].text.contains("grandmother") && !replies[2].text.contains("grandmother"), "too soon");
    }

    #[test]
    fn the_same_message_is_answered_in_rotation() {
        let replies = answers(&["My mother hates the sea."; 12]);
        let distinct: std::collections::BTreeSet<_> = replies.iter().map(|reply| &reply.text).collect();
        assert_eq!(distinct.len(), replies.len(), "{replies:#?}");
    }

    #[test]
    fn a_goodbye_is_answered_and_ends_the_talk() {
        let replies = answers(&["I am tired.", "Goodbye, doctor.", "Are you still there?"]);
        assert_eq!(replies[0].control, None);
        assert!(replies[1].text.starts_with("Goodbye"), "{}", replies[1].text);
        assert_eq!(replies[1].control, Some(ControlWord::Bye));
        assert_eq!((replies[2].text.as_str(), replies[2].control), ("", Some(ControlWord::End)));
    }

    #[test]
    fn long_parts_are_not_repeated() {
        let message = format!("I think that {}", "very ".repeat(40));
        let reply = &answers(&[&message])[0];
        assert!(reply.text.split(' ').count() < 20, "{}", reply.text);
    }

    #[test]
    fn its_memory_is_shown() {
        let mut doctor = Doctor::new();
        assert_eq!(doctor.state().unwrap(), "remembers 0");
        let mut context = context("Doctor", &["Doctor", "Ada"]);
        context.said.push(said(1, Some("Ada"), "I miss my brother."));
        ask(&mut doctor, &context, 7, 1, None);
        assert!(doctor.state().unwrap().contains("remembers 1 · next:"), "{:?}", doctor.state());
    }
}
