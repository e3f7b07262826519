//! An HTTP/1.1 server on a free loopback port that follows a script, one step a request.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use madrigal_agents::base_url::BaseUrl;
use madrigal_agents::chat_models::remote::{RemoteModel, RemoteOptions, RemoteTarget, Secret};
use serde_json::Value;

use super::speech::{Speech, Wire};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Answers as it should.
    Say(Speech),
    /// Answers with a status, headers and a body.
    Status(u16, &'static str, String),
    /// Closes in the middle of the reply.
    Cut,
    /// Sends what is no JSON.
    Garbage,
    /// Says nothing at all.
    Silent,
    /// Falls silent in the middle of the reply.
    FallSilent,
    /// Sends a successful status, then this, again and again until it was sent so often or nobody listens any more.
    Pour(String, u64),
    /// A status as in `Status` that pours such a body.
    PourStatus(u16, String, u64),
}

/// What a request held.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name)?;
        Some(found.1.as_str())
    }
}

pub(crate) struct Server {
    pub(crate) wire: Wire,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    wire: Wire,
    script: Mutex<VecDeque<Step>>,
    afterwards: Step,
    seen: Mutex<Vec<Seen>>,
    poured: AtomicU64,
}

impl Server {
    /// Follows `script`.
    pub(crate) fn start(wire: Wire, script: Vec<Step>) -> Self {
        let over = Step::Status(418, "", "the script is over".to_owned());
        Self::start_with(wire, script, over)
    }

    /// Does the same with each request.
    pub(crate) fn always(wire: Wire, step: Step) -> Self {
        Self::start_with(wire, Vec::new(), step)
    }

    fn start_with(wire: Wire, script: Vec<Step>, afterwards: Step) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            wire,
            script: Mutex::new(script.into()),
            afterwards,
            seen: Mutex::default(),
            poured: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        // The threads end with the test's process; each test has its own server.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // The client may hang up whenever it wants to.
                    let _ = serve(&state, &stream);
                });
            }
        });
        Self { wire, address, state }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bytes that were poured out.
    pub(crate) fn poured(&self) -> u64 {
        self.state.poured.load(Ordering::SeqCst)
    }

    pub(crate) fn target(&self) -> RemoteTarget {
        target(self.wire, &format!("http://{}", self.address))
    }

    pub(crate) fn model(&self, options: RemoteOptions) -> RemoteModel {
        RemoteModel::new(&self.target(), options).unwrap()
    }
}

pub(crate) fn target(wire: Wire, base_url: &str) -> RemoteTarget {
    RemoteTarget {
        base_url: Some(BaseUrl::parse(base_url).unwrap()),
        api_key: Some(Secret::new("key-of-the-test")),
        ..RemoteTarget::new(wire.provider(), "some-model-high")
    }
}

/// A port where nobody listens.
pub(crate) fn closed_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn serve(state: &State, stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        if name == "content-length" {
            length = value.parse().unwrap_or(0);
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let streamed = body["stream"] == true;
    state.seen.lock().unwrap().push(Seen { line: line.trim_end().to_owned(), headers, body });
    let step = state.script.lock().unwrap().pop_front();
    let step = step.unwrap_or_else(|| state.afterwards.clone());
    answer(state, stream, step, streamed)
}

fn answer(state: &State, mut stream: &TcpStream, step: Step, streamed: bool) -> io::Result<()> {
    let wire = state.wire;
    let content_type = wire.content_type(streamed);
    let begin = |mut stream: &TcpStream, encoding: &str| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{encoding}\r\nconnection: close\r\n\r\n")
    };
    let speech = Speech::of("Not to the end.");
    match step {
        Step::Say(speech) if streamed => {
            begin(stream, "transfer-encoding: chunked")?;
            for piece in wire.pieces(&speech) {
                chunk(stream, &piece)?;
            }
            stream.write_all(b"0\r\n\r\n")
        }
        Step::Say(speech) => {
            let body = wire.whole(&speech);
            begin(stream, &format!("content-length: {}", body.len()))?;
            stream.write_all(body.as_bytes())
        }
        Step::Status(status, headers, body) => write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
        Step::Cut | Step::FallSilent if streamed => {
            begin(stream, "transfer-encoding: chunked")?;
            let pieces = wire.pieces(&speech);
            for piece in &pieces[..pieces.len() - 4] {
                chunk(stream, piece)?;
            }
            wait_if(matches!(step, Step::FallSilent), stream)
        }
        Step::Cut | Step::FallSilent => {
            let body = wire.whole(&speech);
            begin(stream, &format!("content-length: {}", body.len()))?;
            stream.write_all(&body.as_bytes()[..body.len() / 2])?;
            wait_if(matches!(step, Step::FallSilent), stream)
        }
        Step::Garbage => {
            let body = wire.garbage(streamed);
            begin(stream, &format!("content-length: {}", body.len()))?;
            stream.write_all(body.as_bytes())
        }
        Step::Silent => wait_if(true, stream),
        Step::Pour(what, times) => {
            begin(stream, "x-end: none")?;
            pour(state, stream, &what, times)
        }
        Step::PourStatus(status, what, times) => {
            write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n")?;
            pour(state, stream, &what, times)
        }
    }
}

fn chunk(mut stream: &TcpStream, piece: &str) -> io::Result<()> {
    write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
    stream.flush()
}

fn pour(state: &State, mut stream: &TcpStream, what: &str, times: u64) -> io::Result<()> {
    for _ in 0..times {
        stream.write_all(what.as_bytes())?;
        state.poured.fetch_add(what.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

/// Waits until the client hangs up.
fn wait_if(wait: bool, mut stream: &TcpStream) -> io::Result<()> {
    if wait {
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
