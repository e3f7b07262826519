//! A meeting: the conversation of those who sit in a room.
//!
//! It is a conversation like any other, whose seats answer over lines. Owns what goes over the lines at which event. The
//! loop, its stop rules and its control words are `madrigal-dialogue`'s.

use std::sync::Arc;
use std::time::Duration;

use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_dialogue::conversation::ConversationError;
use madrigal_dialogue::policy::TurnPolicy;
use madrigal_dialogue::stop::StopRules;
use madrigal_dialogue::{Conversation, Happening, Interrupt, Outcome, Record, Seat};
use madrigal_engine::DrawKey;
use madrigal_engine::sampling::uniform;
use madrigal_journal::event::{Event, Message, MessageId, Source, Stopped};

use crate::connection::Manner;
use crate::hall::{Member, Room};
use crate::line::{Heard, Line};
use crate::peer::Peer;

/// How meetings are held.
#[derive(Debug, Clone)]
pub struct Terms {
    /// When to stop.
    pub stop: StopRules,
    /// What everyone hears first; without it, whoever begins is told to start.
    pub opening: Option<String>,
    /// Decides who begins.
    pub seed: u64,
    /// How long an agent that dropped is waited for.
    pub grace: Duration,
}

/// A meeting that is ready to be held.
pub struct Meeting {
    conversation: Conversation,
    lines: Vec<(String, Line)>,
}

/// The order of turns: round, beginning with someone who is drawn by the seed and the room's number.
#[must_use]
pub fn order(room: &Room, seed: u64) -> Vec<String> {
    let key = DrawKey { seed, seat: 0, turn: 0 };
    let first = (uniform(key, room.number) * room.members.len() as f64) as usize;
    let mut names: Vec<String> = room.members.iter().map(|member| member.name.clone()).collect();
    let count = names.len().max(1);
    names.rotate_left(first % count);
    names
}

/// The number of a message on the wire: those of the journal begin with 0.
pub(crate) fn wire_id(id: MessageId) -> u64 {
    u64::from(id.0) + 1
}

fn heard(message: &Message) -> Heard {
    let from = message.agent.as_deref().map(Arc::from);
    Heard { id: wire_id(message.id), from, text: Arc::from(message.text.as_str()) }
}

impl Meeting {
    /// A meeting in a room, with the events that it has had already.
    ///
    /// # Errors
    /// Never for a room whose members have names.
    pub fn new(room: Room, terms: &Terms, past: &[Event]) -> Result<Self, ConversationError> {
        let order = TurnPolicy::Fixed(order(&room, terms.seed));
        let names: Vec<String> = room.members.iter().map(|member| member.name.clone()).collect();
        let mut lines = Vec::new();
        let seats = room.members.into_iter().map(|member| {
            let Member { name, guest, line, news, .. } = member;
            lines.push((name.clone(), line.clone()));
            let source = if guest.manner == Manner::Plain { Source::Human } else { Source::Remote };
            let model = guest.model.unwrap_or_else(|| name.clone());
            let peer = Peer::new(model, source, line, news, terms.grace);
            Seat::new(name, Box::new(peer), String::new(), Sampling::default(), names.clone())
        });
        let seats = seats.collect();
        let conversation = Conversation::new(seats, &order, terms.stop.clone(), terms.opening.clone(), terms.seed)?;
        let meeting = Self { conversation, lines };
        for event in past {
            if let Event::Message(message) = event {
                tell(&meeting.lines, message);
            }
        }
        Ok(meeting)
    }

    /// Holds the meeting until it stops, and tells everyone that it is over.
    ///
    /// # Errors
    /// When the record cannot be kept.
    pub async fn hold(
        mut self,
        record: &mut Record<'_>,
        interrupt: Interrupt,
        on: &mut (dyn FnMut(Happening<'_>) + Send),
    ) -> Result<Outcome, ConversationError> {
        let lines = &self.lines;
        let mut over_lines = |happening: Happening<'_>| {
            if let Happening::Recorded(Event::Message(message)) = happening {
                tell(lines, message);
            }
            on(happening);
        };
        let held = self.conversation.hold(record, interrupt, &mut over_lines).await;
        let word = match &held {
            Ok(Outcome { stopped: Stopped::Control, .. }) => ControlWord::End,
            _ => ControlWord::Stop,
        };
        for (_, line) in lines {
            line.end(word);
        }
        held
    }
}

/// Lets everyone hear a message that is on record; whoever said it learns that it is.
fn tell(lines: &[(String, Line)], message: &Message) {
    let heard = heard(message);
    for (name, line) in lines {
        if message.agent.as_ref() == Some(name) {
            line.record();
        } else {
            line.hear(heard.clone());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use madrigal_journal::event::{FormatVersion, Header};
    use madrigal_journal::{Journal, JournalWriter};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

    use super::*;
    use crate::connection::{self, serve};
    use crate::frame::{Frame, Hello};
    use crate::hall::{Hall, Rules};

    /// An agent that says what it is given, one message a turn, and remembers what it hears.
    async fn agent(stream: DuplexStream, name: &str, says: &[&str]) -> Vec<String> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut lines = BufReader::new(reader).lines();
        let hello = Frame::Hello(Hello { name: name.to_owned(), ..Hello::default() });
        writer.write_all(hello.line().as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let mut said = 0;
        while let Ok(Some(line)) = lines.next_line().await {
            match Frame::parse(line.as_bytes()).unwrap().unwrap() {
                Frame::Message { from, text, .. } => heard.push(format!("{}: {text}", from.unwrap_or_default())),
                Frame::Turn { word, .. } => {
                    heard.extend(word);
                    let frame =
                        Frame::Message { id: said + 1, from: None, text: says[said as usize].to_owned(), word: None };
                    said += 1;
                    writer.write_all(frame.line().as_bytes()).await.unwrap();
                }
                Frame::Ack { id } => assert!(id <= said),
                Frame::Control { word } => heard.push(word),
                _ => {}
            }
        }
        heard
    }

    /// Seeds by which one or the other begins in the first room.
    const ADA_BEGINS: u64 = 3;
    const BOB_BEGINS: u64 = 1;

    pub(crate) fn header() -> Header {
        Header {
            format: FormatVersion::CURRENT,
            run: "test".to_owned(),
            program: "test".to_owned(),
            started_ms: 0,
            isa: "portable".to_owned(),
            sandbox: "none".to_owned(),
            config: serde_json::Value::Null,
            files: Vec::new(),
            forked_from: None,
        }
    }

    /// Holds a meeting of two who say these things; what each heard, how it ended, and its journal.
    async fn held(seed: u64, ada: &[&str], bob: &[&str], turns: u32) -> (Vec<Vec<String>>, Outcome, Vec<Event>) {
        let rules = Rules { doors: 2, seats: 1, rooms: 1, secret: None };
        let count = Mutex::new(0);
        let (hall, mut rooms) = Hall::new(rules, move || {
            *count.lock().unwrap() += 1;
            format!("token {}", count.lock().unwrap())
        });
        let doors = hall.doors();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut writer = JournalWriter::create(&path, &header()).unwrap();
        let meeting = async {
            let room = rooms.recv().await.unwrap();
            let stop = StopRules { turns: Some(turns), ..StopRules::default() };
            let terms = Terms { stop, opening: None, seed, grace: Duration::from_secs(5) };
            let mut record = Record::continuing(Vec::new(), &mut writer);
            let (_button, interrupt) = Interrupt::new();
            Meeting::new(room, &terms, &[]).unwrap().hold(&mut record, interrupt, &mut |_| {}).await.unwrap()
        };
        let (ada_end, ada_served) = tokio::io::duplex(1 << 14);
        let (bob_end, bob_served) = tokio::io::duplex(1 << 14);
        let terms = connection::Terms::default();
        let (outcome, ada, bob, (), ()) = tokio::join!(
            meeting,
            agent(ada_end, "Ada", ada),
            agent(bob_end, "Bob", bob),
            serve(ada_served, &doors[0], &terms),
            serve(bob_served, &doors[1], &terms),
        );
        let journal = Journal::open(&path).unwrap();
        let events = journal.events;
        (vec![ada, bob], outcome, events)
    }

    #[tokio::test]
    async fn two_agents_meet_and_everything_is_on_record() {
        let (heard, outcome, events) = held(ADA_BEGINS, &["a1", "a2", "a3"], &["b1", "b2", "b3"], 4).await;
        assert_eq!((outcome.stopped, outcome.spent.turns), (Stopped::Turns, 4));
        assert_eq!(heard[0], ["/start", "Bob: b1", "Bob: b2", "/stop"]);
        assert_eq!(heard[1], ["Ada: a1", "Ada: a2", "/stop"]);
        let texts: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::Message(message) => Some(message.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts, ["a1", "b1", "a2", "b2"]);
    }

    #[tokio::test]
    async fn a_goodbye_is_answered_once_and_ends_the_meeting() {
        let says = ["It was nice.\n/bye", "Never said."];
        let farewell = ["Farewell.", "Never said."];
        let (heard, outcome, _) = held(ADA_BEGINS, &says, &farewell, 9).await;
        assert_eq!((outcome.stopped, outcome.spent.turns), (Stopped::Control, 2));
        assert_eq!(heard[0], ["/start", "Bob: Farewell.", "/end"]);
        assert_eq!(heard[1], ["Ada: It was nice.", "/bye", "/end"]);
        // The other way round, Bob speaks first and answers later.
        let (heard, outcome, _) = held(BOB_BEGINS, &says, &["Hello.", "Farewell."], 9).await;
        assert_eq!((outcome.stopped, outcome.spent.turns), (Stopped::Control, 3));
        assert_eq!(heard[0], ["Bob: Hello.", "Bob: Farewell.", "/end"]);
        assert_eq!(heard[1], ["/start", "Ada: It was nice.", "/bye", "/end"]);
    }

    #[test]
    fn who_begins_is_drawn() {
        let mut firsts = std::collections::BTreeSet::new();
        for number in 0..40 {
            let (hall, mut rooms) = Hall::new(Rules { doors: 1, seats: 3, rooms: 1, secret: None }, String::new);
            let door = &hall.doors()[0];
            for name in ["Ada", "Bob", "Cy"] {
                let guest = connection::Guest::new(Manner::Frames, Some(name.to_owned()));
                futures::FutureExt::now_or_never(connection::Host::seat(door, guest)).unwrap().unwrap();
            }
            let room = Room { number, ..rooms.try_recv().unwrap() };
            assert_eq!(order(&room, 1), order(&room, 1));
            firsts.insert(order(&room, 1)[0].clone());
        }
        assert_eq!(firsts.len(), 3);
    }
}
