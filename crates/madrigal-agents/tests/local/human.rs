//! A person: lines in, messages out.

use madrigal_agents::chat_model::{ChatError, ChatModel, ReplyEvent};
use madrigal_agents::chat_models::conformance::{Expectations, check};
use madrigal_agents::chat_models::human::Human;
use madrigal_agents::control::ControlWord;
use madrigal_journal::event::Source;
use tokio::sync::mpsc::unbounded_channel;

use super::Table;

#[tokio::test]
async fn a_person_who_has_much_to_say_conforms() {
    let factory = || -> Box<dyn ChatModel> {
        let (lines, input) = unbounded_channel();
        for line in ["Good morning.", " I like it. ", "\u{1b}[31mred", "It was a pleasure."].iter().cycle().take(60) {
            lines.send((*line).to_owned()).unwrap();
        }
        Box::new(Human::new(input))
    };
    let expected = Expectations { streams: false, heeds_control_words: true };
    assert_eq!(check(&factory, expected).await, Ok(()));
}

#[tokio::test]
async fn each_line_is_a_message_and_the_end_is_the_end() {
    let (lines, input) = unbounded_channel();
    let mut human = Human::new(input);
    assert_eq!((human.name().as_str(), human.source(), human.window()), ("human", Source::Human, None));
    let table = Table::of("Ada", 0);
    assert_eq!(human.count(&table.request(1, None)).unwrap(), None);
    for line in [" Hello. ", "", "/BYE", "I say /bye"] {
        lines.send(line.to_owned()).unwrap();
    }
    drop(lines);
    let expected = [("Hello.", None), ("", None), ("", Some(ControlWord::Bye)), ("I say /bye", None)];
    for (turn, (text, control)) in (1..).zip(expected) {
        let mut streamed = Vec::new();
        let reply = human.reply(table.request(turn, None), &mut |event| streamed.push(event)).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.control), (text, control));
        assert!(reply.ids.is_none() && reply.reasoning.is_none());
        assert!(matches!(streamed.as_slice(), [ReplyEvent::Text(_)]));
    }
    for turn in 5..7 {
        let error = human.reply(table.request(turn, None), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, ChatError::InputEnded), "{error}");
    }
}

/// A person who is not waited for any longer loses no line.
#[tokio::test]
async fn a_line_that_was_not_waited_for_is_the_next_message() {
    let (lines, input) = unbounded_channel();
    let mut human = Human::new(input);
    let table = Table::of("Ada", 0);
    let mut ignore = |_| {};
    tokio::select! {
        biased;
        _ = human.reply(table.request(1, None), &mut ignore) => panic!("nothing was typed"),
        () = tokio::task::yield_now() => {}
    }
    lines.send("Late.".to_owned()).unwrap();
    let reply = human.reply(table.request(1, None), &mut |_| {}).await.unwrap();
    assert_eq!(reply.text, "Late.");
}
