//! A transcript as a standalone web page: no script, nothing loaded from elsewhere.
//!
//! On a wide screen each agent has a column and each turn a row; on a narrow one the turns stand below each other.
//! What is wide depends on how many columns there are, so the page never scrolls sideways.

use super::{Entry, Speaker, Transcript, clock, escape, facts, marks, remark};
use crate::event::Message;

const STYLE: &str = include_str!("html.css");

/// Hues that the style sheet knows; seats beyond them begin anew.
const HUES: usize = 6;

/// Width that the column of times needs, with the page's margins, in rem.
const TIMES_REM: usize = 8;
/// Narrowest column of an agent that still reads well, in rem.
const NARROW_REM: usize = 14;
/// Widest column of an agent that still reads well, in rem.
const WIDE_REM: usize = 34;

/// The whole page.
pub(super) fn page(of: &Transcript<'_>) -> String {
    let title = escaped(&of.title());
    let run = escaped(&of.header.run);
    let started = clock::moment(of.header.started_ms);
    let columns = of.speakers.len().max(1);
    let style = STYLE
        .replace("COLUMNS_FROM", &format!("{}rem", TIMES_REM + NARROW_REM * columns.max(2)))
        .replace("MAX_WIDTH", &format!("{}rem", TIMES_REM + WIDE_REM * columns));
    let mut out = format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title} – {run}</title>\n\
         <style>\n{style}</style>\n\
         </head>\n\
         <body>\n\
         <header>\n<h1><bdi>{title}</bdi></h1>\n\
         <p class=\"run\">{started} · run <bdi>{run}</bdi></p>\n</header>\n\
         <main>\n"
    );
    if let Some(seed) = of.seed_prompt {
        out.push_str("<section>\n<h2>Seed prompt</h2>\n<blockquote class=\"seed text\" dir=\"auto\">");
        escape::html(&mut out, seed.text.trim_end());
        out.push_str("</blockquote>\n</section>\n");
    }
    out.push_str(&format!("<section style=\"--agents:{columns}\">\n<h2>Conversation</h2>\n"));
    column_names(&mut out, &of.speakers);
    for entry in &of.entries {
        match entry {
            Entry::Said { message, speaker, after_ms } => {
                turn(&mut out, message, *speaker, of.name(*speaker), *after_ms);
            }
            Entry::Mark(event) => {
                if let Some(mark) = marks::told(event) {
                    out.push_str("<p class=\"mark\" dir=\"auto\">");
                    escape::html(&mut out, &escape::visible_line(&mark));
                    out.push_str("</p>\n");
                }
            }
        }
    }
    out.push_str("</section>\n</main>\n<footer>\n<h2>About this run</h2>\n<dl>\n");
    for (label, fact) in facts::facts(of) {
        out.push_str(&format!("<dt>{label}</dt><dd dir=\"auto\">"));
        escape::html(&mut out, &escape::visible_line(&fact));
        out.push_str("</dd>\n");
    }
    out.push_str("</dl>\n</footer>\n</body>\n</html>\n");
    out
}

/// The heads of the columns. Who cannot see them hears each turn's own heading instead.
fn column_names(out: &mut String, speakers: &[Speaker<'_>]) {
    if speakers.is_empty() {
        return;
    }
    out.push_str("<div class=\"names\" aria-hidden=\"true\">\n");
    for (index, speaker) in speakers.iter().enumerate() {
        out.push_str(&format!("<p style=\"{}\"><bdi>{}</bdi>", seat(index), escaped(speaker.name)));
        if let Some(model) = speaker.model {
            out.push_str(&format!("<small><bdi>{}</bdi></small>", escaped(model)));
        }
        out.push_str("</p>\n");
    }
    out.push_str("</div>\n");
}

fn turn(out: &mut String, message: &Message, speaker: Option<usize>, name: &str, after_ms: u64) {
    let number = message.turn;
    let (class, place) = match speaker {
        Some(index) => ("turn", seat(index)),
        None => ("turn narrator", "--seat:1;--hue:var(--dim)".to_owned()),
    };
    out.push_str(&format!(
        "<article class=\"{class}\" id=\"t{number}\" style=\"{place}\">\n\
         <h3><bdi>{}</bdi></h3>\n\
         <p class=\"when\"><span><a href=\"#t{number}\">{number}</a></span> \
         <span><time datetime=\"{}\">{}</time></span> <span>after {}</span></p>\n\
         <div class=\"said\">\n",
        escaped(name),
        clock::iso_length(message.at_ms),
        clock::since_start(message.at_ms),
        clock::length(after_ms),
    ));
    out.push_str("<div class=\"text\" dir=\"auto\">");
    escape::html(out, message.text.trim_end());
    out.push_str("</div>\n");
    if let Some(remark) = remark(message) {
        out.push_str(&format!("<p class=\"remark\">{remark}</p>\n"));
    }
    out.push_str("</div>\n</article>\n");
}

/// Where the speaker at `index` stands, and in what colour.
fn seat(index: usize) -> String {
    format!("--seat:{};--hue:var(--hue{})", index + 1, index % HUES)
}

/// Text on one line, escaped.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape::html(&mut out, &escape::visible_line(text));
    out
}
