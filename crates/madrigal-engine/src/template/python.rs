//! What templates expect of Python's own types and minijinja does not have.

use minijinja::value::{Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::guard::Budget;

/// A finite float as `repr` writes it.
pub(super) fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// `str.strip` without arguments takes these away.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The filter `trim`: `str.strip`.
pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    match characters {
        None => text.trim_matches(is_space),
        Some(characters) => text.trim_matches(|character| characters.contains(character)),
    }
}

/// Methods of Python's types. Those that can make much from little are bounded here; most others come from
/// `minijinja-contrib`.
pub(super) fn method(
    budget: &Budget,
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let (ValueKind::String, Some(text)) = (value.kind(), value.as_str())
        && let Some(result) = string_method(budget, text, name, args)?
    {
        return Ok(result);
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

fn string_method(budget: &Budget, text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "strip" => {
            let (characters,): (Option<&str>,) = from_args(args)?;
            Value::from(strip(text, characters))
        }
        "lstrip" => {
            let (characters,): (Option<&str>,) = from_args(args)?;
            Value::from(match characters {
                None => text.trim_start_matches(is_space),
                Some(characters) => text.trim_start_matches(|character| characters.contains(character)),
            })
        }
        "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(args)?;
            Value::from(match characters {
                None => text.trim_end_matches(is_space),
                Some(characters) => text.trim_end_matches(|character| characters.contains(character)),
            })
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(replace(budget, text, old, new, count)?)
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            Value::from(join(budget, &items, text)?)
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.split_once(separator).map_or([text, "", ""], |(left, right)| [left, separator, right]);
            Value::from_iter(parts)
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.rsplit_once(separator).map_or(["", "", text], |(left, right)| [left, separator, right]);
            Value::from_iter(parts)
        }
        "rsplit" => {
            let (separator, most): (&str, Option<i64>) = from_args(args)?;
            Value::from_iter(rsplit(text, separator, most)?)
        }
        // Its widths can make any length of anything.
        "format" => return Err(unsupported("str.format")),
        _ => return Ok(None),
    }))
}

fn rsplit<'a>(text: &'a str, separator: &str, most: Option<i64>) -> Result<Vec<&'a str>, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "rsplit: empty separator"));
    }
    let mut parts: Vec<&str> = match most.and_then(|most| usize::try_from(most).ok()) {
        Some(most) => text.rsplitn(most.saturating_add(1), separator).collect(),
        None => text.rsplit(separator).collect(),
    };
    parts.reverse();
    Ok(parts)
}

/// `str.replace`; a negative count replaces all.
pub(super) fn replace(budget: &Budget, text: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    budget.grow(text.len(), found.saturating_mul(new.len()))?;
    Ok(text.replacen(old, new, most))
}

/// `str.join`, of items as they print.
pub(super) fn join(budget: &Budget, items: &Value, separator: &str) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            budget.grow(joined.len(), separator.len())?;
            joined.push_str(separator);
        }
        budget.print(&mut joined, &item)?;
    }
    Ok(joined)
}

/// The filter `join`, which can take an attribute of each item.
pub(super) fn join_filter(
    budget: &Budget,
    items: &Value,
    separator: Option<&str>,
    attribute: Option<&Value>,
) -> Result<String, Error> {
    match attribute {
        None => join(budget, items, separator.unwrap_or_default()),
        Some(attribute) => {
            let values = items.try_iter()?.map(|item| item.get_item(attribute)).collect::<Result<Vec<_>, _>>()?;
            join(budget, &Value::from(values), separator.unwrap_or_default())
        }
    }
}

/// The filter `indent`.
pub(super) fn indent(budget: &Budget, text: &str, width: &Value, first: bool, blank: bool) -> Result<String, Error> {
    let indention = match width.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let width = width.as_usize().filter(|width| *width <= 1024);
            " ".repeat(width.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "indent: no such width"))?)
        }
    };
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let indented = if index == 0 { first } else { blank || !line.is_empty() };
        budget.grow(out.len(), indention.len() + line.len())?;
        if indented {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A filter or method that chat templates do not use and that cannot be bounded.
pub(super) fn unsupported(name: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{name}` is not supported in chat templates"))
}

/// Stands in for such a filter.
pub(super) fn refused(name: &'static str) -> impl Fn(Rest<Value>) -> Result<Value, Error> + Send + Sync + 'static {
    move |_| Err(unsupported(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values: CPython's `repr`.
    #[test]
    fn floats_print_as_python_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (-1.5, "-1.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (0.1 + 0.2, "0.30000000000000004"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
    }
}
