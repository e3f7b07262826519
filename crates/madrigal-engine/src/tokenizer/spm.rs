//! SentencePiece's BPE: pieces have scores, and the best-scored pair is merged first.
//!
//! This is not the BPE of the `tokenizers` crate: there a merge is a pair of pieces with a rank, here it is any two
//! neighbours whose joined text is a piece, and equal scores are settled by position. The loop follows the published
//! algorithm (`bpe_model.cc` in google/sentencepiece): on a tie the leftmost pair is merged first, and pieces marked
//! unused are taken apart again.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::error::EncodeError;
use super::vocabulary::{Kind, Vocabulary};

/// The pieces that text may become.
pub(super) struct Spm {
    pieces: HashMap<Box<str>, Piece>,
    longest_piece: usize,
    bytes: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
    /// Whether a space is put before a text that continues no other one.
    pub(super) adds_prefix: bool,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    id: u32,
    score: f32,
    unused: bool,
}

/// A stretch of the text that is, or may become, one piece. Neighbours are linked; an empty one has been merged away.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours whose joined text is a piece.
#[derive(Debug, Clone, Copy)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both together; a pair whose symbols have changed since no longer adds up.
    len: usize,
}

impl Spm {
    /// `scores` has one score for every id.
    pub(super) fn new(vocabulary: &Vocabulary, scores: &[f32], adds_prefix: bool) -> Result<Self, String> {
        let mut pieces = HashMap::new();
        let mut bytes: HashMap<u8, u32> = HashMap::new();
        let mut unknown = None;
        for (id, token) in vocabulary.iter() {
            let score = scores.get(id as usize).copied().unwrap_or_default();
            if score.is_nan() {
                return Err(format!("the score of token {id} is not a number"));
            }
            match token.kind {
                Kind::Normal | Kind::Unused => {
                    let unused = token.kind == Kind::Unused;
                    // Adding zero turns -0 into 0: equal scores must compare as equal.
                    pieces.insert(token.text.clone(), Piece { id, score: score + 0.0, unused });
                }
                Kind::Byte(byte) => {
                    bytes.insert(byte, id);
                }
                Kind::Unknown => unknown = unknown.or(Some(id)),
                Kind::Control | Kind::Added => {}
            }
        }
        let bytes = (0..=u8::MAX).map(|byte| bytes.get(&byte).copied()).collect::<Option<Vec<_>>>();
        let bytes = bytes.and_then(|ids| <Box<[u32; 256]>>::try_from(ids).ok());
        let longest_piece = pieces.keys().map(|text| text.len()).max().unwrap_or_default();
        Ok(Self { pieces, longest_piece, bytes, unknown, adds_prefix })
    }

    /// Appends the ids of a text; `prefixed` puts the dummy space before it.
    pub(super) fn encode(&self, text: &str, prefixed: bool, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        let mut escaped = String::with_capacity(text.len() + 3);
        if prefixed {
            escaped.push('▁');
        }
        escaped.extend(text.chars().map(|character| if character == ' ' { '▁' } else { character }));

        let mut unused = HashMap::new();
        let symbols = self.merge(&escaped, &mut unused);
        let mut next = (!symbols.is_empty()).then_some(0);
        while let Some(symbol) = next.and_then(|index| symbols.get(index)) {
            self.emit(&escaped[symbol.start..symbol.start + symbol.len], &unused, ids)?;
            next = symbol.next;
        }
        Ok(())
    }

    /// Merges the characters of `text` until no two neighbours make a piece. Remembers in `unused` how the pieces that
    /// must be taken apart again were made.
    fn merge<'a>(&self, text: &'a str, unused: &mut HashMap<&'a str, (&'a str, &'a str)>) -> Vec<Symbol> {
        let mut symbols = characters(text);
        let mut pairs = BinaryHeap::new();
        for right in 1..symbols.len() {
            pairs.extend(self.pair(text, &symbols, right - 1, right, unused));
        }
        while let Some(pair) = pairs.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            symbols[pair.left].len = pair.len;
            symbols[pair.left].next = right.next;
            symbols[pair.right].len = 0;
            if let Some(after) = right.next {
                symbols[after].previous = Some(pair.left);
                pairs.extend(self.pair(text, &symbols, pair.left, after, unused));
            }
            if let Some(before) = left.previous {
                pairs.extend(self.pair(text, &symbols, before, pair.left, unused));
            }
        }
        symbols
    }

    fn pair<'a>(
        &self,
        text: &'a str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        unused: &mut HashMap<&'a str, (&'a str, &'a str)>,
    ) -> Option<Pair> {
        let (first, second) = (symbols[left], symbols[right]);
        let len = first.len + second.len;
        if len > self.longest_piece {
            return None;
        }
        let joined = &text[first.start..first.start + len];
        let piece = self.pieces.get(joined)?;
        if piece.unused {
            unused.insert(joined, joined.split_at(first.len));
        }
        Some(Pair { score: piece.score, left, right, len })
    }

    /// Appends the ids of a stretch that was not merged further.
    fn emit(&self, stretch: &str, unused: &HashMap<&str, (&str, &str)>, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        let mut open = vec![stretch];
        while let Some(part) = open.pop() {
            match (self.pieces.get(part), unused.get(part)) {
                (Some(Piece { unused: true, .. }), Some((left, right))) => {
                    open.extend([right, left]);
                }
                (Some(piece), _) => ids.push(piece.id),
                (None, _) => self.emit_bytes(part, ids)?,
            }
        }
        Ok(())
    }

    fn emit_bytes(&self, part: &str, ids: &mut Vec<u32>) -> Result<(), EncodeError> {
        match (&self.bytes, self.unknown) {
            (Some(bytes), _) => ids.extend(part.bytes().map(|byte| bytes[usize::from(byte)])),
            (None, Some(unknown)) => ids.push(unknown),
            (None, None) => {
                return Err(EncodeError::NoToken { piece: part.to_owned() });
            }
        }
        Ok(())
    }
}

fn characters(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(index, (start, character))| Symbol {
            start,
            len: character.len_utf8(),
            previous: index.checked_sub(1),
            next: Some(index + 1),
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = None;
    }
    symbols
}

impl Ord for Pair {
    /// The greatest is merged first: the best score, on a tie the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(self.len.cmp(&other.len))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
