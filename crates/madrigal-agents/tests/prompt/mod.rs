//! What is said at a table, and the templates that it is said through.

mod injection;
mod speakers;
pub(crate) mod templates;
mod truth;

use std::path::PathBuf;
use std::sync::Arc;

use madrigal_agents::chat_model::{Draw, ReplyRequest};
use madrigal_agents::context::{Context, Said, SpokenIds};
use madrigal_agents::control::ControlWord;
use madrigal_agents::prompt::{Prompt, PromptBuilder, PromptError};
use madrigal_agents::sampling::Sampling;
use madrigal_engine::template::ChatTemplate;
use madrigal_engine::tokenizer::{Encode, Tokenizer};
use madrigal_journal::event::MessageId;

use crate::fixtures;

/// Ada's window. What `agent` says is her own.
pub(crate) fn table(others: &[&str], instructions: &str, said: &[(&str, &str)]) -> Context {
    let names = std::iter::once("Ada").chain(others.iter().copied());
    let said = (1..).zip(said).map(|(id, (agent, text))| message(id, Some(agent), text, None));
    Context {
        agent: "Ada".to_owned(),
        table: names.map(str::to_owned).collect(),
        instructions: instructions.to_owned(),
        seed_prompt: None,
        said: said.collect(),
    }
}

pub(crate) fn message(id: u32, agent: Option<&str>, text: &str, ids: Option<SpokenIds>) -> Arc<Said> {
    Arc::new(Said { id: MessageId(id), agent: agent.map(str::to_owned), text: text.to_owned(), ids })
}

/// Ids as a model with this tokenizer spoke them.
pub(crate) fn spoken(tokenizer: &Tokenizer, ids: &[u32]) -> SpokenIds {
    SpokenIds { tokenizer: Arc::from(tokenizer.digest()), ids: ids.to_vec() }
}

pub(crate) fn ask<'a>(context: &'a Context, control: Option<ControlWord>, sampling: &'a Sampling) -> ReplyRequest<'a> {
    ReplyRequest { context, control, sampling, draw: Draw { seed: 1, seat: 0, turn: 1 }, listeners: &[] }
}

pub(crate) fn build(
    template: &Arc<ChatTemplate>,
    tokenizer: &Arc<Tokenizer>,
    context: &Context,
    control: Option<ControlWord>,
) -> Result<Prompt, PromptError> {
    let mut builder = PromptBuilder::new(Arc::clone(template), Arc::clone(tokenizer));
    builder.build(&ask(context, control, &Sampling::default()))
}

/// Small models' tokenizers, of the repository itself.
pub(crate) fn own_tokenizer(name: &str) -> Arc<Tokenizer> {
    Arc::new(Tokenizer::open(&fixtures::testdata(&format!("parity/{name}"))).unwrap())
}

/// A tokenizer, and whether it spells any text so that its ids decode to it.
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) exact: bool,
}

/// Every tokenizer there is: byte-level, SentencePiece, with and without a BOS of their own.
pub(crate) fn tokenizers(test: &str) -> Vec<Known> {
    let own = ["parity/llama-tied", "parity/qwen3"].map(|name| (Some(fixtures::testdata(name)), true));
    let shared = [
        ("tokenizers/qwen2.5", true),
        ("tokenizers/gpt2/ggml-vocab-gpt-2.gguf", true),
        ("tokenizers/llama-spm/ggml-vocab-llama-spm.gguf", false),
        ("models/stories260K", false),
        ("models/stories260K/stories260K-f32.gguf", false),
    ];
    let shared = shared.map(|(name, exact)| (fixtures::shared(test, name), exact));
    let known = own.into_iter().chain(shared).filter_map(|(path, exact)| {
        let path = path?;
        Some(Known { tokenizer: Arc::new(Tokenizer::open(&path).unwrap()), path, exact })
    });
    known.collect()
}

/// The ids of a whole rendered prompt, as transformers and llama.cpp make them: BOS first where the model wants it and
/// the template did not write it.
pub(crate) fn whole(tokenizer: &Tokenizer, rendered: &str) -> Vec<u32> {
    let how = Encode { parse_special: true, ..Encode::default() };
    let mut ids = tokenizer.encode(rendered, how).unwrap();
    if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.adds_bos() && ids.first() != Some(bos)) {
        ids.insert(0, bos);
    }
    ids
}
