//! What each format makes of a run that means harm.

use std::collections::HashSet;

use insta::assert_snapshot;
use madrigal_journal::event::Event;
use madrigal_journal::transcript::Transcript;
use madrigal_journal::{Journal, JournalWriter};
use serde_json::{Value, json};

use crate::runs::{HOSTILE, control, ended, header, hostile_events, message, three_agents};

/// What each format writes, with the format's name.
fn written(transcript: &Transcript<'_>) -> Vec<(String, String)> {
    let mut all = vec![
        ("md".to_owned(), transcript.markdown()),
        ("html".to_owned(), transcript.html()),
        ("jsonl".to_owned(), transcript.jsonl().unwrap()),
        ("txt".to_owned(), transcript.text()),
    ];
    let files = transcript.text_files();
    all.extend(files.into_iter().map(|file| (file.name, file.content)));
    all
}

#[test]
fn a_hostile_run() {
    let (header, events) = (three_agents(), hostile_events());
    let transcript = Transcript::new(&header, &events);
    let html = transcript.html();
    let (_, body) = html.split_once("</style>").unwrap();
    assert_snapshot!("hostile.md", transcript.markdown());
    assert_snapshot!("hostile.html", body);
    assert_snapshot!("hostile.jsonl", transcript.jsonl().unwrap());
    let files: Vec<String> =
        transcript.text_files().into_iter().map(|file| format!("--- {}\n{}", file.name, file.content)).collect();
    assert_snapshot!("hostile.txt", files.join("\n"));
}

#[test]
fn nothing_harmful_gets_through() {
    let (header, events) = (three_agents(), hostile_events());
    for (format, text) in written(&Transcript::new(&header, &events)) {
        let steering = text.chars().find(|&c| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}')
        });
        assert_eq!(steering, None, "{format}");
        assert!(!text.contains("SECRET THOUGHT"), "{format}");
        if format == "md" || format == "html" {
            for tag in ["<script", "<img", "<b>"] {
                assert!(!text.contains(tag), "{format}: {tag}");
            }
        }
        if format.ends_with("txt") {
            let forged = text.lines().any(|line| line.starts_with("[Turn 99]"));
            assert!(!forged, "{format}: an agent wrote what looks like a turn");
        }
    }
}

#[test]
fn everything_said_is_there_once_and_in_order() {
    let words: Vec<String> = (0..40).map(|n| format!("w{n}w")).collect();
    let names = ["Ada", "Ben <b>", "Cleo|x"];
    let events: Vec<Event> = (0..)
        .zip(&words)
        .map(|(turn, word)| {
            let agent = (turn > 0).then(|| names[turn as usize % 3]);
            Event::Message(message(turn, agent, word, u64::from(turn)))
        })
        .collect();
    let header = three_agents();
    let transcript = Transcript::new(&header, &events);
    for (format, text) in written(&transcript) {
        if format == "md" || format == "html" || format == "jsonl" || format == "txt" {
            let places: Vec<usize> = words.iter().map(|word| text.find(word).unwrap()).collect();
            assert!(places.is_sorted(), "{format}");
            assert!(words.iter().all(|word| text.matches(word).count() == 1), "{format}");
        }
    }
    let alone: String = transcript.text_files()[1..].iter().map(|file| file.content.as_str()).collect();
    assert!(words[1..].iter().all(|word| alone.matches(word).count() == 1));
    assert!(!alone.contains(&words[0]), "the seed prompt is nobody's");
}

#[test]
fn lines_of_json_hold_the_exact_texts() {
    let (header, events) = (three_agents(), hostile_events());
    let jsonl = Transcript::new(&header, &events).jsonl().unwrap();
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), HOSTILE.len() + 3);
    assert_eq!(
        lines[0],
        json!({"turn": 0, "agent": null, "text": "What is <time>?\nAnd & who asks?", "at_ms": 0, "source": "given"})
    );
    for (line, text) in lines[1..].iter().zip(HOSTILE) {
        assert_eq!(line["text"], text);
    }
    assert_eq!(lines[3]["ids"], json!([5, 6, 7]));
    assert_eq!(lines[3]["source"], "local");
    assert!(lines[4].get("ids").is_none());
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let (header, events) = (three_agents(), hostile_events());
    let html = Transcript::new(&header, &events).html();
    let (style, body) = html.split_once("</style>").unwrap();
    for loads in ["url(", "@import", "@font-face"] {
        assert!(!style.contains(loads), "{loads}");
    }
    let tags = body.split('<').filter_map(|piece| piece.split_once('>')).map(|(tag, _)| tag);
    for tag in tags {
        for loads in ["src=", "link", "iframe", "object", "href=\"http", "onerror"] {
            assert!(!tag.contains(loads), "{tag}");
        }
    }
    assert!(html.contains("<html lang=\"en\">"));
    assert!(html.contains("default-src 'none'"));
    assert!(!style.contains("COLUMNS_FROM") && !style.contains("MAX_WIDTH"));
}

#[test]
fn a_run_without_agents_or_messages_is_a_transcript_too() {
    let header = header(Value::Null);
    let transcript = Transcript::new(&header, &[]);
    assert_eq!(transcript.jsonl().unwrap(), "");
    assert_eq!(transcript.text_files().len(), 1);
    for text in [transcript.markdown(), transcript.html(), transcript.text()] {
        assert!(text.contains("A conversation"), "{text}");
        assert!(text.contains("not yet; this is what was said so far"), "{text}");
    }
}

#[test]
fn files_of_many_speakers_have_names_of_their_own() {
    let names = ["Ada", "ada", "ADA", "../x", "..\\x", "🎵", "🎶", "", "a", "b", "c"];
    let agents: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let header = header(json!({ "agents": agents }));
    let files = Transcript::new(&header, &[]).text_files();
    let unique: HashSet<String> = files.iter().map(|file| file.name.to_lowercase()).collect();
    assert_eq!(unique.len(), names.len() + 1);
    for file in &files {
        let safe = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
        assert!(file.name.chars().all(safe) && !file.name.starts_with('.'), "{}", file.name);
    }
    assert_eq!(files[1].name, "01-ada.txt");
}

#[test]
fn a_journal_tells_its_head_hash_and_where_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut writer = JournalWriter::create(&path, &three_agents()).unwrap();
    for event in [
        Event::Message(message(1, Some("Ada"), "Hello.", 10)),
        control(1, Some("Ada"), Some("Ben <b>"), "/end"),
        ended(1, 20),
    ] {
        writer.append(&event).unwrap();
    }
    drop(writer);
    let whole = Journal::open(&path).unwrap();
    let text = Transcript::of(&whole).unwrap().text();
    assert!(text.contains(&format!("Head hash: {}", whole.head)), "{text}");
    assert!(text.contains("Ended: a control word closed it"), "{text}");

    let changed = std::fs::read_to_string(&path).unwrap().replace("/end", "/bye");
    let broken = Journal::from_bytes(changed.as_bytes()).unwrap();
    let text = Transcript::of(&broken).unwrap().text();
    assert!(text.contains("the journal is broken at line 3"), "{text}");
    assert!(text.contains("Hello.") && !text.contains("/bye"), "{text}");

    let headless = Journal::from_bytes(b"nonsense\n").unwrap();
    assert!(Transcript::of(&headless).is_none());
}

#[test]
fn a_long_conversation_is_written_in_its_own_length() {
    let header = three_agents();
    let events: Vec<Event> = (1..=20_000)
        .map(|turn| Event::Message(message(turn, Some(["Ada", "Ben <b>"][turn as usize % 2]), "Yes.", turn.into())))
        .collect();
    let length = |turns: usize| -> Vec<usize> {
        let transcript = Transcript::new(&header, &events[..turns]);
        written(&transcript).iter().map(|(_, text)| text.len()).collect()
    };
    for (half, whole) in length(10_000).into_iter().zip(length(20_000)) {
        assert!(whole < half * 5 / 2, "{half} bytes for 10,000 turns, {whole} for 20,000");
    }
}
