//! Keys and values that are kept beside a run (`--keep-kv`), so that going on in a new process reads nothing again.
//!
//! Owns the files' names and what people are told. What the files hold is the engine's business; nothing that anyone
//! says depends on them, and `run verify` does not look at them.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use madrigal_dialogue::{ConversationConfig, Seat};
use madrigal_engine::KeptKvError;
use madrigal_journal::event::FileHash;

use crate::output::{DIM, neutral};
use crate::runs::RunPlace;
use crate::units;

/// The files of one run, a seat each.
#[derive(Debug)]
pub(crate) struct KeptKv {
    dir: PathBuf,
    /// By seat, what the weights of its model are called; nothing for models that are not in this process.
    weights: Vec<Option<String>>,
}

impl KeptKv {
    pub(crate) fn of(run: &RunPlace, config: &ConversationConfig, files: &[FileHash]) -> Self {
        let weights = |model: &str| {
            let of_model = files.iter().filter(|file| file.model == model);
            let mut digests: Vec<String> = of_model.map(|file| format!("{}:{}", file.role, file.sha256)).collect();
            digests.sort_unstable();
            (!digests.is_empty()).then(|| digests.join(" "))
        };
        Self { dir: run.dir.join("kv"), weights: config.agents.iter().map(|agent| weights(&agent.model)).collect() }
    }

    /// Gives the seats what is kept for them, and says how much that is. What is of no use is read again.
    pub(crate) fn restore(&self, seats: &mut [Seat]) {
        let mut tokens = 0;
        for (index, (seat, weights)) in seats.iter_mut().zip(&self.weights).enumerate() {
            let path = self.file(index);
            let Some(weights) = weights else { continue };
            let restored = match File::open(&path) {
                Ok(file) => seat.model.restore_kv(weights, file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(KeptKvError::Io(error)),
            };
            match restored {
                Ok(restored) => tokens += restored.unwrap_or(0),
                Err(error) => anstream::eprintln!(
                    "{DIM}note: {} reads everything again: failed to {} ({}){DIM:#}",
                    neutral(&seat.name),
                    neutral(&error.to_string()),
                    path.display()
                ),
            }
        }
        if tokens > 0 {
            anstream::eprintln!("{DIM}note: {tokens} tokens were read before and kept beside the run{DIM:#}");
        }
    }

    /// Keeps what the seats have read, and says how much that takes. Where that fails the run is recorded all the same.
    pub(crate) fn save(&self, seats: &[Seat]) {
        let mut bytes = 0;
        for (index, (seat, weights)) in seats.iter().zip(&self.weights).enumerate() {
            let Some(weights) = weights else { continue };
            match self.save_seat(index, seat, weights) {
                Ok(written) => bytes += written,
                Err(error) => anstream::eprintln!(
                    "{DIM}note: nothing is kept of {}: failed to {} ({}){DIM:#}",
                    neutral(&seat.name),
                    neutral(&error.to_string()),
                    self.file(index).display()
                ),
            }
        }
        if bytes > 0 {
            let dir = self.dir.display();
            anstream::eprintln!("{DIM}Keys and values take {} in {dir}{DIM:#}", units::show_bytes(bytes));
        }
    }

    fn save_seat(&self, index: usize, seat: &Seat, weights: &str) -> Result<u64, KeptKvError> {
        fs::create_dir_all(&self.dir)?;
        let (path, unfinished) = (self.file(index), self.dir.join(format!("{}.part", index + 1)));
        let saved =
            File::create(&unfinished).map_err(KeptKvError::Io).and_then(|file| seat.model.save_kv(weights, file));
        match saved {
            Ok(Some(_)) => {
                fs::rename(&unfinished, &path)?;
                Ok(fs::metadata(&path)?.len())
            }
            Ok(None) => {
                fs::remove_file(&unfinished)?;
                Ok(0)
            }
            Err(error) => {
                // It is of no use; that it may stay hurts nobody.
                let _ = fs::remove_file(&unfinished);
                Err(error)
            }
        }
    }

    fn file(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.kv", index + 1))
    }
}
