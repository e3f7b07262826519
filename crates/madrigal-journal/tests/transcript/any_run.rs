//! What holds for every run: no text leaves the place that its format gives it.

use madrigal_journal::event::{Event, Source};
use madrigal_journal::transcript::Transcript;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::runs::{control, header, message};

/// Any text, with a bent for what means something to HTML, Markdown, terminals and JSON.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        4 => prop::sample::select(vec![
            "<", ">", "&", "\"", "'", "|", "\\", "`", "*", "_", "[", "]", "~", "$", "\n", "\r", "\t", " ", "&lt;",
            "<script>", "</div>", "<!--", "\\|", "\u{1b}[2J", "\u{202e}", "\u{2028}", "\u{85}", "{", "}", ";",
        ])
        .prop_map(str::to_owned),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<u32>(), of(text()), text(), any::<u64>(), any::<bool>()).prop_map(
            |(turn, agent, said, at_ms, given)| {
                let mut message = message(turn, agent.as_deref(), &said, at_ms);
                if given {
                    message.source = Source::Given;
                }
                Event::Message(message)
            }
        ),
        1 => (any::<u32>(), of(text()), of(text()), text())
            .prop_map(|(turn, from, to, word)| control(turn, from.as_deref(), to.as_deref(), &word)),
        1 => (any::<u32>(), of(text()), text(), text())
            .prop_map(|(turn, agent, code, text)| Event::Notice { turn, agent, code, text }),
        1 => (any::<u32>(), text(), any::<u32>(), text(), any::<u64>())
            .prop_map(|(turn, agent, attempt, reason, wait_ms)| Event::Retry { turn, agent, attempt, reason, wait_ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_leaves_its_place(
        names in vec((text(), text()), 0..4),
        run in text(),
        events in vec(event(), 0..8),
    ) {
        let agents: Vec<Value> = names.iter().map(|(name, model)| json!({"name": name, "model": model})).collect();
        let mut header = header(json!({ "agents": agents }));
        header.run = run;
        let transcript = Transcript::new(&header, &events);
        prop_assert_eq!(markup_fault(&transcript.html()), None);
        prop_assert_eq!(table_fault(&transcript.markdown()), None);
        let said: Vec<&str> = events
            .iter()
            .filter_map(|event| match event {
                Event::Message(message) => Some(message.text.as_str()),
                _ => None,
            })
            .collect();
        let jsonl = transcript.jsonl().unwrap();
        let mut texts: Vec<String> = jsonl
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
            .collect();
        let mut said: Vec<String> = said.into_iter().map(str::to_owned).collect();
        // The seed prompt comes first, wherever it was recorded.
        texts.sort();
        said.sort();
        prop_assert_eq!(texts, said);
        for file in transcript.text_files() {
            prop_assert!(file.name.len() < 255 && !file.name.contains(['/', '\\', '\0']));
            prop_assert!(!file.content.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}

/// What is not as our own templates write it: a tag that is not theirs, a bare `>` or `&`, tags that do not close.
fn markup_fault(html: &str) -> Option<String> {
    const EMPTY: [&str; 2] = ["meta", "!DOCTYPE"];
    const TAGS: [&str; 26] = [
        "html",
        "head",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "bdi",
        "main",
        "section",
        "blockquote",
        "div",
        "small",
        "article",
        "span",
        "a",
        "time",
        "footer",
        "dl",
        "dt",
        "dd",
        "meta",
        "!DOCTYPE",
    ];
    const ENTITIES: [&str; 5] = ["lt;", "gt;", "amp;", "quot;", "#39;"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '>', '&']) {
        let (found, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        match found {
            b'&' if ENTITIES.iter().any(|entity| after.starts_with(entity)) => rest = after,
            b'<' => {
                let Some(end) = after.find('>') else {
                    return Some(format!("no end: {after}"));
                };
                let tag = &after[..end];
                if tag.contains('<') || tag.matches('"').count() % 2 != 0 {
                    return Some(tag.to_owned());
                }
                let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
                if !TAGS.contains(&name) || !has_only_our_attributes(tag) {
                    return Some(tag.to_owned());
                }
                if tag.starts_with('/') {
                    if open.pop() != Some(name) {
                        return Some(format!("wrongly closed: {name}"));
                    }
                } else if !EMPTY.contains(&name) {
                    open.push(name);
                }
                rest = &after[end + 1..];
            }
            _ => return Some(rest[at..].chars().take(20).collect()),
        }
    }
    (!open.is_empty()).then(|| format!("never closed: {open:?}"))
}

/// Whether a tag has none but the attributes of our templates, of which none loads anything.
fn has_only_our_attributes(tag: &str) -> bool {
    const ATTRIBUTES: [&str; 12] = [
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "class",
        "dir",
        "id",
        "style",
        "href",
        "datetime",
        "aria-hidden",
    ];
    let pieces: Vec<&str> = tag.split('"').collect();
    pieces.chunks_exact(2).all(|pair| {
        let name = pair[0].trim_end_matches('=').rsplit(' ').next().unwrap_or_default();
        ATTRIBUTES.contains(&name) && (name != "href" || pair[1].starts_with('#'))
    })
}

/// A row of the table that has not exactly four cells, or any markup that is not ours.
fn table_fault(markdown: &str) -> Option<String> {
    let lines: Vec<&str> = markdown.split('\n').collect();
    let Some(table) = lines.iter().position(|line| line.starts_with("| # |")) else {
        return Some("no table".to_owned());
    };
    let (above, table) = lines.split_at(table);
    let rows = table.iter().filter(|row| !row.is_empty());
    for row in rows {
        if row.matches('|').count() != 5 || !row.starts_with('|') || !row.ends_with('|') {
            return Some((*row).to_owned());
        }
    }
    if above.iter().any(|line| line.contains('|'))
        || above.iter().skip(2).any(|line| !line.is_empty() && !line.starts_with("- **"))
    {
        return Some("something above the table is not a fact".to_owned());
    }
    let bare = markdown.replace("<br>", "").replace("<sub>", "").replace("</sub>", "");
    bare.contains(['<', '>']).then_some(bare)
}
