//! Seed prompts: from text, or from an email.

use mail_parser::MessageParser;

/// A seed prompt that cannot be used. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedPromptError {
    /// Nothing but white space.
    #[error(
        "read the seed prompt from {origin}: it is empty; write a question or a statement that sets the talk in motion"
    )]
    Empty {
        /// Where it came from.
        origin: String,
    },
    /// Not text.
    #[error("read the seed prompt from {origin}: it is not UTF-8 text (byte {at} is wrong)")]
    NotText {
        /// Where it came from.
        origin: String,
        /// The first byte that is wrong.
        at: usize,
    },
    /// Not an email.
    #[error("read the seed prompt from {origin}: it is not an email with a text")]
    NotAnEmail {
        /// Where it came from.
        origin: String,
    },
}

/// Reads a seed prompt from plain text.
///
/// # Errors
/// When there is no text in it.
pub fn from_text(bytes: &[u8], origin: &str) -> Result<String, SeedPromptError> {
    let origin = origin.to_owned();
    match std::str::from_utf8(bytes) {
        Err(error) => Err(SeedPromptError::NotText { origin, at: error.valid_up_to() }),
        Ok(text) if text.trim().is_empty() => Err(SeedPromptError::Empty { origin }),
        Ok(text) => Ok(text.trim().to_owned()),
    }
}

/// Reads a seed prompt from an email (RFC 5322, MIME): sender, recipient and subject as lines, then its text.
///
/// # Errors
/// When it is not an email, or has no text.
pub fn from_email(bytes: &[u8], origin: &str) -> Result<String, SeedPromptError> {
    let not_an_email = || SeedPromptError::NotAnEmail { origin: origin.to_owned() };
    let email = MessageParser::default().parse(bytes).ok_or_else(not_an_email)?;
    let body = email.body_text(0).ok_or_else(not_an_email)?;
    if body.trim().is_empty() {
        return Err(SeedPromptError::Empty { origin: origin.to_owned() });
    }
    let mut prompt = String::new();
    for (label, address) in [("From", email.from()), ("To", email.to())] {
        if let Some(person) = address.and_then(|address| address.first()) {
            let parts = [person.name(), person.address()].into_iter().flatten().collect::<Vec<_>>();
            let shown = match parts.as_slice() {
                [name, address] => format!("{name} <{address}>"),
                parts => parts.concat(),
            };
            prompt.push_str(&format!("{label}: {shown}\n"));
        }
    }
    if let Some(subject) = email.subject() {
        prompt.push_str(&format!("Subject: {subject}\n"));
    }
    if !prompt.is_empty() {
        prompt.push('\n');
    }
    prompt.push_str(body.replace("\r\n", "\n").trim());
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_trimmed_and_must_be_there() {
        assert_eq!(from_text(b"  What is time?\n", "stdin").unwrap(), "What is time?");
        let error = from_text(b" \n\t", "--seed-prompt").unwrap_err();
        assert!(error.to_string().starts_with("read the seed prompt from --seed-prompt: it is empty"), "{error}");
        assert_eq!(
            from_text(b"ab\xff", "a.txt").unwrap_err(),
            SeedPromptError::NotText { origin: "a.txt".to_owned(), at: 2 }
        );
    }

    #[test]
    fn an_email_keeps_who_wrote_about_what() {
        let email = b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: ada@example.org\r\n\
            Subject: The pump\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            It leaks =E2=80=93 again.\r\nCan you come?\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>It leaks</p>\r\n--b--\r\n";
        assert_eq!(
            from_email(email, "mail.eml").unwrap(),
            "From: Jörg <joerg@example.org>\nTo: ada@example.org\nSubject: The pump\n\nIt leaks – again.\nCan you come?"
        );
        assert!(from_email(b"", "mail.eml").is_err());
        assert!(matches!(from_email(b"Subject: x\r\n\r\n  \r\n", "m"), Err(SeedPromptError::Empty { .. })));
    }
}
