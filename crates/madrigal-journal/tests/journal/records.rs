//! What the tests record: any header and any event that the types allow.

use madrigal_journal::event::{
    Event, FileHash, Finish, ForkedFrom, FormatVersion, Header, Message, MessageId, RunEnded, Source, Stopped,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::Value;

/// Any text: control characters, quotes, what lies outside the first plane, and pieces of the format itself.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
        1 => Just(",\"hash\":\"".to_owned()),
        1 => Just("\"}\n{\"seq\":1,\"kind\":\"".to_owned()),
        1 => Just("\u{0}\u{1f}\u{7f}\u{2028}\u{feff}\u{10ffff}e\u{301}".to_owned()),
    ]
}

/// Any finite number, down to the subnormal ones and negative zero.
pub(crate) fn cost() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

fn config() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        cost().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        let key = prop_oneof![text(), Just("hash".to_owned()), Just("kind".to_owned())];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

prop_compose! {
    pub(crate) fn header()(
        run in text(),
        started_ms in any::<u64>(),
        config in config(),
        files in vec((text(), text(), any::<u64>()), 0..3),
        forked_from in of((text(), any::<u32>())),
    ) -> Header {
        Header {
            format: FormatVersion::CURRENT,
            run,
            program: "madrigal 0.1.0".to_owned(),
            started_ms,
            isa: "avx2".to_owned(),
            sandbox: "none".to_owned(),
            config,
            files: files
                .into_iter()
                .map(|(model, path, bytes)| FileHash {
                    role: "weights".to_owned(),
                    model,
                    path,
                    bytes,
                    sha256: "ab".repeat(32),
                })
                .collect(),
            forked_from: forked_from.map(|(run, turn)| ForkedFrom { run, changed: turn % 2 == 0, turn }),
        }
    }
}

prop_compose! {
    fn message()(
        id in any::<u32>(),
        turn in any::<u32>(),
        (agent, text, reasoning) in (of(text()), text(), of(text())),
        ids in of(vec(any::<u32>(), 0..6)),
        source in prop::sample::select(vec![
            Source::Local, Source::Remote, Source::Scripted, Source::Human, Source::Given,
        ]),
        finish in prop::sample::select(vec![Finish::Stop, Finish::Length]),
        (prompt_tokens, completion_tokens) in (of(any::<u32>()), of(any::<u32>())),
        cost_usd in of(cost()),
        at_ms in any::<u64>(),
    ) -> Event {
        Event::Message(Message {
            id: MessageId(id),
            turn,
            agent,
            text,
            ids,
            reasoning,
            source,
            finish,
            prompt_tokens,
            completion_tokens,
            cost_usd,
            at_ms,
        })
    }
}

prop_compose! {
    pub(crate) fn run_ended()(
        stopped in prop::sample::select(vec![
            Stopped::Turns, Stopped::Tokens, Stopped::Time, Stopped::Cost, Stopped::Control, Stopped::Phrase,
            Stopped::Repetition, Stopped::Courtesy, Stopped::Silence, Stopped::Interrupt, Stopped::Error,
        ]),
        error in of(text()),
        turns in any::<u32>(),
        (prompt_tokens, completion_tokens) in (any::<u64>(), any::<u64>()),
        cost_usd in of(cost()),
        at_ms in any::<u64>(),
    ) -> Event {
        Event::RunEnded(RunEnded {
            stopped,
            error,
            turns,
            prompt_tokens,
            completion_tokens,
            cost_usd,
            at_ms,
        })
    }
}

prop_compose! {
    fn resumed()(turns in any::<u32>(), cut_bytes in any::<u64>(), turn_limit in of(any::<u32>())) -> Event {
        Event::Resumed { turns, cut_bytes, turn_limit }
    }
}

/// Any event but the end of the run.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => message(),
        1 => (any::<u32>(), of(text()), of(text()), text())
            .prop_map(|(turn, from, to, word)| Event::Control { turn, from, to, word }),
        1 => (any::<u32>(), text(), vec(any::<u32>(), 0..4), any::<u32>(), any::<u32>()).prop_map(
            |(turn, agent, dropped, tokens_before, tokens_after)| Event::Compaction {
                turn,
                agent,
                dropped: dropped.into_iter().map(MessageId).collect(),
                tokens_before,
                tokens_after,
            }
        ),
        1 => (any::<u32>(), of(text()), text(), text())
            .prop_map(|(turn, agent, code, text)| Event::Notice { turn, agent, code, text }),
        1 => (any::<u32>(), text(), any::<u32>(), text(), any::<u64>()).prop_map(
            |(turn, agent, attempt, reason, wait_ms)| Event::Retry { turn, agent, attempt, reason, wait_ms }
        ),
        1 => (any::<u32>(), text(), text())
            .prop_map(|(turn, agent, reason)| Event::Discarded { turn, agent, reason }),
        1 => resumed(),
    ]
}

/// The events of a run that ended, was perhaps taken up again, and ended again.
pub(crate) fn finished_run() -> impl Strategy<Value = Vec<Event>> {
    let part = || (vec(event(), 0..4), run_ended());
    (part(), of((resumed(), part()))).prop_map(|((mut events, end), more)| {
        events.push(end);
        if let Some((resumed, (further, end))) = more {
            events.push(resumed);
            events.extend(further);
            events.push(end);
        }
        events
    })
}
