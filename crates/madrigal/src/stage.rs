//! What a person or a machine sees of a conversation while it is held.

use std::io::{BufRead, IsTerminal};

use madrigal_agents::chat_model::ReplyEvent;
use madrigal_dialogue::Happening;
use madrigal_journal::event::{Event, Source};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::output::{self, DIM, neutral, seat_style};
use crate::units;

/// How a conversation is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// In colours, as it streams.
    People,
    /// A line of JSON per message.
    Machines,
}

/// Shows a conversation.
pub(crate) struct Stage {
    view: View,
    names: Vec<String>,
    show_state: bool,
    /// What has been shown of the message that is being spoken.
    shown: String,
    /// White space, and a line that may turn out to be a control word: shown once more follows.
    held_back: String,
    typing: bool,
    /// Whether a heading waits for the end of its message.
    speaking: bool,
}

impl Stage {
    pub(crate) fn new(view: View, names: Vec<String>, show_state: bool) -> Self {
        Self { view, names, show_state, shown: String::new(), held_back: String::new(), typing: false, speaking: false }
    }

    /// Shows what happens. Output that cannot be written is dropped: the journal has it.
    pub(crate) fn show(&mut self, happening: Happening<'_>) {
        match self.view {
            View::People => self.show_people(happening),
            View::Machines => Self::show_machines(happening),
        }
    }

    fn show_machines(happening: Happening<'_>) {
        match happening {
            Happening::Recorded(Event::Message(message)) if message.turn > 0 => {
                let line = json!({ "turn": message.turn, "agent": message.agent, "text": message.text });
                let _ = output::print_json(&line);
            }
            other => Self::tell(&other),
        }
    }

    fn show_people(&mut self, happening: Happening<'_>) {
        match happening {
            Happening::Speaking { turn, agent, source } => {
                self.shown.clear();
                self.held_back.clear();
                self.typing = source == Source::Human && std::io::stdin().is_terminal();
                self.speaking = true;
                self.heading(turn, agent);
            }
            Happening::Reply(ReplyEvent::Text(text)) if !self.typing => self.stream(&text),
            Happening::Reply(ReplyEvent::Retry { .. }) => {
                if !self.shown.is_empty() {
                    let _ = output::print("\n");
                }
                self.shown.clear();
                self.held_back.clear();
                Self::tell(&happening);
            }
            Happening::Recorded(Event::Message(message)) => {
                if message.turn == 0 {
                    let _ = output::print(format!("{DIM}[Seed] {}{DIM:#}\n\n", neutral(&message.text)));
                    return;
                }
                let _ = if self.typing {
                    output::print("\n")
                } else if self.shown.is_empty() {
                    output::print(format!("{}\n\n", neutral(&message.text)))
                } else {
                    output::print("\n\n")
                };
                self.shown.clear();
                self.speaking = false;
            }
            Happening::Recorded(Event::Control { from, to, word, .. }) => {
                let from = from.as_deref().unwrap_or("·");
                let to = to.as_deref().map_or_else(String::new, |to| format!(" → {}", neutral(to)));
                let _ = output::print(format!("{DIM}        {} {word}{to}{DIM:#}\n\n", neutral(from)));
            }
            Happening::State { agent, state } if self.show_state => {
                let _ = output::print(format!("{DIM}        {}: {}{DIM:#}\n\n", neutral(agent), neutral(&state)));
            }
            other => Self::tell(&other),
        }
    }

    /// Ends the line of a message that was not finished.
    pub(crate) fn end_line(&mut self) {
        if std::mem::take(&mut self.speaking) {
            let _ = output::print("\n");
        }
    }

    fn heading(&self, turn: u32, agent: &str) {
        let seat = self.names.iter().position(|name| name == agent).unwrap_or(0);
        let style = seat_style(seat);
        let _ = output::print(format!("{style}[Turn {turn:02}] {}:{style:#} ", neutral(agent)));
    }

    fn stream(&mut self, text: &str) {
        self.held_back.push_str(text);
        let last_line = self.held_back.rfind('\n').map_or(0, |at| at + 1);
        let tail = self.held_back[last_line..].trim_start();
        let keep_from = if tail.is_empty() || tail.starts_with('/') {
            self.held_back[..last_line].trim_end().len()
        } else {
            self.held_back.trim_end().len()
        };
        let rest = self.held_back.split_off(keep_from);
        let ready = std::mem::replace(&mut self.held_back, rest);
        let ready = if self.shown.is_empty() { ready.trim_start() } else { &ready };
        if !ready.is_empty() {
            let _ = output::print(neutral(ready).as_bytes());
            self.shown.push_str(ready);
        }
    }

    /// Tells on stderr what is no part of the result.
    fn tell(happening: &Happening<'_>) {
        match happening {
            Happening::Reply(ReplyEvent::Retry { attempt, reason, wait }) => anstream::eprintln!(
                "{DIM}attempt {attempt} failed: {}; again in {:.1} s{DIM:#}",
                neutral(reason),
                wait.as_secs_f64()
            ),
            Happening::Recorded(Event::Surprise { agent, nats, tokens, .. }) => {
                let heard = units::surprise(*nats, *tokens);
                anstream::eprintln!("{DIM}note: {} hears {heard}{DIM:#}", neutral(agent));
            }
            Happening::Recorded(Event::Notice { agent, text, .. }) => {
                let agent = agent.as_deref().map_or_else(String::new, |agent| format!("{}: ", neutral(agent)));
                anstream::eprintln!("{DIM}note: {agent}{}{DIM:#}", neutral(text));
            }
            Happening::Recorded(Event::Compaction { agent, dropped, tokens_before, tokens_after, .. }) => {
                anstream::eprintln!(
                    "{DIM}note: {}'s window was full: {} old messages left it ({tokens_before} → {tokens_after} tokens){DIM:#}",
                    neutral(agent),
                    dropped.len()
                );
            }
            _ => {}
        }
    }
}

/// The lines of standard input, read beside everything else.
pub(crate) fn typed_lines() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}
