//! The loop: control words, stop rules, interrupts, and that running, resuming, forking and verifying agree.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use madrigal_agents::chat_model::{ChatModel, Reply};
use madrigal_agents::chat_models::scripted::{Doctor, Parry};
use madrigal_agents::chat_models::tape::Tape;
use madrigal_agents::sampling::Sampling;
use madrigal_dialogue::policy::{TurnOrder, TurnPolicy};
use madrigal_dialogue::stop::StopRules;
use madrigal_dialogue::verify::{Verified, verify};
use madrigal_dialogue::{Conversation, Happening, Interrupt, Outcome, Record, Seat, fork};
use madrigal_journal::event::{Event, FormatVersion, Header, Source, Stopped};
use madrigal_journal::{Journal, JournalWriter};

fn header() -> Header {
    Header {
        format: FormatVersion::CURRENT,
        run: "test".to_owned(),
        program: "test".to_owned(),
        started_ms: 0,
        isa: "portable".to_owned(),
        sandbox: "none".to_owned(),
        config: serde_json::Value::Null,
        files: Vec::new(),
        forked_from: None,
    }
}

fn seats(models: Vec<(&str, Box<dyn ChatModel>)>) -> Vec<Seat> {
    let names: Vec<String> = models.iter().map(|(name, _)| (*name).to_owned()).collect();
    let seat =
        |(name, model): (&str, _)| Seat::new(name.to_owned(), model, String::new(), Sampling::default(), names.clone());
    models.into_iter().map(seat).collect()
}

/// Seats whose messages in turns 1, 2, … are `lines`, in turn.
fn taped(names: &[&str], lines: &[&str]) -> Vec<Seat> {
    let tape = |seat: usize| -> Box<dyn ChatModel> {
        let replies = (1..).zip(lines).filter(|(turn, _)| (turn - 1) as usize % names.len() == seat);
        let replies = replies.map(|(turn, line)| (turn, Reply::from_text(line)));
        Box::new(Tape::new("tape", Source::Scripted, replies))
    };
    seats(names.iter().enumerate().map(|(seat, name)| (*name, tape(seat))).collect())
}

fn scripts() -> Vec<Seat> {
    seats(vec![("Doctor", Box::new(Doctor::new())), ("Parry", Box::new(Parry::new()))])
}

fn conversation(seats: Vec<Seat>, turns: u32, seed_prompt: Option<&str>) -> Conversation {
    let rules = StopRules { turns: Some(turns), ..StopRules::default() };
    Conversation::new(seats, &TurnPolicy::RoundRobin, rules, seed_prompt.map(str::to_owned), 7).unwrap()
}

/// A journal of its own for a test.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("journal.jsonl")
    }

    fn writer(&self) -> JournalWriter {
        JournalWriter::create(&self.journal(), &header()).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        Journal::open(&self.journal()).unwrap().events
    }
}

async fn hold(mut conversation: Conversation, past: Vec<Event>, writer: &mut JournalWriter) -> Outcome {
    let (_button, interrupt) = Interrupt::new();
    conversation.hold(&mut Record::continuing(past, writer), interrupt, &mut |_| {}).await.unwrap()
}

/// Holds a conversation from the beginning; returns its outcome and its journal's events.
async fn run(conversation: Conversation) -> (Outcome, Vec<Event>) {
    let desk = Desk::new();
    let outcome = hold(conversation, Vec::new(), &mut desk.writer()).await;
    (outcome, desk.events())
}

/// Holds a conversation after a `past` that stands in its journal already.
async fn run_after(conversation: Conversation, past: Vec<Event>) -> Vec<Event> {
    let desk = Desk::new();
    let mut writer = desk.writer();
    for event in &past {
        writer.append(event).unwrap();
    }
    hold(conversation, past, &mut writer).await;
    desk.events()
}

/// Holds a conversation in which someone presses Ctrl-C `times` times in turn 3.
async fn run_interrupted(desk: &Desk, times: u8) -> Outcome {
    let mut writer = desk.writer();
    let (button, interrupt) = Interrupt::new();
    let mut press = |happening: Happening<'_>| {
        if matches!(happening, Happening::Speaking { turn: 3, .. }) {
            button.send_modify(|pressed| *pressed += times);
        }
    };
    let mut record = Record::continuing(Vec::new(), &mut writer);
    conversation(scripts(), 6, None).hold(&mut record, interrupt, &mut press).await.unwrap()
}

/// What was said and done, in short.
fn gist(events: &[Event]) -> Vec<String> {
    let or_dash = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    let line = |event: &Event| match event {
        Event::Message(message) => Some(format!("{} {}: {}", message.turn, or_dash(&message.agent), message.text)),
        Event::Control { from, to, word, .. } => Some(format!("{} {word} {}", or_dash(from), or_dash(to))),
        Event::RunEnded(ended) => Some(format!("ended {:?}", ended.stopped)),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[tokio::test]
async fn control_words_do_what_they_say() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "a goodbye gets one farewell, then both end",
            &["Hello", "Hi", "I must go.\n/bye", "Farewell!", "never said"],
            &[
                "1 A: Hello",
                "2 B: Hi",
                "3 A: I must go.",
                "A /bye B",
                "4 B: Farewell!",
                "- /end B",
                "- /end A",
                "ended Control",
            ],
        ),
        (
            "a farewell that is a goodbye itself is still one farewell",
            &["/bye", "Bye!\n/bye"],
            &["1 A: ", "A /bye B", "2 B: Bye!", "B /bye A", "- /end B", "- /end A", "ended Control"],
        ),
        ("stop closes at once", &["Hm\n/STOP"], &["1 A: Hm", "A /stop -", "ended Control"]),
        ("end is answered by end", &["Hm", "/quit"], &["1 A: Hm", "2 B: ", "B /end A", "- /end B", "ended Control"]),
        (
            "help goes to whoever is next",
            &["Who are you?\n/help", "I am B.", "Ah."],
            &["1 A: Who are you?", "A /help B", "2 B: I am B.", "3 A: Ah.", "ended Turns"],
        ),
        (
            "a word in a sentence ends nothing",
            &["I never say /bye to you", "Or /stop, for that matter"],
            &["1 A: I never say /bye to you", "2 B: Or /stop, for that matter", "ended Turns"],
        ),
    ];
    for (what, lines, expected) in cases {
        let (_, events) = run(conversation(taped(&["A", "B"], lines), lines.len() as u32, None)).await;
        let gist = gist(&events);
        assert_eq!(gist[0], "- /start A", "{what}");
        assert_eq!(gist[1..], **expected, "{what}");
    }
}

#[tokio::test]
async fn with_three_at_the_table_the_next_one_says_farewell() {
    let (_, events) = run(conversation(taped(&["A", "B", "C"], &["a", "b\n/bye", "c"]), 9, Some("Why?"))).await;
    assert_eq!(
        gist(&events),
        ["0 -: Why?", "1 A: a", "2 B: b", "B /bye C", "3 C: c", "- /end C", "- /end B", "ended Control"]
    );
}

#[tokio::test]
async fn a_failing_agent_ends_the_run_and_keeps_what_was_said() {
    let (outcome, events) = run(conversation(taped(&["A", "B"], &["one", "two"]), 5, None)).await;
    assert_eq!(outcome.stopped, Stopped::Error);
    let error = outcome.error.unwrap();
    assert!(error.starts_with("failed to get a reply from tape: no reply is recorded for turn 3"), "{error}");
    assert_eq!(gist(&events), ["- /start A", "1 A: one", "2 B: two", "ended Error"]);
}

#[tokio::test]
async fn the_first_interrupt_lets_the_message_end() {
    let outcome = run_interrupted(&Desk::new(), 1).await;
    assert_eq!((outcome.stopped, outcome.spent.turns), (Stopped::Interrupt, 3));
}

#[tokio::test]
async fn what_the_second_interrupt_discards_is_said_again() {
    let desk = Desk::new();
    let outcome = run_interrupted(&desk, 2).await;
    assert_eq!((outcome.stopped, outcome.spent.turns), (Stopped::Interrupt, 2));
    assert!(desk.events().iter().any(|event| matches!(event, Event::Discarded { turn: 3, .. })));
    let (mut writer, recovered) = JournalWriter::reopen(&desk.journal()).unwrap();
    writer.append(&Event::Resumed { turns: 2, cut_bytes: 0, turn_limit: None }).unwrap();
    hold(conversation(scripts(), 6, None), recovered.events, &mut writer).await;
    let mut resumed = gist(&desk.events());
    resumed.retain(|line| line != "ended Interrupt");
    assert_eq!(resumed, gist(&run(conversation(scripts(), 6, None)).await.1));
}

/// Cuts a journal at a byte and takes the run up again.
async fn resume_after_cut(whole: &[u8], at: usize, folder: &Path) -> Vec<String> {
    let path = folder.join(format!("cut-{at}.jsonl"));
    std::fs::write(&path, &whole[..at]).unwrap();
    let (mut writer, recovered) = JournalWriter::reopen(&path).unwrap();
    hold(conversation(scripts(), 12, None), recovered.events, &mut writer).await;
    gist(&Journal::open(&path).unwrap().events)
}

#[tokio::test]
async fn a_run_cut_anywhere_and_taken_up_again_is_the_same_run() {
    let desk = Desk::new();
    hold(conversation(scripts(), 12, None), Vec::new(), &mut desk.writer()).await;
    let expected = gist(&desk.events());
    let whole = std::fs::read(desk.journal()).unwrap();
    // Every line border, and a step through the bytes in between; a cut header cannot be taken up.
    let borders: Vec<usize> = (1..whole.len()).filter(|at| whole[at - 1] == b'\n').collect();
    let between = (borders[0]..whole.len()).step_by(97);
    for at in borders.iter().copied().chain(between) {
        assert_eq!(resume_after_cut(&whole, at, desk.folder.path()).await, expected, "cut at byte {at}");
        std::fs::remove_file(desk.folder.path().join(format!("cut-{at}.jsonl"))).unwrap();
    }
}

async fn verified(mut conversation: Conversation, events: Vec<Event>) -> Verified {
    verify(&mut conversation, events, 0, &mut |_| {}).await.unwrap()
}

#[tokio::test]
async fn verification_finds_what_was_said_otherwise() {
    let seed = Some("How are you?");
    let (_, events) = run(conversation(scripts(), 8, seed)).await;
    assert_eq!(verified(conversation(scripts(), 8, seed), events.clone()).await.differences, []);
    for index in 1..events.len() {
        let mut changed = events.clone();
        let Event::Message(message) = &mut changed[index] else { continue };
        message.text.push('!');
        let turn = message.turn;
        let found = verified(conversation(scripts(), 8, seed), changed).await.differences;
        assert!(found.iter().any(|difference| difference.turn == turn), "turn {turn}: {found:?}");
    }
    let other = verified(conversation(scripts(), 8, None), events).await;
    assert!(!other.differences.is_empty(), "another beginning is another conversation");
}

#[tokio::test]
async fn a_fork_without_a_change_ends_as_the_original_did() {
    let (_, events) = run(conversation(scripts(), 10, None)).await;
    for at in 0..=10 {
        let past = fork::past_until(&events, at).unwrap();
        let forked = run_after(conversation(scripts(), 10, None), past).await;
        assert_eq!(gist(&forked), gist(&events), "fork at {at}");
    }
    assert!(fork::past_until(&events, 11).is_err());
}

#[tokio::test]
async fn a_message_put_in_is_heard_and_its_control_word_obeyed() {
    let (_, events) = run(conversation(scripts(), 4, None)).await;
    let names = ["Doctor", "Parry"].map(str::to_owned);
    let order = TurnOrder::new(&TurnPolicy::RoundRobin, &names).unwrap();
    for (text, by, expected, ended) in [
        ("My brother hates horses.", None, "3 Doctor: My brother hates horses.", "ended Turns"),
        ("I am leaving.\n/bye", Some("parry"), "3 Parry: I am leaving.", "ended Control"),
    ] {
        let mut past = fork::past_until(&events, 2).unwrap();
        past.extend(fork::put_in(text, by, 3, &names, &order, 0).unwrap());
        let said = gist(&run_after(conversation(scripts(), 6, None), past).await);
        assert!(said.contains(&expected.to_owned()), "{said:?}");
        assert_eq!(said.last().unwrap(), ended, "{said:?}");
    }
    assert!(fork::put_in("x", Some("Nobody"), 3, &names, &order, 0).is_err());
}
