//! What a conversation is written to, and what it already holds.
//!
//! A loop that runs over a record takes from it what was recorded before and writes what was not. A new run starts
//! from an empty record, a resumed or forked one from its past, and a verification writes nothing at all: it notes
//! where the past and what is computed now differ.

use std::collections::VecDeque;

use madrigal_agents::control::ControlWord;
use madrigal_journal::JournalWriter;
use madrigal_journal::event::{Event, Message, Source, Turn};

/// A record could not be kept or continued.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal could not be written.
    #[error("write the journal: {0}")]
    Write(#[from] madrigal_journal::WriteError),
    /// What is computed now is not what was recorded, so that going on would join two different runs.
    #[error(
        "continue the run: the journal holds {recorded}, but now there would be {computed}; \
         the program, the model or the machine differs from the one that recorded it"
    )]
    Diverged {
        /// The recorded event, for people.
        recorded: String,
        /// The computed one.
        computed: String,
    },
}

/// A place where a re-executed run is not what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The turn.
    pub turn: Turn,
    /// What differs.
    pub what: String,
}

/// The past of a run and the place where its future goes.
pub struct Record<'j> {
    /// Recorded events that the loop makes again in the same order: messages, control words, compactions, ends.
    past: VecDeque<Event>,
    /// Recorded notices and measurements, whose order does not matter; they are not written twice.
    asides: Vec<Event>,
    writer: Option<&'j mut JournalWriter>,
    /// In a verification, the last turn that is taken at its word.
    taken_until: Turn,
    differences: Vec<Difference>,
    base_ms: u64,
}

impl<'j> Record<'j> {
    /// A record that continues `past` and writes to `writer`.
    pub fn continuing(past: Vec<Event>, writer: &'j mut JournalWriter) -> Self {
        Self::over(past, Some(writer))
    }

    /// A record that compares what is computed with `past` and writes nothing. Turns up to `taken_until` are taken at
    /// their word.
    #[must_use]
    pub fn comparing(past: Vec<Event>, taken_until: Turn) -> Self {
        Self { taken_until, ..Self::over(past, None) }
    }

    /// Whether a recorded message is said again and compared, rather than taken at its word.
    #[must_use]
    pub fn repeats(&self, message: &Message) -> bool {
        let repeatable = matches!(message.source, Source::Local | Source::Scripted);
        self.compares() && repeatable && message.turn > self.taken_until
    }

    fn over(past: Vec<Event>, writer: Option<&'j mut JournalWriter>) -> Self {
        let base_ms = past.iter().map(at_ms).max().unwrap_or(0);
        let aside = |event: &Event| matches!(event, Event::Notice { .. } | Event::Surprise { .. });
        let (asides, past) = past.into_iter().partition(aside);
        let past: Vec<Event> = past;
        let past = past
            .into_iter()
            .filter(|event| !matches!(event, Event::Retry { .. } | Event::Discarded { .. } | Event::Resumed { .. }))
            .collect();
        Self { past, asides, writer, taken_until: 0, differences: Vec::new(), base_ms }
    }

    /// Whether this is a verification.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.writer.is_none()
    }

    /// Milliseconds that the run had lasted when its past ended.
    #[must_use]
    pub fn base_ms(&self) -> u64 {
        self.base_ms
    }

    /// Where a verification found differences.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// Notes a difference.
    pub(crate) fn differs(&mut self, turn: Turn, what: String) {
        self.differences.push(Difference { turn, what });
    }

    /// Whether the past holds another message.
    #[must_use]
    pub fn holds_messages(&self) -> bool {
        self.past.iter().any(|event| matches!(event, Event::Message(_)))
    }

    /// The message recorded for `turn`, with the control word its speaker ended it with.
    #[must_use]
    pub fn message(&self, turn: Turn) -> Option<(Message, Option<ControlWord>)> {
        let at = self.past.iter().position(|event| matches!(event, Event::Message(m) if m.turn == turn))?;
        let Event::Message(message) = self.past[at].clone() else { return None };
        let word = match self.past.get(at + 1) {
            Some(Event::Control { from: Some(from), word, .. }) if Some(from) == message.agent.as_ref() => {
                ControlWord::parse(word)
            }
            _ => None,
        };
        Some((message, word))
    }

    /// The compaction recorded ahead of `turn` for `agent`, if that is what comes next.
    pub(crate) fn compaction(&self, turn: Turn, agent: &str) -> Option<Event> {
        let next = self.past.iter().find(|event| !matches!(event, Event::RunEnded(_)))?;
        match next {
            Event::Compaction { turn: at, agent: of, .. } if *at == turn && of == agent => Some(next.clone()),
            _ => None,
        }
    }

    /// Takes the recorded end of the run, if that is what comes next: the run was continued after it.
    pub(crate) fn pass_end(&mut self) -> bool {
        let ended = matches!(self.past.front(), Some(Event::RunEnded(_)));
        if ended {
            self.past.pop_front();
        }
        ended
    }

    /// Puts an event on record, unless it stands there already. Returns whether it is new.
    ///
    /// # Errors
    /// When the journal cannot be written, or holds something else at this place.
    pub(crate) fn put(&mut self, turn: Turn, event: &Event) -> Result<bool, RecordError> {
        if matches!(event, Event::Notice { .. }) {
            if self.asides.contains(event) {
                return Ok(false);
            }
        } else if let Event::Surprise { agent, .. } = event {
            let same = |aside: &&Event| matches!(aside, Event::Surprise { turn: at, agent: of, .. } if *at == turn && of == agent);
            if let Some(recorded) = self.asides.iter().find(same) {
                if self.compares() && recorded != event {
                    let (recorded, computed) = (describe(recorded), describe(event));
                    self.differs(turn, format!("recorded {recorded}, computed {computed}"));
                }
                return Ok(false);
            }
        } else if !matches!(event, Event::Retry { .. } | Event::Discarded { .. }) {
            while matches!(event, Event::Message(_) | Event::Control { .. } | Event::Compaction { .. })
                && self.pass_end()
            {}
            if let Some(recorded) = self.past.pop_front() {
                if !same(&recorded, event) {
                    let (recorded, computed) = (describe(&recorded), describe(event));
                    if !self.compares() {
                        return Err(RecordError::Diverged { recorded, computed });
                    }
                    self.differs(turn, format!("recorded {recorded}, computed {computed}"));
                }
                return Ok(false);
            }
        }
        if let Some(writer) = &mut self.writer {
            writer.append(event)?;
        }
        Ok(true)
    }

    /// Makes what was put durable.
    ///
    /// # Errors
    /// When the journal cannot be synced.
    pub(crate) fn sync(&mut self) -> Result<(), RecordError> {
        if let Some(writer) = &mut self.writer {
            writer.sync()?;
        }
        Ok(())
    }
}

/// Whether two events are the same, times, usage and prices aside.
fn same(recorded: &Event, computed: &Event) -> bool {
    match (recorded, computed) {
        (Event::Message(a), Event::Message(b)) => {
            (a.id, a.turn, &a.agent, &a.text, &a.ids) == (b.id, b.turn, &b.agent, &b.text, &b.ids)
        }
        (Event::RunEnded(a), Event::RunEnded(b)) => a.stopped == b.stopped,
        (a, b) => a == b,
    }
}

fn at_ms(event: &Event) -> u64 {
    match event {
        Event::Message(message) => message.at_ms,
        Event::RunEnded(ended) => ended.at_ms,
        _ => 0,
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Message(message) => {
            let text: String = message.text.chars().take(60).collect();
            format!("message {} ({text:?})", message.id.0)
        }
        Event::Control { word, turn, .. } => format!("the control word {word} in turn {turn}"),
        Event::Compaction { agent, turn, dropped, .. } => {
            format!("a compaction of {agent}'s window by {} messages in turn {turn}", dropped.len())
        }
        Event::Surprise { agent, turn, nats, tokens } => {
            format!("a surprise of {agent} in turn {turn} by {nats} nats over {tokens} tokens")
        }
        Event::RunEnded(ended) => format!("the end of the run ({:?})", ended.stopped),
        other => format!("{other:?}"),
    }
}
