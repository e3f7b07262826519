//! Making text from models, people and files harmless where it is shown.
//!
//! Owns what no reader may be made to see or do: terminal escapes and other control characters, marks that turn the
//! direction of what follows, and the markup of HTML and Markdown. Nothing is left out: what is harmful stands there
//! as a visible sign.

use crate::neutral::steers;

/// Text without characters that steer a terminal or turn the direction of writing, its line ends as `\n`.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    each_visible(text, |piece| match piece {
        Piece::Plain(c) => out.push(c),
        Piece::Sign(sign) => out.push_str(&sign),
    });
    out
}

/// [`visible`] on a single line.
pub(super) fn visible_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

/// [`visible`] text for HTML, between tags or in a quoted attribute.
pub(super) fn html(out: &mut String, text: &str) {
    each_visible(text, |piece| match piece {
        Piece::Plain('<') => out.push_str("&lt;"),
        Piece::Plain('>') => out.push_str("&gt;"),
        Piece::Plain('&') => out.push_str("&amp;"),
        Piece::Plain('"') => out.push_str("&quot;"),
        Piece::Plain('\'') => out.push_str("&#39;"),
        Piece::Plain(c) => out.push(c),
        Piece::Sign(sign) => out.push_str(&sign),
    });
}

/// [`visible`] text for a cell of a Markdown table: it means nothing but itself, and stays on its line.
///
/// Pipes and backslashes become entities, because renderers disagree about what `\\|` is.
pub(super) fn markdown(out: &mut String, text: &str) {
    let mut line_begins = false;
    each_visible(text, |piece| {
        let indents = line_begins && matches!(piece, Piece::Plain(' ' | '\t'));
        line_begins = indents || piece == Piece::Plain('\n');
        match piece {
            Piece::Plain('\n') => out.push_str("<br>"),
            Piece::Plain(' ') if indents => out.push_str("&nbsp;"),
            Piece::Plain('\t') => out.push_str(if indents { "&nbsp;&nbsp;&nbsp;&nbsp;" } else { " " }),
            Piece::Plain('<') => out.push_str("&lt;"),
            Piece::Plain('>') => out.push_str("&gt;"),
            Piece::Plain('&') => out.push_str("&amp;"),
            Piece::Plain('|') => out.push_str("&#124;"),
            Piece::Plain('\\') => out.push_str("&#92;"),
            Piece::Plain(c @ ('`' | '*' | '_' | '[' | ']' | '~' | '$')) => {
                out.push('\\');
                out.push(c);
            }
            Piece::Plain(c) => out.push(c),
            Piece::Sign(sign) => out.push_str(&sign.replace('[', "\\[").replace(']', "\\]")),
        }
    });
}

/// JSON in which every harmful character is escaped too, so that it can be looked at. It still means the same.
pub(super) fn json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has only ASCII, and within them serde_json leaves none of the others raw.
        if c != '\n' && (steers(c) || breaks_lines(c)) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[derive(Debug, PartialEq)]
enum Piece {
    Plain(char),
    Sign(String),
}

/// Gives `text` piece by piece, harmful characters as signs and every kind of line end as `\n`.
fn each_visible(text: &str, mut give: impl FnMut(Piece)) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        give(match c {
            '\n' | '\t' => Piece::Plain(c),
            '\r' if chars.peek() == Some(&'\n') => continue,
            c if c == '\r' || breaks_lines(c) => Piece::Plain('\n'),
            c if steers(c) => Piece::Sign(sign(c)),
            c => Piece::Plain(c),
        });
    }
}

fn breaks_lines(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What is shown in the place of a harmful character. (The pictures of the block "Control Pictures" would be shorter,
/// but many fonts lack them.)
fn sign(c: char) -> String {
    format!("[U+{:04X}]", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left_and_nothing_is_lost() {
        for (text, expected) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("a\r\nb\rc\u{2028}d\u{85}e", "a\nb\nc\nd\ne"),
            ("\u{1b}[2Jgone\u{7}\u{7f}\u{0}", "[U+001B][2Jgone[U+0007][U+007F][U+0000]"),
            ("\u{9b}31m", "[U+009B]31m"),
            ("a\u{202e}b\u{2066}c\u{feff}", "a[U+202E]b[U+2066]c[U+FEFF]"),
            ("é 漢 🎵 👩\u{200d}🚀 שלום\u{200f}!", "é 漢 🎵 👩\u{200d}🚀 שלום\u{200f}!"),
        ] {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_cell_means_nothing_but_itself() {
        for (text, expected) in [
            ("a|b\\|c\\\\", "a&#124;b&#92;&#124;c&#92;&#92;"),
            ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
            ("*x* _y_ `z` ~~s~~ $m$", "\\*x\\* \\_y\\_ \\`z\\` \\~\\~s\\~\\~ \\$m\\$"),
            ("![i](http://x)", "!\\[i\\](http://x)"),
            ("if:\r\n  a\tb\n\n b c\n\td", "if:<br>&nbsp;&nbsp;a b<br><br>&nbsp;b c<br>&nbsp;&nbsp;&nbsp;&nbsp;d"),
            ("\u{202e}", "\\[U+202E\\]"),
        ] {
            let mut out = String::new();
            markdown(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "\u{1b}\u{7f}\u{9b}\u{202e}\u{2028}\"\\\n🎵";
        let raw = serde_json::to_string(text).unwrap();
        let escaped = json(&raw);
        assert_eq!(escaped, "\"\\u001b\\u007f\\u009b\\u202e\\u2028\\\"\\\\\\n🎵\"");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
