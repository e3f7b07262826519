//! A transcript as plain text: the whole of it, and each speaker alone.

use super::{Entry, NARRATOR, Transcript, clock, escape, facts, marks, remark};
use crate::event::Message;

/// A plain text and the name of the file it belongs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Letters, digits, `-` and `.` only; unique within a run, also where case does not count.
    pub name: String,
    /// The text, ending with a newline.
    pub content: String,
}

/// Longest part of a speaker's name that enters the name of a file, in characters of at most four bytes.
const FILE_NAME_CHARS: usize = 40;

/// The facts, the seed prompt, and everything that was said or happened.
pub(super) fn whole(of: &Transcript<'_>) -> String {
    let mut out = heading(&of.title());
    for (label, fact) in facts::facts(of) {
        out.push_str(&format!("{label}: {}\n", escape::visible_line(&fact)));
    }
    if let Some(seed) = of.seed_prompt {
        out.push_str("\n[Seed prompt]\n");
        body(&mut out, seed);
    }
    for entry in &of.entries {
        match entry {
            Entry::Said { message, speaker, .. } => {
                let name = escape::visible_line(of.name(*speaker));
                let time = clock::since_start(message.at_ms);
                out.push_str(&format!("\n[Turn {:02}] {name}: {time}\n", message.turn));
                body(&mut out, message);
            }
            Entry::Mark(event) => {
                if let Some(mark) = marks::told(event) {
                    out.push_str(&format!("\n({})\n", escape::visible_line(&mark)));
                }
            }
        }
    }
    out
}

/// `conversation.txt` with the whole, then a file for each speaker.
pub(super) fn files(of: &Transcript<'_>) -> Vec<TextFile> {
    let mut alone: Vec<String> = of.speakers.iter().map(|speaker| heading(speaker.name)).collect();
    let mut narrated = heading(NARRATOR);
    let nothing_narrated = narrated.len();
    for entry in &of.entries {
        if let Entry::Said { message, speaker, .. } = entry {
            let out = speaker.and_then(|index| alone.get_mut(index)).unwrap_or(&mut narrated);
            let time = clock::since_start(message.at_ms);
            out.push_str(&format!("\n[Turn {:02}] {time}\n", message.turn));
            body(out, message);
        }
    }
    let mut files = vec![TextFile { name: "conversation.txt".to_owned(), content: whole(of) }];
    let digits = alone.len().to_string().len();
    let spoken = alone.into_iter().zip(&of.speakers).enumerate();
    files.extend(spoken.map(|(index, (content, speaker))| TextFile {
        name: format!("{:0digits$}-{}.txt", index + 1, slug(speaker.name)),
        content,
    }));
    if narrated.len() > nothing_narrated {
        files.push(TextFile { name: format!("{:0digits$}-{}.txt", 0, slug(NARRATOR)), content: narrated });
    }
    files
}

fn heading(title: &str) -> String {
    let title = escape::visible_line(title);
    let line = "=".repeat(title.chars().count().clamp(1, 80));
    format!("{title}\n{line}\n")
}

/// What was said is indented, so that no agent can write what looks like another turn.
fn body(out: &mut String, message: &Message) {
    for line in escape::visible(message.text.trim_end()).lines() {
        if !line.is_empty() {
            out.push_str("  ");
            out.push_str(line);
        }
        out.push('\n');
    }
    if let Some(remark) = remark(message) {
        out.push_str(&format!("({remark})\n"));
    }
}

/// A name as part of a file's name.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.chars().take(FILE_NAME_CHARS).collect();
    match slug.trim_end_matches('-') {
        "" => "agent".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_speakers_are_safe_in_paths() {
        for (name, expected) in [
            ("Ada", "ada"),
            ("Dr. Ada  Lovelace!", "dr-ada-lovelace"),
            ("../../etc/passwd", "etc-passwd"),
            ("Jörg 漢", "jörg-漢"),
            ("\u{1b}[2J<script>", "2j-script"),
            ("🎵", "agent"),
            ("", "agent"),
        ] {
            assert_eq!(slug(name), expected, "{name:?}");
        }
        assert_eq!(slug(&"x".repeat(1000)).len(), FILE_NAME_CHARS);
    }
}
