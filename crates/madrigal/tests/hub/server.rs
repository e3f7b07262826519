//! A hub and the store that it points to, on two ports of this machine, as huggingface.co answers: a list of files, a HEAD
//! that tells a file's hash, redirections, ranges; and everything that may go wrong, on request.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use sha1::{Digest, Sha1};
use sha2::Sha256;

pub(crate) const COMMIT: &str = "1111111111111111111111111111111111111111";

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Status and, as the hub does, `x-error-code`.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// So many bytes come, and then nothing until the other side goes away.
    Hang(usize),
    /// The whole file comes, whatever was asked for.
    NoRange,
    /// Other bytes come.
    Garbage,
    /// More bytes come than there are.
    Excess,
    /// Points there.
    Location(String),
    /// The body of the answer.
    Body(String),
    /// Without these headers.
    Without(&'static [&'static str]),
    /// With this header instead.
    With(&'static str, String),
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at_store: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

struct State {
    commit: String,
    store: String,
    /// Content, and whether the hub points to the store for it.
    files: BTreeMap<String, (Vec<u8>, bool)>,
    /// By method and whether they hit the store.
    faults: BTreeMap<(&'static str, bool), VecDeque<Fault>>,
    log: Vec<Request>,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Serves small files itself and files of more than 200 bytes from its store.
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let [hub, store] = [0, 0].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let large = |(name, bytes): (&str, Vec<u8>)| (name.to_owned(), (bytes.clone(), bytes.len() > 200));
        let state = State {
            commit: COMMIT.to_owned(),
            store: address(&store),
            files: files.into_iter().map(large).collect(),
            faults: BTreeMap::new(),
            log: Vec::new(),
        };
        let server = Self { endpoint: address(&hub), state: Arc::new(Mutex::new(state)) };
        for (listener, at_store) in [(hub, false), (store, true)] {
            let state = Arc::clone(&server.state);
            std::thread::spawn(move || {
                for stream in listener.incoming().filter_map(Result::ok) {
                    let state = Arc::clone(&state);
                    // A client that goes away in the middle is part of the tests.
                    std::thread::spawn(move || drop(answer(&stream, at_store, &state)));
                }
            });
        }
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next requests of this kind go wrong, one after the other.
    pub(crate) fn fail(&self, method: &'static str, at_store: bool, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry((method, at_store)).or_default().extend(faults);
    }

    /// The repository has another commit with these files.
    pub(crate) fn publish(&self, commit: &str, files: &[(&str, Vec<u8>)]) {
        let mut state = self.state();
        commit.clone_into(&mut state.commit);
        state.files =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), (bytes.clone(), bytes.len() > 200))).collect();
    }

    pub(crate) fn log(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    /// Ranges that the store was asked for.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        self.log().into_iter().filter(|request| request.at_store).map(|request| request.range).collect()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn git_blob(bytes: &[u8]) -> String {
    let hash = Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(mut stream: &TcpStream, at_store: bool, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { at_store, method, path, range: None, authorization: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let (mut reply, fault) = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        let kind = if request.method == "HEAD" { "HEAD" } else { "GET" };
        let fault = state.faults.get_mut(&(kind, at_store)).and_then(VecDeque::pop_front);
        (reply(&state, &request, fault.as_ref()), fault)
    };
    match fault {
        Some(Fault::Without(names)) => reply.headers.retain(|(name, _)| !names.contains(&name.as_str())),
        Some(Fault::With(name, value)) => {
            reply.headers.retain(|(there, _)| there != name);
            reply.headers.push((name.to_owned(), value));
        }
        Some(Fault::Garbage) => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::Excess) => {
            reply.body.push(0);
            reply.headers.retain(|(name, _)| name != "content-length");
        }
        Some(Fault::Cut(bytes)) => reply.body.truncate(bytes),
        Some(Fault::Hang(bytes)) => {
            reply.body.truncate(bytes);
            reply.write(stream, &request)?;
            // Until the other side goes away.
            return reader.read_to_end(&mut Vec::new()).map(|_| ());
        }
        _ => {}
    }
    reply.write(stream, &request)?;
    stream.flush()
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: vec![("content-length".to_owned(), body.len().to_string())], body }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn write(&self, mut stream: &TcpStream, request: &Request) -> std::io::Result<()> {
        let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes())?;
        if request.method == "HEAD" { Ok(()) } else { stream.write_all(&self.body) }
    }
}

fn reply(state: &State, request: &Request, fault: Option<&Fault>) -> Reply {
    match fault {
        Some(Fault::Status(status, code)) => return Reply::new(*status, "no").with("x-error-code", *code),
        Some(Fault::Location(location)) => return Reply::new(302, "").with("location", location),
        Some(Fault::Body(text)) => return Reply::new(200, text.as_str()),
        _ => {}
    }
    let path = request.path.split('?').next().unwrap_or_default().replace("%20", " ");
    let unknown = || Reply::new(404, "no").with("x-error-code", "EntryNotFound");
    if request.at_store {
        let Some((bytes, _)) = state.files.get(path.trim_start_matches("/store/")) else { return unknown() };
        let begin = request
            .range
            .as_ref()
            .filter(|_| fault != Some(&Fault::NoRange))
            .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
        return match begin {
            Some(begin) if begin < bytes.len() => Reply::new(206, &bytes[begin..])
                .with("content-range", format!("bytes {begin}-{}/{}", bytes.len() - 1, bytes.len())),
            Some(_) => Reply::new(416, ""),
            None => Reply::new(200, bytes.as_slice()),
        };
    }
    if let Some(rest) = path.strip_prefix("/old/name/resolve/").or_else(|| path.strip_prefix("/api/models/old/name/")) {
        let to = if path.starts_with("/api") { "/api/models/o/r/" } else { "/o/r/resolve/" };
        return Reply::new(307, "").with("location", format!("{to}{rest}"));
    }
    if path == "/api/models/o/r/revision/main" {
        let files: Vec<_> = state.files.keys().map(|name| json!({ "rfilename": name })).collect();
        return Reply::new(200, json!({ "id": "o/r", "sha": state.commit, "siblings": files }).to_string());
    }
    let file = path.strip_prefix("/o/r/resolve/").and_then(|rest| rest.split_once('/'));
    match file.filter(|(revision, _)| *revision == state.commit || *revision == "main").map(|(_, name)| name) {
        None if path.contains("/o/r/") => unknown(),
        None => Reply::new(404, "no").with("x-error-code", "RepoNotFound"),
        Some(name) => match state.files.get(name) {
            None => unknown(),
            Some((bytes, true)) => Reply::new(302, "")
                .with("location", format!("{}/store/{}", state.store, name.replace(' ', "%20")))
                .with("x-repo-commit", &state.commit)
                .with("etag", format!("\"{}\"", git_blob(b"pointer")))
                .with("x-linked-etag", format!("\"{}\"", sha256(bytes)))
                .with("x-linked-size", bytes.len().to_string()),
            Some((bytes, false)) => Reply::new(200, bytes.as_slice())
                .with("x-repo-commit", &state.commit)
                .with("etag", format!("\"{}\"", git_blob(bytes))),
        },
    }
}
