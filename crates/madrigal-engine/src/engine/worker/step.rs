//! One step: which rows are read, and what becomes of their logits.
//!
//! Owns the sharing of rows among jobs. Which jobs run is decided in `worker`.

use std::sync::{Mutex, PoisonError};

use super::{ROWS_PER_STEP, State, Worker, memory_error};
use crate::arch::{Batch, Blocks, Outputs, Row};
use crate::engine::EngineError;
use crate::engine::job::{End, Job, Work};
use crate::kv::{ABOVE, BELOW, BLOCK_LEN};
use crate::model::Model;

/// Rows that a job has in a step.
struct Share {
    arrival: u64,
    rows: usize,
}

/// A job whose logits are there.
struct Turn<'a> {
    arrival: u64,
    job: &'a mut Job,
    /// The place of the token that the first logits belong to; those of the next follow.
    position: usize,
    /// `[positions, vocabulary]`.
    logits: &'a mut [f32],
    outcome: Result<Option<End>, EngineError>,
}

impl Worker {
    /// Reads one batch of rows and lets the jobs that reached their end draw or answer.
    pub(super) fn step(&mut self) {
        let mut shares = self.state.shares();
        shares.retain(|share| self.make_room(share));
        self.bring_together(&mut shares);
        if shares.is_empty() {
            return;
        }
        let (mut outputs, wanting) = self.read(&shares);
        self.settle(&shares);
        self.use_states(&shares, &outputs.states);
        self.use_logits(&mut outputs.logits, &wanting);
        self.state.buffers.keep([outputs.logits]);
        for Share { arrival, .. } in &shares {
            self.end_listener_at_end(*arrival);
        }
        // Where there are more jobs than rows, the others come first next time.
        let State { running, .. } = &mut self.state;
        running.rotate_left(shares.len().min(running.len()) % running.len().max(1));
    }

    /// Makes room for the tokens of a share. A job for which there is none fails; a listener only stops listening.
    fn make_room(&mut self, share: &Share) -> bool {
        let State { jobs, sequences, .. } = &mut self.state;
        let Some(job) = jobs.get_mut(&share.arrival) else { return false };
        let (Some(cached), Some(started)) = (sequences.get_mut(&job.sequence), &mut job.started) else { return false };
        match self.cache.make_room(&mut cached.table, started.next + share.rows, &mut started.promise) {
            Ok(()) => true,
            Err(_) if job.listens() => {
                self.end_listener(share.arrival);
                false
            }
            Err(error) => {
                self.fail(share.arrival, memory_error(error));
                false
            }
        }
    }

    /// Puts jobs that share blocks beside each other, so that attention reads those once.
    fn bring_together(&self, shares: &mut [Share]) {
        let State { jobs, sequences, .. } = &self.state;
        let cached = |share: &Share| jobs.get(&share.arrival).and_then(|job| sequences.get(&job.sequence));
        let blocks = |share: &Share| cached(share).map(|cached| [ABOVE, BELOW].map(|tier| cached.table.blocks(tier)));
        shares.sort_by(|a, b| blocks(a).cmp(&blocks(b)));
    }

    /// Computes the rows. Returns what comes out, and which job the logits belong to: its arrival, the place of its first row that
    /// wants them, and how many do.
    fn read(&mut self, shares: &[Share]) -> (Outputs, Vec<(u64, usize, usize)>) {
        let mut rows = std::mem::take(&mut self.state.rows);
        rows.clear();
        let mut batch = Batch {
            rows,
            tables: Vec::with_capacity(shares.len()),
            shared_layers: self.cache.shared_layers(),
            voices: Vec::new(),
            block_len: BLOCK_LEN,
            activations: self.activations,
        };
        let mut voices: Vec<u32> = Vec::new();
        let mut wanting: Vec<(u64, usize, usize)> = Vec::new();
        for &Share { arrival, rows } in shares {
            let Some(job) = self.state.jobs.get(&arrival) else { continue };
            let (Some(started), Some(cached)) = (&job.started, self.state.sequences.get(&job.sequence)) else {
                continue;
            };
            let voice = job.reader.voice.as_ref().filter(|_| job.reader.key != 0).map(|voice| {
                voices.iter().position(|&key| key == job.reader.key).unwrap_or_else(|| {
                    voices.push(job.reader.key);
                    batch.voices.push(voice.voice.clone());
                    voices.len() - 1
                })
            });
            let filled = cached.table.filled();
            let mut wants: Option<(usize, usize)> = None;
            for position in started.next..started.next + rows {
                let wants_logits = job.wants_logits(position);
                if wants_logits {
                    wants = Some(wants.map_or((position, 1), |(first, count)| (first, count + 1)));
                }
                batch.rows.push(Row {
                    sequence: batch.tables.len(),
                    position,
                    token: job.ids[position],
                    wants_logits,
                    wants_state: job.wants_state(position),
                    voice: voice.filter(|_| job.reader.acts_at(position)),
                    stored: filled.map(|filled| position < filled),
                });
            }
            wanting.extend(wants.map(|(first, count)| (arrival, first, count)));
            batch.tables.push(Blocks { below: cached.table.blocks(BELOW), above: cached.table.blocks(ABOVE) });
        }
        let outputs =
            self.model.architecture().forward(&self.kernels, self.cache.layers_mut(), &batch, &mut self.state.buffers);
        self.state.rows = batch.rows;
        (outputs, wanting)
    }

    /// Takes note of what has been read.
    fn settle(&mut self, shares: &[Share]) {
        let State { jobs, sequences, .. } = &mut self.state;
        let mut keys = Vec::new();
        for &Share { arrival, rows } in shares {
            let Some(job) = jobs.get_mut(&arrival) else { continue };
            let (Some(cached), Some(started)) = (sequences.get_mut(&job.sequence), &mut job.started) else { continue };
            let places = started.next..started.next + rows;
            keys.clear();
            keys.extend(places.clone().map(|position| job.reader.key(position, job.ids[position])));
            self.cache.settle(&mut cached.table, places.start, &keys);
            started.next = places.end;
        }
    }

    /// Hands the states that came out to the jobs that wanted them. The jobs' places are behind them already.
    fn use_states(&mut self, shares: &[Share], states: &[f32]) {
        let mut rows = states.chunks_exact(self.model.hyperparameters().hidden);
        for &Share { arrival, rows: read } in shares {
            let Some(job) = self.state.jobs.get_mut(&arrival) else { continue };
            let next = job.started.as_ref().map_or(0, |started| started.next);
            let wanted = (next - read..next).filter(|&position| job.wants_state(position)).count();
            if let Work::Embed(pooled) = &mut job.work {
                rows.by_ref().take(wanted).for_each(|state| pooled.add(state));
                if next == job.ids.len() {
                    self.end(arrival, End::Measured);
                }
            }
        }
    }

    /// Lets jobs draw or take what they wanted, several at once, and does what follows from it in a fixed order.
    fn use_logits(&mut self, logits: &mut [f32], wanting: &[(u64, usize, usize)]) {
        let vocabulary = self.model.hyperparameters().vocabulary;
        let mut turns = Vec::with_capacity(wanting.len());
        let mut rest = logits;
        // Jobs are borrowed in the order of their arrival, logits are there in the order of the rows.
        let mut pieces = Vec::with_capacity(wanting.len());
        for &(arrival, position, count) in wanting {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(count * vocabulary);
            rest = others;
            pieces.push((arrival, position, own));
        }
        pieces.sort_unstable_by_key(|&(arrival, ..)| arrival);
        let mut pieces = pieces.into_iter().peekable();
        for (&arrival, job) in &mut self.state.jobs {
            if let Some((_, position, logits)) = pieces.next_if(|&(wanted, ..)| wanted == arrival) {
                turns.push(Mutex::new(Turn { arrival, job, position, logits, outcome: Ok(None) }));
            }
        }
        let (model, window) = (&*self.model, self.window);
        self.kernels.for_each(turns.len(), |index| {
            // Each is locked once.
            turns[index].lock().unwrap_or_else(PoisonError::into_inner).take(model, window, vocabulary);
        });

        let turns = turns.into_iter().map(|turn| turn.into_inner().unwrap_or_else(PoisonError::into_inner));
        let outcomes: Vec<_> = turns.map(|turn| (turn.arrival, turn.outcome)).collect();
        for (arrival, outcome) in outcomes {
            match outcome {
                Ok(None) => self.tell_listeners(arrival),
                Ok(Some(end)) => self.end(arrival, end),
                Err(error) => self.fail(arrival, error),
            }
        }
    }

    /// Lets the listeners of a speaker, if it is one, hear what it has said so far.
    fn tell_listeners(&mut self, arrival: u64) {
        let Some(Job { work: Work::Speak(speaking), .. }) = self.state.jobs.get(&arrival) else { return };
        if speaking.listeners.is_empty() {
            return;
        }
        let (listeners, said) = (speaking.listeners.clone(), speaking.speech.ids().to_vec());
        for listener in listeners {
            self.hear(listener, &said);
        }
    }
}

impl Turn<'_> {
    fn take(&mut self, model: &Model, window: usize, vocabulary: usize) {
        for (index, logits) in self.logits.chunks_exact_mut(vocabulary).enumerate() {
            self.outcome = self.job.use_logits(self.position + index, logits, model, window);
            if !matches!(self.outcome, Ok(None)) {
                return;
            }
        }
    }
}

impl State {
    /// How many rows each job may read in this step: those that somebody waits for one each, then evenly as much as they
    /// want, but for one that is left for listeners; these as [`ride_along`] says. Where nobody waits, listeners share all
    /// there is.
    fn shares(&self) -> Vec<Share> {
        let (mut awaited, mut listening) = (Vec::new(), Vec::new());
        for &arrival in &self.running {
            let Some(job) = self.jobs.get(&arrival).filter(|job| job.unread() > 0) else { continue };
            match &job.work {
                Work::Listen(heard) => listening.push(Ear { arrival, unread: job.unread(), ended: heard.has_ended() }),
                _ => awaited.push((arrival, job.unread())),
            }
        }
        if awaited.is_empty() {
            return share_evenly(listening.iter().map(|ear| (ear.arrival, ear.unread)), ROWS_PER_STEP);
        }
        let left_over = usize::from(!listening.is_empty());
        let mut shares = share_evenly(awaited, ROWS_PER_STEP - left_over);
        let rows = shares.iter().map(|share| share.rows).sum();
        shares.extend(ride_along(listening, rows));
        shares
    }
}

/// Hands out up to `rows` rows to jobs that have so much unread: one to each in turn, then evenly as much as they want.
fn share_evenly(jobs: impl IntoIterator<Item = (u64, usize)>, rows: usize) -> Vec<Share> {
    let mut shares: Vec<_> = jobs.into_iter().map(|(arrival, unread)| (Share { arrival, rows: 0 }, unread)).collect();
    let mut left = rows;
    loop {
        let hungry = shares.iter().filter(|(share, unread)| share.rows < *unread).count();
        if hungry == 0 || left == 0 {
            return shares.into_iter().map(|(share, _)| share).filter(|share| share.rows > 0).collect();
        }
        let portion = (left / hungry).max(1);
        for (share, unread) in &mut shares {
            let more = portion.min(*unread - share.rows).min(left);
            share.rows += more;
            left -= more;
        }
    }
}

/// A listener that has something to read.
#[derive(Debug, Clone, Copy)]
struct Ear {
    arrival: u64,
    unread: usize,
    /// Nothing more will be said.
    ended: bool,
}

/// Rows that cost hardly more than one: weights and memory are waited for in any case.
const FREE_ROWS: usize = 4;

/// The most rows at a time by which a listener catches up that has fallen behind, or has its own context to read.
const CATCH_UP: usize = 32;

/// The listeners' rows in a step of `awaited` rows that somebody waits for: as many as are free, and no fewer than there are
/// listeners, so that they keep up. They go to one listener after the other, several at once, because a listener's keys
/// and values are read for each of its turns: for every row if each had one, and soon that is more than the weights.
/// So a listener is behind by a few tokens, which its next prompt makes up for.
fn ride_along(mut ears: Vec<Ear>, awaited: usize) -> Vec<Share> {
    let mut room = ROWS_PER_STEP.saturating_sub(awaited);
    let mut left = FREE_ROWS.saturating_sub(awaited).max(ears.len()).min(room);
    let whole = left;
    // Nobody who keeps up is ever so far behind.
    let behind = 2 * ears.len().max(FREE_ROWS);
    // The one that is furthest behind first; of several, the first in turn.
    ears.sort_by_key(|ear| std::cmp::Reverse(ear.unread));
    let mut shares = Vec::new();
    for Ear { arrival, unread, ended } in ears {
        let rows = if unread >= behind {
            unread.min(CATCH_UP).min(room)
        } else if unread >= whole || ended {
            let rows = unread.min(left).min(room);
            left -= rows;
            rows
        } else {
            0
        };
        room -= rows;
        if rows > 0 {
            shares.push(Share { arrival, rows });
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ears: &[(usize, bool)], awaited: usize) -> Vec<usize> {
        let ears: Vec<Ear> = ears
            .iter()
            .enumerate()
            .map(|(arrival, &(unread, ended))| Ear { arrival: arrival as u64, unread, ended })
            .collect();
        let mut rows = vec![0; ears.len()];
        for share in ride_along(ears, awaited) {
            rows[share.arrival as usize] = share.rows;
        }
        rows
    }

    #[test]
    fn listeners_read_several_tokens_at_a_time_and_one_after_the_other() {
        for (ears, awaited, expected) in [
            (&[][..], 1, &[][..]),
            (&[(2, false), (2, false)], 1, &[0, 0]),
            (&[(3, false), (3, false)], 1, &[3, 0]),
            (&[(1, false), (4, false)], 1, &[0, 3]),
            (&[(2, true), (2, true)], 1, &[2, 1]),
            (&[(2, true), (7, false)], 1, &[0, 3]),
            // Many listeners, or many who are waited for: as many rows as listeners.
            (&[(5, false), (4, false), (1, false), (1, false), (1, false)], 1, &[5, 0, 0, 0, 0]),
            (&[(2, false), (1, false)], 8, &[2, 0]),
            // Far behind.
            (&[(128, false), (20, false), (2, false)], 1, &[32, 20, 0]),
            // No room.
            (&[(3, false), (3, false)], ROWS_PER_STEP, &[0, 0]),
            (&[(300, false)], ROWS_PER_STEP - 2, &[2]),
            // What is left beside a long prompt.
            (&[(1, false), (3, true)], ROWS_PER_STEP - 1, &[0, 1]),
        ] {
            assert_eq!(rows(ears, awaited), expected, "{ears:?} beside {awaited}");
        }
    }

    #[test]
    fn everyone_who_waits_gets_a_row_and_the_rest_is_shared() {
        let shared = |unread: &[usize], rows| -> Vec<usize> {
            let jobs = unread.iter().enumerate().map(|(arrival, &unread)| (arrival as u64, unread));
            share_evenly(jobs, rows).iter().map(|share| share.rows).collect()
        };
        assert_eq!(shared(&[1, 500, 1], 128), [1, 126, 1]);
        assert_eq!(shared(&[500, 10, 500], 100), [45, 10, 45]);
        assert_eq!(shared(&[5; 200], 128), [1; 128]);
        assert_eq!(shared(&[3, 4], 128), [3, 4]);
    }

    /// Whatever is said, nobody falls behind by more than a few tokens.
    #[test]
    fn listeners_keep_up() {
        for listeners in 1..=20 {
            let mut unread = vec![0; listeners];
            for _ in 0..500 {
                unread.iter_mut().for_each(|unread| *unread += 1);
                let ears: Vec<_> = unread.iter().map(|&unread| (unread, false)).collect();
                unread.iter_mut().zip(rows(&ears, 1)).for_each(|(unread, rows)| *unread -= rows);
                let most = 2 * listeners.max(FREE_ROWS);
                assert!(unread.iter().all(|&unread| unread < most), "{unread:?}");
            }
        }
    }
}
