//! How long it takes to open and to append to a journal of the size that long runs reach.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use madrigal_journal::event::{Event, Finish, FormatVersion, Header, Message, MessageId, RunEnded, Source, Stopped};
use madrigal_journal::{Chain, Journal, JournalWriter};

const EVENTS: u32 = 100_000;

fn header() -> Header {
    Header {
        format: FormatVersion::CURRENT,
        run: "bench".to_owned(),
        program: "madrigal".to_owned(),
        started_ms: 0,
        isa: "portable".to_owned(),
        sandbox: "none".to_owned(),
        config: serde_json::json!({ "agents": ["physicist", "sceptic"], "seed": 7 }),
        files: Vec::new(),
        forked_from: None,
    }
}

/// A message of about 60 words and 80 tokens, as small local models say them.
fn message(number: u32) -> Event {
    Event::Message(Message {
        id: MessageId(number),
        turn: number,
        agent: Some("Physicist".to_owned()),
        text: "One should ask first what is measured, and only then what it may mean.\n".repeat(5),
        ids: Some((0..80).map(|at| (number + at * 397) % 50_000).collect()),
        reasoning: None,
        source: Source::Local,
        finish: Finish::Stop,
        prompt_tokens: Some(1_500),
        completion_tokens: Some(80),
        cost_usd: None,
        at_ms: u64::from(number) * 1_000,
    })
}

fn write(path: &Path, messages: u32) {
    let mut writer = JournalWriter::create(path, &header()).expect("the folder is fresh");
    for number in 0..messages {
        writer.append(&message(number)).expect("there is room");
    }
    let end = Event::RunEnded(RunEnded {
        stopped: Stopped::Turns,
        error: None,
        turns: messages,
        prompt_tokens: 0,
        completion_tokens: 0,
        cost_usd: None,
        at_ms: 0,
    });
    writer.append(&end).expect("there is room");
    writer.sync().expect("there is room");
}

fn open(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.jsonl");
    write(&path, EVENTS - 1);
    let bytes = std::fs::metadata(&path).expect("it was written").len();

    let mut group = c.benchmark_group("journal");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("open 100,000 events", |b| {
        b.iter(|| {
            let journal = Journal::open(black_box(&path)).expect("it was written");
            assert_eq!(journal.chain, Chain::Finished);
            journal
        });
    });
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("append 1,000 events", |b| {
        b.iter_batched(
            || {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let path = folder.path().join("journal.jsonl");
                let writer = JournalWriter::create(&path, &header()).expect("the folder is fresh");
                (folder, writer)
            },
            |(folder, mut writer)| {
                for number in 0..1_000 {
                    writer.append(&message(number)).expect("there is room");
                }
                (folder, writer)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, open);
criterion_main!(benches);
