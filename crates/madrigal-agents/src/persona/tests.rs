//! The format of personas: what is read, what is refused and how, and that every built-in passes.

use proptest::prelude::*;

use super::*;

/// A persona in the format of LLM-Meetup, without front matter.
const PLAIN: &str = "\
# Tea Merchant Persona: Wen Ling (en) [female]

A note ahead of the sections.

## Instructions
- Sell tea.
- Never sell coffee.

### Control messages
 - `/start`: offer tea
 - `/bye`: wrap up a sample

## Background and Identity
You are Wen Ling.

```
## Instructions
not a section
```

## Core Characteristics

### Traits:
1. Patient

## Interaction Guidelines
1. Pour first.

Remember, the water must not boil.
";

#[test]
fn a_plain_persona_is_taken_apart() {
    let persona = Persona::parse(PLAIN, "wen.md").unwrap();
    insta::assert_debug_snapshot!(persona);
}

#[test]
fn own_instructions_take_the_place_of_the_shared_ones() {
    insta::assert_snapshot!(Persona::parse(PLAIN, "wen.md").unwrap().system_prompt());
}

#[test]
fn front_matter_and_shared_instructions() {
    let source = "---\r\nname: Wen\r\nmodel: ollama:llama3:8b\r\ntemperature: 0.5\r\nlanguage: de\r\ngender: female\r\nvoice: calm\r\ntalkativeness: 1\r\nsummary: >\r\n  Sells\r\n  tea.\r\ninstructions: turing-test\r\n---\r\n\r\n# Tea Merchant Persona: Wen Ling\r\n\r\n## Background and Identity\r\nYou sell tea.\r\n";
    let persona = Persona::parse(source, "wen.md").unwrap();
    insta::assert_snapshot!(persona.system_prompt());
    assert_eq!(persona.name, "Wen");
    assert_eq!(persona.role, "Tea Merchant");
    assert_eq!(persona.model, Some("ollama:llama3:8b".parse().unwrap()));
    assert_eq!((persona.temperature, persona.talkativeness), (Some(0.5), Some(1.0)));
    assert_eq!(persona.voice.as_deref(), Some("calm"));
    assert_eq!(persona.instructions, Instructions::Shared(SharedInstructions::TuringTest));
    assert_eq!(persona.short_prompt().unwrap(), "You are Wen. Sells tea. Answer in a sentence or two.");
    assert_eq!(persona.description(), "Wen, Tea Merchant — Sells tea.");
    assert!(!persona.system_prompt().contains('\r'));
}

#[test]
fn small_variations_are_understood() {
    let cases = [
        ("\u{feff}# Poet: Ada\nx", "Poet", "Ada"),
        ("\n\n# Poet: Ada\nx", "Poet", "Ada"),
        ("---\n---\n# Poet: Ada\nx", "Poet", "Ada"),
        ("---\n# a comment\n...\n# Poet: Ada\nx", "Poet", "Ada"),
        ("---\nname: Ada\n---\n# Poet\nx", "Poet", "Ada"),
        ("# Poet: Ada #\nx", "Poet", "Ada"),
        ("---\nlanguage: EN\n---\n# Poet: Ada (en)\nx", "Poet", "Ada"),
        ("---\nsummary: x\n---\n# Poet: Ada\n", "Poet", "Ada"),
    ];
    for (source, role, name) in cases {
        let persona = Persona::parse(source, "x.md").unwrap();
        assert_eq!((persona.role.as_str(), persona.name.as_str()), (role, name), "{source:?}");
    }
}

#[test]
fn errors_name_file_line_and_remedy() {
    let front = |line: &str| format!("---\nsummary: fine\n{line}\n---\n# Poet: Ada\nx\n").into_bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("no title", b"\n\nYou are Ada.\n".to_vec()),
        ("section first", b"\n## Background\n# Poet: Ada\n".to_vec()),
        ("no colon", b"# Poet Ada\nx\n".to_vec()),
        ("no name", b"---\nsummary: x\n---\n\n# Poet Persona: (en)\nx\n".to_vec()),
        ("long name", format!("# Poet: {}\nx\n", "a".repeat(100)).into_bytes()),
        ("escape in name", b"# Poet: Ada\x1b[31m\nx\n".to_vec()),
        ("escape in role", b"# Po\x1bet: Ada\nx\n".to_vec()),
        ("title only", b"# Poet: Ada\n\n".to_vec()),
        ("unterminated", b"---\nsummary: x\n# Poet: Ada\nx\n".to_vec()),
        ("not utf-8", b"# Poet: Ada\n\nx \xff y\n".to_vec()),
        ("too long", vec![b'a'; MAX_BYTES + 1]),
        ("unknown key", front("temprature: 0.3")),
        ("unlike any key", front("zzz: 0.3")),
        ("escape in key", front("\"a\\e[31mb\": 1")),
        ("twice", front("summary: again")),
        ("no number", front("temperature: warm")),
        ("too hot", front("temperature: 2.5")),
        ("not a number", front("temperature: .nan")),
        ("too talkative", front("talkativeness: -0.1")),
        ("empty text", front("voice: ''")),
        ("escape in text", front("voice: \"a\\eb\"")),
        ("a list", front("gender: [a]")),
        ("not yaml", front("gender: a: b")),
        ("unknown model", front("model: opnai:gpt-4o")),
        ("user in a model", front("model: compat:https://user:pw@host")),
        ("unknown instructions", front("instructions: turing")),
        ("language twice", b"---\nlanguage: de\n---\n# Poet: Ada (en)\nx\n".to_vec()),
    ];
    let mut report = String::new();
    for (title, bytes) in cases {
        let error = Persona::from_bytes(&bytes, "ada.md").unwrap_err();
        report.push_str(&format!("{title}: {error}\n"));
    }
    insta::assert_snapshot!(report.replace(crate::model_name::GRAMMAR, "GRAMMAR"));
}

#[test]
fn sections_nest() {
    let source = "# A: B\n## Instructions\none\n#### Detail\ntwo\n### Control messages\nthree\n#### More\nfour\n### Rest\nfive\n## Body\nsix\n### Control Messages:\nseven\n### Tail\neight\n";
    let persona = Persona::parse(source, "x.md").unwrap();
    assert_eq!(
        persona.instructions,
        Instructions::Own("## Instructions\none\n#### Detail\ntwo\n### Rest\nfive\n".into())
    );
    assert_eq!(
        persona.control_messages.as_deref(),
        Some("### Control messages\nthree\n#### More\nfour\n### Control Messages:\nseven\n")
    );
    assert_eq!(persona.body, "## Body\nsix\n### Tail\neight\n");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Persona::from_bytes(&bytes, "x.md");
    }

    #[test]
    fn any_persona_like_text_is_read_or_refused(
        front in proptest::option::of("([a-z&*:#\\[{'\"|>~ -]{0,8}\n){0,5}"),
        title in "#{0,2} ?[a-zA-Z:()\\[\\] ]{0,20}",
        body in "(#{0,2} ?[`a-z ]{0,8}\n){0,8}",
    ) {
        let front = front.map(|yaml| format!("---\n{yaml}---\n")).unwrap_or_default();
        let source = format!("{front}{title}\n{body}");
        if let Ok(persona) = Persona::parse(&source, "x.md") {
            prop_assert!(!persona.name.is_empty());
            prop_assert!(persona.system_prompt().contains(&persona.name));
            // What the prompt says of it reads as the same persona again.
            let again = Persona::parse(&persona.system_prompt(), "y.md").unwrap();
            let lines = |body: &str| body.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(lines(&again.body), lines(&persona.body));
        }
    }
}
