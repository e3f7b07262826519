//! A transcript as a Markdown document with a table (GitHub Flavored Markdown, section "Tables").

use super::{Entry, Transcript, clock, escape, facts, marks, remark};
use crate::event::Message;

/// The title, the facts of the run, and a row for each message and for each mark between them.
pub(super) fn document(of: &Transcript<'_>) -> String {
    let mut out = "# ".to_owned();
    inline(&mut out, &of.title());
    out.push_str("\n\n");
    for (label, fact) in facts::facts(of) {
        out.push_str(&format!("- **{label}:** "));
        inline(&mut out, &fact);
        out.push('\n');
    }
    out.push_str("\n| # | Time | Speaker | Message |\n| --: | --: | :-- | :-- |\n");
    if let Some(seed) = of.seed_prompt {
        message_row(&mut out, seed, "*Seed prompt*");
    }
    for entry in &of.entries {
        match entry {
            Entry::Said { message, speaker, .. } => {
                let mut name = "**".to_owned();
                inline(&mut name, of.name(*speaker));
                name.push_str("**");
                message_row(&mut out, message, &name);
            }
            Entry::Mark(event) => {
                if let Some(mark) = marks::told(event) {
                    out.push_str("| | | | ");
                    note(&mut out, &mark);
                    out.push_str(" |\n");
                }
            }
        }
    }
    out
}

/// `who` is Markdown already.
fn message_row(out: &mut String, message: &Message, who: &str) {
    let time = clock::since_start(message.at_ms);
    out.push_str(&format!("| {} | {time} | {who} | ", message.turn));
    escape::markdown(out, message.text.trim_end());
    if let Some(remark) = remark(message) {
        out.push_str(if message.text.is_empty() { "" } else { "<br>" });
        note(out, remark);
    }
    out.push_str(" |\n");
}

/// Something that nobody said.
fn note(out: &mut String, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        out.push('*');
        inline(out, text);
        out.push('*');
    }
}

fn inline(out: &mut String, text: &str) {
    escape::markdown(out, &escape::visible_line(text));
}
