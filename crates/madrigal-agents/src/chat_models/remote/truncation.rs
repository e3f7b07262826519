//! What is known of a server's window from the tokens that it says it read: how many a longer prompt will take, and
//! that a part of one was left out without a word.
//!
//! Owns the judgement by token counts. Does not own shortening a prompt in time: that is the conversation loop's.

use super::prompt::Prompt;

/// What was sent last and how many tokens the server said it read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct TruncationWatch {
    last: Option<Sent>,
    /// The last prompt that was read whole.
    whole: Option<Sent>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    messages: usize,
    bytes: usize,
    tokens: u32,
}

impl TruncationWatch {
    /// How many tokens a prompt will take, by how many the server counted for the bytes of the last whole one.
    pub(super) fn estimate(&self, prompt: &Prompt) -> Option<usize> {
        let whole = self.whole.filter(|whole| whole.bytes > 0)?;
        Some((prompt.bytes() * whole.tokens as usize).div_ceil(whole.bytes))
    }

    /// Judges a finished call and keeps it for the next. `window` is the bound that the server was given, `cut_short`
    /// whether the reply ended for want of room, `limit` the longest reply that was asked for.
    pub(super) fn judge(
        &mut self,
        prompt: &Prompt,
        tokens: Option<u32>,
        completion: Option<u32>,
        window: Option<usize>,
        cut_short: bool,
        limit: Option<u32>,
    ) -> Option<String> {
        let sent = Sent { messages: prompt.messages.len(), bytes: prompt.bytes(), tokens: tokens? };
        let last = self.last.replace(sent);
        let finding = Self::finding(sent, last, completion, window, cut_short, limit);
        if finding.is_none() {
            self.whole = Some(sent);
        }
        finding
    }

    fn finding(
        sent: Sent,
        last: Option<Sent>,
        completion: Option<u32>,
        window: Option<usize>,
        cut_short: bool,
        limit: Option<u32>,
    ) -> Option<String> {
        let tokens = sent.tokens;
        if let Some(window) = window.filter(|&window| tokens as usize >= window) {
            return Some(format!(
                "the server read {tokens} tokens, which fills its window of {window}: the oldest messages were left \
                 out; raise the context size"
            ));
        }
        if let (Some(window), Some(completion)) = (window, completion)
            && cut_short
            && limit.is_none_or(|limit| completion < limit)
            && tokens as usize + completion as usize >= window
        {
            return Some(format!(
                "the reply was cut: {tokens} tokens of prompt left room for {completion} in the window of {window}; \
                 raise the context size"
            ));
        }
        let last = last?;
        // A turn adds a message and takes away at most a control word, so a longer prompt has more tokens.
        if sent.messages > last.messages && sent.bytes > last.bytes && tokens <= last.tokens {
            return Some(format!(
                "the prompt grew from {} to {} messages, but the server read {tokens} tokens after {}: older messages \
                 were left out; raise the server's context size",
                last.messages, sent.messages, last.tokens
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::prompt::{Message, Role};
    use super::*;

    fn prompt(messages: usize) -> Prompt {
        Prompt { system: None, messages: vec![Message { role: Role::User, text: "twelve bytes".to_owned() }; messages] }
    }

    #[test]
    fn tokens_are_estimated_by_the_last_prompt_that_was_read_whole() {
        let mut watch = TruncationWatch::default();
        assert_eq!(watch.estimate(&prompt(2)), None, "nothing is known yet");
        assert_eq!(watch.judge(&prompt(2), Some(8), Some(5), Some(100), false, None), None);
        assert_eq!(watch.estimate(&prompt(5)), Some(20));
        assert!(watch.judge(&prompt(30), Some(100), Some(5), Some(100), false, None).is_some());
        assert_eq!(watch.estimate(&prompt(5)), Some(20), "a prompt that was cut tells nothing");
    }

    #[test]
    fn a_growing_prompt_that_does_not_grow_is_noticed() {
        let mut watch = TruncationWatch::default();
        let mut judge =
            |messages, tokens| watch.judge(&prompt(messages), tokens, Some(5), Some(100), false, None).is_some();
        assert!(!judge(1, Some(10)));
        assert!(!judge(3, Some(30)));
        assert!(!judge(5, None), "nothing is known");
        assert!(judge(5, Some(30)), "it should have grown");
        assert!(!judge(7, Some(50)));
        assert!(!judge(3, Some(30)), "the loop dropped messages itself");
        assert!(judge(4, Some(100)), "the window is full");
    }

    #[test]
    fn a_reply_without_room_is_noticed() {
        let judge = |completion, cut_short, limit| {
            TruncationWatch::default()
                .judge(&prompt(1), Some(90), Some(completion), Some(100), cut_short, limit)
                .is_some()
        };
        assert!(judge(10, true, None));
        assert!(judge(10, true, Some(50)));
        assert!(!judge(10, true, Some(10)), "that was asked for");
        assert!(!judge(10, false, None));
        assert!(!judge(5, true, None));
    }
}
