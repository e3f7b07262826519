//! A connection to an agent, in whichever way it speaks: frames, LLM-Meetup's raw text, or a person's lines.
//!
//! Owns the bytes of one connection from the first to the last, and its clocks. Who gets which seat is the host's business
//! ([`Host`]), what is said and heard there the line's.

use std::time::Duration;

use futures::future::BoxFuture;
use madrigal_agents::control::ControlWord;
use madrigal_journal::neutral;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::frame::{ErrorCode, Frame, MAX_FRAME_BYTES};
use crate::greeting::{Greeting, Refused};
use crate::line::{Connection, Line, Saying, Taken, ToAgent};
use crate::lines::{Lines, Received};

/// How patient a connection is.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// For the first line.
    pub greeting: Duration,
    /// The silence that ends a message of someone who ends none.
    pub silence: Duration,
    /// For a peer that takes nothing.
    pub stalled: Duration,
    /// Between pings to a peer from whom nothing comes; three without an answer and it is gone.
    pub ping: Duration,
    /// Messages that may wait to be sent.
    pub queue: usize,
    /// Lines that are no frames, until the connection is closed.
    pub malformed: u32,
}

impl Default for Terms {
    /// 10 s, 200 ms, 10 s, 20 s, 256 messages, 8 lines.
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(10),
            silence: Duration::from_millis(200),
            stalled: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            queue: 256,
            malformed: 8,
        }
    }
}

/// How someone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In frames.
    Frames,
    /// In text that ends by silence.
    Raw,
    /// In lines, as people do.
    Plain,
}

/// Someone who wants a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// How it speaks.
    pub manner: Manner,
    /// Its name; people need not tell one.
    pub name: Option<String>,
    /// Its language, where told.
    pub language: Option<String>,
    /// Its chat model, where told.
    pub model: Option<String>,
    /// The room that it wants, where it wants one.
    pub room: Option<String>,
    /// The secret that it knows.
    pub secret: Option<String>,
    /// The token of a seat that it had.
    pub resume: Option<String>,
}

impl Guest {
    /// Someone of whom no more is known.
    #[must_use]
    pub fn new(manner: Manner, name: Option<String>) -> Self {
        Self { manner, name, language: None, model: None, room: None, secret: None, resume: None }
    }
}

/// A seat that someone got.
#[derive(Debug)]
pub struct Seated {
    /// The name at the table.
    pub name: String,
    /// What takes the seat again.
    pub token: String,
    /// The line of the seat.
    pub line: Line,
}

/// Why someone gets none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
}

/// Whoever gives seats.
pub trait Host: Send + Sync {
    /// A seat for a guest, or why there is none. It may take its time: who guesses secrets is kept waiting.
    fn seat<'a>(&'a self, guest: Guest) -> BoxFuture<'a, Result<Seated, Refusal>>;
}

/// Speaks with whoever is at the other end, until one of the two leaves.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, host: &dyn Host, terms: &Terms) {
    let mut talk = Talk { stream, lines: Lines::new(MAX_FRAME_BYTES), terms: *terms, manner: Manner::Plain };
    // Whatever goes wrong with a connection ends it, and nothing else.
    let _ = talk.hold(host).await;
    let _ = tokio::time::timeout(terms.stalled, talk.stream.shutdown()).await;
}

/// The other end is gone, or does not behave.
struct Over;

struct Talk<S> {
    stream: S,
    lines: Lines,
    terms: Terms,
    manner: Manner,
}

/// What happens next on a connection.
enum Next {
    /// Something for the agent; nothing where it lost the line.
    Out(Option<ToAgent>),
    /// Bytes came, and are among the lines.
    In,
    /// Nothing came for a while.
    Silence,
    /// It is time to ask whether anyone is there.
    Idle,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn hold(&mut self, host: &dyn Host) -> Result<(), Over> {
        let (guest, last_seen, first) = self.greet().await?;
        let seated = match host.seat(guest).await {
            Ok(seated) => seated,
            Err(Refusal { code, text }) => return self.refuse(code, &text).await,
        };
        let Seated { name, token, line } = seated;
        match self.manner {
            Manner::Frames => self.send(&Frame::Welcome { seat: name, resume: token }.line()).await?,
            Manner::Plain => self.send(&format!("* You are {}.\n", neutral(&name))).await?,
            Manner::Raw => {}
        }
        let (link, out) = mpsc::channel(self.terms.queue.max(1));
        let connection = line.join(link, last_seen);
        let held = self.converse(&line, connection, out, first).await;
        line.leave(connection);
        held
    }

    /// Reads the first line. Returns who is there, what it has seen, and what it has said already.
    async fn greet(&mut self) -> Result<(Guest, u64, Option<String>), Over> {
        let deadline = Instant::now() + self.terms.greeting;
        let line = loop {
            match self.lines.next_line() {
                Some(Received::Whole(line)) => break line,
                Some(Received::TooLong) => {
                    self.refuse(ErrorCode::TooLong, "the first line is longer than 1 MiB").await?;
                    return Err(Over);
                }
                None => {}
            }
            // A program of LLM-Meetup need not end its first line.
            let unended = self.lines.begins_with(b"/iam:");
            let until = if unended { deadline.min(Instant::now() + self.terms.silence) } else { deadline };
            match timeout_at(until, self.read()).await {
                Ok(read) => read?,
                Err(_) if unended => break self.lines.take_begun(),
                Err(_) => return Err(Over),
            }
        };
        match Greeting::of(&line) {
            Greeting::Frames(hello) => {
                self.manner = Manner::Frames;
                if !hello.is_understood() {
                    let text = format!("none of the protocols is spoken here, only {}", crate::frame::PROTOCOL);
                    self.refuse(ErrorCode::Protocol, &text).await?;
                    return Err(Over);
                }
                let last_seen = hello.last_seen.unwrap_or(0);
                let guest = Guest {
                    language: hello.language,
                    model: hello.model,
                    room: hello.room,
                    secret: hello.secret,
                    resume: hello.resume,
                    ..Guest::new(Manner::Frames, Some(hello.name))
                };
                Ok((guest, last_seen, None))
            }
            Greeting::Raw(iam) => {
                self.manner = Manner::Raw;
                let guest =
                    Guest { language: iam.language, model: iam.model, ..Guest::new(Manner::Raw, Some(iam.name)) };
                Ok((guest, 0, None))
            }
            Greeting::Plain(text) => {
                Ok((Guest::new(Manner::Plain, None), 0, Some(text).filter(|text| !text.is_empty())))
            }
            Greeting::Refused(why) => {
                if matches!(why, Refused::Frame(_) | Refused::NotHello) {
                    self.manner = Manner::Frames;
                }
                self.refuse(ErrorCode::Malformed, &why.to_string()).await?;
                Err(Over)
            }
        }
    }

    /// Carries what is said, both ways, until the meeting or the connection is over.
    async fn converse(
        &mut self,
        line: &Line,
        connection: Connection,
        mut out: mpsc::Receiver<ToAgent>,
        first: Option<String>,
    ) -> Result<(), Over> {
        // What people say before it is their turn.
        let mut early: Vec<String> = first.into_iter().collect();
        let mut malformed = 0;
        let mut unanswered = 0;
        let mut last = Instant::now();
        loop {
            let silence = (self.manner == Manner::Raw && self.lines.has_any()).then(|| last + self.terms.silence);
            let idle = (self.manner == Manner::Frames).then(|| last + self.terms.ping * (unanswered + 1));
            let next = tokio::select! {
                biased;
                to = out.recv() => Next::Out(to),
                read = self.read() => { read?; Next::In },
                () = sleep_until(silence) => Next::Silence,
                () = sleep_until(idle) => Next::Idle,
            };
            match next {
                // Another connection has the line now, or this one was too slow for it.
                Next::Out(None) => return Ok(()),
                Next::Out(Some(to)) => {
                    let (turn, ends) = (matches!(to, ToAgent::Turn(_)), matches!(to, ToAgent::End(_)));
                    let text = self.put(to);
                    self.send(&text).await?;
                    if ends {
                        return Ok(());
                    }
                    if turn && !early.is_empty() {
                        let text = std::mem::take(&mut early).join("\n");
                        line.say(connection, None, saying(&text));
                    }
                }
                Next::In => {
                    (unanswered, last) = (0, Instant::now());
                    while let Some(received) = self.lines_of_manner() {
                        match self.manner {
                            Manner::Frames => {
                                if let Some(problem) = self.take_frame(line, connection, received).await? {
                                    malformed += 1;
                                    self.send(&problem.line()).await?;
                                    if malformed >= self.terms.malformed {
                                        return Err(Over);
                                    }
                                }
                            }
                            Manner::Raw | Manner::Plain => hear(line, connection, received, &mut early),
                        }
                    }
                }
                Next::Silence => {
                    let said = self.lines.take_all();
                    hear(line, connection, Received::Whole(said), &mut early);
                }
                Next::Idle => {
                    unanswered += 1;
                    if unanswered > 3 {
                        return Err(Over);
                    }
                    self.send(&Frame::Ping.line()).await?;
                }
            }
        }
    }

    /// The next line, from whoever ends messages by lines.
    fn lines_of_manner(&mut self) -> Option<Received> {
        if self.manner == Manner::Raw { None } else { self.lines.next_line() }
    }

    /// Does what a frame asks for. Returns what is wrong with it, if something is.
    async fn take_frame(
        &mut self,
        line: &Line,
        connection: Connection,
        received: Received,
    ) -> Result<Option<Frame>, Over> {
        let error = |code, text: String| Some(Frame::Error { code, text });
        let Received::Whole(bytes) = received else {
            return Ok(error(ErrorCode::TooLong, format!("a line has at most {MAX_FRAME_BYTES} bytes")));
        };
        let frame = match Frame::parse(&bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(problem) => return Ok(error(ErrorCode::Malformed, problem.to_string())),
        };
        let (id, text, word) = match frame {
            Frame::Message { id, text, word, .. } => (Some(id), text, word),
            Frame::Control { word } => (None, String::new(), Some(word)),
            Frame::Delta { text, .. } => {
                line.piece(connection, text);
                return Ok(None);
            }
            Frame::Ping => {
                self.send(&Frame::Pong.line()).await?;
                return Ok(None);
            }
            Frame::Hello(_) => return Ok(error(ErrorCode::Unexpected, "`hello` comes once".to_owned())),
            _ => return Ok(None),
        };
        let mut saying = saying(&text);
        if let Some(word) = word {
            match ControlWord::parse(&word) {
                Some(word) => saying.word = Some(word),
                None => return Ok(error(ErrorCode::Malformed, "the word is no control word".to_owned())),
            }
        }
        Ok(match line.say(connection, id, saying) {
            Taken::NotNow => error(ErrorCode::Unexpected, "it is not your turn".to_owned()),
            Taken::Taken | Taken::Again | Taken::Stale => None,
        })
    }

    /// What goes to the agent, as it is written.
    fn put(&self, to: ToAgent) -> String {
        match (self.manner, to) {
            (Manner::Frames, ToAgent::Heard(heard)) => {
                let from = heard.from.map(|from| from.to_string());
                Frame::Message { id: heard.id, from, text: heard.text.to_string(), word: None }.line()
            }
            (Manner::Frames, ToAgent::Turn(turn)) => {
                Frame::Turn { after: turn.after, word: turn.word.map(|word| word.to_string()) }.line()
            }
            (Manner::Frames, ToAgent::Recorded { id }) => Frame::Ack { id }.line(),
            (Manner::Frames, ToAgent::Notice(text)) => Frame::Notice { text }.line(),
            (Manner::Frames, ToAgent::End(word)) => Frame::Control { word: word.to_string() }.line(),
            // LLM-Meetup knows nothing but text.
            (Manner::Raw, ToAgent::Heard(heard)) => neutral(&heard.text).into_owned(),
            (Manner::Raw, ToAgent::Turn(turn)) => turn.word.map_or_else(String::new, |word| word.to_string()),
            (Manner::Raw, ToAgent::End(word)) => word.to_string(),
            (Manner::Raw, ToAgent::Recorded { .. } | ToAgent::Notice(_)) => String::new(),
            (Manner::Plain, ToAgent::Heard(heard)) => {
                let (from, text) = (heard.from.as_deref().unwrap_or("*"), neutral(&heard.text));
                format!("{}: {text}\n", neutral(from))
            }
            (Manner::Plain, ToAgent::Turn(turn)) => match turn.word {
                Some(ControlWord::Start) => "* The meeting begins. Who are you?\n".to_owned(),
                Some(ControlWord::Bye) => "* They take leave of you.\n".to_owned(),
                Some(ControlWord::Help) => "* They ask who you are.\n".to_owned(),
                Some(ControlWord::Stop | ControlWord::End) | None => String::new(),
            },
            (Manner::Plain, ToAgent::Recorded { .. }) => String::new(),
            (Manner::Plain, ToAgent::Notice(text)) => format!("* {}\n", neutral(&text)),
            (Manner::Plain, ToAgent::End(_)) => "* The meeting is over.\n".to_owned(),
        }
    }

    async fn refuse(&mut self, code: ErrorCode, text: &str) -> Result<(), Over> {
        let line = match self.manner {
            Manner::Frames => Frame::Error { code, text: text.to_owned() }.line(),
            Manner::Raw | Manner::Plain => format!("* {text}\n"),
        };
        self.send(&line).await
    }

    async fn send(&mut self, text: &str) -> Result<(), Over> {
        if text.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.terms.stalled, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }

    /// Takes what has come. Nothing is lost when it is dropped while it waits.
    async fn read(&mut self) -> Result<(), Over> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes).await {
            Ok(read) if read > 0 => {
                self.lines.push(&bytes[..read]);
                Ok(())
            }
            Ok(_) | Err(_) => Err(Over),
        }
    }
}

/// Sleeps until then; without a time, for ever.
async fn sleep_until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// What a text says, the control word at its end apart.
fn saying(text: &str) -> Saying {
    let (said, word) = ControlWord::split(text);
    Saying { text: said.trim().to_owned(), word }
}

/// Messages of people and of raw text that may wait for their turn.
const EARLY: usize = 16;

/// Takes a message of someone who numbers none. What comes too early waits.
fn hear(line: &Line, connection: Connection, received: Received, early: &mut Vec<String>) {
    let Received::Whole(bytes) = received else {
        line.notice("That was longer than 1 MiB, and was not heard.");
        return;
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if text.is_empty() {
        return;
    }
    if line.say(connection, None, saying(&text)) == Taken::NotNow {
        if early.len() < EARLY {
            early.push(text);
        } else {
            line.notice("It is not your turn, and too much is waiting already: that was not heard.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};

    use super::*;
    use crate::line::{Heard, News, Turn};

    /// Gives everyone the same seat.
    struct One {
        line: Line,
        guests: Mutex<Vec<Guest>>,
    }

    impl Host for One {
        fn seat<'a>(&'a self, guest: Guest) -> BoxFuture<'a, Result<Seated, Refusal>> {
            let refused = guest.secret.as_deref() == Some("wrong");
            self.guests.lock().unwrap().push(guest);
            let seated = Seated { name: "Ada".to_owned(), token: "t0ken".to_owned(), line: self.line.clone() };
            let refusal = Refusal { code: ErrorCode::Secret, text: "the secret is wrong".to_owned() };
            async move { if refused { Err(refusal) } else { Ok(seated) } }.boxed()
        }
    }

    fn host() -> (One, mpsc::UnboundedReceiver<News>) {
        let (line, news) = Line::new();
        (One { line, guests: Mutex::default() }, news)
    }

    struct Client(BufReader<DuplexStream>);

    impl Client {
        async fn send(&mut self, text: &[u8]) {
            self.0.get_mut().write_all(text).await.unwrap();
        }

        /// The next line; an empty one at the end.
        async fn line(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            line.trim_end().to_owned()
        }
    }

    fn pair() -> (Client, DuplexStream) {
        let (client, server) = tokio::io::duplex(1 << 16);
        (Client(BufReader::new(client)), server)
    }

    async fn said(news: &mut mpsc::UnboundedReceiver<News>) -> Saying {
        loop {
            if let News::Said(saying) = news.recv().await.unwrap() {
                return saying;
            }
        }
    }

    fn turn(after: u64, word: Option<ControlWord>) -> Turn {
        Turn { after, word }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_go_both_ways() {
        let (host, mut news) = host();
        let (mut client, server) = pair();
        let talk = async {
            client.send(br#"{"kind":"hello","name":"Ada","model":"m","room":"r","secret":"s"}"#).await;
            client.send(b"\n").await;
            assert_eq!(client.line().await, r#"{"kind":"welcome","seat":"Ada","resume":"t0ken"}"#);
            host.line.ask(turn(0, Some(ControlWord::Start)));
            assert_eq!(client.line().await, r#"{"kind":"turn","after":0,"word":"/start"}"#);
            client.send(b"{\"kind\":\"delta\",\"id\":1,\"text\":\"Hi\"}\n{\"kind\":\"message\",\"id\":1,").await;
            client.send(b"\"text\":\"Hi there\\n/bye\"}\n").await;
            let expected = Saying { text: "Hi there".to_owned(), word: Some(ControlWord::Bye) };
            assert_eq!(said(&mut news).await, expected);
            host.line.record();
            assert_eq!(client.line().await, r#"{"kind":"ack","id":1}"#);
            client
                .send(b"{\"kind\":\"ping\"}\n{\"kind\":\"song\"}\n{\"kind\":\"message\",\"id\":2,\"text\":\"x\"}\n")
                .await;
            assert_eq!(client.line().await, r#"{"kind":"pong"}"#);
            assert!(client.line().await.contains("\"unexpected\""));
            host.line.hear(Heard { id: 7, from: Some("Bob".into()), text: "So?".into() });
            assert_eq!(client.line().await, r#"{"kind":"message","id":7,"from":"Bob","text":"So?"}"#);
            host.line.end(ControlWord::End);
            assert_eq!(client.line().await, r#"{"kind":"control","word":"/end"}"#);
            assert_eq!(client.line().await, "");
        };
        let terms = Terms::default();
        tokio::join!(talk, serve(server, &host, &terms));
        assert!(!host.line.is_joined());
        let guest = host.guests.lock().unwrap().remove(0);
        assert_eq!(
            (guest.manner, guest.room.as_deref(), guest.secret.as_deref()),
            (Manner::Frames, Some("r"), Some("s"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_takes_a_seat_with_enter_and_may_speak_early() {
        let (host, mut news) = host();
        let (mut client, server) = pair();
        let talk = async {
            client.send(b"\r\n").await;
            assert_eq!(client.line().await, "* You are Ada.");
            client.send(b"I am \x1b[31mAda\nand I am early\n").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            host.line.ask(turn(0, Some(ControlWord::Start)));
            assert_eq!(client.line().await, "* The meeting begins. Who are you?");
            assert_eq!(said(&mut news).await.text, "I am \u{1b}[31mAda\nand I am early");
            host.line.hear(Heard { id: 2, from: Some("Bob".into()), text: "\u{1b}]0;evil\u{7}Hello".into() });
            assert_eq!(client.line().await, "Bob: ]0;evilHello");
            host.line.ask(turn(2, None));
            client.send(b"/bye\n").await;
            assert_eq!(said(&mut news).await, Saying { text: String::new(), word: Some(ControlWord::Bye) });
            drop(client);
        };
        let terms = Terms::default();
        tokio::join!(talk, serve(server, &host, &terms));
        assert!(!host.line.is_joined());
    }

    #[tokio::test(start_paused = true)]
    async fn raw_text_ends_by_silence() {
        let (host, mut news) = host();
        let (mut client, server) = pair();
        let talk = async {
            // Without an end of the line.
            client.send(b"/iam: Dr. Ada (en) [female].phi3").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            host.line.ask(turn(0, Some(ControlWord::Start)));
            let mut start = [0; 6];
            client.0.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"/start");
            for piece in [&b"I am Ada.\n\nAnd "[..], b"you? \xc3", b"\xa9"] {
                client.send(piece).await;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            assert_eq!(said(&mut news).await.text, "I am Ada.\n\nAnd you? é");
            drop(client);
        };
        let terms = Terms::default();
        tokio::join!(talk, serve(server, &host, &terms));
        let guest = host.guests.lock().unwrap().remove(0);
        assert_eq!(
            (guest.manner, guest.name.as_deref(), guest.model.as_deref()),
            (Manner::Raw, Some("Dr. Ada"), Some("phi3"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_gets_no_seat() {
        let (host, _news) = host();
        let (mut client, server) = pair();
        let started = Instant::now();
        let terms = Terms::default();
        let (line, ()) = tokio::join!(client.line(), serve(server, &host, &terms));
        assert_eq!((line.as_str(), started.elapsed()), ("", Duration::from_secs(10)));
        // Nor does who says it one byte a second.
        let (mut client, server) = pair();
        let slow = async {
            for _ in 0..20 {
                if client.0.get_mut().write_all(b"x").await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let started = Instant::now();
        tokio::select! { () = slow => panic!("it was waited for"), () = serve(server, &host, &terms) => {} }
        assert_eq!(started.elapsed(), Duration::from_secs(10));
        assert!(host.guests.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_say_why() {
        for (first, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "* this is no web server"),
            (
                b"{\"kind\":\"ping\"}\n",
                r#"{"kind":"error","code":"malformed","text":"the first frame must be `hello`"}"#,
            ),
            (b"{\"kind\":\"hello\",\"name\":\"A\",\"protocol\":[\"x/9\"]}\n", r#"{"kind":"error","code":"protocol""#),
            (b"{\"kind\":\"hello\",\"name\":\"A\",\"secret\":\"wrong\"}\n", r#"{"kind":"error","code":"secret""#),
            (b"/iam:\n", "* `/iam:` must be followed by a name"),
        ] {
            let (host, _news) = host();
            let (mut client, server) = pair();
            client.send(first).await;
            let terms = Terms::default();
            let (line, ()) = tokio::join!(client.line(), serve(server, &host, &terms));
            assert!(line.starts_with(expected), "{line}");
            assert_eq!(client.line().await, "");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn malformed_frames_are_answered_and_counted() {
        let (host, _news) = host();
        let (mut client, server) = pair();
        let talk = async {
            client.send(b"{\"kind\":\"hello\",\"name\":\"Ada\"}\n").await;
            client.line().await;
            for wrong in [&b"nonsense\n"[..], b"\xff\n", b"{\"kind\":\"control\",\"word\":\"/jump\"}\n"] {
                client.send(wrong).await;
                assert!(client.line().await.contains("\"malformed\""));
            }
            // Two MiB without an end.
            for _ in 0..32 {
                client.send(&[b'x'; 1 << 16]).await;
            }
            client.send(b"\n").await;
            assert!(client.line().await.contains("\"too_long\""));
            for _ in 0..4 {
                client.send(b"[]\n").await;
                assert!(client.line().await.contains("\"malformed\""));
            }
            assert_eq!(client.line().await, "");
        };
        let terms = Terms::default();
        tokio::join!(talk, serve(server, &host, &terms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_open_connection_is_noticed() {
        let (host, mut news) = host();
        let (mut client, server) = pair();
        client.send(b"{\"kind\":\"hello\",\"name\":\"Ada\"}\n").await;
        let started = Instant::now();
        let terms = Terms::default();
        serve(server, &host, &terms).await;
        assert_eq!(started.elapsed(), Duration::from_secs(80));
        assert_eq!((news.recv().await, news.recv().await), (Some(News::Joined), Some(News::Left)));
        drop(client);
    }
}
