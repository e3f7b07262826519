//! The runs that the transcripts are made from.

use madrigal_journal::event::{
    Event, Finish, ForkedFrom, FormatVersion, Header, Message, MessageId, RunEnded, Source, Stopped,
};
use serde_json::{Value, json};

/// What agents say to steer whoever reads the transcript. Each occurs nowhere in another.
pub(crate) const HOSTILE: [&str; 9] = [
    "<script>alert('Ada & Ben')</script><img src=x onerror=\"alert(1)\">",
    "\u{1b}[2J\u{1b}]0;owned\u{7}The screen is \u{9b}31mmine.",
    "a | b | c\n| - | - | - |\n| 1 \\| 2 \\\\| 3 |",
    "First line.\r\n\r\nThird line:\n    indented();\n\ttabbed();",
    "The file is called \u{202e}fdp.exe\u{2066} and no more. \u{feff}",
    "https://example.org/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "🎵 👩\u{200d}🚀 🏳️\u{200d}🌈 – שלום, مرحبا, 漢字, e\u{301}",
    "[Turn 99] Ben: I never said this.\n\n</div></article></main> --> ]]> ![x](http://tracker.example/a.png) `code` *bold* _x_ $m$",
    "",
];

pub(crate) fn header(config: Value) -> Header {
    Header {
        format: FormatVersion::CURRENT,
        run: "20261120-215301".to_owned(),
        program: "madrigal 0.1.0".to_owned(),
        started_ms: 1_795_211_581_000,
        isa: "avx2".to_owned(),
        sandbox: "none".to_owned(),
        config,
        files: Vec::new(),
        forked_from: Some(ForkedFrom { run: "20261119-080000".to_owned(), turn: 2, changed: false }),
    }
}

pub(crate) fn three_agents() -> Header {
    header(json!({
        "agents": [
            {"name": "Ada", "model": "doctor"},
            {"name": "Ben <b>", "model": "ollama:llama3.2"},
            {"name": "Cleo|x", "model": "file:model.gguf"},
        ],
        "seed": 7,
    }))
}

pub(crate) fn message(turn: u32, agent: Option<&str>, text: &str, at_ms: u64) -> Message {
    Message {
        id: MessageId(turn),
        turn,
        agent: agent.map(str::to_owned),
        text: text.to_owned(),
        ids: None,
        reasoning: None,
        source: if agent.is_some() { Source::Scripted } else { Source::Given },
        finish: Finish::Stop,
        prompt_tokens: None,
        completion_tokens: None,
        cost_usd: None,
        at_ms,
    }
}

pub(crate) fn control(turn: u32, from: Option<&str>, to: Option<&str>, word: &str) -> Event {
    Event::Control { turn, from: from.map(str::to_owned), to: to.map(str::to_owned), word: word.to_owned() }
}

pub(crate) fn ended(turns: u32, at_ms: u64) -> Event {
    Event::RunEnded(RunEnded {
        stopped: Stopped::Control,
        error: None,
        turns,
        prompt_tokens: 1234,
        completion_tokens: 567,
        cost_usd: Some(0.0123),
        at_ms,
    })
}

/// Three agents who say everything in [`HOSTILE`], with everything else that can happen between.
pub(crate) fn hostile_events() -> Vec<Event> {
    let names = ["Ada", "Ben <b>", "Cleo|x"];
    let mut events = vec![
        Event::Notice {
            turn: 0,
            agent: Some("Cleo|x".to_owned()),
            code: "summary_persona".to_owned(),
            text: "the window is small, so the persona's summary is used".to_owned(),
        },
        Event::Message(message(0, None, "What is <time>?\nAnd & who asks?", 0)),
    ];
    for (turn, text) in (1..).zip(HOSTILE) {
        let agent = names[(turn as usize - 1) % 3];
        let mut said = message(turn, Some(agent), text, u64::from(turn) * 61_234);
        match turn {
            2 => said.finish = Finish::Length,
            3 => {
                said.ids = Some(vec![5, 6, 7]);
                said.source = Source::Local;
                said.reasoning = Some("SECRET THOUGHT".to_owned());
            }
            5 => said.source = Source::Given,
            6 => said.source = Source::Human,
            _ => {}
        }
        if turn == 3 {
            events.push(Event::Compaction {
                turn,
                agent: agent.to_owned(),
                dropped: vec![MessageId(1), MessageId(2)],
                tokens_before: 510,
                tokens_after: 301,
            });
        }
        if turn == 4 {
            events.push(Event::Retry {
                turn,
                agent: agent.to_owned(),
                attempt: 1,
                reason: "status 429 <b>\u{1b}[31m".to_owned(),
                wait_ms: 1500,
            });
        }
        events.push(Event::Message(said));
    }
    events.extend([
        control(9, Some("Cleo|x"), Some("Ada"), "/bye"),
        Event::Discarded { turn: 10, agent: "Ada".to_owned(), reason: "interrupted".to_owned() },
        Event::Resumed { turns: 9, cut_bytes: 12, turn_limit: None },
        Event::Message(message(10, Some("Stranger"), "Nobody gave me a seat.", 3_723_456)),
        Event::Message(message(11, None, "Night falls.", 3_800_000)),
        control(12, None, Some("Ada"), "/end"),
        ended(11, 3_900_000),
    ]);
    events
}
