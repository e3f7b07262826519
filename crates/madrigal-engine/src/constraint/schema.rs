//! JSON schemas: what is said about white space, and where in a schema something is wrong.

use llguidance::{GrammarBuilder, JsonCompileOptions};
use serde_json::{Map, Value, json};

use super::{ConstraintError, limits};

/// Objects and lists in each other; `serde_json` reads no more either.
const DEEPEST: usize = 128;

/// How many parts of a schema are tried to find the one that is wrong.
const MOST_TRIED: usize = 200;

/// The largest common multiple of all `multipleOf`, in units of the smallest decimal place among them: beyond it, what
/// `llguidance` computes with 32 bits overflows.
const LARGEST_MULTIPLE: u64 = 60_000;

/// What may stand between the parts of a JSON text: unlimited white space is what small models get lost in.
const WHITE_SPACE: &str = r"\x20|\r?\n[\x20\t]{0,32}";

/// Keywords whose value is a schema.
const ONE: [&str; 3] = ["items", "additionalProperties", "additionalItems"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value has a schema under every name.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// The schema with the options that it is compiled with.
pub(super) fn prepare(schema: &Value) -> Result<Value, ConstraintError> {
    let wrong = |message: &str| Err(ConstraintError::Schema { pointer: "#".to_owned(), message: message.to_owned() });
    if deeper_than(schema, DEEPEST) {
        return wrong("it is nested more than 128 deep");
    }
    let mut schema = match schema {
        Value::Bool(true) => Map::new(),
        Value::Bool(false) => return wrong("nothing is valid under `false`"),
        Value::Object(schema) => schema.clone(),
        _ => return wrong("a schema is an object"),
    };
    if schema.contains_key("x-guidance") {
        return wrong("`x-guidance` cannot be set");
    }
    if !multiples_are_small(&schema) {
        return wrong("`multipleOf` is too large, or several are together: up to 60000, with up to 9 decimal places");
    }
    schema.insert("x-guidance".to_owned(), json!({ "whitespace_pattern": WHITE_SPACE }));
    Ok(Value::Object(schema))
}

/// The deepest part of a schema that is wrong in the same way as the whole.
pub(super) fn error(schema: &Value, message: &str) -> ConstraintError {
    let message = first_line(message);
    let mut pointer = "#".to_owned();
    let mut part = schema;
    let mut left = MOST_TRIED;
    while let Some((step, inner)) = wrong_part(schema, part, &message, &mut left) {
        pointer.push_str(&step);
        part = inner;
    }
    ConstraintError::Schema { pointer, message }
}

fn wrong_part<'a>(root: &Value, part: &'a Value, message: &str, left: &mut usize) -> Option<(String, &'a Value)> {
    parts(part).into_iter().find(|(_, inner)| {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        failure(root, inner).is_some_and(|failure| failure == message)
    })
}

/// The schemas right inside of one, with their pointers from there.
fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let Value::Object(schema) = schema else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    for (keyword, value) in schema {
        match value {
            Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                parts.extend(named.iter().map(|(name, inner)| (format!("/{keyword}/{}", escape(name)), inner)));
            }
            Value::Object(_) if ONE.contains(&keyword.as_str()) => parts.push((format!("/{keyword}"), value)),
            Value::Array(list) if LIST.contains(&keyword.as_str()) => {
                parts.extend(list.iter().enumerate().map(|(index, inner)| (format!("/{keyword}/{index}"), inner)));
            }
            _ => {}
        }
    }
    parts
}

/// What is wrong with a part that stands alone, but for the definitions that it may refer to.
fn failure(root: &Value, part: &Value) -> Option<String> {
    let Value::Object(part) = part else {
        return None;
    };
    let mut alone = part.clone();
    for definitions in ["$defs", "definitions"] {
        if let Some(value) = root.get(definitions) {
            alone.entry(definitions).or_insert_with(|| value.clone());
        }
    }
    let builder = GrammarBuilder::new(None, limits());
    let result = JsonCompileOptions::default().json_to_llg(builder, Value::Object(alone));
    result.err().map(|error| first_line(&error.to_string()))
}

/// The first line of a message. What is wrong with a regular expression stands in the last.
fn first_line(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default().trim();
    match message.lines().last().and_then(|last| last.strip_prefix("error: ")) {
        Some(reason) => format!("{first} {reason}"),
        None => first.to_owned(),
    }
}

/// A name as JSON pointers spell it.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Whether values stand in each other more than `most` deep. Looks no deeper than that.
fn deeper_than(value: &Value, most: usize) -> bool {
    match value {
        Value::Array(list) => most == 0 || list.iter().any(|value| deeper_than(value, most - 1)),
        Value::Object(object) => most == 0 || object.values().any(|value| deeper_than(value, most - 1)),
        _ => false,
    }
}

/// Whether everything called `multipleOf` stays within [`LARGEST_MULTIPLE`]. Names of properties may be called so, too;
/// their schemas are no numbers.
fn multiples_are_small(schema: &Map<String, Value>) -> bool {
    let mut multiples = Vec::new();
    collect_multiples(schema, &mut multiples);
    let places: Option<Vec<u32>> = multiples.iter().map(|multiple| decimal_places(*multiple)).collect();
    let Some(places) = places.map(|places| places.into_iter().max().unwrap_or(0)) else {
        return false;
    };
    let mut common: u64 = 1;
    for multiple in multiples {
        let units = multiple * libm::pow(10.0, f64::from(places));
        if units > LARGEST_MULTIPLE as f64 {
            return false;
        }
        // What is wrong with other numbers is said where they are read.
        let units = (libm::round(units) as u64).max(1);
        common = common / greatest_common_divisor(common, units) * units;
        if common > LARGEST_MULTIPLE {
            return false;
        }
    }
    true
}

fn collect_multiples(schema: &Map<String, Value>, multiples: &mut Vec<f64>) {
    for (keyword, value) in schema {
        match value {
            Value::Number(number) if keyword == "multipleOf" => multiples.extend(number.as_f64()),
            Value::Object(inner) => collect_multiples(inner, multiples),
            Value::Array(list) => {
                list.iter().filter_map(Value::as_object).for_each(|inner| collect_multiples(inner, multiples));
            }
            _ => {}
        }
    }
}

/// How many decimal places a number has; `None` for more than 9.
fn decimal_places(mut number: f64) -> Option<u32> {
    (0..10).find(|_| {
        let whole = libm::trunc(number) == number;
        number *= 10.0;
        whole
    })
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
