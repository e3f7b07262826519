//! `parry`: a man who believes that he is being followed, after the design of Colby's PARRY (Colby, Weber and Hilf,
//! "Artificial Paranoia", Artificial Intelligence 2, 1971), with a story and a script of our own.
//!
//! Owns what he does with a message: what it makes him feel, whether that lets him answer at all, what he knows
//! about himself, and how he leads on with his story. The feelings themselves are in [`super::affect`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use futures::future::BoxFuture;
use madrigal_journal::event::Source;

use super::affect::{Affect, Stimulus};
use super::choices::{Choices, happens};
use super::rules::{Answered, Heard, first_fresh, next_fresh, next_of};
use super::script::{Call, Script};
use super::words::Clause;
use super::{Prompted, end, leaves, message, speak, words};
use crate::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest};
use crate::control::ControlWord;

/// Mistrust from which he would rather not answer personal questions.
const GUARDED: f64 = 11.0;
/// Fear from which he may shrink back from a sore point.
const AFRAID: f64 = 9.0;
/// Anger from which he does not mince his words.
const ANGRY: f64 = 9.0;
/// Own turns after which he would rather go on with his story than answer.
const PATIENCE: u32 = 2;
/// Things that he tells about one topic before he goes on to the next.
const AT_A_TIME: u32 = 3;
/// Rank up to which a keyword can wait for that.
const CAN_WAIT: u32 = 8;
/// Weight from which a topic is a sore point.
const SORE: u32 = 5;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let files = [
        ("english.txt", include_str!("../../../scripts/english.txt")),
        ("parry.txt", include_str!("../../../scripts/parry.txt")),
    ];
    Script::parse(&files).expect("the script is part of the program and a test reads it")
});

/// Where he is in his story.
#[derive(Debug, Clone, Copy, Default)]
struct Thread {
    /// The topic at hand.
    topic: Option<usize>,
    /// What he told about it since he came to it.
    told: u32,
}

impl Thread {
    fn turn_to(&mut self, topic: usize) {
        if self.topic != Some(topic) {
            *self = Self { topic: Some(topic), told: 0 };
        }
    }
}

/// The man who is being followed.
#[derive(Debug, Clone)]
pub struct Parry {
    state: State,
}

#[derive(Debug, Clone)]
struct State {
    choices: Choices,
    affect: Affect,
    /// How often each stimulus came; flares are counted by topic.
    habits: BTreeMap<Stimulus, u32>,
    flares: BTreeMap<usize, u32>,
    thread: Thread,
    /// Own turns since he told something of his story.
    untold: u32,
    left: bool,
}

impl Default for Parry {
    fn default() -> Self {
        Self::new()
    }
}

impl Parry {
    /// A man who has told nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            choices: Choices::default(),
            affect: Affect::BASE,
            habits: BTreeMap::new(),
            flares: BTreeMap::new(),
            thread: Thread::default(),
            untold: 0,
            left: false,
        };
        Self { state }
    }

    /// What he says to `request`, and his state when that is said.
    fn answer(&self, request: &ReplyRequest<'_>) -> (Reply, State) {
        let mut state = self.state.clone();
        state.choices.begin_turn();
        let speaker = Speaker { own_name: &request.context.agent, draw: request.draw };
        let reply = match Prompted::by(request) {
            Prompted::Control(ControlWord::Start) => message(state.list("introduction", speaker)),
            Prompted::Control(ControlWord::Help) => message(state.list("help", speaker)),
            Prompted::Control(ControlWord::Bye) => message(state.list("farewell", speaker)),
            Prompted::Control(ControlWord::End | ControlWord::Stop) => end(),
            _ if state.left => end(),
            Prompted::Nothing => message(state.list("opening", speaker)),
            Prompted::Silence => {
                state.affect.settle();
                message(state.list("silence", speaker))
            }
            Prompted::Message(text) => message(state.respond(text, "neutral", speaker)),
            Prompted::SeedPrompt(text) => message(state.respond(text, "seed", speaker)),
        };
        state.choices.say(&reply.text);
        state.left = leaves(request, &reply);
        (reply, state)
    }
}

/// Who speaks, and what his draws are keyed by.
#[derive(Clone, Copy)]
struct Speaker<'a> {
    own_name: &'a str,
    draw: Draw,
}

impl State {
    fn list(&mut self, name: &str, speaker: Speaker<'_>) -> Option<Answered> {
        next_of(SCRIPT.list(name)?, speaker.own_name, speaker.draw, &mut self.choices)
    }

    /// As [`Self::list`], but only what was not said lately.
    fn fresh(&mut self, name: &str, speaker: Speaker<'_>) -> Option<Answered> {
        next_fresh(SCRIPT.list(name)?, speaker.own_name, speaker.draw, &mut self.choices)
    }

    fn respond(&mut self, text: &str, otherwise: &str, speaker: Speaker<'_>) -> Option<Answered> {
        let clauses = words::clauses(text, &SCRIPT.pre);
        self.affect.settle();
        if clauses.is_empty() {
            return self.list("wordless", speaker);
        }
        let stimuli = self.take_in(&clauses);
        if let Some(answered) = self.react(&stimuli, speaker) {
            return Some(answered);
        }
        let heard = Heard { script: &SCRIPT, clauses: &clauses, own_name: speaker.own_name, draw: speaker.draw };
        let pressing = heard.keywords(&self.choices).first().is_some_and(|keyword| keyword.rank > CAN_WAIT);
        self.untold += 1;
        if self.untold > PATIENCE && !pressing && happens(speaker.draw, 7, 1, 2) {
            let told = self.tell(speaker);
            if told.is_some() {
                return told;
            }
        }
        let thread = Cell::new(self.thread);
        let telling = Cell::new(false);
        let answered = heard.answer(&mut self.choices, &mut |call, choices| {
            let text = match call {
                Call::Ask(kind) => asked(&thread, kind, speaker, choices),
                Call::Lead => led(&thread, speaker.own_name, choices),
            };
            telling.set(text.is_some());
            text
        });
        let Some(answered) = answered else {
            return self.go_on(&clauses, &stimuli, otherwise, speaker);
        };
        self.thread = thread.get();
        // A story that was just led on has set its own topic.
        if let (Some(about), false) = (answered.about, telling.get()) {
            self.thread.turn_to(about);
        }
        if telling.get() {
            self.has_told();
        }
        Some(answered)
    }

    /// Telling it brings some of it back.
    fn has_told(&mut self) {
        self.untold = 0;
        if let Some(topic) = self.thread.topic {
            self.affect.feel(Stimulus::Flare(SCRIPT.topics[topic].weight / 2), self.thread.told);
        }
    }

    /// The next thing of his story.
    fn tell(&mut self, speaker: Speaker<'_>) -> Option<Answered> {
        let thread = Cell::new(self.thread);
        let text = led(&thread, speaker.own_name, &self.choices)?;
        self.thread = thread.get();
        self.has_told();
        Some(Answered { text, leaves: false, about: None })
    }

    /// Feels what a message does to him, and turns to the sorest point that it mentions.
    fn take_in(&mut self, clauses: &[Clause]) -> Vec<Stimulus> {
        let mut stimuli = Vec::new();
        for (name, patterns) in &SCRIPT.inputs {
            let Some(stimulus) = Stimulus::named(name) else {
                continue;
            };
            let matches = |clause: &Clause| patterns.iter().any(|pattern| pattern.decompose(&clause.words).is_some());
            if clauses.iter().any(matches) {
                let habit = self.habits.entry(stimulus).or_default();
                self.affect.feel(stimulus, *habit);
                *habit += 1;
                stimuli.push(stimulus);
            }
        }
        let mut sorest: Option<usize> = None;
        for (index, topic) in SCRIPT.topics.iter().enumerate() {
            if clauses.iter().any(|clause| topic.is_mentioned(&clause.words)) {
                let habit = self.flares.entry(index).or_default();
                let stimulus = Stimulus::Flare(topic.weight);
                self.affect.feel(stimulus, *habit);
                *habit += 1;
                stimuli.push(stimulus);
                if sorest.is_none_or(|sorest| SCRIPT.topics[sorest].weight <= topic.weight) {
                    sorest = Some(index);
                }
            }
        }
        if let Some(topic) = sorest {
            self.thread.turn_to(topic);
        }
        stimuli
    }

    /// What he says when his feelings answer before he can.
    fn react(&mut self, stimuli: &[Stimulus], speaker: Speaker<'_>) -> Option<Answered> {
        let hit = |wanted: Stimulus| stimuli.contains(&wanted);
        let hurt = [Stimulus::Threat, Stimulus::Insult, Stimulus::Illness, Stimulus::Disbelief]
            .into_iter()
            .find(|stimulus| hit(*stimulus));
        let sore = stimuli.iter().any(|stimulus| matches!(stimulus, Stimulus::Flare(SORE..)));
        if (hurt.is_some() || sore) && self.affect.panics() {
            return self.list("flight", speaker);
        }
        if hurt.is_some() && self.affect.rages() {
            return self.list("rage", speaker);
        }
        if hurt.is_some() && self.affect.anger >= ANGRY && happens(speaker.draw, 1, 1, 2) {
            return self.list("angry", speaker);
        }
        match hurt {
            Some(Stimulus::Threat) => return self.list("threat", speaker),
            Some(Stimulus::Insult) => return self.list("insult", speaker),
            Some(Stimulus::Illness) => return self.list("illness", speaker),
            Some(Stimulus::Disbelief) => {
                let proof = self.thread.topic.and_then(|topic| SCRIPT.topics[topic].asked.get("doubt"));
                let proof = proof.and_then(|lines| first_fresh(lines, speaker.own_name, &self.choices));
                let proof = proof.map(|text| Answered { text, leaves: false, about: None });
                return proof.or_else(|| self.list("disbelief", speaker));
            }
            _ => {}
        }
        if sore && self.affect.fear >= AFRAID && happens(speaker.draw, 2, 1, 3) {
            return self.fresh("afraid", speaker);
        }
        if hit(Stimulus::Probe) && self.affect.mistrust >= GUARDED && happens(speaker.draw, 3, 1, 2) {
            return self.fresh("guarded", speaker);
        }
        if hit(Stimulus::Apology) {
            return self.fresh("apology", speaker);
        }
        if hit(Stimulus::Belief) {
            return self.fresh("belief", speaker);
        }
        if hit(Stimulus::Kindness) && happens(speaker.draw, 4, 1, 2) {
            return self.fresh("kindness", speaker);
        }
        None
    }

    /// What he says when he has no answer: he leads on with his story, or is vague.
    fn go_on(
        &mut self,
        clauses: &[Clause],
        stimuli: &[Stimulus],
        otherwise: &str,
        speaker: Speaker<'_>,
    ) -> Option<Answered> {
        let mentioned = stimuli.iter().any(|stimulus| matches!(stimulus, Stimulus::Flare(_)));
        let asked = clauses.last().is_some_and(|clause| clause.question);
        if !mentioned {
            let vague = if asked { "vague" } else { otherwise };
            if (otherwise == "seed" || happens(speaker.draw, 5, 1, 3))
                && let Some(answered) = self.fresh(vague, speaker)
            {
                return Some(answered);
            }
        }
        self.tell(speaker).or_else(|| self.list("dry", speaker))
    }
}

/// Answers a question about the topic at hand, or leads on where the question has no answer left.
fn asked(thread: &Cell<Thread>, kind: &str, speaker: Speaker<'_>, choices: &mut Choices) -> Option<String> {
    let lines = thread.get().topic.and_then(|topic| SCRIPT.topics[topic].asked.get(kind));
    if let Some(text) = lines.and_then(|lines| first_fresh(lines, speaker.own_name, choices)) {
        return Some(text);
    }
    let general = SCRIPT.list(&format!("ask-{kind}"))?;
    // Sometimes what he wants to tell matters more to him than what was asked.
    if happens(speaker.draw, 6, 1, 2)
        && let Some(answered) = next_fresh(general, speaker.own_name, speaker.draw, choices)
    {
        return Some(answered.text);
    }
    led(thread, speaker.own_name, choices)
}

/// The next thing to tell: of the topic at hand, then of those it leads to, then of any.
fn led(thread: &Cell<Thread>, own_name: &str, choices: &Choices) -> Option<String> {
    let mut now = thread.get();
    let at_hand = now.topic.unwrap_or(0);
    let next = &SCRIPT.topics.get(at_hand)?.next;
    let goes_on = now.told >= AT_A_TIME;
    let candidates = next
        .iter()
        .copied()
        .filter(|_| goes_on)
        .chain([at_hand])
        .chain(next.iter().copied())
        .chain(0..SCRIPT.topics.len());
    for candidate in candidates {
        if let Some(text) = first_fresh(&SCRIPT.topics[candidate].told, own_name, choices) {
            now.turn_to(candidate);
            now.told += 1;
            thread.set(now);
            return Some(text);
        }
    }
    None
}

impl ChatModel for Parry {
    fn name(&self) -> String {
        "parry".to_owned()
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
        state.choices.say(&recorded.text);
        state.left = leaves(request, recorded);
        self.state = state;
    }

    fn state(&self) -> Option<String> {
        Some(self.state.affect.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask, context, said};
    use super::*;

    /// What he says to each of the messages in turn, with his feelings after it.
    fn told(messages: &[&str]) -> Vec<(Reply, Affect)> {
        let mut parry = Parry::new();
        let mut context = context("Parry", &["Doctor", "Parry"]);
        let mut answers = Vec::new();
        for (turn, message) in (1..).zip(messages) {
            context.said.push(said(2 * turn, Some("Doctor"), message));
            let reply = ask(&mut parry, &context, 7, turn, None);
            context.said.push(said(2 * turn + 1, Some("Parry"), &reply.text));
            answers.push((reply, parry.state.affect));
        }
        answers
    }

    fn lines(list: &str) -> Vec<String> {
        SCRIPT.list(list).unwrap().lines.iter().filter_map(|line| line.render(&[], "Parry")).collect()
    }

    #[test]
    fn the_script_has_all_that_is_asked_of_it() {
        let lists = [
            "opening",
            "introduction",
            "help",
            "farewell",
            "silence",
            "wordless",
            "seed",
            "neutral",
            "vague",
            "dry",
            "threat",
            "insult",
            "illness",
            "disbelief",
            "angry",
            "rage",
            "flight",
            "afraid",
            "guarded",
            "apology",
            "kindness",
            "belief",
        ];
        for list in lists {
            assert!(!lines(list).is_empty(), "{list}");
        }
        for input in SCRIPT.inputs.keys() {
            assert!(Stimulus::named(input).is_some(), "{input}");
        }
        let leave = |list: &str| SCRIPT.list(list).unwrap().lines.iter().all(|line| line.leaves);
        assert!(leave("rage") && leave("flight") && !leave("angry"));
        assert!(SCRIPT.topics.iter().map(|topic| topic.told.len()).sum::<usize>() >= 70);
        assert!(SCRIPT.topics.iter().all(|topic| !topic.told.is_empty() && !topic.next.is_empty()));
        let kinds: std::collections::BTreeSet<_> =
            SCRIPT.topics.iter().flat_map(|topic| topic.asked.keys()).filter(|kind| *kind != "doubt").collect();
        for kind in kinds {
            assert!(!lines(&format!("ask-{kind}")).is_empty(), "{kind}");
        }
    }

    #[test]
    fn what_hurts_moves_the_feelings_and_is_answered_in_kind() {
        type Rises = fn(Affect) -> bool;
        let base = Affect::BASE;
        let cases: [(&str, &str, Rises); 8] = [
            ("I will hurt you.", "threat", |now| now.fear > 6.0 && now.mistrust > 5.0),
            ("They will find you tonight.", "threat", |now| now.fear > 6.0),
            ("You are an idiot.", "insult", |now| now.anger > 6.0 && now.fear < 3.0),
            ("Shut up!", "insult", |now| now.anger > 6.0),
            ("I think that you are paranoid.", "illness", |now| now.anger > 3.0 && now.fear > 2.0),
            ("That's nonsense.", "disbelief", |now| now.mistrust > 5.0),
            ("I am sorry.", "apology", |now| now.anger == 0.0 && now.mistrust < 3.1),
            ("I believe you.", "belief", |now| now.mistrust < 3.0),
        ];
        for (message, list, moved) in cases {
            let answers = told(&[message]);
            let (reply, affect) = &answers[0];
            assert!(lines(list).contains(&reply.text), "{message}: {}", reply.text);
            assert!(moved(*affect), "{message}: {base} became {affect}");
        }
        // The harmless does not hurt, and a word about somebody else is no insult.
        for message in ["How are you?", "The weather is fine today.", "My uncle was an idiot about money."] {
            let (_, affect) = told(&[message])[0];
            assert!(affect.anger == 0.0 && affect.fear < 4.0, "{message}: {affect}");
        }
    }

    #[test]
    fn his_story_frightens_him_and_small_talk_calms_him() {
        let answers = told(&[
            "Tell me about the Ring.",
            "Who are they?",
            "Go on.",
            "It rains.",
            "How old are you?",
            "What do you eat?",
            "Do you like football?",
        ]);
        assert!(answers[0].1.fear > Affect::BASE.fear + 2.0, "{}", answers[0].1);
        assert!(answers[6].1.fear < answers[2].1.fear, "{} and {}", answers[6].1, answers[2].1);
        assert!(answers[6].1.mistrust > Affect::BASE.mistrust, "mistrust stays");
    }

    #[test]
    fn he_leaves_when_it_is_too_much() {
        let insults =
            told(&["You are a liar.", "You are stupid.", "You idiot.", "Shut up!", "You disgust me.", "Moron!"]);
        let rage = insults.iter().find(|(reply, _)| reply.control == Some(ControlWord::Bye)).unwrap();
        assert!(lines("rage").contains(&rage.0.text) && rage.1.rages(), "{}", rage.1);
        let threats = told(&["I will kill you.", "They will get you.", "I know where you live.", "Watch your back."]);
        let flight = threats.iter().find(|(reply, _)| reply.control == Some(ControlWord::Bye)).unwrap();
        assert!(lines("flight").contains(&flight.0.text) && flight.1.panics(), "{}", flight.1);
        // One bad word is not enough.
        assert_eq!(insults[0].0.control, None);
        // After it there is nothing left to say.
        let after =
            told(&["I will kill you.", "They will get you.", "I know where you live.", "Watch your back.", "Wait!"]);
        assert_eq!((after[4].0.text.as_str(), after[4].0.control), ("", Some(ControlWord::End)));
    }

    #[test]
    fn he_answers_about_himself_and_about_what_he_told() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["What is your name?"], &["Parry"]),
            (&["How old are you?"], &["Thirty-six", "thirty-six", "Old enough"]),
            (&["Do you have a sister?"], &["sister", "Rosalind", "She "]),
            (&["Tell me about the clock.", "Why?"], &["Because", "fifteen"]),
            (&["What about the vans?", "Who are they?"], &["limp"]),
            (&["What about the vans?", "I do not believe that."], &["coincidence", "carpet", "forty-one"]),
        ];
        for (messages, expected) in cases {
            let answers = told(messages);
            let text = &answers[messages.len() - 1].0.text;
            assert!(expected.iter().any(|part| text.contains(part)), "{messages:?}: {text}");
        }
    }

    #[test]
    fn he_leads_on_with_his_story_in_its_order() {
        let go_on = ["Tell me about your pigeons."; 1].into_iter().chain(["Go on."; 24]).collect::<Vec<_>>();
        let texts: Vec<_> = told(&go_on).into_iter().map(|(reply, _)| reply.text).collect();
        let at = |part: &str| texts.iter().position(|text| text.contains(part)).unwrap_or(usize::MAX);
        assert!(at("racing pigeons") < at("Harbour race") && at("Harbour race") < at("club clock"), "{texts:#?}");
        assert!(at("club clock") < at("Halloran") && at("Halloran") < at("the Ring") && at("the Ring") < at("van"));
        let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len());
    }

    #[test]
    fn his_feelings_are_shown_in_a_line() {
        assert_eq!(Parry::new().state().unwrap(), "fear 1.0 · anger 0.0 · mistrust 3.0");
    }
}
