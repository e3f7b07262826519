//! The engine's thread: takes requests, mixes their rows into batches, hands out tokens.
//!
//! Owns the model, the kernels and all KV blocks while it runs. One step reads at most [`ROWS_PER_STEP`] rows: every
//! running request gets one (a decode step needs no more), what is left is shared evenly among those with prompt to read;
//! listeners ride along where it costs little.
//! A request that begins like one that is being read waits until that has been read, and shares its blocks. Which rows
//! share a step never changes a result; that is the kernels' promise (batch invariance).

mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use madrigal_kernels::{Kernels, Precision};
use tokio::sync::oneshot;

use super::budget::Reservation;
use super::constrained::Constrained;
use super::job::{End, Events, Farewell, Job, Reader, Speaking, Started, Work};
use super::listening::Listening;
use super::pooling::Pooled;
use super::speech::Speech;
use super::{
    EngineError, Finish, GenerateEvent, GenerateRequest, KeptKvError, Listener, MemoryReport, Pooling, Positions,
    Surprise, VoiceFrom,
};
use crate::arch::{Buffers, Row};
use crate::kv::{BLOCK_LEN, Key, KvCache, OutOfMemory, Table};
use crate::model::Model;

/// Enough to read weights rarely, few enough that decoding beside a long prompt stays smooth.
const ROWS_PER_STEP: usize = 128;

/// How long listeners wait for the next speaker, when one has come to its end, before they read on by themselves: it is
/// most often asked at once, and would have to wait until their step is over.
const BETWEEN_SPEAKERS: Duration = Duration::from_millis(1);

/// What handles ask for.
pub(super) enum Command {
    Open {
        sequence: u64,
    },
    Generate {
        sequence: u64,
        ids: Vec<u32>,
        request: Box<GenerateRequest>,
        events: Events,
        cancelled: Arc<AtomicBool>,
    },
    Logits {
        sequence: u64,
        ids: Vec<u32>,
        positions: Positions,
        voice: Option<VoiceFrom>,
        reply: oneshot::Sender<Result<Vec<f32>, EngineError>>,
    },
    Embed {
        sequence: u64,
        ids: Vec<u32>,
        pooling: Pooling,
        reply: oneshot::Sender<Result<Vec<f32>, EngineError>>,
    },
    Fork {
        from: u64,
        to: u64,
        at: usize,
    },
    Close {
        sequence: u64,
    },
    Save {
        sequence: u64,
        weights: String,
        to: File,
        reply: mpsc::Sender<Result<usize, KeptKvError>>,
    },
    Restore {
        sequence: u64,
        weights: String,
        from: File,
        reply: mpsc::Sender<Result<usize, KeptKvError>>,
    },
    Memory {
        reply: mpsc::Sender<MemoryReport>,
    },
}

pub(super) struct Worker {
    pub(super) model: Arc<Model>,
    pub(super) kernels: Kernels,
    pub(super) cache: KvCache,
    pub(super) window: usize,
    pub(super) activations: Precision,
    /// What the weights take of the budgets; given back when the engine ends.
    pub(super) weights: Reservation,
    pub(super) commands: Receiver<Command>,
    pub(super) state: State,
}

/// What is being done for whom.
#[derive(Default)]
pub(super) struct State {
    sequences: BTreeMap<u64, Cached>,
    /// By arrival.
    jobs: BTreeMap<u64, Job>,
    arrivals: u64,
    /// Jobs that have started, in the order in which they get their rows.
    running: VecDeque<u64>,
    /// Jobs that may start: the first ones of their sequences.
    waiting: BTreeSet<u64>,
    /// Finished generations whose listeners still measure, by the speaker's arrival, and how many those are.
    farewells: BTreeMap<u64, (Farewell, usize)>,
    /// Somebody has come to the end of what was to be said, in the last step.
    has_spoken: bool,
    /// What deltas are called in keys, by their digest.
    deltas: BTreeMap<[u8; 32], u32>,
    /// The rows of the last step, for their memory.
    rows: Vec<Row>,
    buffers: Buffers,
}

/// A sequence's state.
#[derive(Default)]
struct Cached {
    table: Table,
    /// Its jobs, in the order of their arrival; all but the first wait for that.
    queue: VecDeque<u64>,
    /// Its handle is gone; it is freed after its last job.
    closed: bool,
}

impl Worker {
    /// Runs until all handles are gone and all work is done.
    pub(super) fn run(mut self) {
        loop {
            if !self.has_work() {
                if self.cache.is_limited() {
                    // Other engines may need what this one does not.
                    self.cache.trim();
                }
                match self.commands.recv() {
                    Ok(command) => self.take(command),
                    Err(_) => return,
                }
            }
            if std::mem::take(&mut self.state.has_spoken)
                && !self.is_awaited()
                && let Ok(command) = self.commands.recv_timeout(BETWEEN_SPEAKERS)
            {
                self.take(command);
            }
            while let Ok(command) = self.commands.try_recv() {
                self.take(command);
            }
            self.end_abandoned();
            self.admit();
            self.step();
        }
    }

    /// Whether anybody waits for a job that is there: nobody does for listeners.
    fn is_awaited(&self) -> bool {
        let State { waiting, running, jobs, .. } = &self.state;
        waiting.iter().chain(running).any(|arrival| jobs.get(arrival).is_some_and(|job| !job.listens()))
    }

    /// Listeners that have heard all that was said so far are no work.
    fn has_work(&self) -> bool {
        let State { waiting, running, jobs, .. } = &self.state;
        !waiting.is_empty() || running.iter().any(|arrival| jobs.get(arrival).is_some_and(|job| job.unread() > 0))
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Open { sequence } => {
                self.state.sequences.entry(sequence).or_default();
            }
            Command::Generate { sequence, ids, request, events, cancelled } => {
                if let Err(error) = self.check(sequence, &request) {
                    let _ = events.send(Err(error));
                    return;
                }
                self.queue_speaker(sequence, ids, *request, events, cancelled);
            }
            Command::Logits { sequence, ids, positions, voice, reply } => match self.check_voice(voice.as_ref()) {
                Ok(()) => {
                    let reader = self.reader(voice);
                    self.queue(sequence, ids, reader, Work::Measure { positions, logits: Vec::new(), reply });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Embed { sequence, ids, pooling, reply } => {
                let reader = self.reader(None);
                self.queue(sequence, ids, reader, Work::Embed(Pooled::new(pooling, reply)));
            }
            Command::Fork { from, to, at } => {
                if let Some(cached) = self.state.sequences.get(&from) {
                    let first = cached.queue.front().and_then(|arrival| self.state.jobs.get(arrival));
                    let table = match first.is_some_and(|job| job.started.is_some()) {
                        true => self.cache.fork_written(&cached.table, at),
                        false => KvCache::fork(&cached.table, at),
                    };
                    self.state.sequences.insert(to, Cached { table, ..Cached::default() });
                }
            }
            Command::Close { sequence } => {
                if let Some(cached) = self.state.sequences.get_mut(&sequence) {
                    cached.closed = true;
                }
                self.end_listening(sequence);
                self.free_if_closed(sequence);
            }
            // Whoever asked may have gone.
            Command::Save { sequence, weights, to, reply } => {
                let _ = reply.send(self.save(sequence, &weights, &to));
            }
            Command::Restore { sequence, weights, from, reply } => {
                let _ = reply.send(self.restore(sequence, &weights, &from));
            }
            Command::Memory { reply } => {
                let usage = self.cache.usage();
                let _ = reply.send(MemoryReport {
                    weights: self.model.weight_bytes(),
                    kv_used: usage.used,
                    kv_cached: usage.kept,
                    kv_allocated: usage.allocated,
                    limit: self.weights.limit(),
                });
            }
        }
    }

    /// Whether voice and listeners of a request are what this engine can work with. The rest is checked when it starts.
    fn check(&self, speaker: u64, request: &GenerateRequest) -> Result<(), EngineError> {
        self.check_voice(request.voice.as_ref())?;
        let vocabulary = self.model.hyperparameters().vocabulary;
        let mut known = BTreeSet::from([speaker]);
        for (listener, Listener { sequence, ids, voice, surprise }) in request.listeners.iter().enumerate() {
            if !known.insert(sequence.0) || self.state.sequences.get(&sequence.0).is_none_or(|cached| cached.closed) {
                return Err(EngineError::Listener { listener });
            }
            self.check_voice(voice.as_ref())?;
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(EngineError::Token { id, vocabulary });
            }
            // Nothing would tell how likely the first token is.
            if *surprise && ids.is_empty() {
                return Err(EngineError::EmptyPrompt);
            }
        }
        Ok(())
    }

    fn check_voice(&self, voice: Option<&VoiceFrom>) -> Result<(), EngineError> {
        let Some(VoiceFrom { voice, .. }) = voice else { return Ok(()) };
        voice.fits(self.model.hyperparameters())?;
        let (shared, first) = (self.cache.shared_layers(), voice.delta.as_ref().map(|delta| delta.first_layer()));
        match first.filter(|&first| first < shared) {
            None => Ok(()),
            Some(first) => Err(EngineError::SharedLayers { first, shared }),
        }
    }

    /// Gives a voice's delta the name that it has in keys.
    fn reader(&mut self, voice: Option<VoiceFrom>) -> Reader {
        let digest = voice.as_ref().and_then(|voice| voice.voice.delta_digest());
        let key = digest.map_or(0, |digest| self.state.number_of_delta(digest));
        Reader { voice, key }
    }

    /// Queues a speaker, and whoever listens to it.
    fn queue_speaker(
        &mut self,
        sequence: u64,
        ids: Vec<u32>,
        mut request: GenerateRequest,
        events: Events,
        cancelled: Arc<AtomicBool>,
    ) {
        if request.ignore_eos {
            let forbidden = self.model.end_ids().iter().map(|&id| (id, f32::NEG_INFINITY));
            request.sampling.logit_bias.extend(forbidden);
        }
        let reader = self.reader(request.voice.take());
        let listeners = std::mem::take(&mut request.listeners);
        let speech = Speech::new(self.model.tokenizer(), &ids, std::mem::take(&mut request.stop));
        let constrained = request.constraint.as_ref().map(Constrained::new);
        // Arrivals are handed out one after the other.
        let speaker = self.state.arrivals + 1;
        let arrivals = (1..=listeners.len() as u64).map(|index| speaker + index).collect();
        let speaking = Speaking { request, speech, constrained, events, cancelled, listeners: arrivals };
        self.queue(sequence, ids, reader, Work::Speak(Box::new(speaking)));
        for (index, Listener { sequence, mut ids, voice, surprise }) in listeners.into_iter().enumerate() {
            let reader = self.reader(voice);
            ids.truncate(self.window);
            let listening = Listening::new((speaker, index), ids.len(), self.window - ids.len(), surprise);
            self.queue(sequence.0, ids, reader, Work::Listen(listening));
        }
    }

    /// Puts a job at the end of its sequence's queue. A sequence that is asked something stops listening.
    fn queue(&mut self, sequence: u64, ids: Vec<u32>, reader: Reader, work: Work) {
        self.end_listening(sequence);
        self.state.arrivals += 1;
        let arrival = self.state.arrivals;
        let cached = self.state.sequences.entry(sequence).or_default();
        cached.queue.push_back(arrival);
        if cached.queue.len() == 1 {
            self.state.waiting.insert(arrival);
        }
        let prompt_tokens = ids.len();
        let job = Job { sequence, ids, prompt_tokens, reader, started: None, follows: None, work };
        self.state.jobs.insert(arrival, job);
    }

    /// Ends what a sequence listens to; what it has read stays in its cache.
    fn end_listening(&mut self, sequence: u64) {
        let State { sequences, jobs, .. } = &self.state;
        let listens = |arrival: &&u64| jobs.get(arrival).is_some_and(Job::listens);
        let queue = sequences.get(&sequence).map(|cached| &cached.queue);
        let listening: Vec<u64> = queue.into_iter().flatten().filter(listens).copied().collect();
        for arrival in listening {
            self.end_listener(arrival);
        }
    }

    /// Ends a listener and tells the speaker what it measured.
    fn end_listener(&mut self, arrival: u64) {
        if !self.state.jobs.get(&arrival).is_some_and(Job::listens) {
            return;
        }
        let Some(Job { work: Work::Listen(listening), ids, .. }) = self.remove(arrival) else { return };
        let (speaker, index) = listening.speaker();
        let measures = listening.measures();
        if let Some((farewell, measuring)) = self.state.farewells.get_mut(&speaker)
            && measures
        {
            farewell.generated.surprise[index] = listening.finish(&ids).map(|nats| Surprise { nats });
            *measuring -= 1;
            if *measuring == 0 {
                self.say_farewell(speaker);
            }
        }
    }

    /// Tells that a generation is finished.
    fn say_farewell(&mut self, speaker: u64) {
        if let Some((Farewell { generated, events, .. }, _)) = self.state.farewells.remove(&speaker) {
            // Whoever asked may have gone.
            let _ = events.send(Ok(GenerateEvent::Done(generated)));
        }
    }

    fn free_if_closed(&mut self, sequence: u64) {
        let over = |cached: &Cached| cached.closed && cached.queue.is_empty();
        if self.state.sequences.get(&sequence).is_some_and(over)
            && let Some(cached) = self.state.sequences.remove(&sequence)
        {
            self.cache.release(cached.table);
        }
    }

    /// Ends the jobs that nobody waits for any more.
    fn end_abandoned(&mut self) {
        let abandoned: Vec<u64> =
            self.state.jobs.iter().filter(|(_, job)| job.is_abandoned()).map(|(&arrival, _)| arrival).collect();
        for arrival in abandoned {
            self.end(arrival, End::Because(Finish::Cancelled));
        }
    }

    /// Ends a job, and with it what was to be heard of it.
    fn end(&mut self, arrival: u64, end: End) {
        let model = Arc::clone(&self.model);
        let Some(farewell) = self.remove(arrival).and_then(|job| job.end(model.tokenizer(), end)) else { return };
        self.state.has_spoken = true;
        let message = farewell.generated.ids.clone();
        let listeners = farewell.listeners.clone();
        let measures = |listener: &&u64| match self.state.jobs.get(listener) {
            Some(Job { work: Work::Listen(listening), .. }) => listening.measures(),
            _ => false,
        };
        let measuring = listeners.iter().filter(measures).count();
        self.state.farewells.insert(arrival, (farewell, measuring));
        if measuring == 0 {
            self.say_farewell(arrival);
        }
        for listener in listeners {
            self.hear(listener, &message);
            self.nothing_more(listener);
        }
    }

    /// Fails a job. What was said until then was said.
    fn fail(&mut self, arrival: u64, error: EngineError) {
        for listener in self.remove(arrival).map(|job| job.fail(error)).unwrap_or_default() {
            self.nothing_more(listener);
        }
    }

    /// Lets a listener know what was said so far.
    fn hear(&mut self, arrival: u64, message: &[u32]) {
        let Some(job) = self.state.jobs.get_mut(&arrival) else { return };
        let Work::Listen(listening) = &mut job.work else { return };
        let Some((right, next)) = listening.hear(&mut job.ids, message) else { return };
        if let (Some(started), Some(cached)) = (&mut job.started, self.state.sequences.get_mut(&job.sequence)) {
            self.cache.truncate(&mut cached.table, right);
            started.next = started.next.min(next);
        }
    }

    /// Lets a listener know that nothing more will be said.
    fn nothing_more(&mut self, arrival: u64) {
        if let Some(Job { work: Work::Listen(listening), .. }) = self.state.jobs.get_mut(&arrival) {
            listening.end();
        }
        self.end_listener_at_end(arrival);
    }

    /// Ends a listener that has read all there was to hear, or as much as its window holds.
    fn end_listener_at_end(&mut self, arrival: u64) {
        let Some(job) = self.state.jobs.get(&arrival) else { return };
        let Work::Listen(listening) = &job.work else { return };
        let Some(started) = &job.started else { return };
        let full = started.next >= self.window;
        if full || (listening.has_ended() && started.next == job.ids.len()) {
            self.end_listener(arrival);
        }
    }

    /// Takes a job out of everything and gives back what it had reserved.
    fn remove(&mut self, arrival: u64) -> Option<Job> {
        let mut job = self.state.jobs.remove(&arrival)?;
        match job.started.as_mut() {
            Some(started) => {
                self.cache.withdraw(std::mem::take(&mut started.promise));
                self.state.running.retain(|&running| running != arrival);
            }
            None => {
                self.state.waiting.remove(&arrival);
            }
        }
        if let Some(cached) = self.state.sequences.get_mut(&job.sequence) {
            cached.queue.retain(|&queued| queued != arrival);
            if let Some(&first) = cached.queue.front()
                && self.state.jobs.get(&first).is_some_and(|job| job.started.is_none())
            {
                self.state.waiting.insert(first);
            }
        }
        self.free_if_closed(job.sequence);
        Some(job)
    }

    /// Starts the jobs whose sequence is free.
    fn admit(&mut self) {
        for arrival in self.state.waiting.clone() {
            match self.start(arrival) {
                Ok(true) => {
                    self.state.waiting.remove(&arrival);
                    self.state.running.push_back(arrival);
                    self.end_listener_at_end(arrival);
                }
                Ok(false) => {}
                Err(error) => {
                    // A listener that cannot begin has heard nothing.
                    self.end_listener(arrival);
                    self.fail(arrival, error);
                }
            }
        }
    }

    /// Checks a job, makes its sequence what is there of its tokens already, and reserves its blocks. Says whether it has
    /// started: it does not while another reads what it begins with.
    fn start(&mut self, arrival: u64) -> Result<bool, EngineError> {
        let State { sequences, jobs, .. } = &mut self.state;
        let Some(job) = jobs.get(&arrival) else { return Ok(false) };
        if job.follows.is_some_and(|(leader, until)| jobs.get(&leader).is_some_and(|leader| leader.is_before(until))) {
            return Ok(false);
        }
        job.check(self.model.hyperparameters().vocabulary, self.window)?;
        let keys = job.keys();
        let Some(mut table) = sequences.get_mut(&job.sequence).map(|cached| std::mem::take(&mut cached.table)) else {
            return Err(EngineError::Stopped);
        };
        self.cache.adopt(&mut table, &keys);
        for (id, other) in sequences.iter() {
            let started = |arrival: &u64| jobs.get(arrival).is_some_and(|job| job.started.is_some());
            if *id != job.sequence && !other.queue.front().is_some_and(started) {
                self.cache.adopt_end(&mut table, &keys, &other.table);
            }
        }
        let read = self.cache.read(&table);
        let longest = job.longest(self.window).max(job.ids.len());
        let promise = self.cache.needed(&table, longest);
        let first = job.first(read);
        if let Some(cached) = sequences.get_mut(&job.sequence) {
            cached.table = table;
        }
        let follows = match job.work {
            Work::Measure { positions: Positions::All, .. } | Work::Embed(_) => None,
            _ => self.state.leader(arrival, &keys, read),
        };
        let Some(job) = self.state.jobs.get_mut(&arrival) else { return Ok(false) };
        job.follows = follows;
        if follows.is_some() {
            return Ok(false);
        }
        self.cache.promise(promise).map_err(memory_error)?;
        job.started = Some(Started { cached: first, next: first, promise });
        Ok(true)
    }
}

impl State {
    /// What a sequence holds.
    pub(super) fn table(&self, sequence: u64) -> Option<&Table> {
        self.sequences.get(&sequence).map(|cached| &cached.table)
    }

    /// Whether nothing is being done for a sequence.
    pub(super) fn is_idle(&self, sequence: u64) -> bool {
        self.sequences.get(&sequence).is_none_or(|cached| cached.queue.is_empty())
    }

    /// Makes `table` what a sequence holds; returns what it held.
    pub(super) fn put_table(&mut self, sequence: u64, table: Table) -> Table {
        std::mem::replace(&mut self.sequences.entry(sequence).or_default().table, table)
    }

    /// What a delta is called in keys; the first time it gets a name.
    pub(super) fn number_of_delta(&mut self, digest: [u8; 32]) -> u32 {
        let next = self.deltas.len() as u32 + 1;
        *self.deltas.entry(digest).or_insert(next)
    }

    /// The delta that has this number in keys.
    pub(super) fn delta(&self, number: u32) -> Option<[u8; 32]> {
        self.deltas.iter().find(|&(_, &known)| known == number).map(|(&digest, _)| digest)
    }

    /// A running job that is about to fill blocks which `keys` begin with beyond the first `read`, and how far they have
    /// them in common.
    fn leader(&self, arrival: u64, keys: &[Key], read: usize) -> Option<(u64, usize)> {
        let full = read / BLOCK_LEN * BLOCK_LEN;
        let listens = self.jobs.get(&arrival).is_some_and(Job::listens);
        let leads = |leader: &u64| {
            // Listeners give way to others, so only listeners follow them.
            let job = self.jobs.get(leader).filter(|leader| listens || !leader.listens())?;
            let next = job.started.as_ref()?.next;
            let common = job.ids.iter().enumerate().zip(keys);
            let common = common.take_while(|((position, id), key)| job.reader.key(*position, **id) == **key).count();
            let until = common / BLOCK_LEN * BLOCK_LEN;
            (full <= next && next < until && read < until).then_some((*leader, until))
        };
        self.running.iter().filter_map(leads).max_by_key(|&(_, until)| until)
    }
}

impl Job {
    /// Whether it is reading and has not come to `position` yet.
    fn is_before(&self, position: usize) -> bool {
        self.started.as_ref().is_some_and(|started| started.next < position)
    }
}

fn memory_error(error: OutOfMemory) -> EngineError {
    match error {
        OutOfMemory::Limit { needed, available } => EngineError::Memory { needed, available },
        OutOfMemory::System { needed } => EngineError::Allocation { needed },
    }
}
