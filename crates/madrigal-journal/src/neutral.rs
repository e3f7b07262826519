//! Text that strangers wrote, for a terminal.

use std::borrow::Cow;

/// Makes text from a model, a person or a file harmless on a terminal: no escape sequences, no other control
/// characters, no marks that turn the direction of what follows.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if text.contains(harmful) { Cow::Owned(text.replace(harmful, "")) } else { Cow::Borrowed(text) }
}
