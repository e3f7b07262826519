//! From what was generated to a message, in text and ids alike.
//!
//! Owns what is no part of a message: reasoning, the control word that ends it, white space, control tokens, and the
//! borders between them inside of tokens. Does not own generation.

use std::ops::Range;
use std::sync::Arc;

use madrigal_engine::Generated;
use madrigal_engine::tokenizer::{Decode, Encode, EncodeError, Tokenizer};
use madrigal_journal::event::Finish;

use crate::chat_model::{Reply, Usage};
use crate::context::SpokenIds;
use crate::control::ControlWord;

/// What models write around a thought.
pub(super) const THOUGHT: [&str; 2] = ["<think>", "</think>"];

/// Makes a message of what was generated: reasoning apart, control word and white space off. `thinks` when the prompt
/// has opened a thought.
pub(super) fn cut(
    tokenizer: &Tokenizer,
    digest: &Arc<str>,
    generated: &Generated,
    thinks: bool,
) -> Result<Reply, EncodeError> {
    let (reasoning, spoken) = split_reasoning(&generated.text, thinks);
    let (said, control) = ControlWord::split(spoken);
    let from = generated.text.len() - spoken.len();
    let ids = cut_ids(tokenizer, generated, from..from + said.len())?;
    Ok(Reply {
        text: said.trim().to_owned(),
        control,
        ids: Some(SpokenIds { tokenizer: Arc::clone(digest), ids }),
        reasoning: reasoning.map(str::to_owned),
        finish: match generated.finish {
            madrigal_engine::Finish::Length => Finish::Length,
            _ => Finish::Stop,
        },
        usage: Usage {
            prompt_tokens: u32::try_from(generated.prompt_tokens).ok(),
            completion_tokens: u32::try_from(generated.ids.len()).ok(),
            cost_usd: None,
        },
    })
}

/// Splits what a model thought before it spoke (`<think>…</think>` at the beginning; the prompt may have opened it)
/// from what it said.
fn split_reasoning(text: &str, opened: bool) -> (Option<&str>, &str) {
    let begun = text.trim_start();
    let thought = match begun.strip_prefix(THOUGHT[0]) {
        Some(thought) => thought,
        None if opened => begun,
        None => return (None, text),
    };
    // Where it was cut off while it thought, nothing was said.
    let (thought, said) = thought.split_once(THOUGHT[1]).unwrap_or((thought, ""));
    (Some(thought.trim()).filter(|thought| !thought.is_empty()), said.trim_start())
}

/// The ids of a part of what was generated, without control tokens: they are no text, and must not become structure in
/// someone else's prompt. Where a border falls into a token, the part of it that belongs to the message is encoded
/// anew, with as many tokens beside it as it takes to have whole characters; those ids are then what was spoken.
fn cut_ids(tokenizer: &Tokenizer, generated: &Generated, part: Range<usize>) -> Result<Vec<u32>, EncodeError> {
    let ids: Vec<u32> = generated.ids.iter().copied().filter(|id| !tokenizer.is_control(*id)).collect();
    if part == (0..generated.text.len()) || part.is_empty() {
        return Ok(if part.is_empty() { Vec::new() } else { ids });
    }
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for &id in &ids {
        bytes.extend(tokenizer.token_bytes(id).unwrap_or_default());
        ends.push(bytes.len());
    }
    let continued = Decode { continuation: true, ..Decode::default() };
    let stripped = tokenizer.decode_as(&ids, continued).len() - tokenizer.decode(&ids).len();
    let begin = if part.start == 0 { 0 } else { byte_at(&bytes, part.start + stripped) };
    let end = byte_at(&bytes, part.end + stripped);

    // Tokens `whole` lie inside; what is left of the message on both sides of them is encoded anew.
    let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
    let mut whole = starts.partition_point(|&start| start < begin)..ends.partition_point(|&end_of| end_of <= end);
    whole.end = whole.end.max(whole.start);
    let is_text = |range: Range<usize>| range.is_empty() || std::str::from_utf8(&bytes[range]).is_ok();
    let left = |whole: &Range<usize>| begin..starts.get(whole.start).map_or(end, |&start| start.min(end));
    while whole.start < whole.end && !is_text(left(&whole)) {
        whole.start += 1;
    }
    let right = |whole: &Range<usize>| whole.end.checked_sub(1).map_or(begin, |last| ends[last].max(begin))..end;
    while whole.start < whole.end && !is_text(right(&whole)) {
        whole.end -= 1;
    }
    let how = Encode { add_special: false, parse_special: false, continuation: true };
    let anew = |range: Range<usize>| tokenizer.encode(&String::from_utf8_lossy(&bytes[range]), how);
    if whole.is_empty() {
        return anew(begin..end);
    }
    let mut cut = anew(left(&whole))?;
    cut.extend_from_slice(&ids[whole.clone()]);
    cut.extend(anew(right(&whole))?);
    Ok(cut)
}

/// Where a byte of the text lies in the bytes that it was made of: there, what is no UTF-8 is one U+FFFD a piece.
fn byte_at(bytes: &[u8], in_text: usize) -> usize {
    let (mut text, mut at) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().len();
        if in_text <= text + valid {
            return at + (in_text - text);
        }
        at += valid + chunk.invalid().len();
        text += valid + char::REPLACEMENT_CHARACTER.len_utf8();
        if in_text < text {
            break;
        }
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests;
