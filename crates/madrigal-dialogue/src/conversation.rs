//! The conversation loop.
//!
//! Owns the order of a turn: who speaks, what control word they receive, making room, speaking, recording, hearing,
//! and what a control word does. It is the only writer of the journal.

use std::sync::Arc;
use std::time::Duration;

use madrigal_agents::chat_model::{ChatError, Draw, Ear, Expected, Reply, ReplyEvent, ReplyRequest};
use madrigal_agents::context::{Said, SpokenIds};
use madrigal_agents::control::ControlWord;
use madrigal_journal::event::{Event, Finish, Message, MessageId, RunEnded, Source, Stopped, Turn};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::policy::{TurnOrder, TurnPolicy, UnknownSpeaker};
use crate::record::{Record, RecordError};
use crate::seat::Seat;
use crate::stop::{Spent, StopRules};

/// A conversation that is ready to be held.
pub struct Conversation {
    seats: Vec<Seat>,
    order: TurnOrder,
    rules: StopRules,
    seed_prompt: Option<String>,
    seed: u64,
    notices: Vec<Event>,
    listening: Listening,
    state: State,
}

/// Whether agents hear what others say while they say it. What is said does not depend on it, only how long it takes until
/// the next one answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listening {
    /// They read it afterwards.
    Off,
    /// Those do whose model is the speaker's.
    #[default]
    InStep,
    /// As `InStep`, and it is recorded how surprising it was to them.
    Measured,
}

/// Those who hear a message while it is said.
#[derive(Default)]
struct Audience {
    names: Vec<String>,
    ears: Vec<Ear>,
}

impl Audience {
    /// What is recorded of how they heard `reply`.
    fn surprise(&self, turn: Turn, reply: &Reply) -> Vec<Event> {
        let measured = self.names.iter().zip(&reply.surprise);
        let event = |(agent, surprise): (&String, &Option<_>)| {
            let madrigal_agents::chat_model::Surprise { nats, tokens } = (*surprise)?;
            Some(Event::Surprise { turn, agent: agent.clone(), nats, tokens })
        };
        measured.filter_map(event).collect()
    }
}

/// What the loop carries from turn to turn.
#[derive(Default)]
struct State {
    spent: Spent,
    /// The control word that the next speaker receives.
    pending: Option<ControlWord>,
    /// The agent that said `/bye` and waits for its farewell.
    leaving: Option<String>,
}

/// What happens while a conversation is held, for those who watch.
#[derive(Debug)]
pub enum Happening<'a> {
    /// An agent begins to speak.
    Speaking {
        /// The turn.
        turn: Turn,
        /// The agent.
        agent: &'a str,
        /// Where its message will come from.
        source: Source,
    },
    /// Something reached us while it speaks.
    Reply(ReplyEvent),
    /// An event was put on record.
    Recorded(&'a Event),
    /// An agent's inner state after its turn.
    State {
        /// The agent.
        agent: &'a str,
        /// Its state in a line.
        state: String,
    },
}

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The rule that stopped it.
    pub stopped: Stopped,
    /// What went wrong, for [`Stopped::Error`].
    pub error: Option<String>,
    /// What it took.
    pub spent: Spent,
    /// Tokens that a verification compared.
    pub tokens_compared: u64,
    /// Messages that a verification took from the record.
    pub messages_from_tape: u64,
}

/// A conversation could not be held or recorded. (What an agent's failure does is in [`Outcome::error`].)
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The order of turns is wrong.
    #[error(transparent)]
    Order(#[from] UnknownSpeaker),
    /// The record could not be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// How a person stops a conversation: first after this message, then at once.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<u8>);

impl Interrupt {
    /// A pair of the button and what listens to it.
    #[must_use]
    pub fn new() -> (watch::Sender<u8>, Self) {
        let (sender, receiver) = watch::channel(0);
        (sender, Self(receiver))
    }

    fn pressed(&self) -> u8 {
        *self.0.borrow()
    }

    /// Returns once the button was pressed `times` times; never, if it never is.
    async fn wait_for(&mut self, times: u8) {
        if self.0.wait_for(|pressed| *pressed >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a turn came to.
enum Spoken {
    Said(Reply, Source),
    Interrupted,
    Failed(ChatError),
}

impl Conversation {
    /// Prepares a conversation between `seats`.
    ///
    /// # Errors
    /// When the turn policy names an agent that has no seat.
    pub fn new(
        seats: Vec<Seat>,
        policy: &TurnPolicy,
        rules: StopRules,
        seed_prompt: Option<String>,
        seed: u64,
    ) -> Result<Self, ConversationError> {
        let names: Vec<String> = seats.iter().map(|seat| seat.name.clone()).collect();
        let order = TurnOrder::new(policy, &names)?;
        Ok(Self {
            seats,
            order,
            rules,
            seed_prompt,
            seed,
            notices: Vec::new(),
            listening: Listening::default(),
            state: State::default(),
        })
    }

    /// Says whether agents listen while others speak.
    #[must_use]
    pub fn with_listening(mut self, listening: Listening) -> Self {
        self.listening = listening;
        self
    }

    /// Adds what a reader of the run should know from the beginning on.
    #[must_use]
    pub fn with_notices(mut self, notices: Vec<Event>) -> Self {
        self.notices = notices;
        self
    }

    /// Who sits at the table.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Holds the conversation over `record` until a rule, a control word, a person or a failure stops it.
    ///
    /// # Errors
    /// When the record cannot be kept. An agent's failure is an outcome, not an error: everything said before it
    /// is on record.
    pub async fn hold(
        &mut self,
        record: &mut Record<'_>,
        mut interrupt: Interrupt,
        on: &mut (dyn FnMut(Happening<'_>) + Send),
    ) -> Result<Outcome, ConversationError> {
        let started = Instant::now();
        let elapsed = |record: &Record<'_>| Duration::from_millis(record.base_ms()) + started.elapsed();
        let mut compared = 0;
        let mut from_tape = 0;
        self.open(record, on)?;
        let mut turn = 0;
        let (stopped, error) = loop {
            if record.compares() && !record.holds_messages() {
                break (Stopped::Turns, None);
            }
            if !record.holds_messages() {
                record.pass_end();
                if interrupt.pressed() > 0 {
                    break (Stopped::Interrupt, None);
                }
                if let Some(stopped) = self.rules.reached(&self.state.spent, elapsed(record)) {
                    break (stopped, None);
                }
            }
            turn += 1;
            let recorded = record.message(turn);
            let seat = self.seat_of(turn, recorded.as_ref().map(|(message, _)| message));
            let draw = Draw { seed: self.seed, seat: seat as u32, turn };
            let control = self.state.pending.take();
            let repeats = recorded.as_ref().map(|(message, _)| record.repeats(message));
            let room = match record.compaction(turn, &self.seats[seat].name) {
                Some(compaction) if repeats != Some(true) => {
                    self.seats[seat].forget(&compaction);
                    Ok(Some(compaction))
                }
                // Whoever does not speak now needs no room.
                None if repeats == Some(false) => Ok(None),
                _ => self.seats[seat].make_room(turn, control, draw),
            };
            match room {
                Ok(Some(compaction)) => put(record, turn, &compaction, on)?,
                Ok(None) => {}
                Err(error) => break (Stopped::Error, Some(format!("failed to {error}"))),
            }
            let spoken = match recorded {
                Some((message, word)) => {
                    let taken = self.take_recorded(seat, control, draw, message, word, record).await?;
                    match &taken {
                        (Spoken::Said(..), true) => from_tape += 1,
                        (Spoken::Said(reply, _), false) => {
                            compared += reply.ids.as_ref().map_or(0, |spoken| spoken.ids.len() as u64);
                        }
                        _ => {}
                    }
                    taken.0
                }
                None => self.speak(seat, control, draw, record, &mut interrupt, on).await?,
            };
            let (reply, source) = match spoken {
                Spoken::Said(reply, source) => (reply, source),
                Spoken::Interrupted => break (Stopped::Interrupt, None),
                Spoken::Failed(ChatError::InputEnded) => break (Stopped::Interrupt, None),
                Spoken::Failed(error) => break (Stopped::Error, Some(format!("failed to {error}"))),
            };
            let at_ms = elapsed(record).as_millis() as u64;
            let closed = self.commit(seat, turn, &reply, source, at_ms, record, on)?;
            record.sync()?;
            if closed && !record.holds_messages() && !record.pass_end() {
                break (Stopped::Control, None);
            }
        };
        let spent = self.state.spent;
        if !record.compares() {
            let ended = Event::RunEnded(RunEnded {
                stopped,
                error: error.clone(),
                turns: spent.turns,
                prompt_tokens: spent.prompt_tokens,
                completion_tokens: spent.completion_tokens,
                cost_usd: spent.cost_usd,
                at_ms: elapsed(record).as_millis() as u64,
            });
            put(record, turn, &ended, on)?;
            record.sync()?;
        }
        Ok(Outcome { stopped, error, spent, tokens_compared: compared, messages_from_tape: from_tape })
    }

    /// Who speaks in `turn`: as the policy says, unless a message of someone else was put in there.
    fn seat_of(&self, turn: Turn, recorded: Option<&Message>) -> usize {
        recorded
            .and_then(|message| self.seats.iter().position(|seat| Some(&seat.name) == message.agent.as_ref()))
            .unwrap_or_else(|| self.order.speaker(turn))
    }

    /// Sets the conversation in motion: the seed prompt is heard by all, or the first speaker gets `/start`.
    fn open(&mut self, record: &mut Record<'_>, on: &mut (dyn FnMut(Happening<'_>) + Send)) -> Result<(), RecordError> {
        for notice in &self.notices {
            put(record, 0, notice, on)?;
        }
        let Some(text) = self.seed_prompt.clone() else {
            self.state.pending = Some(ControlWord::Start);
            let to = Some(self.seats[self.order.speaker(1)].name.clone());
            let start = Event::Control { turn: 1, from: None, to, word: ControlWord::Start.to_string() };
            return put(record, 1, &start, on);
        };
        let message = Message {
            id: MessageId(0),
            turn: 0,
            agent: None,
            text: text.clone(),
            ids: None,
            reasoning: None,
            source: Source::Given,
            finish: Finish::Stop,
            prompt_tokens: None,
            completion_tokens: None,
            cost_usd: None,
            at_ms: 0,
        };
        put(record, 0, &Event::Message(message), on)?;
        let said = Arc::new(Said { id: MessageId(0), agent: None, text, ids: None });
        for seat in &mut self.seats {
            seat.hear(Arc::clone(&said));
        }
        Ok(())
    }

    /// Who hears the message that the agent at `speaker` is about to say while it says it.
    fn audience(&mut self, speaker: usize) -> Audience {
        let mut audience = Audience::default();
        let name = self.seats[speaker].name.clone();
        if self.listening == Listening::Off || self.seats[speaker].model.source() != Source::Local {
            return audience;
        }
        let surprise = self.listening == Listening::Measured;
        let others = self.seats.iter_mut().enumerate().filter(|(index, _)| *index != speaker);
        for (_, Seat { name: listener, model, context, sampling }) in others {
            if let Some(ear) = model.ear(&Expected { context, speaker: &name, sampling, surprise }) {
                audience.names.push(listener.clone());
                audience.ears.push(ear);
            }
        }
        audience
    }

    /// Takes the message that the record holds for this turn. A verification makes the agent say it again and
    /// compares. Returns what was said and whether the record was taken at its word.
    async fn take_recorded(
        &mut self,
        seat: usize,
        control: Option<ControlWord>,
        draw: Draw,
        message: Message,
        word: Option<ControlWord>,
        record: &mut Record<'_>,
    ) -> Result<(Spoken, bool), RecordError> {
        let repeats = record.repeats(&message);
        let audience = if repeats { self.audience(seat) } else { Audience::default() };
        let Seat { model, context, sampling, .. } = &mut self.seats[seat];
        let ids = message.ids.and_then(|ids| Some(SpokenIds { tokenizer: model.tokenizer()?, ids }));
        let recorded = Reply {
            text: message.text,
            control: word,
            ids,
            reasoning: message.reasoning,
            finish: message.finish,
            usage: madrigal_agents::chat_model::Usage {
                prompt_tokens: message.prompt_tokens,
                completion_tokens: message.completion_tokens,
                cost_usd: message.cost_usd,
            },
            surprise: Vec::new(),
        };
        let request = ReplyRequest { context, control, sampling, draw, listeners: &audience.ears };
        if !repeats {
            model.adopt(&request, &recorded);
            return Ok((Spoken::Said(recorded, message.source), true));
        }
        match model.reply(request, &mut |_| {}).await {
            Ok(reply) => {
                let ids = |reply: &Reply| reply.ids.as_ref().map(|spoken| spoken.ids.clone());
                let (now, then) = (ids(&reply), ids(&recorded));
                if now != then {
                    let at = now.iter().flatten().zip(then.iter().flatten()).take_while(|(a, b)| a == b).count();
                    record.differs(draw.turn, format!("other token ids, from token {at} of the message"));
                } else if reply.text != recorded.text {
                    record.differs(draw.turn, "another text".to_owned());
                } else if reply.control != recorded.control && self.state.leaving.is_none() {
                    record.differs(draw.turn, "another control word".to_owned());
                }
                for surprise in audience.surprise(draw.turn, &reply) {
                    record.put(draw.turn, &surprise)?;
                }
            }
            Err(error) => record.differs(draw.turn, format!("failed to {error}")),
        }
        Ok((Spoken::Said(recorded, message.source), false))
    }

    /// Makes an agent speak.
    async fn speak(
        &mut self,
        seat: usize,
        control: Option<ControlWord>,
        draw: Draw,
        record: &mut Record<'_>,
        interrupt: &mut Interrupt,
        on: &mut (dyn FnMut(Happening<'_>) + Send),
    ) -> Result<Spoken, RecordError> {
        let audience = self.audience(seat);
        let Seat { name, model, context, sampling } = &mut self.seats[seat];
        let source = model.source();
        on(Happening::Speaking { turn: draw.turn, agent: name, source });
        // A person who is asked for words is not waited for once they asked to stop.
        let patience = if source == Source::Human { 1 } else { 2 };
        let mut noted = Vec::new();
        let request = ReplyRequest { context, control, sampling, draw, listeners: &audience.ears };
        let mut on_event = |event: ReplyEvent| {
            match &event {
                ReplyEvent::Retry { attempt, reason, wait } => noted.push(Event::Retry {
                    turn: draw.turn,
                    agent: name.clone(),
                    attempt: *attempt,
                    reason: reason.clone(),
                    wait_ms: wait.as_millis() as u64,
                }),
                ReplyEvent::Notice { code, text } => noted.push(Event::Notice {
                    turn: draw.turn,
                    agent: Some(name.clone()),
                    code: (*code).to_owned(),
                    text: text.clone(),
                }),
                ReplyEvent::Text(_) | ReplyEvent::Reasoning(_) => {}
            }
            on(Happening::Reply(event));
        };
        let spoken = tokio::select! {
            biased;
            () = interrupt.wait_for(patience) => Spoken::Interrupted,
            reply = model.reply(request, &mut on_event) => match reply {
                Ok(reply) => Spoken::Said(reply, source),
                Err(error) => Spoken::Failed(error),
            },
        };
        if matches!(spoken, Spoken::Interrupted) && source != Source::Human {
            let reason = "interrupted twice".to_owned();
            noted.push(Event::Discarded { turn: draw.turn, agent: name.clone(), reason });
        }
        if let Spoken::Said(reply, _) = &spoken {
            noted.extend(audience.surprise(draw.turn, reply));
        }
        for event in noted {
            put(record, draw.turn, &event, on)?;
        }
        Ok(spoken)
    }

    /// Puts a message on record, lets everyone hear it and acts on its control word.
    /// Returns whether the conversation is closed.
    #[expect(clippy::too_many_arguments, reason = "the parts of one commit; a struct of them would only rename them")]
    fn commit(
        &mut self,
        seat: usize,
        turn: Turn,
        reply: &Reply,
        source: Source,
        at_ms: u64,
        record: &mut Record<'_>,
        on: &mut (dyn FnMut(Happening<'_>) + Send),
    ) -> Result<bool, RecordError> {
        let speaker = self.seats[seat].name.clone();
        let id = MessageId(turn);
        let message = Message {
            id,
            turn,
            agent: Some(speaker.clone()),
            text: reply.text.clone(),
            ids: reply.ids.as_ref().map(|spoken| spoken.ids.clone()),
            reasoning: reply.reasoning.clone(),
            source,
            finish: reply.finish,
            prompt_tokens: reply.usage.prompt_tokens,
            completion_tokens: reply.usage.completion_tokens,
            cost_usd: reply.usage.cost_usd,
            at_ms,
        };
        put(record, turn, &Event::Message(message), on)?;
        let said =
            Arc::new(Said { id, agent: Some(speaker.clone()), text: reply.text.clone(), ids: reply.ids.clone() });
        for listener in &mut self.seats {
            listener.hear(Arc::clone(&said));
        }
        if let Some(state) = self.seats[seat].model.state() {
            on(Happening::State { agent: &speaker, state });
        }
        let spent = &mut self.state.spent;
        spent.turns = turn;
        spent.prompt_tokens += u64::from(reply.usage.prompt_tokens.unwrap_or(0));
        spent.completion_tokens += u64::from(reply.usage.completion_tokens.unwrap_or(0));
        if let Some(cost) = reply.usage.cost_usd {
            spent.cost_usd = Some(spent.cost_usd.unwrap_or(0.0) + cost);
        }
        self.obey(turn, &speaker, reply.control, record, on)
    }

    /// Does what a control word asks for. Returns whether the conversation is closed.
    fn obey(
        &mut self,
        turn: Turn,
        speaker: &str,
        word: Option<ControlWord>,
        record: &mut Record<'_>,
        on: &mut (dyn FnMut(Happening<'_>) + Send),
    ) -> Result<bool, RecordError> {
        let next = self.seats[self.order.speaker(turn + 1)].name.clone();
        let mut control = |from: Option<&str>, to: Option<&str>, word: ControlWord| {
            let event = Event::Control {
                turn,
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
                word: word.to_string(),
            };
            put(record, turn, &event, on)
        };
        if let Some(word) = word {
            let to = self.state.leaving.as_deref().unwrap_or(&next);
            control(Some(speaker), (word != ControlWord::Stop).then_some(to), word)?;
        }
        if let Some(leaver) = self.state.leaving.take() {
            // This message was the farewell: whoever said `/bye` now ends the talk, which is answered in kind.
            control(None, Some(speaker), ControlWord::End)?;
            control(None, Some(&leaver), ControlWord::End)?;
            return Ok(true);
        }
        match word {
            Some(ControlWord::Stop) => Ok(true),
            Some(ControlWord::End) => {
                control(None, Some(speaker), ControlWord::End)?;
                Ok(true)
            }
            Some(ControlWord::Bye) => {
                self.state.leaving = Some(speaker.to_owned());
                self.state.pending = word;
                Ok(false)
            }
            Some(ControlWord::Start | ControlWord::Help) => {
                self.state.pending = word;
                Ok(false)
            }
            None => Ok(false),
        }
    }
}

/// Puts an event on record and shows it, if it is new.
fn put(
    record: &mut Record<'_>,
    turn: Turn,
    event: &Event,
    on: &mut (dyn FnMut(Happening<'_>) + Send),
) -> Result<(), RecordError> {
    if record.put(turn, event)? {
        on(Happening::Recorded(event));
    }
    Ok(())
}
