//! Text that strangers wrote, for a terminal; and which characters do harm.

use std::borrow::Cow;

/// Makes text from a model, a person or a file harmless on a terminal: no escape sequences, no other control
/// characters, no marks that turn the direction of what follows. What does harm is left out.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| (steers(c) && c != '\n' && c != '\t') || matches!(c, '\u{200e}' | '\u{200f}');
    if text.contains(harmful) { Cow::Owned(text.replace(harmful, "")) } else { Cow::Borrowed(text) }
}

/// Whether a character steers a terminal, or sets the direction of writing beyond itself.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_harm_is_left_out_and_nothing_else() {
        assert_eq!(neutral("\u{1b}]0;x\u{7}a\r\nb\tc\u{202e}d\u{206f}e\u{200f}f\u{fff9}g\u{85}h"), "]0;xa\nb\tcdefgh");
        for plain in ["", "Grüß Gott\n\t\u{200d}👩\u{200d}🚀 שלום"] {
            assert!(matches!(neutral(plain), Cow::Borrowed(same) if same == plain));
        }
    }
}
