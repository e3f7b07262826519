//! The engine's thread: takes requests, mixes their rows into batches, hands out tokens.
//!
//! Owns the model, the kernels and all KV blocks while it runs. One step reads at most [`ROWS_PER_STEP`] rows: every
//! running request gets one (a decode step needs no more), what is left is shared evenly among those with prompt to read.
//! Which rows share a step never changes a result; that is the kernels' promise (batch invariance).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use madrigal_kernels::Kernels;
use tokio::sync::oneshot;

use super::job::{End, Events, Job, Speaking, Started, Work};
use super::speech::Speech;
use super::{EngineError, Finish, GenerateRequest, Positions};
use crate::arch::{Batch, Blocks, Row};
use crate::kv_cache::{BLOCK_LEN, KvCache, OutOfBlocks, Table};
use crate::model::Model;

/// Enough to read weights rarely, few enough that decoding beside a long prompt stays smooth.
const ROWS_PER_STEP: usize = 128;

/// What handles ask for.
pub(super) enum Command {
    Generate { sequence: u64, ids: Vec<u32>, request: GenerateRequest, events: Events, cancelled: Arc<AtomicBool> },
    Logits { sequence: u64, ids: Vec<u32>, positions: Positions, reply: oneshot::Sender<Result<Vec<f32>, EngineError>> },
    Fork { from: u64, to: u64, at: usize },
    Close { sequence: u64 },
}

pub(super) struct Worker {
    model: Arc<Model>,
    kernels: Kernels,
    cache: KvCache,
    window: usize,
    block_bytes: u64,
    commands: Receiver<Command>,
    sequences: BTreeMap<u64, Cached>,
    /// In the order of their arrival, rotated by one every step for fairness among different sequences.
    jobs: VecDeque<Job>,
    arrivals: u64,
}

/// A sequence's state.
#[derive(Default)]
struct Cached {
    table: Table,
    /// Its handle is gone; it is freed after its last job.
    closed: bool,
}

impl Worker {
    pub(super) fn new(
        model: Arc<Model>,
        kernels: Kernels,
        cache: KvCache,
        window: usize,
        block_bytes: u64,
        commands: Receiver<Command>,
    ) -> Self {
        let (sequences, jobs) = (BTreeMap::new(), VecDeque::new());
        Self { model, kernels, cache, window, block_bytes, commands, sequences, jobs, arrivals: 0 }
    }

    /// Runs until all handles are gone and all work is done.
    pub(super) fn run(mut self) {
        loop {
            if self.jobs.is_empty() {
                match self.commands.recv() {
                    Ok(command) => self.take(command),
                    Err(_) => return,
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                self.take(command);
            }
            self.end_cancelled();
            self.admit();
            self.step();
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Generate { sequence, ids, mut request, events, cancelled } => {
                if request.ignore_eos {
                    let forbidden = self.model.end_ids().iter().map(|&id| (id, f32::NEG_INFINITY));
                    request.sampling.logit_bias.extend(forbidden);
                }
                let speech = Speech::new(self.model.tokenizer(), &ids, std::mem::take(&mut request.stop));
                let speaking = Speaking { request, speech, events, cancelled };
                self.queue(sequence, ids, Work::Speak(Box::new(speaking)));
            }
            Command::Logits { sequence, ids, positions, reply } => {
                self.queue(sequence, ids, Work::Measure { positions, logits: Vec::new(), reply });
            }
            Command::Fork { from, to, at } => {
                if let Some(cached) = self.sequences.get(&from) {
                    let table = self.cache.fork(&cached.table, at);
                    self.sequences.insert(to, Cached { table, closed: false });
                }
            }
            Command::Close { sequence } => {
                if let Some(cached) = self.sequences.get_mut(&sequence) {
                    cached.closed = true;
                }
                self.free_if_closed(sequence);
            }
        }
    }

    fn queue(&mut self, sequence: u64, ids: Vec<u32>, work: Work) {
        self.sequences.entry(sequence).or_default();
        self.arrivals += 1;
        let (arrival, prompt_tokens) = (self.arrivals, ids.len());
        self.jobs.push_back(Job { sequence, arrival, ids, prompt_tokens, started: None, work });
    }

    fn free_if_closed(&mut self, sequence: u64) {
        let idle = !self.jobs.iter().any(|job| job.sequence == sequence);
        let closed = |cached: &Cached| cached.closed;
        if !(idle && self.sequences.get(&sequence).is_some_and(closed)) {
            return;
        }
        if let Some(cached) = self.sequences.remove(&sequence) {
            self.cache.release(cached.table);
        }
    }

    /// Ends the jobs that nobody waits for any more.
    fn end_cancelled(&mut self) {
        let mut index = 0;
        while index < self.jobs.len() {
            let gone = match &self.jobs[index].work {
                Work::Speak(speaking) => speaking.cancelled.load(Ordering::Relaxed) || speaking.events.is_closed(),
                Work::Measure { reply, .. } => reply.is_closed(),
            };
            match gone {
                true => {
                    if let Some(job) = self.remove(index) {
                        job.end(self.model.tokenizer(), End::Because(Finish::Cancelled));
                    }
                }
                false => index += 1,
            }
        }
    }

    /// Takes a job out of the queue and gives back what it had reserved.
    fn remove(&mut self, index: usize) -> Option<Job> {
        let mut job = self.jobs.remove(index)?;
        if let Some(started) = &mut job.started {
            self.cache.withdraw(started.promise);
            started.promise = 0;
        }
        self.free_if_closed(job.sequence);
        Some(job)
    }

    /// Starts the jobs whose sequence is free.
    fn admit(&mut self) {
        let mut waiting: Vec<(u64, u64)> = Vec::new();
        let mut busy = BTreeSet::new();
        for job in &self.jobs {
            if job.started.is_some() {
                busy.insert(job.sequence);
            } else {
                waiting.push((job.arrival, job.sequence));
            }
        }
        waiting.sort_unstable();
        for (arrival, sequence) in waiting {
            if busy.contains(&sequence) {
                continue;
            }
            let Some(index) = self.jobs.iter().position(|job| job.arrival == arrival) else {
                continue;
            };
            match self.start(index) {
                Ok(()) => {
                    busy.insert(sequence);
                }
                Err(error) => {
                    if let Some(job) = self.remove(index) {
                        job.fail(error);
                    }
                }
            }
        }
    }

    /// Checks a job, cuts its sequence back to what both have in common, and reserves its blocks.
    fn start(&mut self, index: usize) -> Result<(), EngineError> {
        let job = &mut self.jobs[index];
        job.check(self.model.hyperparameters().vocabulary, self.window)?;
        let Some(cached) = self.sequences.get_mut(&job.sequence) else {
            return Err(EngineError::Stopped);
        };
        let common = cached.table.tokens().iter().zip(&job.ids).take_while(|(old, new)| old == new).count();
        let keep = match &job.work {
            Work::Measure { positions: Positions::All, .. } => 0,
            // The last token is always read: its logits are wanted.
            _ => common.min(job.ids.len() - 1),
        };
        self.cache.truncate(&mut cached.table, keep);
        let longest = job.longest(self.window);
        let promise = self.cache.needed(&cached.table, longest);
        self.cache.promise(promise).map_err(|error| memory_error(error, self.block_bytes))?;
        job.started = Some(Started { cached: keep, promise });
        Ok(())
    }

    /// Reads one batch of rows and lets the jobs that reached their end draw or answer.
    fn step(&mut self) {
        let shares = self.shares();
        self.make_room(&shares);
        let mut batch = Batch { block_len: BLOCK_LEN, ..Batch::default() };
        let mut wanting = Vec::new();
        for job in &self.jobs {
            let Some(cached) = self.sequences.get(&job.sequence) else {
                continue;
            };
            let share = shares.iter().find(|(arrival, _)| *arrival == job.arrival).map_or(0, |&(_, rows)| rows);
            let end = cached.table.tokens().len();
            for position in end - share..end {
                let wants_logits = job.wants_logits(position);
                if wants_logits {
                    wanting.push(job.arrival);
                }
                let (sequence, token) = (batch.tables.len(), job.ids[position]);
                let (voice, stored) = (None, [false; 2]);
                batch.rows.push(Row { sequence, position, token, wants_logits, voice, stored });
            }
            batch.tables.push(Blocks { below: &[], above: cached.table.blocks() });
        }
        if batch.rows.is_empty() {
            return;
        }
        let vocabulary = self.model.hyperparameters().vocabulary;
        let mut logits = self.model.architecture().forward(&self.kernels, self.cache.layers_mut(), &batch);
        for (arrival, logits) in wanting.into_iter().zip(logits.chunks_exact_mut(vocabulary)) {
            self.use_logits(arrival, logits);
        }
        self.jobs.rotate_left(usize::from(!self.jobs.is_empty()));
    }

    /// How many rows each job may read in this step, by its arrival.
    fn shares(&self) -> Vec<(u64, usize)> {
        let mut shares: Vec<(u64, usize, usize)> = Vec::new(); // (arrival, share, unread)
        let mut left = ROWS_PER_STEP;
        for job in self.jobs.iter().filter(|job| job.started.is_some()).take(ROWS_PER_STEP) {
            let read = self.sequences.get(&job.sequence).map_or(0, |cached| cached.table.tokens().len());
            shares.push((job.arrival, 1, job.ids.len() - read));
            left -= 1;
        }
        loop {
            let hungry = shares.iter().filter(|(_, share, unread)| share < unread).count();
            if hungry == 0 || left == 0 {
                break;
            }
            let portion = (left / hungry).max(1);
            for (_, share, unread) in &mut shares {
                let more = portion.min(*unread - *share).min(left);
                *share += more;
                left -= more;
            }
        }
        shares.into_iter().map(|(arrival, share, _)| (arrival, share)).collect()
    }

    /// Adds the tokens of the shares to their tables. Jobs for which there is no room fail.
    fn make_room(&mut self, shares: &[(u64, usize)]) {
        for &(arrival, share) in shares {
            let Some(index) = self.jobs.iter().position(|job| job.arrival == arrival) else {
                continue;
            };
            let job = &mut self.jobs[index];
            let (Some(cached), Some(started)) = (self.sequences.get_mut(&job.sequence), &mut job.started) else {
                continue;
            };
            let start = cached.table.tokens().len();
            let pushed = job.ids[start..start + share]
                .iter()
                .try_for_each(|&id| self.cache.push(&mut cached.table, id, &mut started.promise));
            if let Err(error) = pushed {
                // Tokens that were added will not be read, so the table must not keep them.
                self.cache.truncate(&mut cached.table, start);
                let error = memory_error(error, self.block_bytes);
                if let Some(job) = self.remove(index) {
                    job.fail(error);
                }
            }
        }
    }

    fn use_logits(&mut self, arrival: u64, logits: &mut [f32]) {
        let Some(index) = self.jobs.iter().position(|job| job.arrival == arrival) else {
            return;
        };
        let model = Arc::clone(&self.model);
        match self.jobs[index].use_logits(logits, &model, self.window) {
            Ok(None) => {}
            Ok(Some(end)) => {
                if let Some(job) = self.remove(index) {
                    job.end(model.tokenizer(), end);
                }
            }
            Err(error) => {
                if let Some(job) = self.remove(index) {
                    job.fail(error);
                }
            }
        }
    }
}

fn memory_error(error: OutOfBlocks, block_bytes: u64) -> EngineError {
    let bytes = |blocks: usize| (blocks as u64).saturating_mul(block_bytes);
    match error {
        OutOfBlocks::Limit { needed, available } => {
            EngineError::Memory { needed: bytes(needed), available: bytes(available) }
        }
        OutOfBlocks::Memory { blocks } => EngineError::Allocation { needed: bytes(blocks) },
    }
}
