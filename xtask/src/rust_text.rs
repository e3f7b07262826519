//! Rust source as tokens: what is code, what is a comment or a string, and which code is only compiled for tests.
//!
//! A scanner of the kind that the checks here need, not a parser: it knows comments, every form of string and character
//! literal, attributes and matching brackets. It does not expand macros and does not resolve names.

use std::ops::Range;

/// A source file that has been read into tokens.
pub(crate) struct RustText {
    tokens: Vec<Token>,
    lines: usize,
    test_lines: Vec<Range<usize>>,
    test_modules: Vec<String>,
    opens_with_doc: bool,
}

/// A word, a path separator or a single character of punctuation. The contents of literals are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its spelling.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Whether it stands in an item that is compiled for tests only.
    pub(crate) test: bool,
}

impl RustText {
    /// Reads a file.
    pub(crate) fn new(source: &str) -> Self {
        let mut tokens = tokens(&blank(source));
        let (test_lines, test_modules) = mark_tests(&mut tokens);
        Self {
            tokens,
            lines: source.lines().count(),
            test_lines,
            test_modules,
            opens_with_doc: source.trim_start_matches('\u{feff}').trim_start().starts_with("//!"),
        }
    }

    /// All tokens, in order.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether the first thing in the file is a `//!` comment.
    pub(crate) fn opens_with_doc(&self) -> bool {
        self.opens_with_doc
    }

    /// How many lines do not belong to tests.
    pub(crate) fn lines_outside_tests(&self) -> usize {
        let tests: usize = self.test_lines.iter().map(|lines| lines.end - lines.start).sum();
        self.lines.saturating_sub(tests)
    }

    /// Names of modules that are declared for tests only and live in files of their own (`#[cfg(test)] mod x;`).
    pub(crate) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// The places where `pattern`, tokens separated by spaces, occurs.
    pub(crate) fn find<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = &'a Token> {
        let words: Vec<&str> = pattern.split_whitespace().collect();
        let count = words.len();
        self.tokens
            .windows(count)
            .filter(move |window| window.iter().zip(&words).all(|(token, word)| token.text == *word))
            .map(|window| &window[0])
    }

    /// The attributes of the file, each as the tokens between its brackets.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &[Token]> {
        (0..self.tokens.len())
            .filter_map(|at| attribute_at(&self.tokens, at))
            .map(|attribute| &self.tokens[attribute.inside])
    }
}

/// Replaces comments and the contents of literals by spaces; every line stays where it was.
fn blank(source: &str) -> Vec<u8> {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = literal(rest, at.checked_sub(1).map(|before| bytes[before])) {
            at + length
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    out
}

/// The length of the block comment that `rest` starts with; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string or character literal that `rest` starts with, if it does.
fn literal(rest: &[u8], before: Option<u8>) -> Option<usize> {
    let after_word = before.is_some_and(is_word);
    match rest[0] {
        b'"' => Some(quoted(rest, 0, b'"')),
        b'\'' => character(rest),
        // A prefix only counts at the start of a word.
        b'r' | b'b' | b'c' if !after_word => {
            let prefix = rest.iter().take(2).take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
            let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
            let raw = rest[..prefix].contains(&b'r');
            match rest.get(prefix + hashes) {
                Some(b'"') if raw => {
                    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
                    let body = prefix + hashes + 1;
                    let end = rest[body..].windows(close.len()).position(|window| window == close);
                    Some(end.map_or(rest.len(), |end| body + end + close.len()))
                }
                Some(b'"') if hashes == 0 => Some(quoted(rest, prefix, b'"')),
                Some(b'\'') if hashes == 0 && rest[0] == b'b' && prefix == 1 => Some(quoted(rest, 1, b'\'')),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The length up to and with the closing quote of a literal whose opening quote stands at `open`.
fn quoted(rest: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, 0, b'\''));
    }
    let width = match *rest.get(1)? {
        first if first < 0x80 => 1,
        first if first >= 0xf0 => 4,
        first if first >= 0xe0 => 3,
        _ => 2,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn tokens(code: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < code.len() {
        let length = match code[at] {
            b'\n' => {
                line += 1;
                at += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            byte if is_word(byte) => code[at..].iter().take_while(|&&b| is_word(b)).count(),
            b':' if code.get(at + 1) == Some(&b':') => 2,
            _ => 1,
        };
        let text = String::from_utf8_lossy(&code[at..at + length]).into_owned();
        tokens.push(Token { text, line, test: false });
        at += length;
    }
    tokens
}

/// An attribute: the tokens between its brackets, and where the next thing starts.
struct Attribute {
    inside: Range<usize>,
    end: usize,
    inner: bool,
}

fn attribute_at(tokens: &[Token], at: usize) -> Option<Attribute> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    if !is(at, "#") {
        return None;
    }
    let inner = is(at + 1, "!");
    let open = at + 1 + usize::from(inner);
    if !is(open, "[") {
        return None;
    }
    let end = after_bracket(tokens, open);
    Some(Attribute { inside: open + 1..end.saturating_sub(1).max(open + 1), end, inner })
}

/// The index after the bracket that closes the one at `open`.
fn after_bracket(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Marks the tokens of items that are compiled for tests only; returns their lines and the modules in other files.
fn mark_tests(tokens: &mut [Token]) -> (Vec<Range<usize>>, Vec<String>) {
    let (mut lines, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute) = attribute_at(tokens, at) else {
            at += 1;
            continue;
        };
        if !is_for_tests(&tokens[attribute.inside.clone()]) {
            at = attribute.end;
            continue;
        }
        let end = if attribute.inner { tokens.len() } else { item_end(tokens, attribute.end) };
        if let [.., word, name, semicolon] = &tokens[at..end]
            && word.text == "mod"
            && semicolon.text == ";"
        {
            modules.push(name.text.clone());
        }
        lines.push(tokens[at].line..tokens[end - 1].line + 1);
        for token in &mut tokens[at..end] {
            token.test = true;
        }
        at = end;
    }
    (lines, modules)
}

/// Whether an attribute says `test`, `some::test` or a `cfg` that needs `test`.
fn is_for_tests(inside: &[Token]) -> bool {
    let words: Vec<&str> = inside.iter().map(|token| token.text.as_str()).collect();
    match words.as_slice() {
        ["cfg", "(", "test", ")"] | ["cfg", "(", "all", "(", "test", ..] => true,
        ["cfg" | "cfg_attr", ..] => false,
        words => {
            let path = words.split(|word| *word == "(").next().unwrap_or_default();
            path.last() == Some(&"test")
        }
    }
}

/// The index after the item that starts at `at`: its `;` or the bracket that closes its body.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        if let Some(attribute) = attribute_at(tokens, at) {
            at = attribute.end;
            continue;
        }
        match tokens[at].text.as_str() {
            ";" => return at + 1,
            "{" => return after_bracket(tokens, at),
            "(" | "[" => at = after_bracket(tokens, at),
            _ => at += 1,
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        RustText::new(source).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let cases: [(&str, &[&str]); 13] = [
            ("a // b\nc", &["a", "c"]),
            ("a /* b /* c */ d */ e", &["a", "e"]),
            (r#"f("unsafe \" x") y"#, &["f", "(", ")", "y"]),
            (r###"r#"a " b"# c"###, &["c"]),
            (r##"br"a\" c"##, &["c"]),
            (r#"b"a\"b" c"#, &["c"]),
            ("b'\\'' c", &["c"]),
            ("'a' 'é' '\\n' '\\'' c", &["c"]),
            ("&'a str", &["&", "'", "a", "str"]),
            (
                "fn f<'a>(x: &'a u8, c: char) { c == 'x' }",
                &[
                    "fn", "f", "<", "'", "a", ">", "(", "x", ":", "&", "'", "a", "u8", ",", "c", ":", "char", ")", "{",
                    "c", "=", "=", "}",
                ],
            ),
            ("r#type b::c", &["r", "#", "type", "b", "::", "c"]),
            ("bar\"x\"", &["bar"]),
            ("\"open", &[]),
        ];
        for (source, expected) in cases {
            assert_eq!(words(source), expected, "{source}");
        }
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let text = RustText::new("/*\n\n*/ \"\n\n\" a\nb");
        let lines: Vec<usize> = text.tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [5, 6]);
    }

    #[test]
    fn items_for_tests_are_told_from_the_others() {
        let source = "
            fn real() { inside(); }
            #[cfg(not(test))] fn also_real() {}
            #[cfg(feature = \"test\")] fn third() {}
            #[cfg(test)]
            #[expect(dead_code)]
            mod tests { fn unreal() { { } } }
            fn after(x: [u8; 3]) -> u8 { x[0] }
            #[tokio::test(flavor = \"x\")]
            async fn unreal_too(x: [u8; { 3 }]) { }
            #[cfg(test)] mod elsewhere;
            #[cfg(all(test, unix))] use a::b;
            const LAST: u8 = 0;
        ";
        let text = RustText::new(source);
        let real: Vec<&str> = text
            .tokens
            .windows(2)
            .filter(|pair| ["fn", "const"].contains(&pair[0].text.as_str()) && !pair[0].test)
            .map(|pair| pair[1].text.as_str())
            .collect();
        assert_eq!(real, ["real", "also_real", "third", "after", "LAST"]);
        assert_eq!(text.test_modules(), ["elsewhere"]);
        assert_eq!(text.lines_outside_tests(), source.lines().count() - 7);
    }

    #[test]
    fn a_pattern_is_found_across_white_space_and_only_as_whole_words() {
        let text = RustText::new("std::env\n  ::var(x); my_env::var; env::variable; // env::var");
        let lines: Vec<usize> = text.find("env :: var").map(|token| token.line).collect();
        assert_eq!(lines, [1]);
    }
}
