//! The line to an agent at a seat: what it has heard, whether it is its turn, and the connection that it has now.
//!
//! Connections come and go; the line stays. Owns that nothing is lost and nothing is taken twice: what is said is kept until
//! the meeting is over, and an agent's messages are known by their numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use madrigal_agents::control::ControlWord;
use tokio::sync::mpsc;

/// What goes to an agent, in whatever way its connection puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Somebody said something.
    Heard(Heard),
    /// It is its turn.
    Turn(Turn),
    /// Its message is on record.
    Recorded {
        /// The message's number.
        id: u64,
    },
    /// People should know this.
    Notice(String),
    /// The meeting ends.
    End(ControlWord),
}

/// A message as an agent hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its number in the meeting.
    pub id: u64,
    /// Who said it; nobody where the meeting was opened with it.
    pub from: Option<Arc<str>>,
    /// What was said.
    pub text: Arc<str>,
}

/// A turn that waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The last message before it; 0 where there is none.
    pub after: u64,
    /// A control word that the agent receives for this turn only.
    pub word: Option<ControlWord>,
}

/// What a seat hears of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It has a connection.
    Joined,
    /// It has none any more.
    Left,
    /// More of its message.
    Piece(String),
    /// Its message.
    Said(Saying),
}

/// A message of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// What it says.
    pub text: String,
    /// The control word that ends it.
    pub word: Option<ControlWord>,
}

/// What became of a message that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is the agent's next message.
    Taken,
    /// It had come before.
    Again,
    /// Nobody waits for it.
    NotNow,
    /// It came over a connection that is no longer the agent's.
    Stale,
}

/// Which connection of an agent is meant: they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection(u64);

/// The line to an agent. Cloning gives another handle on the same one.
#[derive(Debug, Clone)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    log: Vec<Heard>,
    turn: Option<Turn>,
    /// The number of the agent's last message that was taken, and of the last that is on record.
    taken: u64,
    recorded: u64,
    ended: Option<ControlWord>,
    connections: u64,
    link: Option<mpsc::Sender<ToAgent>>,
    news: mpsc::UnboundedSender<News>,
}

impl Line {
    /// A line that nobody has taken yet, and what its seat hears.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, heard) = mpsc::unbounded_channel();
        let state =
            State { log: Vec::new(), turn: None, taken: 0, recorded: 0, ended: None, connections: 0, link: None, news };
        (Self(Arc::new(Mutex::new(state))), heard)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent takes the line, or takes it again after `last_seen`: it gets what it has missed. Another connection that had
    /// the line loses it.
    #[must_use]
    pub fn join(&self, link: mpsc::Sender<ToAgent>, last_seen: u64) -> Connection {
        let mut state = self.state();
        state.connections += 1;
        state.link = Some(link);
        state.tell(News::Joined);
        let missed: Vec<Heard> = state.log.iter().filter(|heard| heard.id > last_seen).cloned().collect();
        for heard in missed {
            state.send(ToAgent::Heard(heard));
        }
        if let Some(turn) = state.turn {
            state.send(ToAgent::Turn(turn));
        }
        if let Some(word) = state.ended {
            state.send(ToAgent::End(word));
        }
        Connection(state.connections)
    }

    /// A connection is gone.
    pub fn leave(&self, connection: Connection) {
        let mut state = self.state();
        if connection.0 == state.connections && state.link.take().is_some() {
            state.tell(News::Left);
        }
    }

    /// Whether an agent is there.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.state().link.is_some()
    }

    /// Whether an agent was there, and is not any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let state = self.state();
        state.link.is_none() && state.connections > 0
    }

    /// A message came in, which the agent numbers `id`; without a number it is new.
    pub fn say(&self, connection: Connection, id: Option<u64>, saying: Saying) -> Taken {
        let mut state = self.state();
        if connection.0 != state.connections {
            return Taken::Stale;
        }
        let id = id.unwrap_or(state.taken + 1);
        if id <= state.taken {
            if id <= state.recorded {
                state.send(ToAgent::Recorded { id });
            }
            return Taken::Again;
        }
        if state.turn.take().is_none() {
            return Taken::NotNow;
        }
        state.taken = id;
        state.tell(News::Said(saying));
        Taken::Taken
    }

    /// A piece of a message came in.
    pub fn piece(&self, connection: Connection, text: String) {
        let state = self.state();
        if connection.0 == state.connections && state.turn.is_some() {
            state.tell(News::Piece(text));
        }
    }

    /// The agent hears a message.
    pub fn hear(&self, heard: Heard) {
        let mut state = self.state();
        state.log.push(heard.clone());
        state.send(ToAgent::Heard(heard));
    }

    /// It is the agent's turn.
    pub fn ask(&self, turn: Turn) {
        let mut state = self.state();
        state.turn = Some(turn);
        state.send(ToAgent::Turn(turn));
    }

    /// Nobody waits for the agent's message any more.
    pub fn excuse(&self) {
        self.state().turn = None;
    }

    /// What the agent said last is on record.
    pub fn record(&self) {
        let mut state = self.state();
        state.recorded = state.taken;
        let id = state.recorded;
        state.send(ToAgent::Recorded { id });
    }

    /// Tells the people at the other end something.
    pub fn notice(&self, text: &str) {
        self.state().send(ToAgent::Notice(text.to_owned()));
    }

    /// The meeting is over, also for whoever comes back.
    pub fn end(&self, word: ControlWord) {
        let mut state = self.state();
        (state.turn, state.ended) = (None, Some(word));
        state.send(ToAgent::End(word));
    }
}

impl State {
    /// Sends to the connection. Who reads too slowly for its queue loses the connection, not the messages: it can come back.
    fn send(&mut self, what: ToAgent) {
        if self.link.as_ref().is_some_and(|link| link.try_send(what).is_err()) {
            self.link = None;
            self.tell(News::Left);
        }
    }

    fn tell(&self, news: News) {
        // A seat that is gone needs no news.
        let _ = self.news.send(news);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(id: u64) -> Heard {
        Heard { id, from: Some("Bob".into()), text: format!("message {id}").into() }
    }

    fn said(text: &str) -> Saying {
        Saying { text: text.to_owned(), word: None }
    }

    fn drain<T>(mut next: impl FnMut() -> Option<T>) -> Vec<T> {
        std::iter::from_fn(&mut next).collect()
    }

    #[test]
    fn whoever_comes_back_gets_what_it_missed_and_its_turn() {
        let (line, mut news) = Line::new();
        line.hear(heard(1));
        let (link, mut first) = mpsc::channel(8);
        let one = line.join(link, 0);
        line.hear(heard(2));
        assert_eq!(drain(|| first.try_recv().ok()), [ToAgent::Heard(heard(1)), ToAgent::Heard(heard(2))]);
        line.leave(one);
        let turn = Turn { after: 3, word: None };
        line.hear(heard(3));
        line.ask(turn);
        let (link, mut second) = mpsc::channel(8);
        let two = line.join(link, 2);
        assert_eq!(drain(|| second.try_recv().ok()), [ToAgent::Heard(heard(3)), ToAgent::Turn(turn)]);
        // What comes late over the old connection counts for nothing.
        assert_eq!(line.say(one, Some(1), said("old")), Taken::Stale);
        line.leave(one);
        assert!(line.is_joined());
        assert_eq!(line.say(two, Some(1), said("new")), Taken::Taken);
        let expected = [News::Joined, News::Left, News::Joined, News::Said(said("new"))];
        assert_eq!(drain(|| news.try_recv().ok()), expected);
    }

    #[test]
    fn a_message_is_taken_once_and_only_in_its_turn() {
        let (line, mut news) = Line::new();
        let (link, mut out) = mpsc::channel(8);
        let connection = line.join(link, 0);
        assert_eq!(line.say(connection, Some(1), said("early")), Taken::NotNow);
        line.ask(Turn { after: 0, word: Some(ControlWord::Start) });
        line.piece(connection, "I".to_owned());
        assert_eq!(line.say(connection, Some(1), said("I am here.")), Taken::Taken);
        assert_eq!(line.say(connection, Some(1), said("I am here.")), Taken::Again);
        line.record();
        assert_eq!(line.say(connection, Some(1), said("I am here.")), Taken::Again);
        line.ask(Turn { after: 2, word: None });
        assert_eq!(line.say(connection, Some(1), said("I am here.")), Taken::Again);
        line.excuse();
        assert_eq!(line.say(connection, Some(2), said("late")), Taken::NotNow);
        let recorded = drain(|| out.try_recv().ok()).into_iter().filter(|to| *to == ToAgent::Recorded { id: 1 });
        assert_eq!(recorded.count(), 3);
        let news = drain(|| news.try_recv().ok());
        assert_eq!(news, [News::Joined, News::Piece("I".to_owned()), News::Said(said("I am here."))]);
    }

    #[test]
    fn a_slow_reader_loses_its_connection_and_no_message() {
        let (line, mut news) = Line::new();
        let (link, slow) = mpsc::channel(2);
        let _connection = line.join(link, 0);
        for id in 1..=3 {
            line.hear(heard(id));
        }
        assert!(!line.is_joined());
        assert_eq!(drain(|| news.try_recv().ok()), [News::Joined, News::Left]);
        drop(slow);
        let (link, mut back) = mpsc::channel(8);
        let _connection = line.join(link, 1);
        assert_eq!(drain(|| back.try_recv().ok()), [ToAgent::Heard(heard(2)), ToAgent::Heard(heard(3))]);
        line.end(ControlWord::Stop);
        let (link, mut later) = mpsc::channel(8);
        let _connection = line.join(link, 3);
        assert_eq!(drain(|| later.try_recv().ok()), [ToAgent::End(ControlWord::Stop)]);
    }
}
