//! The agent's end of a line: it takes a seat, hears, and answers when it is its turn, over as many connections as it takes.
//!
//! Owns the agent's side of `docs/protocol.md`. What answers is any chat model; where the proxy is, and how it is reached,
//! comes from outside.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use madrigal_agents::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest};
use madrigal_agents::context::{Context, Said};
use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_dialogue::Seat;
use madrigal_journal::event::MessageId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::frame::{ErrorCode, Frame, Hello, MAX_FRAME_BYTES, PROTOCOL};
use crate::lines::{Lines, Received};

/// How stubborn an agent is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The wait before the first attempt to connect again; it doubles up to `longest`.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Attempts in a row that fail before it gives up.
    pub attempts: u32,
    /// How long a connection may say nothing, pings included.
    pub silence: Duration,
}

impl Default for Patience {
    /// 250 ms, 10 s, 20 attempts, 90 s.
    fn default() -> Self {
        let (first, longest) = (Duration::from_millis(250), Duration::from_secs(10));
        Self { first, longest, attempts: 20, silence: Duration::from_secs(90) }
    }
}

/// What happens to an agent, for those who watch.
#[derive(Debug)]
pub enum AgentNews<'a> {
    /// It has a seat, under this name.
    Seated(&'a str),
    /// The connection broke; it is tried again after this wait.
    Broken(Duration),
    /// Somebody said something.
    Heard {
        /// Who; nobody where the meeting was opened with it.
        from: Option<&'a str>,
        /// What.
        text: &'a str,
    },
    /// It says something, piece by piece.
    Reply(&'a ReplyEvent),
    /// It has said something.
    Said(&'a Reply),
    /// The proxy lets people know something.
    Notice(&'a str),
}

/// Why an agent ends without the end of its meeting. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The proxy cannot be reached.
    #[error("reach the proxy in {attempts} attempts: {source}")]
    Unreachable {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        source: io::Error,
    },
    /// The proxy refuses.
    #[error("take a seat: {text}")]
    Refused {
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: String,
    },
    /// Its chat model fails.
    #[error(transparent)]
    Model(#[from] ChatError),
}

/// An agent with its chat model.
pub struct Agent {
    hello: Hello,
    /// What it knows of the meeting, and what answers for it.
    seat: Seat,
    seed: u64,
    token: Option<String>,
    last_seen: u64,
    said: u64,
    /// What it has said and nobody has acknowledged, with the turn that it belongs to.
    unacknowledged: Option<(u64, Frame)>,
}

/// Why a connection is over.
enum Over {
    /// The meeting is.
    Ended(ControlWord),
    /// The connection broke.
    Broken(io::Error),
    Failed(AgentError),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Agent {
    /// An agent that introduces itself with `hello`. `instructions` are what its model is told of itself.
    #[must_use]
    pub fn new(hello: Hello, model: Box<dyn ChatModel>, instructions: String, sampling: Sampling, seed: u64) -> Self {
        let hello = Hello { protocol: vec![PROTOCOL.to_owned()], resume: None, last_seen: None, ..hello };
        let name = hello.name.clone();
        let seat = Seat::new(name.clone(), model, instructions, sampling, vec![name]);
        Self { hello, seat, seed, token: None, last_seen: 0, said: 0, unacknowledged: None }
    }

    /// Attends a meeting to its end; returns the word that ended it. `connect` opens a connection to the proxy.
    ///
    /// # Errors
    /// When the proxy cannot be reached, or refuses, or the chat model fails.
    pub async fn attend<S, F>(
        &mut self,
        mut connect: impl FnMut() -> F,
        patience: &Patience,
        on: &mut (dyn FnMut(AgentNews<'_>) + Send),
    ) -> Result<ControlWord, AgentError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = io::Result<S>>,
    {
        let mut failed = 0;
        loop {
            let before = (self.last_seen, self.said, self.token.is_some());
            let over = match connect().await {
                Ok(stream) => self.attend_over(stream, patience, on).await,
                Err(error) => Over::Broken(error),
            };
            let source = match over {
                Over::Ended(word) => return Ok(word),
                Over::Failed(error) => return Err(error),
                Over::Broken(source) => source,
            };
            // Whatever came over the connection shows that it is worth another one.
            failed = if before == (self.last_seen, self.said, self.token.is_some()) { failed + 1 } else { 1 };
            if failed >= patience.attempts {
                return Err(AgentError::Unreachable { attempts: failed, source });
            }
            let wait = patience.longest.min(patience.first.saturating_mul(1 << (failed - 1).min(16)));
            on(AgentNews::Broken(wait));
            tokio::time::sleep(wait).await;
        }
    }

    /// Attends over one connection, until it or the meeting is over.
    async fn attend_over<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: S,
        patience: &Patience,
        on: &mut (dyn FnMut(AgentNews<'_>) + Send),
    ) -> Over {
        let mut wire = Wire { stream, lines: Lines::new(MAX_FRAME_BYTES), silence: patience.silence };
        match self.speak(&mut wire, on).await {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        on: &mut (dyn FnMut(AgentNews<'_>) + Send),
    ) -> Result<std::convert::Infallible, Over> {
        let last_seen = self.token.is_some().then_some(self.last_seen);
        let hello = Hello { resume: self.token.clone(), last_seen, ..self.hello.clone() };
        wire.send(&Frame::Hello(hello)).await?;
        loop {
            let frame = wire.next().await?;
            if let Some(turn) = self.take(frame, wire, on).await? {
                self.answer(turn, wire, on).await?;
            }
        }
    }

    /// Takes a frame. Returns the turn that it asks for.
    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        frame: Frame,
        wire: &mut Wire<S>,
        on: &mut (dyn FnMut(AgentNews<'_>) + Send),
    ) -> Result<Option<(u64, Option<ControlWord>)>, Over> {
        match frame {
            Frame::Welcome { seat, resume } => {
                on(AgentNews::Seated(&seat));
                self.token = Some(resume);
                self.sit(&seat);
            }
            Frame::Message { id, from, text, .. } if id > self.last_seen => {
                self.last_seen = id;
                on(AgentNews::Heard { from: from.as_deref(), text: &text });
                self.hear(id, from, text, None);
            }
            Frame::Turn { after, word } => {
                return Ok(Some((after, word.as_deref().and_then(ControlWord::parse))));
            }
            Frame::Ack { id } => {
                let is_meant =
                    |(_, frame): &mut (u64, Frame)| matches!(frame, Frame::Message { id: own, .. } if *own == id);
                self.unacknowledged.take_if(is_meant);
            }
            Frame::Control { word } => {
                return Err(Over::Ended(ControlWord::parse(&word).unwrap_or(ControlWord::Stop)));
            }
            Frame::Notice { text } => on(AgentNews::Notice(&text)),
            Frame::Error { code, text } => match code {
                ErrorCode::Malformed | ErrorCode::TooLong | ErrorCode::Unexpected | ErrorCode::Other => {
                    on(AgentNews::Notice(&text));
                }
                _ => return Err(Over::Failed(AgentError::Refused { code, text })),
            },
            Frame::Ping => wire.send(&Frame::Pong).await?,
            _ => {}
        }
        Ok(None)
    }

    /// Answers in a turn. What was said in it already is sent again.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        (after, control): (u64, Option<ControlWord>),
        wire: &mut Wire<S>,
        on: &mut (dyn FnMut(AgentNews<'_>) + Send),
    ) -> Result<(), Over> {
        if let Some((turn, frame)) = &self.unacknowledged
            && *turn == after
        {
            return Ok(wire.send(frame).await?);
        }
        let id = self.said + 1;
        // A turn is known by the message before it.
        let turn = u32::try_from(after).unwrap_or(u32::MAX).saturating_add(1);
        let draw = Draw { seed: self.seed, seat: 0, turn };
        let seat = &mut self.seat;
        seat.make_room(turn, control, draw).map_err(|error| Over::Failed(error.into()))?;
        let Seat { model, context, sampling, .. } = seat;
        let request = ReplyRequest { context, control, sampling, draw, listeners: &[] };
        let (pieces, mut said) = mpsc::unbounded_channel();
        let mut on_event = |event: ReplyEvent| {
            on(AgentNews::Reply(&event));
            if let ReplyEvent::Text(text) = event {
                // Who listens to the pieces is here as long as this is.
                let _ = pieces.send(text);
            }
        };
        let mut held: Vec<Frame> = Vec::new();
        let reply = {
            let mut speaking = model.reply(request, &mut on_event);
            loop {
                tokio::select! {
                    biased;
                    Some(text) = said.recv() => wire.send(&Frame::Delta { id, text }).await?,
                    reply = &mut speaking => break reply.map_err(|error| Over::Failed(error.into()))?,
                    frame = wire.next() => match frame? {
                        Frame::Ping => wire.send(&Frame::Pong).await?,
                        // The meeting is over, whatever it was about to say.
                        Frame::Control { word } => {
                            return Err(Over::Ended(ControlWord::parse(&word).unwrap_or(ControlWord::Stop)));
                        }
                        // Somebody else sits here now, or nothing of importance: it waits.
                        other => held.push(other),
                    },
                }
            }
        };
        on(AgentNews::Said(&reply));
        self.said = id;
        let word = reply.control.map(|word| word.to_string());
        let frame = Frame::Message { id, from: None, text: reply.text.clone(), word };
        self.unacknowledged = Some((after, frame.clone()));
        let own = Some(self.seat.name.clone());
        self.hear(after + 1, own, reply.text, reply.ids);
        wire.send(&frame).await?;
        for frame in held {
            if let Frame::Turn { .. } = frame {
                continue;
            }
            Box::pin(self.take(frame, wire, on)).await?;
        }
        Ok(())
    }

    /// Sits down under a name, which need not be the one that it asked for.
    fn sit(&mut self, name: &str) {
        let Seat { name: own, context, .. } = &mut self.seat;
        context.table.iter_mut().filter(|seated| **seated == *own).for_each(|seated| name.clone_into(seated));
        name.clone_into(&mut context.agent);
        name.clone_into(own);
    }

    fn hear(&mut self, id: u64, from: Option<String>, text: String, ids: Option<madrigal_agents::context::SpokenIds>) {
        let context = &mut self.seat.context;
        if let Some(from) = &from
            && !context.table.contains(from)
        {
            context.table.push(from.clone());
        }
        let id = MessageId(u32::try_from(id.saturating_sub(1)).unwrap_or(u32::MAX));
        let said = Arc::new(Said { id, agent: from, text, ids });
        if said.agent.is_none() { context.seed_prompt = Some(said) } else { context.said.push(said) }
    }

    /// What it knows of the meeting.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.seat.context
    }
}

/// A connection to the proxy.
struct Wire<S> {
    stream: S,
    lines: Lines,
    silence: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.stream.write_all(frame.line().as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next frame of a kind that is known. Nothing is lost when it is dropped while it waits.
    async fn next(&mut self) -> io::Result<Frame> {
        loop {
            while let Some(received) = self.lines.next_line() {
                // Who speaks for the proxy speaks in frames; anything else is ignored, as newer kinds are.
                if let Received::Whole(line) = received
                    && let Ok(Some(frame)) = Frame::parse(&line)
                {
                    return Ok(frame);
                }
            }
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(self.silence, self.stream.read(&mut bytes));
            match read.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.lines.push(&bytes[..read]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use madrigal_agents::chat_models::scripted::{Doctor, Parry};
    use tokio::io::DuplexStream;

    use super::*;
    use crate::connection::{self, Guest, Host, Manner, serve};
    use crate::hall::{Hall, Room, Rules};
    use crate::line::{Heard, Turn};

    fn agent(name: &str, model: Box<dyn ChatModel>) -> Agent {
        let hello = Hello { name: name.to_owned(), ..Hello::default() };
        Agent::new(hello, model, String::new(), Sampling::default(), 1)
    }

    /// A hall with one room of two seats, and what comes through its doors.
    fn hall() -> (Arc<Hall>, mpsc::UnboundedReceiver<Room>) {
        let count = Mutex::new(0);
        let rules = Rules { doors: 2, seats: 1, rooms: 1, secret: None };
        Hall::new(rules, move || {
            *count.lock().unwrap() += 1;
            format!("token {}", count.lock().unwrap())
        })
    }

    /// Connections through a door, each served by a task of its own. Those that `breaks` counts break after so many bytes.
    fn connections(door: crate::hall::Door, breaks: Vec<usize>) -> impl FnMut() -> std::future::Ready<io::Result<Cut>> {
        let mut breaks = breaks.into_iter();
        move || {
            let (own, served) = tokio::io::duplex(1 << 14);
            let door = door.clone();
            tokio::spawn(async move { serve(served, &door, &connection::Terms::default()).await });
            std::future::ready(Ok(Cut { stream: own, left: breaks.next() }))
        }
    }

    /// A connection that breaks when so many bytes were read from it.
    struct Cut {
        stream: DuplexStream,
        left: Option<usize>,
    }

    impl AsyncRead for Cut {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let most = self.left.unwrap_or(usize::MAX).min(buffer.remaining());
            if most == 0 {
                return std::task::Poll::Ready(Ok(()));
            }
            let mut some = vec![0; most];
            let mut part = tokio::io::ReadBuf::new(&mut some);
            let read = std::pin::Pin::new(&mut self.stream).poll_read(context, &mut part);
            if read.is_ready() {
                let filled = part.filled();
                buffer.put_slice(filled);
                self.left = self.left.map(|left| left - filled.len());
            }
            read
        }
    }

    impl AsyncWrite for Cut {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }

    /// Who said what.
    type Talk = Vec<(String, String)>;

    /// Holds a meeting of the two scripts over connections that break so; what both know of it afterwards, what is on record,
    /// and how many connections broke.
    async fn met(doctor_breaks: Vec<usize>, parry_breaks: Vec<usize>) -> ([Talk; 3], usize) {
        let (hall, mut rooms) = hall();
        let doors = hall.doors();
        let mut doctor = agent("Doctor", Box::new(Doctor::new()));
        let mut parry = agent("Parry", Box::new(Parry::new()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let header = crate::meeting::tests::header();
        let mut writer = madrigal_journal::JournalWriter::create(&path, &header).unwrap();
        let meeting = async {
            let room = rooms.recv().await.unwrap();
            let stop = madrigal_dialogue::stop::StopRules { turns: Some(8), ..Default::default() };
            let terms = crate::meeting::Terms { stop, opening: None, seed: 5, grace: Duration::from_secs(60) };
            let mut record = madrigal_dialogue::Record::continuing(Vec::new(), &mut writer);
            let (_button, interrupt) = madrigal_dialogue::Interrupt::new();
            let meeting = crate::meeting::Meeting::new(room, &terms, &[]).unwrap();
            meeting.hold(&mut record, interrupt, &mut |_| {}).await.unwrap()
        };
        let patience = Patience::default();
        let broken = std::sync::atomic::AtomicUsize::new(0);
        let count = |news: AgentNews<'_>| {
            broken.fetch_add(usize::from(matches!(news, AgentNews::Broken(_))), std::sync::atomic::Ordering::Relaxed);
        };
        let (mut quiet, mut quiet_too) = (count, count);
        let (outcome, one, other) = tokio::join!(
            meeting,
            doctor.attend(connections(doors[0].clone(), doctor_breaks), &patience, &mut quiet),
            parry.attend(connections(doors[1].clone(), parry_breaks), &patience, &mut quiet_too),
        );
        assert_eq!(outcome.error, None);
        assert_eq!((one.unwrap(), other.unwrap()), (ControlWord::Stop, ControlWord::Stop));
        let known = |agent: &Agent| -> Talk {
            let said = agent.context().said.iter();
            said.map(|said| (said.agent.clone().unwrap(), said.text.clone())).collect()
        };
        let events = madrigal_journal::Journal::open(&path).unwrap().events;
        let recorded = events.iter().filter_map(|event| match event {
            madrigal_journal::event::Event::Message(message) => {
                Some((message.agent.clone().unwrap(), message.text.clone()))
            }
            _ => None,
        });
        ([known(&doctor), known(&parry), recorded.collect()], broken.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn two_scripts_meet_and_know_the_same() {
        let ([doctor, parry, recorded], _) = met(Vec::new(), Vec::new()).await;
        assert_eq!(recorded.len(), 8);
        assert_eq!((&doctor, &parry), (&recorded, &recorded));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_breaks_nothing_is_lost_and_nothing_comes_twice() {
        let (whole, _) = met(Vec::new(), Vec::new()).await;
        for cut in (75..700).step_by(23) {
            let (met, broken) = met(vec![cut, cut / 2 + 70, 200], vec![90 + cut / 3]).await;
            assert_eq!(met, whole, "cut after {cut} bytes");
            assert!(broken >= 2, "cut after {cut} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_is_not_there_is_an_error() {
        let refused = || std::future::ready(Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused)));
        let patience = Patience { attempts: 3, ..Patience::default() };
        let mut waits = Vec::new();
        let mut on = |news: AgentNews<'_>| {
            if let AgentNews::Broken(wait) = news {
                waits.push(wait.as_millis());
            }
        };
        let error = agent("A", Box::new(Doctor::new())).attend(refused, &patience, &mut on).await.unwrap_err();
        assert_eq!(error.to_string(), "reach the proxy in 3 attempts: connection refused");
        assert_eq!(waits, [250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_tried_again() {
        let (hall, _rooms) = hall();
        let door = hall.doors().remove(0);
        let taken = Guest::new(Manner::Frames, Some("Ada".to_owned()));
        let seated = door.seat(taken).await.unwrap();
        let (link, _out) = mpsc::channel(1);
        let _connection = seated.line.join(link, 0);
        let mut agent = agent("Bob", Box::new(Doctor::new()));
        let error = agent.attend(connections(door, Vec::new()), &Patience::default(), &mut |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "take a seat: all seats are taken");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_meeting_is_not_waited_for() {
        /// Never comes to an end.
        struct Slow;
        impl ChatModel for Slow {
            fn name(&self) -> String {
                "slow".to_owned()
            }
            fn source(&self) -> madrigal_journal::event::Source {
                madrigal_journal::event::Source::Scripted
            }
            fn reply<'a>(
                &'a mut self,
                _: ReplyRequest<'a>,
                _: &'a mut (dyn FnMut(ReplyEvent) + Send),
            ) -> futures::future::BoxFuture<'a, Result<Reply, ChatError>> {
                Box::pin(std::future::pending())
            }
            fn adopt(&mut self, _: &ReplyRequest<'_>, _: &Reply) {}
        }
        let (hall, _rooms) = hall();
        let door = hall.doors().remove(0);
        let mut agent = agent("Bob", Box::new(Slow));
        let patience = Patience::default();
        let mut quiet = |_: AgentNews<'_>| {};
        let attending = agent.attend(connections(door.clone(), Vec::new()), &patience, &mut quiet);
        let meeting = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let again =
                Guest { resume: Some("token 1".to_owned()), ..Guest::new(Manner::Frames, Some("Bob".to_owned())) };
            let line = door.seat(again).await.unwrap().line;
            line.hear(Heard { id: 1, from: Some("Ada".into()), text: "Hello.".into() });
            line.ask(Turn { after: 1, word: None });
            tokio::time::sleep(Duration::from_secs(1)).await;
            line.end(ControlWord::End);
        };
        let (ended, ()) = tokio::join!(attending, meeting);
        assert_eq!(ended.unwrap(), ControlWord::End);
    }
}
