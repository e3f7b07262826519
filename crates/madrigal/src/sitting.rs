//! Holding a conversation at a terminal: Ctrl-C, what is shown, and what is said at the end.

use madrigal_dialogue::{Conversation, ConversationConfig, Happening, Interrupt, Outcome, Record};
use madrigal_journal::JournalWriter;
use madrigal_journal::event::{Event, ForkedFrom, Stopped};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::failure::{Context, Failure, Result};
use crate::kept_kv::KeptKv;
use crate::output::{self, BOLD, DIM, Stdout};
use crate::runs::RunPlace;
use crate::stage::{Stage, View};
use crate::surroundings;

/// How a sitting is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    pub(crate) json: bool,
    pub(crate) state: bool,
}

/// A run that is being held.
pub(crate) struct Sitting {
    pub(crate) run: RunPlace,
    pub(crate) config: ConversationConfig,
    pub(crate) show: Show,
    pub(crate) forked_from: Option<ForkedFrom>,
    /// Where what local agents have read is kept at the end, if it is.
    pub(crate) kept_kv: Option<KeptKv>,
}

/// A run that has begun: what is left is to hold its conversation.
pub(crate) struct Begun {
    pub(crate) sitting: Sitting,
    pub(crate) conversation: Conversation,
    /// What its journal holds already.
    pub(crate) past: Vec<Event>,
    pub(crate) writer: JournalWriter,
}

impl Begun {
    /// Holds the conversation until it stops, and says how it went.
    pub(crate) fn hold(mut self) -> Result {
        self.sitting.hold(&mut self.conversation, self.past, &mut self.writer)
    }
}

impl Sitting {
    /// Holds the conversation after its `past` until it stops, and says how it went.
    fn hold(&self, conversation: &mut Conversation, past: Vec<Event>, writer: &mut JournalWriter) -> Result {
        let names = self.config.agents.iter().map(|agent| agent.name.clone()).collect();
        let view = if self.show.json { View::Machines } else { View::People };
        let mut stage = Stage::new(view, names, self.show.state);
        let mut record = Record::continuing(past, writer);
        let held = runtime()?.block_on(async {
            let (button, interrupt) = Interrupt::new();
            tokio::spawn(listen_for_interrupts(button.clone()));
            let mut show = |happening: Happening<'_>| {
                stage.show(happening);
                if output::stdout_state() != Stdout::Open {
                    // Nobody reads any more: the conversation closes as if asked to.
                    button.send_if_modified(|pressed| std::mem::replace(pressed, (*pressed).max(1)) == 0);
                }
            };
            conversation.hold(&mut record, interrupt, &mut show).await
        });
        stage.end_line();
        if let Some(kept_kv) = &self.kept_kv {
            kept_kv.save(conversation.seats());
        }
        if output::stdout_state() == Stdout::Failed {
            return Err(Failure::of("write what is said to standard output; the run is recorded all the same"));
        }
        match held {
            Ok(outcome) => self.close(&outcome),
            Err(error) => {
                let failure = Failure::of(error);
                if self.show.json {
                    self.print_end("error", Some(failure.message()))?;
                }
                Err(failure)
            }
        }
    }

    /// Shows messages that were put in from outside.
    pub(crate) fn show_given(&self, events: &[Event]) {
        let names = self.config.agents.iter().map(|agent| agent.name.clone()).collect();
        let view = if self.show.json { View::Machines } else { View::People };
        let mut stage = Stage::new(view, names, false);
        for event in events {
            if let Event::Message(message) = event {
                let agent = message.agent.as_deref().unwrap_or_default();
                stage.show(Happening::Speaking { turn: message.turn, agent, source: message.source });
            }
            stage.show(Happening::Recorded(event));
        }
    }

    fn close(&self, outcome: &Outcome) -> Result {
        let stopped = name(outcome.stopped);
        if self.show.json {
            self.print_end(&stopped, outcome.error.as_deref())?;
        } else if outcome.stopped != Stopped::Error {
            self.say_goodbye(&stopped, outcome);
        }
        match &outcome.error {
            None => Ok(()),
            Some(error) => {
                let saved = format!("what was said before is in {}", self.run.dir.display());
                anstream::eprintln!(
                    "{DIM}{saved}; `{} run resume {}` goes on from there{DIM:#}",
                    surroundings::program(),
                    self.name_to_type()
                );
                Err(Failure::failed(error))
            }
        }
    }

    fn print_end(&self, stopped: &str, error: Option<&str>) -> Result {
        let mut line = json!({ "run": self.run.id, "dir": self.run.dir, "stopped": stopped });
        if let Some(error) = error {
            line["error"] = error.into();
        }
        if let Some(from) = &self.forked_from {
            line["forked_from"] = json!({ "run": from.run, "turn": from.turn });
        }
        output::print_json(&line).doing("print the result")
    }

    /// The shortest name by which the run is found from here.
    fn name_to_type(&self) -> String {
        let usual = std::path::Path::new("runs").join(&self.run.id);
        if self.run.dir == usual { self.run.id.clone() } else { self.run.dir.display().to_string() }
    }

    fn say_goodbye(&self, stopped: &str, outcome: &Outcome) {
        let spent = &outcome.spent;
        let tokens = match spent.completion_tokens {
            0 => String::new(),
            tokens => format!(", {tokens} tokens spoken"),
        };
        let cost = spent.cost_usd.filter(|cost| *cost > 0.0).map_or_else(String::new, |cost| format!(", ${cost:.4}"));
        anstream::eprintln!("{DIM}Stopped ({stopped}) after {} turns{tokens}{cost}.{DIM:#}", spent.turns);
        anstream::eprintln!("{BOLD}The run is in {}{BOLD:#}", self.run.dir.display());
        let id = self.name_to_type();
        let program = surroundings::program();
        let at = spent.turns.min(3);
        for (command, what) in [
            (format!("{program} run verify {id}"), "prove that it was really so"),
            (format!("{program} run export {id} --format html --out talk.html"), "a page to read"),
            (format!("{program} run resume {id} --turns +10"), "let them go on"),
            (format!("{program} run fork {id} --at {at} --say 'Let us change the subject.'"), "what if"),
        ] {
            anstream::eprintln!("  {command}  {DIM}{what}{DIM:#}");
        }
        let all = |names: &[&str]| self.config.agents.iter().all(|agent| names.contains(&agent.model.as_str()));
        let (scripts, small) = (all(&["doctor", "parry"]), all(&["embedded"]));
        let mut at_hand = surroundings::at_hand();
        at_hand.retain(|hint| self.config.agents.iter().all(|agent| agent.model != hint.model));
        if at_hand.is_empty() && (scripts || small) {
            at_hand = surroundings::to_get();
        }
        if !at_hand.is_empty() {
            let intro = match (scripts, small) {
                (true, _) => "These are scripts. To seat models:",
                (_, true) => "The embedded model is small and knows only everyday talk. To seat a larger one:",
                _ => "Also at hand here:",
            };
            anstream::eprintln!("{intro}");
        }
        for hint in at_hand {
            anstream::eprintln!("  {}  {DIM}{}{DIM:#}", output::neutral(&hint.command), output::neutral(&hint.what));
        }
    }
}

/// The name of a stop rule in the contract for machines.
fn name(stopped: Stopped) -> String {
    serde_json::to_value(stopped).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A runtime for one conversation.
pub(crate) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().doing("start the runtime")
}

/// Presses the button whenever a person asks to stop.
async fn listen_for_interrupts(button: tokio::sync::watch::Sender<u8>) {
    loop {
        if asked_to_stop().await.is_err() {
            return;
        }
        button.send_modify(|pressed| *pressed = pressed.saturating_add(1));
        if *button.borrow() == 1 {
            anstream::eprintln!("\n{DIM}closing after this message; Ctrl-C again discards it{DIM:#}");
        }
    }
}

/// Returns when a person presses Ctrl-C or the system asks the program to end.
#[cfg(unix)]
async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

/// Returns when a person presses Ctrl-C.
#[cfg(not(unix))]
async fn asked_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// With `--json`, tells on stdout as well that a run could not begin.
pub(crate) fn told<T>(json: bool, begun: Result<T>) -> Result<T> {
    if let (true, Err(failure)) = (json, &begun) {
        let line = json!({ "run": null, "dir": null, "stopped": "error", "error": failure.message() });
        output::print_json(&line).doing("print the result")?;
    }
    begun
}
