//! The JSON of a character card, whatever its version.
//!
//! Owns the fields of the three versions and their leniency: programs in the wild write `null`, numbers and empty
//! objects where text belongs. Does not own what becomes of the fields.

use serde_json::{Map, Value};

use super::ImportError;

/// The longest JSON, in bytes. Parsed, it can take twenty times as much.
const MAX_JSON_BYTES: usize = 8 << 20;

/// The most entries of a lorebook that are looked at.
const MAX_LORE: usize = 2_000;

/// What a card says, in one shape for all versions. Texts may be empty.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Card {
    pub(super) name: String,
    /// What the character is called in the text, where it differs (V3).
    pub(super) nickname: Option<String>,
    pub(super) description: String,
    pub(super) personality: String,
    pub(super) scenario: String,
    pub(super) first_mes: String,
    pub(super) mes_example: String,
    pub(super) system_prompt: String,
    pub(super) post_history_instructions: String,
    pub(super) tags: Vec<String>,
    pub(super) talkativeness: Option<f32>,
    pub(super) lore: Vec<Lore>,
    /// What the card has besides, for people to read.
    pub(super) left_out: Vec<String>,
}

/// A lorebook entry.
#[derive(Debug, PartialEq)]
pub(super) struct Lore {
    /// The words that bring it up; empty for what is always there.
    pub(super) keys: Vec<String>,
    pub(super) content: String,
}

impl Card {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ImportError> {
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        if json.len() > MAX_JSON_BYTES {
            return Err(not_a_card("it has over 8 MiB of JSON"));
        }
        // serde_json refuses nesting deeper than 128.
        let value: Value =
            serde_json::from_slice(json).map_err(|error| ImportError::Json { reason: error.to_string() })?;
        let Value::Object(card) = value else {
            return Err(not_a_card("it is no object"));
        };
        let spec = card.get("spec").and_then(Value::as_str);
        let data = match (spec, card.get("data")) {
            (Some("chara_card_v2" | "chara_card_v3"), Some(Value::Object(data))) => data,
            (Some("chara_card_v2" | "chara_card_v3"), _) => {
                return Err(not_a_card("`data` is missing"));
            }
            (Some(spec), _) => {
                return Err(ImportError::UnknownSpec {
                    spec: spec.chars().take(60).filter(|c| !c.is_control()).collect(),
                });
            }
            (None, _) => &card,
        };
        let name = text(data, "name");
        if name.chars().all(|c| c.is_whitespace() || c.is_control()) {
            return Err(not_a_card("it has no `name`"));
        }
        let is_described = ["description", "personality", "scenario", "first_mes", "mes_example"]
            .iter()
            .any(|key| data.contains_key(*key));
        if !is_described {
            return Err(not_a_card(
                "it has none of `description`, `personality`, `scenario`, `first_mes` and `mes_example`",
            ));
        }
        let mut card = Self {
            name,
            nickname: Some(text(data, "nickname")).filter(|name| !name.trim().is_empty()),
            description: text(data, "description"),
            personality: text(data, "personality"),
            scenario: text(data, "scenario"),
            first_mes: text(data, "first_mes"),
            mes_example: text(data, "mes_example"),
            system_prompt: text(data, "system_prompt"),
            post_history_instructions: text(data, "post_history_instructions"),
            tags: texts(data, "tags"),
            talkativeness: talkativeness(data),
            ..Self::default()
        };
        card.take_lore(data);
        card.note_the_rest(data);
        Ok(card)
    }

    fn take_lore(&mut self, data: &Map<String, Value>) {
        let entries = match data.get("character_book").and_then(|book| book.get("entries")) {
            Some(Value::Array(entries)) => entries.iter().collect::<Vec<_>>(),
            // Exported lorebooks number their entries instead.
            Some(Value::Object(entries)) => entries.values().collect(),
            _ => return,
        };
        let total = entries.len();
        let mut disabled = 0;
        for entry in entries.into_iter().take(MAX_LORE).filter_map(Value::as_object) {
            let content = text(entry, "content");
            if content.trim().is_empty() {
                continue;
            }
            if entry.get("enabled") == Some(&Value::Bool(false)) || entry.get("disable") == Some(&Value::Bool(true)) {
                disabled += 1;
                continue;
            }
            let keys = if entry.get("constant") == Some(&Value::Bool(true)) {
                Vec::new()
            } else {
                let mut keys = texts(entry, "keys");
                keys.extend(texts(entry, "key"));
                keys
            };
            self.lore.push(Lore { keys, content });
        }
        if disabled > 0 {
            self.left_out.push(format!("{disabled} lorebook entries that are switched off"));
        }
        if total > MAX_LORE {
            self.left_out.push(format!("{} lorebook entries after the first {MAX_LORE}", total - MAX_LORE));
        }
    }

    fn note_the_rest(&mut self, data: &Map<String, Value>) {
        for (key, what) in [
            ("alternate_greetings", "alternate greetings"),
            ("group_only_greetings", "greetings for groups"),
            ("assets", "assets"),
        ] {
            let count = texts_or_objects(data, key);
            if count > 0 {
                self.left_out.push(format!("{count} {what}"));
            }
        }
        if !text(data, "creator_notes").trim().is_empty() {
            self.left_out.push("the creator's notes".to_owned());
        }
        let extensions = data.get("extensions").and_then(Value::as_object);
        let others = extensions.map_or(0, |map| map.keys().filter(|key| *key != "talkativeness").count());
        if others > 0 {
            self.left_out.push(format!("{others} extensions"));
        }
    }
}

fn not_a_card(reason: &str) -> ImportError {
    ImportError::NotACard { reason: reason.to_owned() }
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    match map.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A list of texts, or one text with commas.
fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    match map.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        _ => Vec::new(),
    }
}

fn texts_or_objects(map: &Map<String, Value>, key: &str) -> usize {
    let is_something = |item: &&Value| match item {
        Value::String(text) => !text.trim().is_empty(),
        other => other.is_object(),
    };
    map.get(key).and_then(Value::as_array).map_or(0, |items| items.iter().filter(is_something).count())
}

/// SillyTavern keeps it among the extensions, as a number or as text.
fn talkativeness(data: &Map<String, Value>) -> Option<f32> {
    let value = data
        .get("extensions")
        .and_then(|extensions| extensions.get("talkativeness"))
        .or_else(|| data.get("talkativeness"))?;
    let number: f32 = match value {
        Value::String(text) => text.trim().parse().ok()?,
        Value::Number(number) => number.to_string().parse().ok()?,
        _ => return None,
    };
    (0.0..=1.0).contains(&number).then_some(number)
}
