//! What can be done in one step: its words, its line of Python, and what it makes of a value.
//!
//! The Python and the Rust of an operation are written apart and compared by a test, in a real interpreter.

use super::Kind;

/// What an operation leaves open: `{k}`, `{c}` and `{d}` in its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blanks {
    pub(super) k: i128,
    pub(super) c: char,
    pub(super) d: char,
}

/// What an operation makes of a value; nothing where the result is too large.
#[derive(Debug, Clone, Copy)]
pub(super) enum Apply {
    Text(fn(&str, &Blanks) -> String),
    List(fn(&[i128], &Blanks) -> Option<Vec<i128>>),
    Number(fn(i128, &Blanks) -> Option<i128>),
    Truth(fn(i128, &Blanks) -> bool),
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) phrases: &'static [&'static str],
    /// Python, with `{v}` for the variable.
    pub(super) expression: &'static str,
    pub(super) apply: Apply,
}

/// All operations of a kind.
pub(super) fn of(kind: Kind) -> &'static [Operation] {
    match kind {
        Kind::String => TEXT,
        Kind::List => LIST,
        Kind::Math => NUMBER,
        Kind::Logic => TRUTH,
    }
}

const fn text(
    id: &'static str,
    phrases: &'static [&'static str],
    expression: &'static str,
    apply: fn(&str, &Blanks) -> String,
) -> Operation {
    Operation { id, phrases, expression, apply: Apply::Text(apply) }
}

const fn list(
    id: &'static str,
    phrases: &'static [&'static str],
    expression: &'static str,
    apply: fn(&[i128], &Blanks) -> Option<Vec<i128>>,
) -> Operation {
    Operation { id, phrases, expression, apply: Apply::List(apply) }
}

const fn number(
    id: &'static str,
    phrases: &'static [&'static str],
    expression: &'static str,
    apply: fn(i128, &Blanks) -> Option<i128>,
) -> Operation {
    Operation { id, phrases, expression, apply: Apply::Number(apply) }
}

const fn truth(
    id: &'static str,
    phrases: &'static [&'static str],
    expression: &'static str,
    apply: fn(i128, &Blanks) -> bool,
) -> Operation {
    Operation { id, phrases, expression, apply: Apply::Truth(apply) }
}

const TEXT: &[Operation] = &[
    text("reverse", &["reverse it", "turn it around"], "{v}[::-1]", |s, _| s.chars().rev().collect()),
    text("upper", &["upper-case it", "make it upper case"], "{v}.upper()", |s, _| s.to_uppercase()),
    text("lower", &["lower-case it", "make it lower case"], "{v}.lower()", |s, _| s.to_lowercase()),
    text("swap", &["swap its case"], "{v}.swapcase()", |s, _| {
        s.chars().map(|c| if c.is_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }).collect()
    }),
    text("vowels", &["drop the vowels", "remove the vowels"], "''.join(c for c in {v} if c not in 'aeiou')", |s, _| {
        s.chars().filter(|c| !"aeiou".contains(*c)).collect()
    }),
    text("head", &["keep the first {k} letters"], "{v}[:{k}]", |s, b| s.chars().take(b.k as usize).collect()),
    text("tail", &["drop the first {k} letters"], "{v}[{k}:]", |s, b| s.chars().skip(b.k as usize).collect()),
    text("repeat", &["repeat it {k} times"], "{v} * {k}", |s, b| s.repeat(b.k as usize)),
    text("suffix", &["add \"{c}\" at the end"], "{v} + '{c}'", |s, b| format!("{s}{}", b.c)),
    text("prefix", &["put \"{c}\" in front"], "'{c}' + {v}", |s, b| format!("{}{s}", b.c)),
    text("sort", &["sort its letters"], "''.join(sorted({v}))", |s, _| {
        let mut letters: Vec<char> = s.chars().collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }),
    text("double", &["double each letter"], "''.join(c * 2 for c in {v})", |s, _| {
        s.chars().flat_map(|c| [c, c]).collect()
    }),
    text("spaces", &["drop the spaces", "remove the spaces"], "{v}.replace(' ', '')", |s, _| s.replace(' ', "")),
    text("replace", &["change each \"{c}\" to \"{d}\""], "{v}.replace('{c}', '{d}')", |s, b| {
        s.replace(b.c, &b.d.to_string())
    }),
    text("title", &["title-case it"], "{v}.title()", |s, _| {
        let mut inside = false;
        let mut title = |c: char| {
            let c = if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            inside = c.is_alphabetic();
            c
        };
        s.chars().map(&mut title).collect()
    }),
    text("second", &["take every second letter"], "{v}[::2]", |s, _| s.chars().step_by(2).collect()),
    text("unique", &["drop repeated letters"], "''.join(dict.fromkeys({v}))", |s, _| {
        unique(s.chars()).into_iter().collect()
    }),
];

const LIST: &[Operation] = &[
    list("reverse", &["reverse it", "turn it around"], "{v}[::-1]", |l, _| Some(l.iter().rev().copied().collect())),
    list("sort", &["sort it"], "sorted({v})", |l, _| {
        let mut l = l.to_vec();
        l.sort_unstable();
        Some(l)
    }),
    list("descending", &["sort it from high to low"], "sorted({v}, reverse=True)", |l, _| {
        let mut l = l.to_vec();
        l.sort_unstable_by(|a, b| b.cmp(a));
        Some(l)
    }),
    list("tail", &["drop the first {k} items"], "{v}[{k}:]", |l, b| {
        Some(l.iter().skip(b.k as usize).copied().collect())
    }),
    list("head", &["keep the first {k} items"], "{v}[:{k}]", |l, b| {
        Some(l.iter().take(b.k as usize).copied().collect())
    }),
    list("add", &["add {k} to each item"], "[x + {k} for x in {v}]", |l, b| each(l, |x| x.checked_add(b.k))),
    list("multiply", &["multiply each item by {k}"], "[x * {k} for x in {v}]", |l, b| each(l, |x| x.checked_mul(b.k))),
    list("even", &["keep the even items"], "[x for x in {v} if x % 2 == 0]", |l, _| kept(l, |x| x % 2 == 0)),
    list("odd", &["keep the odd items"], "[x for x in {v} if x % 2 == 1]", |l, _| kept(l, |x| x % 2 != 0)),
    list("negative", &["drop the negative items"], "[x for x in {v} if x >= 0]", |l, _| kept(l, |x| x >= 0)),
    list("above", &["keep the items above {k}"], "[x for x in {v} if x > {k}]", |l, b| kept(l, |x| x > b.k)),
    list("square", &["square each item"], "[x * x for x in {v}]", |l, _| each(l, |x| x.checked_mul(x))),
    list("negate", &["negate each item"], "[-x for x in {v}]", |l, _| each(l, i128::checked_neg)),
    list("unique", &["drop repeated items"], "list(dict.fromkeys({v}))", |l, _| Some(unique(l.iter().copied()))),
    list("append", &["add {k} at the end"], "{v} + [{k}]", |l, b| Some([l, &[b.k]].concat())),
    list("prepend", &["put {k} in front"], "[{k}] + {v}", |l, b| Some([&[b.k], l].concat())),
    list("second", &["take every second item"], "{v}[::2]", |l, _| Some(l.iter().step_by(2).copied().collect())),
    list("absolute", &["make each item positive"], "[abs(x) for x in {v}]", |l, _| each(l, i128::checked_abs)),
];

const NUMBER: &[Operation] = &[
    number("add", &["add {k}"], "{v} + {k}", |n, b| n.checked_add(b.k)),
    number("subtract", &["subtract {k}", "take away {k}"], "{v} - {k}", |n, b| n.checked_sub(b.k)),
    number("multiply", &["multiply by {k}"], "{v} * {k}", |n, b| n.checked_mul(b.k)),
    number("divide", &["divide by {k}"], "{v} // {k}", |n, b| n.checked_div_euclid(b.k)),
    number("remainder", &["take the remainder by {k}"], "{v} % {k}", |n, b| n.checked_rem_euclid(b.k)),
    number("square", &["square it"], "{v} * {v}", |n, _| n.checked_mul(n)),
    number("cube", &["cube it"], "{v} ** 3", |n, _| n.checked_pow(3)),
    number("negate", &["negate it"], "-{v}", |n, _| n.checked_neg()),
    number("absolute", &["drop its sign"], "abs({v})", |n, _| n.checked_abs()),
    number("cap", &["cap it at {k}"], "min({v}, {k})", |n, b| Some(n.min(b.k))),
    number("floor", &["raise it to at least {k}"], "max({v}, {k})", |n, b| Some(n.max(b.k))),
    number("digits", &["sum its digits"], "sum(int(d) for d in str(abs({v})))", |n, _| Some(digits(n).iter().sum())),
    number("mirror", &["reverse its digits"], "int(str(abs({v}))[::-1])", |n, _| {
        digits(n).iter().try_fold(0_i128, |all, digit| all.checked_mul(10)?.checked_add(*digit))
    }),
    number("length", &["count its digits"], "len(str(abs({v})))", |n, _| Some(digits(n).len() as i128)),
    number("tens", &["round it down to tens"], "{v} - {v} % 10", |n, _| n.checked_sub(n.rem_euclid(10))),
    number("from", &["subtract it from {k}"], "{k} - {v}", |n, b| b.k.checked_sub(n)),
];

const TRUTH: &[Operation] = &[
    truth("even", &["even"], "{v} % 2 == 0", |n, _| n % 2 == 0),
    truth("odd", &["odd"], "{v} % 2 == 1", |n, _| n % 2 != 0),
    truth("positive", &["positive"], "{v} > 0", |n, _| n > 0),
    truth("negative", &["negative"], "{v} < 0", |n, _| n < 0),
    truth("multiple", &["a multiple of {k}"], "{v} % {k} == 0", |n, b| n % b.k == 0),
    truth("above", &["above {k}"], "{v} > {k}", |n, b| n > b.k),
    truth("below", &["below {k}"], "{v} < {k}", |n, b| n < b.k),
    truth("other", &["not {k}"], "{v} != {k}", |n, b| n != b.k),
    truth("ending", &["ending in {k}"], "abs({v}) % 10 == {k}", |n, b| n.abs() % 10 == b.k),
    truth("palindrome", &["a palindrome"], "str({v}) == str({v})[::-1]", |n, _| {
        n >= 0 && digits(n).iter().eq(digits(n).iter().rev())
    }),
    truth("has", &["written with a {k}"], "'{k}' in str({v})", |n, b| digits(n).contains(&b.k)),
    truth("length", &["{k} digits long"], "len(str(abs({v}))) == {k}", |n, b| digits(n).len() as i128 == b.k),
    truth("square", &["a perfect square"], "int(abs({v}) ** 0.5) ** 2 == {v}", |n, _| n >= 0 && n.isqrt().pow(2) == n),
    truth("small", &["between -{k} and {k}"], "-{k} <= {v} <= {k}", |n, b| n.abs() <= b.k),
];

fn each(list: &[i128], apply: impl Fn(i128) -> Option<i128>) -> Option<Vec<i128>> {
    list.iter().map(|&item| apply(item)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of all operations on lists")]
fn kept(list: &[i128], keep: impl Fn(i128) -> bool) -> Option<Vec<i128>> {
    Some(list.iter().copied().filter(|&item| keep(item)).collect())
}

/// The first of equal items.
fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// From the last to the first.
fn digits(number: i128) -> Vec<i128> {
    let mut rest = number.unsigned_abs();
    let mut digits = vec![(rest % 10) as i128];
    while rest >= 10 {
        rest /= 10;
        digits.push((rest % 10) as i128);
    }
    digits
}
