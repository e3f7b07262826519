//! From an agent's window to the messages that a provider is sent.
//!
//! Owns roles, names before messages and merging. Does not own the wires' JSON.

use std::fmt;

use crate::context::{Context, Said};
use crate::control::ControlWord;

/// What a provider is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) system: Option<String>,
    /// Never empty.
    pub(super) messages: Vec<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Assistant,
}

impl Role {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl Prompt {
    /// The agent's own messages are the assistant's, all others the user's; `control` comes last. With `alternate`,
    /// neighbours of one role are joined by a blank line and the user has the first word.
    pub(super) fn new(context: &Context, control: Option<ControlWord>, alternate: bool) -> Self {
        let mut messages: Vec<Message> = context
            .seed_prompt
            .iter()
            .chain(&context.said)
            .filter(|said| !said.text.trim().is_empty())
            .map(|said| message(context, said))
            .collect();
        if let Some(word) = control {
            messages.push(Message::user(word.to_string()));
        }
        let begins_with_own = messages.first().is_some_and(|message| message.role == Role::Assistant);
        if messages.is_empty() || (alternate && begins_with_own) {
            messages.insert(0, Message::user(ControlWord::Start.to_string()));
        }
        if alternate {
            messages = merged(messages);
        }
        let system = context.instructions.trim();
        Self { system: (!system.is_empty()).then(|| system.to_owned()), messages }
    }

    /// Bytes of text in it.
    pub(super) fn bytes(&self) -> usize {
        let said: usize = self.messages.iter().map(|message| message.text.len()).sum();
        said + self.system.as_ref().map_or(0, String::len)
    }
}

impl Message {
    const fn user(text: String) -> Self {
        Self { role: Role::User, text }
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = self.system.iter().map(|text| ("system", text));
        let messages = self.messages.iter().map(|message| (message.role.word(), &message.text));
        for (i, (role, text)) in system.chain(messages).enumerate() {
            let space = if i == 0 { "" } else { "\n\n" };
            write!(f, "{space}[{role}]\n{text}")?;
        }
        Ok(())
    }
}

fn message(context: &Context, said: &Said) -> Message {
    if context.is_own(said) {
        return Message { role: Role::Assistant, text: said.text.clone() };
    }
    match &said.agent {
        Some(name) if context.names_speakers() => Message::user(format!("{name}: {}", said.text)),
        _ => Message::user(said.text.clone()),
    }
}

fn merged(messages: Vec<Message>) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        match merged.last_mut() {
            Some(last) if last.role == message.role => {
                last.text.push_str("\n\n");
                last.text.push_str(&message.text);
            }
            _ => merged.push(message),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use madrigal_journal::event::MessageId;

    use super::*;

    fn context(table: &[&str], seed: Option<&str>, said: &[(&str, &str)]) -> Context {
        let said_by = |id: usize, agent: Option<&str>, text: &str| {
            Arc::new(Said {
                id: MessageId(id as u32),
                agent: agent.map(str::to_owned),
                text: text.to_owned(),
                ids: None,
            })
        };
        Context {
            agent: table[0].to_owned(),
            table: table.iter().map(|&name| name.to_owned()).collect(),
            instructions: "Be A.".to_owned(),
            seed_prompt: seed.map(|text| said_by(0, None, text)),
            said: said.iter().enumerate().map(|(i, (agent, text))| said_by(i + 1, Some(agent), text)).collect(),
        }
    }

    fn check(context: &Context, control: Option<ControlWord>, alternate: bool, expected: &[(&str, &str)]) {
        let prompt = Prompt::new(context, control, alternate);
        let got: Vec<(&str, &str)> =
            prompt.messages.iter().map(|message| (message.role.word(), message.text.as_str())).collect();
        assert_eq!(got, expected);
        assert_eq!(prompt.system.as_deref(), Some("Be A."));
    }

    #[test]
    fn two_at_the_table_need_no_names() {
        let two = context(&["A", "B"], Some("Seed."), &[("B", "Hi."), ("A", "Ho."), ("B", "So.")]);
        let apart = [("user", "Seed."), ("user", "Hi."), ("assistant", "Ho."), ("user", "So.")];
        check(&two, None, false, &apart);
        check(&two, None, true, &[("user", "Seed.\n\nHi."), ("assistant", "Ho."), ("user", "So.")]);
        let shown = Prompt::new(&two, None, true).to_string();
        assert_eq!(shown, "[system]\nBe A.\n\n[user]\nSeed.\n\nHi.\n\n[assistant]\nHo.\n\n[user]\nSo.");
        check(
            &two,
            Some(ControlWord::Bye),
            true,
            &[("user", "Seed.\n\nHi."), ("assistant", "Ho."), ("user", "So.\n\n/bye")],
        );
    }

    #[test]
    fn three_at_the_table_are_named() {
        let three = context(&["A", "B", "C"], Some("Seed."), &[("B", "Hi."), ("C", "Hm.")]);
        check(&three, None, true, &[("user", "Seed.\n\nB: Hi.\n\nC: Hm.")]);
    }

    #[test]
    fn somebody_has_to_speak_first() {
        let nothing = context(&["A", "B"], None, &[("B", "  ")]);
        check(&nothing, None, false, &[("user", "/start")]);
        check(&nothing, Some(ControlWord::Help), false, &[("user", "/help")]);
        let own_first = context(&["A", "B"], None, &[("A", "Ho."), ("B", "Hi.")]);
        check(&own_first, None, false, &[("assistant", "Ho."), ("user", "Hi.")]);
        check(&own_first, None, true, &[("user", "/start"), ("assistant", "Ho."), ("user", "Hi.")]);
    }
}
