//! Headings and the text between them, as far as personas need Markdown.
//!
//! Owns which lines are headings (fenced code is not looked into). Does not own what a heading means.

/// A heading and its lines up to the next heading of any level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// 1 to 6; 0 for the text ahead of the first heading.
    pub(super) level: usize,
    /// The heading's text without marks.
    pub(super) heading: &'a str,
    /// The number of its line in the file, from 1.
    pub(super) line: usize,
    /// The lines after the heading, with their line ends.
    pub(super) text: String,
}

impl Block<'_> {
    /// Whether the heading reads `name`, in any case and with or without a colon at its end.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let bare = |heading: &str| heading.trim_end_matches(':').trim_end().to_lowercase();
        bare(self.heading) == bare(name)
    }

    /// The block as Markdown.
    pub(super) fn render(&self) -> String {
        match self.level {
            0 => self.text.clone(),
            level => format!("{} {}\n{}", "#".repeat(level), self.heading, self.text),
        }
    }
}

/// Cuts `text`, which begins on line `first_line` of its file, at its headings.
pub(super) fn blocks(text: &str, first_line: usize) -> Vec<Block<'_>> {
    let mut blocks = vec![Block { level: 0, heading: "", line: first_line, text: String::new() }];
    let mut fences = Fences::default();
    for (index, line) in text.lines().enumerate() {
        let in_code = fences.covers(line);
        match heading(line) {
            Some((level, heading)) if !in_code => {
                blocks.push(Block { level, heading, line: first_line + index, text: String::new() });
            }
            _ => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
        }
    }
    blocks
}

/// The level and text of an ATX heading.
pub(super) fn heading(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let line = &line[indent..];
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let rest = &line[level..];
    if indent > 3 || !(1..=6).contains(&level) || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let text = rest.trim();
    // A closing sequence of marks is not part of the text.
    let unclosed = text.trim_end_matches('#');
    let text = if unclosed.is_empty() || unclosed.ends_with([' ', '\t']) { unclosed.trim_end() } else { text };
    Some((level, text))
}

/// Follows fenced code through a text, line by line.
#[derive(Debug, Default)]
pub(super) struct Fences {
    open: Option<(char, usize)>,
}

impl Fences {
    /// The fence that closes what is open; empty where nothing is.
    pub(super) fn closing(&self) -> String {
        self.open.map(|(mark, length)| mark.to_string().repeat(length)).unwrap_or_default()
    }

    /// Whether `line`, the next one, belongs to fenced code, the fences included.
    pub(super) fn covers(&mut self, line: &str) -> bool {
        let line = line.trim();
        let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'));
        let fence =
            mark.map(|mark| (mark, line.chars().take_while(|c| *c == mark).count())).filter(|(_, length)| *length >= 3);
        match (self.open, fence) {
            (None, Some(fence)) => {
                self.open = Some(fence);
                true
            }
            (None, None) => false,
            (Some((mark, length)), fence) => {
                let closes = fence.is_some_and(|(m, l)| m == mark && l >= length) && line.chars().all(|c| c == mark);
                if closes {
                    self.open = None;
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headings_are_recognised() {
        let cases = [
            ("# A b", Some((1, "A b"))),
            ("   ### A ###", Some((3, "A"))),
            ("## C#", Some((2, "C#"))),
            ("##", Some((2, ""))),
            ("#hashtag", None),
            ("    # code", None),
            ("####### seven", None),
            ("text", None),
        ];
        for (line, expected) in cases {
            assert_eq!(heading(line), expected, "{line:?}");
        }
    }

    #[test]
    fn fenced_code_holds_no_headings() {
        let text = "a\n```sh\n# no\n~~~\n```\n# yes\n~~~~\n# no\n~~~\n# no\n~~~~\n## also\n";
        let found: Vec<_> = blocks(text, 10).into_iter().map(|block| (block.heading.to_owned(), block.line)).collect();
        assert_eq!(found, [(String::new(), 10), ("yes".into(), 15), ("also".into(), 21)]);
    }

    proptest! {
        #[test]
        fn cutting_loses_no_line(text in "([#`~ ]{0,4}[a-z]{0,3}\n){0,12}") {
            let kept: usize = blocks(&text, 1).iter().map(|block| block.render().lines().count()).sum();
            prop_assert_eq!(kept, text.lines().count());
        }
    }
}
