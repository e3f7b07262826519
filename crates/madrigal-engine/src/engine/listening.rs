//! Reading along while somebody else speaks: what has been heard, and how surprising it was.
//!
//! Owns a listener's tokens behind its own context. When its rows are computed is `worker`'s business.

/// A listener of one speaker.
#[derive(Debug)]
pub(super) struct Listening {
    /// The speaker's job, by its arrival.
    speaker: u64,
    /// Which of the speaker's listeners it is.
    index: usize,
    /// Tokens of its own context, before the message.
    context: usize,
    /// The most tokens of the message for which there is room in its window.
    room: usize,
    /// The message was longer than that.
    overheard: bool,
    /// Nothing more will be said.
    ended: bool,
    measured: Option<Measured>,
}

/// How surprising the message was so far.
#[derive(Debug, Default)]
struct Measured {
    /// For each token of the message, −ln of its probability.
    nats: Vec<f64>,
    /// The logits of the token that follows those, which has not been heard yet.
    ahead: Option<Vec<f32>>,
    /// Some logits were no numbers.
    damaged: bool,
}

impl Listening {
    /// `context` tokens are its own; the message may have `room` more.
    pub(super) fn new((speaker, index): (u64, usize), context: usize, room: usize, surprise: bool) -> Self {
        let measured = surprise.then(Measured::default);
        Self { speaker, index, context, room, overheard: false, ended: false, measured }
    }

    /// The speaker's job, and which of its listeners this is.
    pub(super) fn speaker(&self) -> (u64, usize) {
        (self.speaker, self.index)
    }

    /// Whether nothing more will be said.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Nothing more will be said.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether it measures how surprising the message is.
    pub(super) fn measures(&self) -> bool {
        self.measured.is_some()
    }

    /// The place of the first token to be read, where `cached` tokens are there.
    pub(super) fn first(&self, cached: usize) -> usize {
        // The last token of its context tells how likely the first of the message is.
        if self.measures() { cached.min(self.context.saturating_sub(1)) } else { cached }
    }

    /// Whether the token at `position` of `length` tells how likely another is.
    pub(super) fn wants_logits(&self, position: usize, length: usize) -> bool {
        let last = self.ended && position + 1 == length;
        self.measures() && position + 1 >= self.context && !last
    }

    /// Takes the logits of the next token.
    pub(super) fn use_logits(&mut self, logits: &[f32], next: Option<u32>) {
        if let Some(measured) = &mut self.measured {
            match next {
                Some(id) => measured.push(logits, id),
                None => measured.ahead = Some(logits.to_vec()),
            }
        }
    }

    /// Makes `ids`, context and message, end with the message as it is now. Where the message no longer begins with what
    /// was heard (a stop text was cut off), returns how many tokens are still right, and from where to read on.
    pub(super) fn hear(&mut self, ids: &mut Vec<u32>, message: &[u32]) -> Option<(usize, usize)> {
        self.overheard = message.len() > self.room;
        let message = &message[..message.len().min(self.room)];
        let heard = &ids[self.context..];
        let common = heard.iter().zip(message).take_while(|(heard, said)| heard == said).count();
        let cut = common < heard.len();
        let right = self.context + common;
        let mut next = right;
        ids.truncate(right);
        ids.extend_from_slice(&message[common..]);
        if let Some(measured) = &mut self.measured {
            if measured.nats.len() > common {
                // The logits of the token after them were used up.
                measured.nats.truncate(common);
                measured.ahead = None;
                next = right - 1;
            }
            if let Some(&id) = ids.get(self.context + measured.nats.len())
                && let Some(logits) = measured.ahead.take()
            {
                measured.push(&logits, id);
            }
        }
        cut.then_some((right, next))
    }

    /// What was measured, if it is all there is of `ids`.
    pub(super) fn finish(self, ids: &[u32]) -> Option<Vec<f64>> {
        let measured = self.measured.filter(|measured| !measured.damaged)?;
        (self.ended && !self.overheard && measured.nats.len() == ids.len() - self.context).then_some(measured.nats)
    }
}

impl Measured {
    fn push(&mut self, logits: &[f32], id: u32) {
        let nats = surprisal(logits, id);
        self.damaged |= !nats.is_finite();
        self.nats.push(nats);
    }
}

/// −ln of the probability of a token.
fn surprisal(logits: &[f32], id: u32) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Numbers that are no numbers make the sum one.
    let sum: f64 = logits.iter().map(|&logit| libm::exp(f64::from(logit) - f64::from(highest))).sum();
    let own = logits.get(id as usize).copied().unwrap_or(f32::NAN);
    f64::from(highest) + libm::log(sum) - f64::from(own)
}
