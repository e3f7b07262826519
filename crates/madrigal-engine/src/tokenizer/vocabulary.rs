//! The table of tokens: id to text and kind, text to id.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// Ids beyond this are refused: eight times the largest vocabulary in use, and a table of them stays small.
pub(super) const MAX_ID: u32 = 1 << 21;

/// All tokens of a model.
pub(super) struct Vocabulary {
    tokens: Vec<Option<Token>>,
    ids: HashMap<Box<str>, u32>,
}

/// One token.
pub(super) struct Token {
    /// As the vocabulary spells it.
    pub(super) text: Box<str>,
    pub(super) kind: Kind,
}

/// What a token is for; the names are SentencePiece's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text.
    Normal,
    /// Stands for text that the vocabulary cannot spell.
    Unknown,
    /// Steers the model.
    Control,
    /// Added after training; shown as its own text.
    Added,
    /// Never made from text.
    Unused,
    /// One byte, for text that has no piece.
    Byte(u8),
}

impl Kind {
    /// Whether text becomes it only where special tokens are parsed.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Added | Self::Unknown)
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }

    /// Whether it is a piece of text that encoding may make.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Normal | Self::Byte(_))
    }

    /// The byte that a piece such as `<0x0A>` names.
    pub(super) fn byte_of(text: &str) -> Option<u8> {
        let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
        (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
    }

    fn code(self) -> [u8; 2] {
        match self {
            Self::Normal => [1, 0],
            Self::Unknown => [2, 0],
            Self::Control => [3, 0],
            Self::Added => [4, 0],
            Self::Unused => [5, 0],
            Self::Byte(byte) => [6, byte],
        }
    }
}

impl Vocabulary {
    pub(super) fn new() -> Self {
        Self { tokens: Vec::new(), ids: HashMap::new() }
    }

    /// Adds a token; the error says what it collides with.
    pub(super) fn insert(&mut self, id: u32, text: &str, kind: Kind) -> Result<(), String> {
        if id > MAX_ID {
            return Err(format!("token `{text}` has the id {id}, more than {MAX_ID}"));
        }
        if let Some(other) = self.ids.get(text) {
            return Err(format!("token `{text}` has two ids, {other} and {id}"));
        }
        let index = id as usize;
        if index >= self.tokens.len() {
            self.tokens.resize_with(index + 1, || None);
        }
        if let Some(other) = &self.tokens[index] {
            return Err(format!("id {id} stands for two tokens, `{}` and `{text}`", other.text));
        }
        self.tokens[index] = Some(Token { text: text.into(), kind });
        self.ids.insert(text.into(), id);
        Ok(())
    }

    /// Gives a token another kind.
    pub(super) fn set_kind(&mut self, id: u32, kind: Kind) {
        if let Some(Some(token)) = self.tokens.get_mut(id as usize) {
            token.kind = kind;
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)?.as_ref()
    }

    pub(super) fn id_of(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// One more than the highest id.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Every token with its id, in the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Token)> {
        (0..).zip(&self.tokens).filter_map(|(id, token)| token.as_ref().map(|token| (id, token)))
    }

    /// Feeds every token to `hasher`, so that two vocabularies hash alike only if they are alike.
    pub(super) fn hash(&self, hasher: &mut Sha256) {
        for (id, token) in self.iter() {
            hasher.update(id.to_le_bytes());
            hasher.update(token.kind.code());
            hasher.update((token.text.len() as u64).to_le_bytes());
            hasher.update(token.text.as_bytes());
        }
    }
}
