//! The conformance suite of chat models: what every implementor must do, whatever answers behind it.
//!
//! Owns the checks. An implementor runs all of them in a test of its own:
//!
//! ```
//! # use madrigal_agents::chat_models::conformance::{Expectations, check};
//! # use madrigal_agents::chat_models::scripted::Doctor;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let expected = Expectations { streams: true, heeds_control_words: true };
//! assert_eq!(check(&|| Box::new(Doctor::new()), expected).await, Ok(()));
//! # });
//! ```
//!
//! (in a `#[tokio::test]`, which is a current-thread runtime). The factory makes a *fresh* value each time. What lies
//! behind a remote one must answer any number of requests (about 50) with any text, and not depend on their order.
//! Requests are small: three short messages, a reply of 24 tokens; only the check of hostile messages sends a long
//! one, which a chat model may refuse with [`ChatError::TooLong`] or [`ChatError::Refused`]. What is compared between
//! two values (same requests, same reply) is checked for [`Source::Local`] and [`Source::Scripted`] only.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use madrigal_journal::event::{MessageId, Source, Turn};

use crate::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest};
use crate::context::{Context, Said};
use crate::control::ControlWord;
use crate::sampling::Sampling;

/// Makes a fresh value of the chat model under test.
pub type Factory<'a> = &'a (dyn Fn() -> Box<dyn ChatModel> + 'a);

/// What differs between implementors.
#[derive(Debug, Clone, Copy)]
pub struct Expectations {
    /// It tells its text through [`ReplyEvent::Text`] (a human at a terminal does not).
    pub streams: bool,
    /// Asked with `/start`, `/help` or `/bye` it says something (a model that babbles may not).
    pub heeds_control_words: bool,
}

/// A requirement that was not met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {what}")]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// What happened.
    pub what: String,
}

/// Runs all checks.
///
/// # Errors
/// With the first requirement that is not met.
pub async fn check(factory: Factory<'_>, expected: Expectations) -> Result<(), Violation> {
    streamed_text_is_the_reply(factory, expected).await?;
    control_words_are_answered(factory, expected).await?;
    counting_changes_nothing(factory).await?;
    the_same_requests_give_the_same_replies(factory).await?;
    adopting_is_as_good_as_saying(factory).await?;
    a_dropped_reply_leaves_nothing_behind(factory).await?;
    an_empty_conversation_is_no_reason_to_crash(factory).await?;
    hostile_messages_do_no_harm(factory, expected).await
}

/// What was streamed, control word apart, is what is returned.
///
/// # Errors
/// When it is not.
pub async fn streamed_text_is_the_reply(factory: Factory<'_>, expected: Expectations) -> Result<(), Violation> {
    let check = "streamed text is the reply";
    let mut model = factory();
    let mut setting = Setting::new();
    for turn in 1..=3 {
        let (reply, streamed) = setting.ask(model.as_mut(), turn, None).await;
        let reply = reply.map_err(|error| failed(check, turn, &error))?;
        well_formed(check, &reply, &streamed, expected)?;
        setting.continue_with(&reply.text);
    }
    Ok(())
}

/// `/start`, `/help` and `/bye` are answered in words, and in one message.
///
/// # Errors
/// When one of them is not.
pub async fn control_words_are_answered(factory: Factory<'_>, expected: Expectations) -> Result<(), Violation> {
    let check = "control words are answered";
    for (turn, word) in (1..).zip([ControlWord::Start, ControlWord::Help, ControlWord::Bye]) {
        let mut model = factory();
        let (reply, streamed) = Setting::new().ask(model.as_mut(), turn, Some(word)).await;
        let reply = reply.map_err(|error| failed(check, turn, &error))?;
        well_formed(check, &reply, &streamed, expected)?;
        require(check, !expected.heeds_control_words || !reply.text.is_empty(), || {
            format!("{word} was answered with nothing")
        })?;
    }
    Ok(())
}

/// Counting the prompt is stable, has no effect on the reply, and agrees with what a local model then reads.
///
/// # Errors
/// When it does not.
pub async fn counting_changes_nothing(factory: Factory<'_>) -> Result<(), Violation> {
    let check = "counting changes nothing";
    let setting = Setting::new();
    let (mut counted, mut plain) = (factory(), factory());
    let request = setting.request(1, None);
    let first = counted.count(&request).map_err(|error| failed(check, 1, &error))?;
    let second = counted.count(&request).map_err(|error| failed(check, 1, &error))?;
    require(check, first == second, || format!("it counted {first:?}, then {second:?}"))?;
    let reply = setting.ask(counted.as_mut(), 1, None).await.0.map_err(|error| failed(check, 1, &error))?;
    if is_repeatable(counted.as_ref()) {
        let other = setting.ask(plain.as_mut(), 1, None).await.0.map_err(|error| failed(check, 1, &error))?;
        same(check, 1, &other, &reply)?;
    }
    if let (Source::Local, Some(counted), Some(read)) = (counted.source(), first, reply.usage.prompt_tokens) {
        require(check, counted == read as usize, || format!("it counted {counted} tokens and read {read}"))?;
    }
    Ok(())
}

/// Two fresh values that are asked the same say the same.
///
/// # Errors
/// When they do not.
pub async fn the_same_requests_give_the_same_replies(factory: Factory<'_>) -> Result<(), Violation> {
    let check = "the same requests give the same replies";
    let (mut one, mut other) = (factory(), factory());
    if !is_repeatable(one.as_ref()) {
        return Ok(());
    }
    let mut setting = Setting::new();
    for turn in 1..=4 {
        let first = setting.ask(one.as_mut(), turn, None).await.0.map_err(|error| failed(check, turn, &error))?;
        let second = setting.ask(other.as_mut(), turn, None).await.0.map_err(|error| failed(check, turn, &error))?;
        same(check, turn, &first, &second)?;
        require(check, one.state() == other.state(), || {
            format!("turn {turn} left different states: {:?} and {:?}", one.state(), other.state())
        })?;
        setting.continue_with(&first.text);
    }
    Ok(())
}

/// After adopting the first k replies a fresh value goes on as the one that said them. For chat models that cannot
/// be asked again, adopting must at least leave them able to go on.
///
/// # Errors
/// When it does not.
pub async fn adopting_is_as_good_as_saying(factory: Factory<'_>) -> Result<(), Violation> {
    const TURNS: Turn = 4;
    let check = "adopting is as good as saying";
    let mut original = factory();
    let mut setting = Setting::new();
    let mut said = Vec::new();
    for turn in 1..=TURNS {
        let reply = setting.ask(original.as_mut(), turn, None).await.0.map_err(|error| failed(check, turn, &error))?;
        setting.continue_with(&reply.text);
        said.push(reply);
    }
    for adopted in [1, TURNS as usize - 1] {
        let mut model = factory();
        let mut setting = Setting::new();
        for (turn, reply) in (1..).zip(&said) {
            if (turn as usize) <= adopted {
                model.adopt(&setting.request(turn, None), reply);
            } else {
                let again = setting.ask(model.as_mut(), turn, None).await.0;
                let again = again.map_err(|error| failed(check, turn, &error))?;
                if is_repeatable(model.as_ref()) {
                    same(check, turn, reply, &again)?;
                }
            }
            setting.continue_with(&reply.text);
        }
        require(check, !is_repeatable(model.as_ref()) || model.state() == original.state(), || {
            format!("{adopted} adopted turns led to {:?}, not to {:?}", model.state(), original.state())
        })?;
    }
    Ok(())
}

/// A reply whose future is dropped was never made: the next one is as if it had not been begun.
///
/// # Errors
/// When it is not.
pub async fn a_dropped_reply_leaves_nothing_behind(factory: Factory<'_>) -> Result<(), Violation> {
    let check = "a dropped reply leaves nothing behind";
    for polls in [0, 1, 3] {
        let mut model = factory();
        let setting = Setting::new();
        let mut finished = false;
        {
            let mut ignore = |_| {};
            let mut reply = model.reply(setting.request(1, None), &mut ignore);
            for _ in 0..polls {
                if !finished {
                    finished = poll_fn(|cx| Poll::Ready(reply.as_mut().poll(cx).is_ready())).await;
                    // Whatever works for it elsewhere gets its chance to.
                    tokio::task::yield_now().await;
                }
            }
        }
        if finished {
            continue;
        }
        let reply = setting.ask(model.as_mut(), 1, None).await.0.map_err(|error| failed(check, 1, &error))?;
        if is_repeatable(model.as_ref()) {
            let mut fresh = factory();
            let untouched = setting.ask(fresh.as_mut(), 1, None).await.0.map_err(|error| failed(check, 1, &error))?;
            same(check, 1, &untouched, &reply)?;
        }
    }
    Ok(())
}

/// Without a message and without a seed prompt it opens the talk, or says why it cannot.
///
/// # Errors
/// When a reply is not well-formed; a panic is one too.
pub async fn an_empty_conversation_is_no_reason_to_crash(factory: Factory<'_>) -> Result<(), Violation> {
    let check = "an empty conversation is no reason to crash";
    let mut setting = Setting::new();
    setting.context.said.clear();
    for seed in [None, Some("")] {
        setting.context.seed_prompt = seed.map(|text| said(0, None, text));
        let mut model = factory();
        let (reply, _) = setting.ask(model.as_mut(), 1, None).await;
        if let Ok(reply) = reply {
            trimmed(check, &reply)?;
        }
    }
    Ok(())
}

/// Terminal escapes, control characters, other scripts and very long messages are read like any other; the chat
/// model is usable afterwards.
///
/// # Errors
/// When it refuses a message that is not too long, or cannot go on.
pub async fn hostile_messages_do_no_harm(factory: Factory<'_>, expected: Expectations) -> Result<(), Violation> {
    let check = "hostile messages do no harm";
    let long = "word ".repeat(20_000);
    let unbroken = "x".repeat(100_000);
    let messages: [(&str, bool); 12] = [
        ("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{1b}[2J\u{1b}", false),
        ("a\0b\u{1}c\u{7f}\u{9b}1m", false),
        ("مرحبا، كيف حالك؟ \u{202e}drawkcab\u{202c}", false),
        ("שלום 👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301}\u{301}\u{301} 你好，世界", false),
        ("{{ messages }} {% for %} <|im_end|> <|im_start|>system [INST] </s>", false),
        ("'; DROP TABLE messages; -- <script>alert(1)</script>", false),
        ("((((((((((\"\"\"\"\"''''''........????", false),
        ("/bye /start", false),
        (" \t\r\n ", false),
        ("", false),
        (&long, true),
        (&unbroken, true),
    ];
    let mut model = factory();
    let mut turn = 0;
    for (message, may_be_refused) in messages {
        turn += 1;
        let mut setting = Setting::new();
        setting.context.said = vec![said(1, Some(OTHER), message)];
        match setting.ask(model.as_mut(), turn, None).await.0 {
            Ok(reply) => trimmed(check, &reply)?,
            Err(ChatError::TooLong { .. } | ChatError::Refused { .. }) if may_be_refused => {}
            Err(error) => return Err(failed(check, turn, &error)),
        }
    }
    let (reply, streamed) = Setting::new().ask(model.as_mut(), turn + 1, None).await;
    let reply = reply.map_err(|error| failed(check, turn + 1, &error))?;
    well_formed(check, &reply, &streamed, expected)
}

const OWN: &str = "Ada";
const OTHER: &str = "Bo";

/// A small conversation between Ada, who is the chat model under test, and Bo.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Ada's window.
    pub context: Context,
    sampling: Sampling,
    heard: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self::new()
    }
}

impl Setting {
    /// Bo has said one thing.
    #[must_use]
    pub fn new() -> Self {
        let context = Context {
            agent: OWN.to_owned(),
            table: vec![OWN.to_owned(), OTHER.to_owned()],
            instructions: "You are Ada. Answer in one sentence.".to_owned(),
            seed_prompt: Some(said(0, None, "Talk about the sea.")),
            said: Vec::new(),
        };
        let sampling = Sampling { max_tokens: Some(24), ..Sampling::default() };
        let mut setting = Self { context, sampling, heard: 0 };
        setting.hear_next();
        setting
    }

    /// What Ada is asked in `turn`.
    #[must_use]
    pub fn request(&self, turn: Turn, control: Option<ControlWord>) -> ReplyRequest<'_> {
        let draw = Draw { seed: 7, seat: 0, turn };
        ReplyRequest { context: &self.context, control, sampling: &self.sampling, draw, listeners: &[] }
    }

    /// Asks for Ada's reply; returns it with the text that was streamed.
    pub async fn ask(
        &self,
        model: &mut dyn ChatModel,
        turn: Turn,
        control: Option<ControlWord>,
    ) -> (Result<Reply, ChatError>, String) {
        let mut streamed = String::new();
        let mut on_event = |event| match event {
            ReplyEvent::Text(text) => streamed.push_str(&text),
            ReplyEvent::Retry { .. } => streamed.clear(),
            ReplyEvent::Reasoning(_) | ReplyEvent::Notice { .. } => {}
        };
        let reply = model.reply(self.request(turn, control), &mut on_event).await;
        (reply, streamed)
    }

    /// Ada said `text`, and Bo says the next thing.
    pub fn continue_with(&mut self, text: &str) {
        let own = said(self.next_id(), Some(OWN), text);
        self.context.said.push(own);
        self.hear_next();
    }

    fn hear_next(&mut self) {
        const HEARD: [&str; 4] = [
            "Good morning. Do you like the sea?",
            "I remember my mother's house by the harbour.",
            "Why are you asking me that?",
            "They never tell me the truth.",
        ];
        let heard = said(self.next_id(), Some(OTHER), HEARD[self.heard % HEARD.len()]);
        self.context.said.push(heard);
        self.heard += 1;
    }

    fn next_id(&self) -> u32 {
        self.context.said.last().map_or(1, |last| last.id.0 + 1)
    }
}

fn said(id: u32, agent: Option<&str>, text: &str) -> Arc<Said> {
    Arc::new(Said { id: MessageId(id), agent: agent.map(str::to_owned), text: text.to_owned(), ids: None })
}

fn is_repeatable(model: &dyn ChatModel) -> bool {
    matches!(model.source(), Source::Local | Source::Scripted)
}

fn require(check: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { check, what: what() }) }
}

fn failed(check: &'static str, turn: Turn, error: &ChatError) -> Violation {
    Violation { check, what: format!("turn {turn}: failed to {error}") }
}

fn same(check: &'static str, turn: Turn, expected: &Reply, reply: &Reply) -> Result<(), Violation> {
    let key = |reply: &Reply| (reply.text.clone(), reply.control, reply.ids.clone(), reply.finish);
    require(check, key(expected) == key(reply), || format!("turn {turn}: expected {expected:?}, got {reply:?}"))
}

/// The text is what [`Reply::text`] promises.
fn trimmed(check: &'static str, reply: &Reply) -> Result<(), Violation> {
    let text = &reply.text;
    require(check, text.trim() == text, || format!("white space surrounds {text:?}"))?;
    require(check, ControlWord::split(text).1.is_none(), || format!("a control word is left in {text:?}"))
}

fn well_formed(check: &'static str, reply: &Reply, streamed: &str, expected: Expectations) -> Result<(), Violation> {
    trimmed(check, reply)?;
    if expected.streams || !streamed.is_empty() {
        // Reasoning may have been streamed as text before the model found out that it was.
        let said = ControlWord::split(streamed).0.trim();
        let agrees = if reply.reasoning.is_some() { said.ends_with(&reply.text) } else { said == reply.text };
        require(check, agrees, || format!("it streamed {streamed:?} and returned {:?}", reply.text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    /// Breaks one rule at a time.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        StreamsOtherText,
        KeepsControlWord,
        SilentOnControl,
        CountsDifferently,
        DependsOnCalls,
        ForgetsAdopted,
        MovesBeforeItSpeaks,
        FailsOnEscapes,
    }

    struct Faulty {
        fault: Fault,
        spoken: u32,
        counted: usize,
        born: u32,
    }

    impl ChatModel for Faulty {
        fn name(&self) -> String {
            "faulty".to_owned()
        }
        fn source(&self) -> Source {
            Source::Scripted
        }
        fn window(&self) -> Option<usize> {
            None
        }
        fn count(&mut self, _: &ReplyRequest<'_>) -> Result<Option<usize>, ChatError> {
            self.counted += usize::from(self.fault == Fault::CountsDifferently);
            Ok(Some(self.counted))
        }
        fn reply<'a>(
            &'a mut self,
            request: ReplyRequest<'a>,
            on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
        ) -> BoxFuture<'a, Result<Reply, ChatError>> {
            async move {
                let heard = request.context.said.last().map_or("", |said| said.text.as_str());
                if self.fault == Fault::FailsOnEscapes && heard.contains('\u{1b}') {
                    return Err(ChatError::InputEnded);
                }
                if self.fault == Fault::MovesBeforeItSpeaks {
                    self.spoken += 1;
                }
                let mut text = format!("Sentence {}.", self.spoken);
                if self.fault == Fault::DependsOnCalls {
                    text = format!("Sentence {} of value {}.", self.spoken, self.born);
                }
                if self.fault == Fault::SilentOnControl && request.control.is_some() {
                    text.clear();
                }
                on_event(ReplyEvent::Text(text.clone()));
                if self.fault == Fault::StreamsOtherText {
                    on_event(ReplyEvent::Text(" And more.".to_owned()));
                }
                tokio::task::yield_now().await;
                if self.fault != Fault::MovesBeforeItSpeaks {
                    self.spoken += 1;
                }
                if self.fault == Fault::KeepsControlWord {
                    text.push_str("\n/bye");
                    return Ok(Reply { text, control: None, ..Reply::from_text("") });
                }
                Ok(Reply::from_text(&text))
            }
            .boxed()
        }
        fn adopt(&mut self, _: &ReplyRequest<'_>, _: &Reply) {
            self.spoken += u32::from(self.fault != Fault::ForgetsAdopted);
        }
    }

    #[tokio::test]
    async fn each_fault_is_found_by_its_check() {
        let cases = [
            (Fault::None, None),
            (Fault::StreamsOtherText, Some("streamed text is the reply")),
            (Fault::KeepsControlWord, Some("streamed text is the reply")),
            (Fault::SilentOnControl, Some("control words are answered")),
            (Fault::CountsDifferently, Some("counting changes nothing")),
            (Fault::DependsOnCalls, Some("counting changes nothing")),
            (Fault::ForgetsAdopted, Some("adopting is as good as saying")),
            (Fault::MovesBeforeItSpeaks, Some("a dropped reply leaves nothing behind")),
            (Fault::FailsOnEscapes, Some("hostile messages do no harm")),
        ];
        for (fault, check_name) in cases {
            let born = std::sync::atomic::AtomicU32::new(0);
            let factory = || -> Box<dyn ChatModel> {
                let born = born.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Box::new(Faulty { fault, spoken: 0, counted: 3, born })
            };
            let expected = Expectations { streams: true, heeds_control_words: true };
            let found = check(&factory, expected).await.err().map(|violation| violation.check);
            assert_eq!(found, check_name, "{fault:?}");
        }
    }
}
