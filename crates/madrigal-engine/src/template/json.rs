//! JSON as Python's `json.dumps` writes it, which is what transformers' `tojson` filter calls: no HTML escapes, keys in
//! their order, `", "` and `": "` between things.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::guard::Budget;
use super::python;

/// Values nested deeper are refused.
const MAX_DEPTH: usize = 128;

/// The arguments of `json.dumps` that the filter takes.
struct Style {
    ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter `tojson`.
pub(super) fn tojson(budget: &Budget, value: &Value, options: &Kwargs) -> Result<String, Error> {
    let style = Style::read(options)?;
    let mut writer = Writer { budget, style: &style, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

impl Style {
    fn read(options: &Kwargs) -> Result<Self, Error> {
        let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
        let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        let indent = match options.get::<Option<Value>>("indent")? {
            Some(indent) if !indent.is_none() => Some(match indent.as_str() {
                Some(text) => text.to_owned(),
                None => {
                    let width = indent.as_usize().filter(|width| *width <= 64);
                    " ".repeat(width.ok_or_else(|| invalid("tojson: indent must be a small number or a text"))?)
                }
            }),
            _ => None,
        };
        let separators = options.get::<Option<Vec<String>>>("separators")?;
        options.assert_all_used()?;
        let (item_separator, key_separator) = match separators.as_deref() {
            Some([item, key]) => (item.clone(), key.clone()),
            Some(_) => return Err(invalid("tojson: separators must be two texts")),
            None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            None => (", ".to_owned(), ": ".to_owned()),
        };
        Ok(Self { ascii, indent, item_separator, key_separator, sort_keys })
    }
}

struct Writer<'a> {
    budget: &'a Budget,
    style: &'a Style,
    out: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.push(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            ValueKind::Map => self.map(value, depth),
            other => Err(invalid(format!("tojson: a value of type {other} has no JSON"))),
        }
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.push("[")?;
        let mut empty = true;
        for item in list.try_iter()? {
            self.separate(empty, depth)?;
            empty = false;
            self.value(&item, depth + 1)?;
        }
        self.close("]", empty, depth)
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in map.try_iter()? {
            let value = map.get_item(&key)?;
            let name = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::None => "null".to_owned(),
                ValueKind::Bool => key.is_true().to_string(),
                ValueKind::Number => number(&key),
                other => {
                    return Err(invalid(format!("tojson: a key of type {other} has no JSON")));
                }
            };
            pairs.push((name, value));
        }
        if self.style.sort_keys {
            pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
        }
        self.push("{")?;
        let empty = pairs.is_empty();
        for (index, (name, value)) in pairs.iter().enumerate() {
            self.separate(index == 0, depth)?;
            self.string(name)?;
            self.push(&self.style.key_separator)?;
            self.value(value, depth + 1)?;
        }
        self.close("}", empty, depth)
    }

    /// What stands before an item.
    fn separate(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        if !first {
            self.push(&self.style.item_separator)?;
        }
        self.line(depth + 1)
    }

    fn close(&mut self, bracket: &str, empty: bool, depth: usize) -> Result<(), Error> {
        if !empty {
            self.line(depth)?;
        }
        self.push(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = &self.style.indent else {
            return Ok(());
        };
        self.push("\n")?;
        for _ in 0..depth {
            self.push(indent)?;
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for character in text.chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                control if control < ' ' => {
                    quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other if self.style.ascii && !(' '..='\u{7e}').contains(&other) => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        quoted.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                other => quoted.push(other),
            }
        }
        quoted.push('"');
        self.push(&quoted)
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.budget.grow(self.out.len(), text.len())?;
        self.out.push_str(text);
        Ok(())
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(float) if float.is_nan() => "NaN".to_owned(),
        Ok(float) if float.is_infinite() => if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Ok(float) => python::float(float),
        Err(_) => value.to_string(),
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}
