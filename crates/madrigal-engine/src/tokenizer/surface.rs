//! What a token looks like in the text: its bytes.

use super::byte_level;
use super::vocabulary::{Kind, Token, Vocabulary};

/// How a vocabulary spells text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Surface {
    /// GPT-2's alphabet of bytes.
    ByteLevel,
    /// SentencePiece: `▁` is a space; `strip` when a space before the text is put there by encoding.
    SentencePiece { strip: bool },
    /// BERT: words stand apart, pieces inside a word begin with a prefix.
    WordPiece { prefix: String },
}

impl Surface {
    /// Whether the first space of a whole text was put there by encoding.
    pub(super) fn strips_first_space(&self) -> bool {
        match self {
            Self::ByteLevel => false,
            Self::SentencePiece { strip } => *strip,
            Self::WordPiece { .. } => true,
        }
    }

    /// Appends what the token adds to a text.
    pub(super) fn append(&self, vocabulary: &Vocabulary, id: u32, bytes: &mut Vec<u8>) {
        let Some(Token { text, kind }) = vocabulary.get(id) else {
            return;
        };
        match (kind, self) {
            (Kind::Byte(byte), _) => bytes.push(*byte),
            (Kind::Control | Kind::Added | Kind::Unknown, _) => {
                bytes.extend_from_slice(text.as_bytes());
            }
            (Kind::Normal | Kind::Unused, Self::ByteLevel) => {
                let start = bytes.len();
                for character in text.chars() {
                    let Some(byte) = byte_level::byte_of(character) else {
                        // Not spelled in the alphabet: it stands for itself.
                        bytes.truncate(start);
                        bytes.extend_from_slice(text.as_bytes());
                        return;
                    };
                    bytes.push(byte);
                }
            }
            (Kind::Normal | Kind::Unused, Self::SentencePiece { .. }) => {
                bytes.extend_from_slice(text.replace('▁', " ").as_bytes());
            }
            (Kind::Normal | Kind::Unused, Self::WordPiece { prefix }) => match text.strip_prefix(prefix.as_str()) {
                Some(inside) => bytes.extend_from_slice(inside.as_bytes()),
                None => {
                    bytes.push(b' ');
                    bytes.extend_from_slice(text.as_bytes());
                }
            },
        }
    }
}
