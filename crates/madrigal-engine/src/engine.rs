//! One thread that owns a model, and the handles through which others ask it to read and to speak.
//!
//! Owns the public contract: sequences, generations, their errors. The thread's work is in `worker` (batching, fairness,
//! cancellation), `speech` (from tokens to text: reasoning apart, stop texts). There is no lock around the model: requests
//! come over a channel, tokens go out over another.

mod aloud;
pub(crate) mod budget;
mod constrained;
mod error;
mod job;
mod kept;
mod listening;
mod pooling;
mod speech;
mod thoughts;
mod worker;

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use madrigal_kernels::{Isa, Kernels, KvShape, KvType, Precision};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

pub use budget::MemoryBudget;
pub use error::EngineError;
pub use kept::KeptKvError;

use crate::constraint::{Constraint, ConstraintError, Grammar, Spelling};
use crate::kv::{BLOCK_LEN, KvCache};
use crate::model::Model;
use crate::sampling::{DrawKey, SamplerConfig};
use crate::voice::Voice;
use budget::Reservation;
use worker::{Command, State, Worker};

/// How an engine runs.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Threads of the kernels; 0 takes as many as the machine has.
    pub threads: usize,
    /// Instruction set; `None` takes the fastest of this machine. Results may differ between instruction sets.
    pub isa: Option<Isa>,
    /// How keys and values are stored; `None` takes F32 for files of F32 and F16 alone, BF16 for all others.
    pub kv: Option<KvType>,
    /// How finely activations are rounded beside quantised weights; `None` takes [`Model::default_activations`]. Types that
    /// need 14 bits have them in any case.
    pub activations: Option<Precision>,
    /// The most bytes that weights and KV blocks may take together.
    pub memory_limit: Option<u64>,
    /// A limit that this engine shares with others; `memory_limit` holds besides.
    pub budget: Option<Arc<MemoryBudget>>,
    /// No voice acts on the layers below this one, so that all voices share their keys and values; `None` is 0. Voices
    /// that do are refused.
    pub shared_layers: Option<usize>,
    /// The most bytes of keys and values that are kept for prompts to come though no sequence holds them; `None` is
    /// [`DEFAULT_PREFIX_CACHE`]. What is kept gives way whenever room is needed.
    pub prefix_cache: Option<u64>,
    /// The longest sequence in tokens; `None` takes the model's own window. It cannot be longer than that.
    pub context: Option<usize>,
}

/// A running model. Cloning is cheap; the thread ends when the last handle and the last [`Sequence`] are gone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    model: Arc<Model>,
    window: usize,
    isa: Isa,
    threads: usize,
    kv: KvType,
    activations: Precision,
    /// Made when the first constraint is built.
    spelling: OnceLock<Result<Arc<Spelling>, ConstraintError>>,
    commands: mpsc::Sender<Command>,
}

/// A KV cache of one list of tokens. Every request names the whole list; what the cache has of it is not read again.
///
/// Requests on one sequence are answered one after the other. Dropping the sequence frees its blocks.
#[derive(Debug)]
pub struct Sequence {
    id: u64,
    shared: Arc<Shared>,
}

/// Which sequence is meant, without holding it. No two sequences of a process have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// What [`Sequence::generate`] is asked for. [`GenerateRequest::default`] only reads the prompt.
#[derive(Debug, Clone, Default)]
pub struct GenerateRequest {
    /// How tokens are drawn.
    pub sampling: SamplerConfig,
    /// What the draws are keyed by.
    pub draw: DrawKey,
    /// The most tokens; with 0 the prompt is only read.
    pub max_tokens: usize,
    /// Texts that, said aloud, end the generation and do not become part of it.
    pub stop: Vec<String>,
    /// Never draws a token that ends the text.
    pub ignore_eos: bool,
    /// What the text that is said aloud must be; built by [`Engine::constrain`].
    pub constraint: Option<Grammar>,
    /// Whose voice speaks, and from where on it reads.
    pub voice: Option<VoiceFrom>,
    /// Sequences that read what is said while it is said.
    pub listeners: Vec<Listener>,
}

/// A voice that acts on the tokens from one place on, and on what is drawn.
#[derive(Debug, Clone)]
pub struct VoiceFrom {
    /// The voice.
    pub voice: Arc<Voice>,
    /// The place of the first token that is read under it, from 0. What stands before is read as the model alone reads it,
    /// and shared with everyone whose prompt begins so.
    pub from: usize,
}

/// A sequence that listens: while the speaker draws tokens, it reads those that are said aloud, a few at a time.
/// When the speaker has ended, it reads on to the end of `ids` and [`Generated::ids`]; what it has not read by its next
/// request, some tokens at most, that request reads.
///
/// A listener changes nobody's result and keeps nobody waiting. It stops listening when its sequence is asked something,
/// when its window is full, or when there is no memory for it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Who listens. It must be of the speaker's engine, and not the speaker.
    pub sequence: SequenceId,
    /// All that its prompt has before the message.
    pub ids: Vec<u32>,
    /// The voice under which it reads.
    pub voice: Option<VoiceFrom>,
    /// Whether to measure how surprising the message is to it; see [`Generated::surprise`].
    pub surprise: bool,
}

/// How surprising a message was to a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Surprise {
    /// For every token that was said, −ln of the probability that the listener's model gave it.
    pub nats: Vec<f64>,
}

/// A generation as it happens. Dropping it stops the work before the next token.
#[derive(Debug)]
pub struct Generation {
    events: tokio_mpsc::UnboundedReceiver<Result<GenerateEvent, EngineError>>,
    cancelled: Arc<AtomicBool>,
    ended: bool,
}

/// What happens in a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// A token was drawn.
    Token {
        /// Its id.
        id: u32,
        /// What is said aloud and is complete and certain with it: whole characters, and nothing that may still become a
        /// stop text or turn out to be a thought. The texts of all tokens together begin [`Generated::text`].
        text: String,
        /// What is thought and certain with it. All of it together is [`Generated::reasoning`], white space around aside.
        reasoning: String,
    },
    /// It ended. Nothing follows.
    Done(Generated),
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// What is said aloud: no reasoning, no marker of it, no token that ended the text. The tokenizer decodes it to
    /// exactly `text`. None where a thought did not come to its end.
    pub ids: Vec<u32>,
    /// What is said aloud, without the stop text.
    pub text: String,
    /// What the model thought before it spoke, where it did: what stands in `<think>…</think>`, or outside of the final
    /// channel of harmony.
    pub reasoning: Option<String>,
    /// All tokens in the order they were drawn, without the one that ended the text: a prompt and these make the prompt
    /// that continues the generation, and their number is what it cost.
    pub drawn: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were not in the cache and had to be read.
    pub read_tokens: usize,
    /// Per listener: how surprising `ids` were to it, where that was asked for. `None` also for one that stopped listening
    /// before the end.
    pub surprise: Vec<Option<Surprise>>,
}

/// What [`EngineOptions::prefix_cache`] is unless said otherwise: 1 GiB. A token takes 112 KiB in Qwen3-0.6B and 144 KiB
/// in Qwen3-4B, so it holds some thousands.
pub const DEFAULT_PREFIX_CACHE: u64 = 1 << 30;

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its text, or the constraint allowed nothing more.
    EndOfText,
    /// This stop text came up.
    Stop(String),
    /// `max_tokens` were drawn, or the window is full.
    Length,
    /// [`Generation::cancel`] was called.
    Cancelled,
}

/// What an engine takes of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// The weights.
    pub weights: u64,
    /// Keys and values that sequences hold.
    pub kv_used: u64,
    /// Keys and values that no sequence holds, kept for prompts to come ([`EngineOptions::prefix_cache`]).
    pub kv_cached: u64,
    /// What was taken from the system for keys and values: both of these, and room for more.
    pub kv_allocated: u64,
    /// The tightest limit that the engine must keep.
    pub limit: Option<u64>,
}

/// Which positions' logits [`Sequence::logits`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// The last one's: `[vocabulary]`.
    Last,
    /// All: `[tokens, vocabulary]`. Everything is read anew.
    All,
}

/// How the states of a text's tokens become one embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one's: the only one that has seen the whole text.
    Last,
}

impl Engine {
    /// Starts the thread that owns `model`.
    pub fn start(model: impl Into<Arc<Model>>, options: EngineOptions) -> Result<Self, EngineError> {
        let model = model.into();
        let shape = model.hyperparameters();
        let window = match options.context {
            None => shape.context,
            Some(context) if context > 0 && context <= shape.context => context,
            Some(context) => {
                return Err(EngineError::Context { context, longest: shape.context });
            }
        };
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let threads = match options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let kernels = Kernels::new(isa, threads)?;

        let kv = options.kv.unwrap_or(model.default_kv());
        let activations = options.activations.unwrap_or(model.default_activations());
        let (kv_heads, head_dim) = (shape.kv_heads, shape.head_dim);
        let kv_shape = KvShape { kind: kv, kv_heads, head_dim, block_len: BLOCK_LEN };
        let own = options.memory_limit.map(|limit| Arc::new(MemoryBudget::new(limit)));
        let budgets: Vec<_> = own.into_iter().chain(options.budget).collect();
        let mut weights = Reservation::new(budgets.clone());
        let bytes = model.weight_bytes();
        weights.reserve(bytes).map_err(|available| {
            let limit = weights.limit().unwrap_or(u64::MAX);
            EngineError::Weights { weights: bytes, limit, available }
        })?;
        // Nothing is set aside before the limit has allowed it.
        model.pack(threads)?;
        let most_kept = options.prefix_cache.unwrap_or(DEFAULT_PREFIX_CACHE);
        let shared_layers = options.shared_layers.unwrap_or(0);
        let cache = KvCache::new(kv_shape, shape.layers, shared_layers, Reservation::new(budgets), most_kept);

        let (commands, received) = mpsc::channel();
        let (owned, state) = (Arc::clone(&model), State::default());
        let worker = Worker { model: owned, kernels, cache, window, activations, weights, commands: received, state };
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| EngineError::Thread { source })?;
        let spelling = OnceLock::new();
        let shared = Shared { model, window, isa, threads, kv, activations, spelling, commands };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A new, empty sequence.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence::new(&self.shared)
    }

    /// Builds a constraint for this model, to be used in any number of requests. The first one indexes the vocabulary,
    /// which takes a good part of a second for a large one.
    ///
    /// # Errors
    /// When the constraint is wrong, cannot be kept, or takes more than the limits allow.
    pub fn constrain(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        let model = &self.shared.model;
        let make = || Spelling::new(model.tokenizer(), model.end_ids()).map(Arc::new);
        Grammar::new(self.shared.spelling.get_or_init(make).as_ref().map_err(Clone::clone)?, constraint)
    }

    /// What the engine takes of memory. Waits for the step that is being computed.
    pub fn memory(&self) -> Result<MemoryReport, EngineError> {
        let (reply, report) = mpsc::channel();
        // As in `Sequence::generate`.
        let _ = self.shared.commands.send(Command::Memory { reply });
        report.recv().map_err(|_| EngineError::Stopped)
    }

    /// Whether both are handles of one engine.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The model that runs.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.shared.model
    }

    /// The longest sequence in tokens, prompt and reply together.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.shared.window
    }

    /// The instruction set in use; the results may depend on it.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.shared.isa
    }

    /// Threads of the kernels; the results do not depend on them.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// How keys and values are stored; the results depend on it.
    #[must_use]
    pub fn kv(&self) -> KvType {
        self.shared.kv
    }

    /// How finely activations are rounded beside weights that allow the choice; the results depend on it.
    #[must_use]
    pub fn activations(&self) -> Precision {
        self.shared.activations
    }
}

impl Surprise {
    /// The surprise of the whole message.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.nats.iter().sum()
    }
}

impl Shared {
    /// Whether a constraint was built for this model, so that its tokens mean here what they meant there.
    fn check_constraint(&self, constraint: Option<&Grammar>) -> Result<(), ConstraintError> {
        let fits = |grammar: &Grammar| matches!(self.spelling.get(), Some(Ok(own)) if grammar.is_for(own));
        if constraint.is_none_or(fits) { Ok(()) } else { Err(ConstraintError::OtherVocabulary) }
    }
}

impl Sequence {
    fn new(shared: &Arc<Shared>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let sequence = Self { id: NEXT.fetch_add(1, Ordering::Relaxed), shared: Arc::clone(shared) };
        // As in `generate`.
        let _ = shared.commands.send(Command::Open { sequence: sequence.id });
        sequence
    }

    /// Who this is, for [`Listener`].
    #[must_use]
    pub fn id(&self) -> SequenceId {
        SequenceId(self.id)
    }

    /// Reads `ids` and continues them. Errors come out of the returned stream.
    #[must_use]
    pub fn generate(&self, ids: &[u32], request: GenerateRequest) -> Generation {
        let (sender, events) = tokio_mpsc::unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let cancel = Arc::clone(&cancelled);
        if let Err(error) = self.shared.check_constraint(request.constraint.as_ref()) {
            let _ = sender.send(Err(error.into()));
            return Generation { events, cancelled, ended: false };
        }
        let (ids, request) = (ids.to_vec(), Box::new(request));
        let command = Command::Generate { sequence: self.id, ids, request, events: sender, cancelled: cancel };
        // If the thread is gone the command is dropped with its sender, and the stream says so.
        let _ = self.shared.commands.send(command);
        Generation { events, cancelled, ended: false }
    }

    /// The logits after the last of `ids`, or after each of them.
    pub async fn logits(&self, ids: &[u32], positions: Positions) -> Result<Vec<f32>, EngineError> {
        self.ask_logits(ids, positions, None).await.unwrap_or(Err(EngineError::Stopped))
    }

    /// [`Self::logits`] for callers outside of async code; inside it would panic.
    pub fn blocking_logits(&self, ids: &[u32], positions: Positions) -> Result<Vec<f32>, EngineError> {
        self.ask_logits(ids, positions, None).blocking_recv().unwrap_or(Err(EngineError::Stopped))
    }

    /// [`Self::blocking_logits`] of tokens that are read under a voice, filtered as it filters them.
    pub fn blocking_logits_as(
        &self,
        ids: &[u32],
        positions: Positions,
        voice: VoiceFrom,
    ) -> Result<Vec<f32>, EngineError> {
        self.ask_logits(ids, positions, Some(voice)).blocking_recv().unwrap_or(Err(EngineError::Stopped))
    }

    /// The state of a text's tokens after the last layer and the final norm, pooled. Nothing is put around `ids`.
    pub async fn embedding(&self, ids: &[u32], pooling: Pooling) -> Result<Vec<f32>, EngineError> {
        self.ask_embedding(ids, pooling).await.unwrap_or(Err(EngineError::Stopped))
    }

    /// [`Self::embedding`] for callers outside of async code; inside it would panic.
    pub fn blocking_embedding(&self, ids: &[u32], pooling: Pooling) -> Result<Vec<f32>, EngineError> {
        self.ask_embedding(ids, pooling).blocking_recv().unwrap_or(Err(EngineError::Stopped))
    }

    fn ask_embedding(&self, ids: &[u32], pooling: Pooling) -> oneshot::Receiver<Result<Vec<f32>, EngineError>> {
        let (reply, answer) = oneshot::channel();
        // As in `generate`.
        let _ = self.shared.commands.send(Command::Embed { sequence: self.id, ids: ids.to_vec(), pooling, reply });
        answer
    }

    fn ask_logits(
        &self,
        ids: &[u32],
        positions: Positions,
        voice: Option<VoiceFrom>,
    ) -> oneshot::Receiver<Result<Vec<f32>, EngineError>> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Logits { sequence: self.id, ids: ids.to_vec(), positions, voice, reply };
        // As in `generate`.
        let _ = self.shared.commands.send(command);
        answer
    }

    /// Writes what is cached of this sequence to a file, for [`Self::restore`] in another process; returns how many tokens
    /// that is. `weights` names the weights; digests of the model's files do. Waits for the step that is being computed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, weights: &str, to: File) -> Result<usize, KeptKvError> {
        let (reply, saved) = mpsc::channel();
        // As in `generate`.
        let _ = self.shared.commands.send(Command::Save { sequence: self.id, weights: weights.to_owned(), to, reply });
        saved.recv().map_err(|_| KeptKvError::Stopped)?
    }

    /// Makes what [`Self::save`] has written what is cached of this sequence; returns how many tokens that is. They are not
    /// read again, and what is said next has the same bits as if they were.
    ///
    /// # Errors
    /// When the file is damaged, was made by another program, on other weights or in another way, when there is no memory
    /// for it, or when the sequence is in use. Nothing has changed then.
    pub fn restore(&self, weights: &str, from: File) -> Result<usize, KeptKvError> {
        let (reply, restored) = mpsc::channel();
        let command = Command::Restore { sequence: self.id, weights: weights.to_owned(), from, reply };
        // As in `generate`.
        let _ = self.shared.commands.send(command);
        restored.recv().map_err(|_| KeptKvError::Stopped)?
    }

    /// Another sequence that begins with what is cached now of this one's first `at` tokens. No key or value is copied
    /// until one of the two writes into a block that both hold.
    #[must_use]
    pub fn fork(&self, at: usize) -> Self {
        let fork = Self::new(&self.shared);
        let _ = self.shared.commands.send(Command::Fork { from: self.id, to: fork.id, at });
        fork
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        let _ = self.shared.commands.send(Command::Close { sequence: self.id });
    }
}

impl Generation {
    /// The next event; `None` after [`GenerateEvent::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<GenerateEvent, EngineError>> {
        let event = self.events.recv().await;
        self.or_stopped(event)
    }

    /// [`Self::next`] for callers outside of async code; inside it would panic.
    pub fn blocking_next(&mut self) -> Option<Result<GenerateEvent, EngineError>> {
        let event = self.events.blocking_recv();
        self.or_stopped(event)
    }

    /// Waits for the end, letting the tokens pass.
    pub async fn finish(mut self) -> Result<Generated, EngineError> {
        loop {
            match self.next().await {
                Some(Ok(GenerateEvent::Token { .. })) => {}
                Some(Ok(GenerateEvent::Done(generated))) => return Ok(generated),
                Some(Err(error)) => return Err(error),
                None => return Err(EngineError::Stopped),
            }
        }
    }

    /// [`Self::finish`] for callers outside of async code; inside it would panic.
    pub fn blocking_finish(mut self) -> Result<Generated, EngineError> {
        loop {
            match self.blocking_next() {
                Some(Ok(GenerateEvent::Token { .. })) => {}
                Some(Ok(GenerateEvent::Done(generated))) => return Ok(generated),
                Some(Err(error)) => return Err(error),
                None => return Err(EngineError::Stopped),
            }
        }
    }

    /// A stream that closes before its end means that the thread is gone.
    fn or_stopped(
        &mut self,
        event: Option<Result<GenerateEvent, EngineError>>,
    ) -> Option<Result<GenerateEvent, EngineError>> {
        let was_ended = self.ended;
        self.ended = !matches!(event, Some(Ok(GenerateEvent::Token { .. })));
        match event {
            None if !was_ended => Some(Err(EngineError::Stopped)),
            event => event,
        }
    }

    /// Asks for the end; [`GenerateEvent::Done`] with what there is comes before the next token.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// An engine whose KV blocks do not fit its model: the first forward pass panics.
    fn broken() -> Engine {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity/llama-tied/model-f32.gguf");
        let model = Arc::new(Model::open(&path).unwrap());
        let kernels = Kernels::new(Isa::Portable, 2).unwrap();
        let shape = KvShape { kind: KvType::F32, kv_heads: 7, head_dim: 16, block_len: BLOCK_LEN };
        let cache = KvCache::new(shape, model.hyperparameters().layers, 0, Reservation::default(), u64::MAX);
        let (commands, received) = mpsc::channel();
        let (owned, weights, state) = (Arc::clone(&model), Reservation::default(), State::default());
        let activations = Precision::Bits14;
        let worker =
            Worker { model: owned, kernels, cache, window: 512, activations, weights, commands: received, state };
        thread::spawn(move || worker.run());
        let (isa, threads, kv) = (Isa::Portable, 2, KvType::F32);
        let spelling = OnceLock::new();
        let shared = Shared { model, window: 512, isa, threads, kv, activations, spelling, commands };
        Engine { shared: Arc::new(shared) }
    }

    #[test]
    fn weights_beyond_the_limit_are_refused_before_anything_is_packed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity/llama-tied/model-q8_0.gguf");
        let model = Arc::new(Model::open(&path).unwrap());
        let limit = |memory_limit| EngineOptions { memory_limit: Some(memory_limit), ..EngineOptions::default() };
        let refused = Engine::start(Arc::clone(&model), limit(model.weight_bytes() - 1));
        assert!(matches!(refused, Err(EngineError::Weights { .. })));
        assert!(!model.is_packed());
        Engine::start(Arc::clone(&model), limit(model.weight_bytes())).unwrap();
        assert!(model.is_packed());
    }

    #[test]
    fn a_panic_of_the_thread_is_an_error_for_everyone_and_nobody_waits() {
        let engine = broken();
        let request =
            || GenerateRequest { sampling: SamplerConfig::greedy(), max_tokens: 5, ..GenerateRequest::default() };
        let sequences = [engine.sequence(), engine.sequence(), engine.sequence()];
        // Running, waiting behind it, and on another sequence.
        let (a, b) = (sequences[0].generate(&[1, 2], request()), sequences[0].generate(&[1, 2, 3], request()));
        let logits = sequences[1].blocking_logits(&[1], Positions::Last);
        assert!(matches!(logits, Err(EngineError::Stopped)));
        for generation in [a, b, sequences[2].generate(&[4], request())] {
            assert!(matches!(generation.blocking_finish(), Err(EngineError::Stopped)));
        }
        // And afterwards.
        let fork = sequences[0].fork(1);
        assert!(matches!(fork.generate(&[1], request()).blocking_finish(), Err(EngineError::Stopped)));
        let mut generation = fork.generate(&[1], request());
        assert!(matches!(generation.blocking_next(), Some(Err(EngineError::Stopped))));
        assert!(generation.blocking_next().is_none());
    }
}
