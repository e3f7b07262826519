//! Files that keep what a sequence has read, so that another process need not read it again.
//!
//! Owns the format and what must agree before a file is believed. A line of JSON says who made it ([`Maker`]) and how
//! many tokens follow; then the tokens, the number of the delta that each was read under, the keys and values
//! (`kv::kept`), and the SHA-256 of everything before. All numbers are little-endian and 32 bits long.
//!
//! A file is used only by the same program, on the same weights, rounded in the same way on the same instruction set:
//! then the bits are those that reading again would make. The digest shows damage; it does not show who wrote the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::worker::Worker;
use crate::kv::{BLOCK_LEN, Key, LoadError, Table};

/// The first line is never longer.
const LONGEST_HEADER: u64 = 1 << 20;

/// Why keys and values could not be kept, or are not used. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum KeptKvError {
    /// The file cannot be read or written.
    #[error("read or write kept keys and values: {0}")]
    Io(#[from] io::Error),
    /// Not such a file, or a damaged one.
    #[error("read kept keys and values: {0}")]
    Damaged(String),
    /// They would not be what this engine computes.
    #[error("use kept keys and values: they were made with {theirs}, here it is {ours}")]
    Foreign {
        /// What is written in the file.
        theirs: String,
        /// What would have to be.
        ours: String,
    },
    /// There is no room for them.
    #[error("load kept keys and values: {needed} bytes are needed, more than there are left")]
    Memory {
        /// What they take.
        needed: u64,
    },
    /// The sequence is being read or spoken.
    #[error("load kept keys and values: the sequence is in use")]
    Busy,
    /// The engine's thread is gone.
    #[error("reach the engine: its thread has stopped")]
    Stopped,
}

/// All that the bits of keys and values depend on, beside the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Maker {
    program: String,
    weights: String,
    isa: String,
    kv: String,
    activations: String,
    layers: usize,
    shared_layers: usize,
    kv_heads: usize,
    head_dim: usize,
    block_len: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// `madrigal-kv/1`.
    format: String,
    maker: Maker,
    tokens: usize,
    /// What the numbers of deltas stand for, from 1 on: digests, in hexadecimal.
    deltas: Vec<String>,
}

const FORMAT: &str = "madrigal-kv/1";

/// Passes bytes on and digests them.
struct Digested<T> {
    inner: T,
    hash: Sha256,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new() }
    }
}

impl<T: Write> Write for Digested<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Digested<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.hash.update(&into[..read]);
        Ok(read)
    }
}

impl Worker {
    /// Writes what a sequence has read; returns how many tokens that is.
    pub(super) fn save(&self, sequence: u64, weights: &str, to: &File) -> Result<usize, KeptKvError> {
        let empty = Table::default();
        let table = self.state.table(sequence).unwrap_or(&empty);
        let keys = self.cache.keys(table);
        // Deltas have other numbers in every process.
        let mut numbers: Vec<u32> = keys.iter().map(|key| key.voice).filter(|&voice| voice != 0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let deltas = numbers.iter().map(|&number| self.state.delta(number).map(hex).unwrap_or_default()).collect();
        let header = Header { format: FORMAT.to_owned(), maker: self.maker(weights), tokens: keys.len(), deltas };

        let mut to = Digested::new(BufWriter::new(to));
        serde_json::to_writer(&mut to, &header).map_err(io::Error::from)?;
        to.write_all(b"\n")?;
        for key in keys {
            to.write_all(&key.token.to_le_bytes())?;
            let number = numbers.binary_search(&key.voice).map_or(0, |index| index as u32 + 1);
            to.write_all(&number.to_le_bytes())?;
        }
        self.cache.save(table, &mut to)?;
        let Digested { mut inner, hash } = to;
        inner.write_all(&hash.finalize())?;
        inner.flush()?;
        Ok(keys.len())
    }

    /// Gives a sequence what a file keeps; returns how many tokens that is. Where that fails, nothing has changed.
    pub(super) fn restore(&mut self, sequence: u64, weights: &str, from: &File) -> Result<usize, KeptKvError> {
        if !self.state.is_idle(sequence) {
            return Err(KeptKvError::Busy);
        }
        let mut from = Digested::new(BufReader::new(from));
        let (maker, hyperparameters) = (self.maker(weights), self.model.hyperparameters());
        let (keys, deltas) = read_keys(&mut from, &maker, self.window, hyperparameters.vocabulary)?;
        let numbers: Vec<u32> = deltas.into_iter().map(|digest| self.state.number_of_delta(digest)).collect();
        let keys: Vec<Key> = keys
            .into_iter()
            .map(|Key { token, voice }| Key { token, voice: voice.checked_sub(1).map_or(0, |at| numbers[at as usize]) })
            .collect();
        let mut table = self.cache.load(&keys, &mut from).map_err(|error| match error {
            LoadError::Memory(error) => KeptKvError::Memory { needed: error.needed() },
            LoadError::Read(error) => read_error(error),
        })?;
        if let Err(error) = check_digest(from) {
            self.cache.release(table);
            return Err(error);
        }
        self.cache.settle(&mut table, 0, &keys);
        let before = self.state.put_table(sequence, table);
        self.cache.release(before);
        Ok(keys.len())
    }

    fn maker(&self, weights: &str) -> Maker {
        let shape = self.cache.shape();
        Maker {
            program: concat!("madrigal ", env!("CARGO_PKG_VERSION")).to_owned(),
            weights: weights.to_owned(),
            isa: self.kernels.isa().to_string(),
            kv: shape.kind.to_string(),
            activations: self.activations.to_string(),
            layers: self.model.hyperparameters().layers,
            shared_layers: self.cache.shared_layers(),
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            block_len: BLOCK_LEN,
        }
    }
}

/// Reads all that stands before keys and values. A key's voice is the number that stands in the file.
fn read_keys(
    from: &mut Digested<impl BufRead>,
    ours: &Maker,
    longest: usize,
    vocabulary: usize,
) -> Result<(Vec<Key>, Vec<[u8; 32]>), KeptKvError> {
    let damaged = |problem: &str| KeptKvError::Damaged(problem.to_owned());
    let mut line = Vec::new();
    from.inner.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line)?;
    from.hash.update(&line);
    let header: Header =
        serde_json::from_slice(&line).map_err(|error| KeptKvError::Damaged(format!("its first line: {error}")))?;
    if !line.ends_with(b"\n") || header.format != FORMAT {
        return Err(damaged("it is no file of this format"));
    }
    if header.maker != *ours {
        let text = |maker: &Maker| serde_json::to_string(maker).unwrap_or_default();
        return Err(KeptKvError::Foreign { theirs: text(&header.maker), ours: text(ours) });
    }
    if header.tokens > longest {
        return Err(KeptKvError::Damaged(format!("{} tokens in a window of {longest}", header.tokens)));
    }
    let deltas: Option<Vec<_>> = header.deltas.iter().map(|digest| from_hex(digest)).collect();
    let deltas = deltas.ok_or_else(|| damaged("a digest is none"))?;
    let mut keys = Vec::with_capacity(header.tokens);
    for _ in 0..header.tokens {
        let (mut token, mut voice) = ([0; 4], [0; 4]);
        from.read_exact(&mut token).and_then(|()| from.read_exact(&mut voice)).map_err(read_error)?;
        let (token, voice) = (u32::from_le_bytes(token), u32::from_le_bytes(voice));
        if token as usize >= vocabulary || voice as usize > deltas.len() {
            return Err(damaged("a token or a delta that there is not"));
        }
        keys.push(Key { token, voice });
    }
    Ok((keys, deltas))
}

/// Compares the digest at the end of the file, behind which nothing may stand.
fn check_digest(from: Digested<impl Read>) -> Result<(), KeptKvError> {
    let Digested { mut inner, hash } = from;
    let mut end = Vec::new();
    inner.by_ref().take(33).read_to_end(&mut end)?;
    if end == hash.finalize().as_slice() {
        return Ok(());
    }
    Err(KeptKvError::Damaged("its digest is not that of its content".to_owned()))
}

fn read_error(error: io::Error) -> KeptKvError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => KeptKvError::Damaged("it ends too early".to_owned()),
        _ => KeptKvError::Io(error),
    }
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}
