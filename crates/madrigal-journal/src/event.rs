//! What a run can record: the header and the closed set of events.
//!
//! Owns the serialised shape of the journal's lines. Does not own how they are hashed, written or read back
//! (see [`crate::line`]).

use serde::{Deserialize, Serialize};

/// The number of a message within its run; the seed prompt is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u32);

/// The number of a turn within its run, from 1; the seed prompt belongs to turn 0.
pub type Turn = u32;

/// The first line of a journal: all that is needed to run it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the line format; stands first, so that it can be read where nothing else can.
    pub format: FormatVersion,
    /// The run's id, which is also its folder's name.
    pub run: String,
    /// Program and version that wrote the journal, e.g. `madrigal 0.1.0`.
    pub program: String,
    /// Wall-clock start in milliseconds since the Unix epoch. Never enters a draw.
    pub started_ms: u64,
    /// Instruction-set path of the numeric kernels, e.g. `avx2`.
    pub isa: String,
    /// Effective level of the sandbox, `none` where nothing is executed.
    pub sandbox: String,
    /// The resolved configuration, persona texts included; its shape belongs to the kind of run.
    pub config: serde_json::Value,
    /// What was loaded from files, with hashes.
    pub files: Vec<FileHash>,
    /// Where this run was forked from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkedFrom>,
}

/// Version of the journal's format; a reader refuses what it does not know.
///
/// The header's line keeps its frame, its hash and the place of this number in every version, so that any program
/// can tell a version that it does not know from a broken file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormatVersion(pub u32);

impl FormatVersion {
    /// What this program writes.
    pub const CURRENT: Self = Self(1);
}

/// A file that took part in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHash {
    /// What the file is to the run: `weights`, `tokenizer`, `config`, `template`.
    pub role: String,
    /// The canonical chat model name that loads it.
    pub model: String,
    /// Where it lay.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hexadecimal.
    pub sha256: String,
}

/// The run and turn that a fork continues from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkedFrom {
    /// The original run's id.
    pub run: String,
    /// The last turn that was kept.
    pub turn: Turn,
    /// Whether the seed or a persona is another one from there on, so that the kept turns cannot be said again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
}

/// Everything that can happen in a run after its header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A message was committed.
    Message(Message),
    /// A control word was taken out of the conversation, or sent by the runtime.
    Control {
        /// The turn it belongs to.
        turn: Turn,
        /// Who said it; `None` when the runtime did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Who receives it, if anyone does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The word, with its slash.
        word: String,
    },
    /// Old messages left an agent's window ahead of a turn.
    Compaction {
        /// The turn that would not have fitted.
        turn: Turn,
        /// Whose window it is.
        agent: String,
        /// The messages that left.
        dropped: Vec<MessageId>,
        /// Tokens of the window before.
        tokens_before: u32,
        /// Tokens of the window after.
        tokens_after: u32,
    },
    /// How surprising the message of this turn was to an agent that heard it while it was said. It stands before the
    /// message, once for every listener.
    Surprise {
        /// The turn of the message.
        turn: Turn,
        /// Who heard it.
        agent: String,
        /// −ln of the probability that the listener's model gave the message, token after token.
        nats: f64,
        /// Over so many tokens.
        tokens: u32,
    },
    /// Something that a reader of the run should know.
    Notice {
        /// The turn it belongs to.
        turn: Turn,
        /// The agent it concerns, if one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// A stable name: `summary_persona`, `plain_template`, `context_reread`, `truncated`, `empty_message`.
        code: String,
        /// The explanation for people.
        text: String,
    },
    /// A call to a remote chat model failed and is repeated.
    Retry {
        /// The turn it belongs to.
        turn: Turn,
        /// Whose call it was.
        agent: String,
        /// How many attempts have failed so far.
        attempt: u32,
        /// Why the last one failed.
        reason: String,
        /// How long until the next one.
        wait_ms: u64,
    },
    /// A message in flight was thrown away.
    Discarded {
        /// The turn it belonged to.
        turn: Turn,
        /// Who was speaking.
        agent: String,
        /// Why.
        reason: String,
    },
    /// The run was taken up again.
    Resumed {
        /// Turns that were already there.
        turns: Turn,
        /// Bytes of a torn tail that were cut.
        cut_bytes: u64,
        /// Turns that the run may have from now on, where that was changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn_limit: Option<Turn>,
    },
    /// The run came to its end.
    RunEnded(RunEnded),
}

/// One message, stored once; later events refer to it by its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// The turn it was said in.
    pub turn: Turn,
    /// Who said it; `None` for the seed prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What was said, without control words and reasoning.
    pub text: String,
    /// The token ids that were spoken, where the speaker's tokenizer is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<u32>>,
    /// What the model thought aloud before it spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// Why the speaker stopped.
    pub finish: Finish,
    /// Tokens of the prompt, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Tokens of the reply, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u32>,
    /// What it cost in US dollars, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// When it was committed, in milliseconds since the run's start.
    pub at_ms: u64,
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A model in this process: verified token by token.
    Local,
    /// A provider: compared with the record only.
    Remote,
    /// A script: verified by running it again.
    Scripted,
    /// A person.
    Human,
    /// Given from outside: the seed prompt, a message put in at a fork.
    Given,
}

/// Why a speaker stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It had said what it had to say.
    Stop,
    /// It reached the limit of tokens.
    Length,
}

/// How and with what sums a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnded {
    /// The rule that stopped it.
    pub stopped: Stopped,
    /// What went wrong, for [`Stopped::Error`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Turns that were held.
    pub turns: Turn,
    /// Tokens read, where known.
    pub prompt_tokens: u64,
    /// Tokens spoken, where known.
    pub completion_tokens: u64,
    /// Cost in US dollars, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Milliseconds since the run's start.
    pub at_ms: u64,
}

/// Why a conversation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The limit of turns.
    Turns,
    /// The limit of tokens.
    Tokens,
    /// The limit of wall time.
    Time,
    /// The limit of cost.
    Cost,
    /// A control word.
    Control,
    /// A phrase that ends it was said.
    Phrase,
    /// The speakers repeat themselves.
    Repetition,
    /// The speakers only thank each other or say goodbye.
    Courtesy,
    /// The replies shrink to nothing.
    Silence,
    /// A person.
    Interrupt,
    /// Something went wrong.
    Error,
}
