//! The two scripted chat models in conversation: with each other, resumed, forked, and as chat models.

use std::fmt::Write as _;
use std::sync::Arc;

use madrigal_journal::event::MessageId;
use proptest::prelude::*;

use super::{Doctor, Parry};
use crate::chat_model::{ChatModel, Draw, Reply, ReplyRequest};
use crate::chat_models::conformance::{Expectations, check};
use crate::context::{Context, Said};
use crate::control::ControlWord;
use crate::sampling::Sampling;

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn said(id: u32, agent: Option<&str>, text: &str) -> Arc<Said> {
    Arc::new(Said { id: MessageId(id), agent: agent.map(str::to_owned), text: text.to_owned(), ids: None })
}

pub(super) fn context(agent: &str, table: &[&str]) -> Context {
    Context {
        agent: agent.to_owned(),
        table: table.iter().map(|name| (*name).to_owned()).collect(),
        instructions: String::new(),
        seed_prompt: None,
        said: Vec::new(),
    }
}

/// What `model` says to `context` in `turn`.
pub(super) fn ask(
    model: &mut dyn ChatModel,
    context: &Context,
    seed: u64,
    turn: u32,
    control: Option<ControlWord>,
) -> Reply {
    let sampling = Sampling::default();
    let draw = Draw { seed, seat: 0, turn };
    block_on(model.reply(ReplyRequest { context, control, sampling: &sampling, draw, listeners: &[] }, &mut |_| {}))
        .unwrap()
}

/// A talk between the two, the listener first.
struct Talk {
    seats: [(&'static str, Box<dyn ChatModel>); 2],
    context: Context,
    seed: u64,
}

impl Talk {
    fn new(seed: u64, seed_prompt: Option<&str>) -> Self {
        let mut context = context("", &["Doctor", "Parry"]);
        context.seed_prompt = seed_prompt.map(|text| said(0, None, text));
        Self { seats: [("Doctor", Box::new(Doctor::new())), ("Parry", Box::new(Parry::new()))], context, seed }
    }

    fn turn(&mut self, turn: u32) -> (&'static str, Reply, String) {
        let seat = (turn - 1) % 2;
        let (name, model) = &mut self.seats[seat as usize];
        name.clone_into(&mut self.context.agent);
        let sampling = Sampling::default();
        let draw = Draw { seed: self.seed, seat, turn };
        let request = ReplyRequest { context: &self.context, control: None, sampling: &sampling, draw, listeners: &[] };
        let reply = block_on(model.reply(request, &mut |_| {})).unwrap();
        self.context.said.push(said(turn, Some(name), &reply.text));
        (name, reply, model.state().unwrap_or_default())
    }
}

#[test]
fn a_talk_of_the_two() {
    let mut talk = Talk::new(1, None);
    let mut shown = String::new();
    for turn in 1..=24 {
        let (name, reply, state) = talk.turn(turn);
        writeln!(shown, "[Turn {turn:02}] {name}: {}\n          ({state})", reply.text).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn their_talk_lasts_and_does_not_look_like_a_loop() {
    for seed in 0..24 {
        let mut talk = Talk::new(seed, (seed % 2 == 0).then_some("What would it take to trust a stranger?"));
        let mut last_said = std::collections::BTreeMap::new();
        for turn in 1..=160 {
            let (name, reply, _) = talk.turn(turn);
            assert_eq!(reply.control, None, "seed {seed}: {name} left in turn {turn} with {:?}", reply.text);
            assert!(!reply.text.is_empty(), "seed {seed}, turn {turn}");
            if let Some(before) = last_said.insert(reply.text.clone(), turn) {
                assert!(turn - before >= 60, "seed {seed}: {:?} in turns {before} and {turn}", reply.text);
            }
        }
    }
}

#[test]
fn seeds_make_different_talks_and_the_same_seed_the_same() {
    let text = |seed| {
        let mut talk = Talk::new(seed, None);
        (1..=20).map(|turn| talk.turn(turn).1.text).collect::<Vec<_>>()
    };
    assert_eq!(text(3), text(3));
    assert_ne!(text(3), text(4));
}

fn both() -> [Box<dyn ChatModel>; 2] {
    [Box::new(Doctor::new()), Box::new(Parry::new())]
}

#[test]
fn control_words_and_beginnings() {
    for mut model in both() {
        let name = model.name();
        let mut context = context("Robin", &["Robin", "Ada"]);
        let opening = ask(model.as_mut(), &context, 7, 1, None);
        assert!(!opening.text.is_empty() && opening.control.is_none(), "{name} opens the talk");
        context.seed_prompt = Some(said(0, None, "Ffrwd lwyd."));
        let first = ask(model.as_mut(), &context, 7, 2, None);
        assert!(!first.text.is_empty() && first.text != opening.text, "{name} answers the seed prompt");
        let start = ask(model.as_mut(), &context, 7, 3, Some(ControlWord::Start));
        assert!(start.text.contains("Robin") && start.control.is_none(), "{name}: {}", start.text);
        let help = ask(model.as_mut(), &context, 7, 4, Some(ControlWord::Help));
        assert!(help.text.starts_with("Robin: ") && help.control.is_none(), "{name}: {}", help.text);
        let bye = ask(model.as_mut(), &context, 7, 5, Some(ControlWord::Bye));
        assert!(bye.text.contains("oodbye") && bye.control.is_none(), "{name}: {}", bye.text);
        let after = ask(model.as_mut(), &context, 7, 6, None);
        assert_eq!((after.text.as_str(), after.control), ("", Some(ControlWord::End)), "{name}");
        for word in [ControlWord::End, ControlWord::Stop] {
            let end = ask(model.as_mut(), &context, 7, 7, Some(word));
            assert_eq!((end.text.as_str(), end.control), ("", Some(ControlWord::End)), "{name}: {word}");
        }
        let again = ask(model.as_mut(), &context, 7, 8, Some(ControlWord::Start));
        assert!(again.text.contains("Robin"), "{name} can be started again: {}", again.text);
    }
}

#[test]
fn among_many_the_last_message_heard_is_answered_and_silence_is_noticed() {
    let mut context = context("Doctor", &["Doctor", "Ada", "Bo"]);
    context.said = vec![said(1, Some("Ada"), "My brother is a baker."), said(2, Some("Bo"), "I dream of rain.")];
    let mut alone = context.clone();
    alone.said.remove(0);
    let heard = ask(&mut Doctor::new(), &context, 7, 1, None);
    assert_eq!(heard, ask(&mut Doctor::new(), &alone, 7, 1, None));
    assert!(heard.text.contains("dream"), "{}", heard.text);
    context.said.push(said(3, Some("Doctor"), &heard.text));
    for mut model in both() {
        let silence = [2, 3].map(|turn| ask(model.as_mut(), &context, 7, turn, None).text);
        assert!(silence[0] != heard.text && silence[0] != silence[1], "{silence:?}");
        assert!(silence.iter().all(|text| !text.is_empty() && !text.contains("dream")), "{silence:?}");
    }
}

#[tokio::test]
async fn both_keep_the_contract_of_chat_models() {
    let expected = Expectations { streams: true, heeds_control_words: true };
    assert_eq!(check(&|| Box::new(Doctor::new()), expected).await, Ok(()));
    assert_eq!(check(&|| Box::new(Parry::new()), expected).await, Ok(()));
}

fn message() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "My father was afraid of the police.", "Why do you say that?", "You are stupid.", "I will hurt you.",
            "I believe you.", "Tell me about the pigeons.", "goodbye", "Yes.", "I remember my dog.", "Who are you?",
            "Are you paranoid?", "How do you know?", "I am sorry.", "What about the Ring?", "I feel sad.",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn control() -> impl Strategy<Value = Option<ControlWord>> {
    prop_oneof![
        12 => Just(None),
        1 => prop::sample::select(vec![ControlWord::Start, ControlWord::Help, ControlWord::Bye]).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was heard, and wherever it was cut: after adopting what it said, it goes on as if it had said it.
    #[test]
    fn a_resumed_script_goes_on_as_an_uninterrupted_one(
        heard in prop::collection::vec((message(), control()), 1..14),
        cut in 0..14usize,
        seed in any::<u64>(),
    ) {
        for (mut original, mut resumed) in both().into_iter().zip(both()) {
            let mut context = context("Robin", &["Robin", "Ada"]);
            let sampling = Sampling::default();
            for (turn, (message, control)) in (1..).zip(&heard) {
                context.said.push(said(2 * turn, Some("Ada"), message));
                let reply = ask(original.as_mut(), &context, seed, turn, *control);
                if (turn as usize) <= cut {
                    let draw = Draw { seed, seat: 0, turn };
                    let request = ReplyRequest { context: &context, control: *control, sampling: &sampling, draw, listeners: &[] };
                    resumed.adopt(&request, &reply);
                } else {
                    prop_assert_eq!(&ask(resumed.as_mut(), &context, seed, turn, *control), &reply);
                }
                prop_assert_eq!(original.state(), resumed.state());
                prop_assert_eq!(reply.text.trim(), &reply.text);
                prop_assert!(!reply.text.chars().any(char::is_control));
                context.said.push(said(2 * turn + 1, Some("Robin"), &reply.text));
            }
        }
    }

    /// A fork may put words into its mouth that it never said; it goes on, and twice the same.
    #[test]
    fn a_forked_script_takes_what_it_never_said(words in any::<String>(), heard in message(), seed in any::<u64>()) {
        for (mut one, mut other) in both().into_iter().zip(both()) {
            let mut context = context("Robin", &["Robin", "Ada"]);
            let sampling = Sampling::default();
            let request = ReplyRequest {
                context: &context, control: None, sampling: &sampling, draw: Draw { seed, seat: 0, turn: 1 },
                listeners: &[],
            };
            let put_in = Reply::from_text(&words);
            one.adopt(&request, &put_in);
            other.adopt(&request, &put_in);
            context.said = vec![said(1, Some("Robin"), &words), said(2, Some("Ada"), &heard)];
            let reply = ask(one.as_mut(), &context, seed, 2, None);
            prop_assert_eq!(&ask(other.as_mut(), &context, seed, 2, None), &reply);
            prop_assert!(put_in.control.is_some() || !reply.text.is_empty());
        }
    }
}
