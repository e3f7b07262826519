//! From what was generated to a message, in text and ids alike.
//!
//! Owns what is no part of a message: the control word that ends it, white space, control tokens, and the borders
//! between them inside of tokens. Does not own generation, nor what is reasoning and what is said: the engine tells them
//! apart.

use std::sync::Arc;

use madrigal_engine::Generated;
use madrigal_engine::tokenizer::{Decode, Encode, EncodeError, Tokenizer};
use madrigal_journal::event::Finish;

use crate::chat_model::{Reply, Surprise, Usage};
use crate::context::SpokenIds;
use crate::control::ControlWord;

/// Makes a message of what was generated: control word and white space off.
pub(super) fn cut(tokenizer: &Tokenizer, digest: &Arc<str>, generated: &Generated) -> Result<Reply, EncodeError> {
    let (said, control) = ControlWord::split(&generated.text);
    let ids = cut_ids(tokenizer, generated, said.len())?;
    Ok(Reply {
        text: said.trim().to_owned(),
        control,
        reasoning: generated.reasoning.clone(),
        finish: match generated.finish {
            madrigal_engine::Finish::Length => Finish::Length,
            _ => Finish::Stop,
        },
        usage: Usage {
            prompt_tokens: u32::try_from(generated.prompt_tokens).ok(),
            completion_tokens: u32::try_from(generated.drawn.len()).ok(),
            cost_usd: None,
        },
        surprise: generated.surprise.iter().map(|surprise| Some(sum(surprise.as_ref()?, generated, &ids))).collect(),
        ids: Some(SpokenIds { tokenizer: Arc::clone(digest), ids }),
    })
}

/// How surprising the part of what was said is that became the message.
fn sum(surprise: &madrigal_engine::Surprise, generated: &Generated, ids: &[u32]) -> Surprise {
    let tokens = generated.ids.iter().zip(ids).take_while(|(said, kept)| said == kept).count();
    let nats = surprise.nats.iter().take(tokens);
    Surprise { tokens: u32::try_from(nats.len()).unwrap_or(u32::MAX), nats: nats.sum() }
}

/// The ids of the first `length` bytes of what was said, without control tokens: they are no text, and must not become
/// structure in someone else's prompt. Where the end falls into a token, the part of it that belongs to the message is
/// encoded anew, with as many tokens before it as it takes to have whole characters; those ids are then what was spoken.
fn cut_ids(tokenizer: &Tokenizer, generated: &Generated, length: usize) -> Result<Vec<u32>, EncodeError> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut ids: Vec<u32> = generated.ids.iter().copied().filter(|id| !tokenizer.is_control(*id)).collect();
    if length == generated.text.len() {
        return Ok(ids);
    }
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for &id in &ids {
        bytes.extend(tokenizer.token_bytes(id).unwrap_or_default());
        ends.push(bytes.len());
    }
    let continued = Decode { continuation: true, ..Decode::default() };
    let stripped = tokenizer.decode_as(&ids, continued).len() - tokenizer.decode(&ids).len();
    let end = byte_at(&bytes, length + stripped);

    let mut whole = ends.partition_point(|&end_of| end_of <= end);
    let left = |whole: usize| whole.checked_sub(1).map_or(0, |last| ends[last])..end;
    while whole > 0 && std::str::from_utf8(&bytes[left(whole)]).is_err() {
        whole -= 1;
    }
    let how = Encode { continuation: true, ..Encode::default() };
    let anew = tokenizer.encode(&String::from_utf8_lossy(&bytes[left(whole)]), how)?;
    ids.truncate(whole);
    ids.extend(anew);
    Ok(ids)
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
