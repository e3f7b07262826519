//! Metadata values: typed, and compact for the arrays of a vocabulary.

use std::fmt;

use super::reader::Reader;
use super::{Defect, Parsed};

/// Arrays inside arrays deeper than this are refused; no known file nests at all.
const MAX_NESTING: usize = 3;

/// One metadata value. Widths are not kept: every integer fits in 64 bits, every float in `f64`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `u8` to `u64`.
    Unsigned(u64),
    /// `i8` to `i64`.
    Signed(i64),
    /// `f32` and `f64`.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// Text.
    String(String),
    /// Many values of one type.
    Array(Array),
}

/// An array, stored by element type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// `u8` to `u64`.
    Unsigned(Vec<u64>),
    /// `i8` to `i64`.
    Signed(Vec<i64>),
    /// `f32` and `f64`.
    Float(Vec<f64>),
    /// Booleans.
    Bool(Vec<bool>),
    /// Texts.
    Strings(StringArray),
    /// Arrays.
    Arrays(Vec<Array>),
}

/// Many strings in one allocation: a vocabulary has 150,000 of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StringArray {
    text: String,
    ends: Vec<usize>,
}

impl Value {
    pub(super) fn parse(reader: &mut Reader<'_>, key: &str) -> Parsed<Self> {
        let what = format!("the value of key `{key}`");
        let at = reader.offset();
        let id = reader.u32(&what)?;
        Ok(match Kind::from_id(id, &what).map_err(|defect| (at, defect))? {
            Kind::Unsigned(width) => Self::Unsigned(unsigned(reader, width, &what)?),
            Kind::Signed(width) => Self::Signed(signed(reader, width, &what)?),
            Kind::Float32 => Self::Float(float32(reader, &what)?),
            Kind::Float64 => Self::Float(float64(reader, &what)?),
            Kind::Bool => Self::Bool(boolean(reader, &what)?),
            Kind::String => Self::String(reader.string(&what)?.to_owned()),
            Kind::Array => Self::Array(Array::parse(reader, &what, 0)?),
        })
    }

    /// A non-negative integer.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// A non-negative integer of 32 bits.
    #[must_use]
    pub fn as_u32(&self) -> Option<u32> {
        self.as_u64().and_then(|value| u32::try_from(value).ok())
    }

    /// An integer.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Unsigned(value) => i64::try_from(value).ok(),
            Self::Signed(value) => Some(value),
            _ => None,
        }
    }

    /// A float.
    #[must_use]
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::Float(value) => Some(value as f32),
            _ => None,
        }
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// An array of texts.
    #[must_use]
    pub fn as_strings(&self) -> Option<&StringArray> {
        match self {
            Self::Array(Array::Strings(values)) => Some(values),
            _ => None,
        }
    }

    /// An array of floats.
    #[must_use]
    pub fn as_f32s(&self) -> Option<Vec<f32>> {
        match self {
            Self::Array(Array::Float(values)) => Some(values.iter().map(|&value| value as f32).collect()),
            _ => None,
        }
    }

    /// An array of integers that all fit in 32 bits and are not negative.
    #[must_use]
    pub fn as_u32s(&self) -> Option<Vec<u32>> {
        match self {
            Self::Array(Array::Unsigned(values)) => values.iter().map(|&value| value.try_into().ok()).collect(),
            Self::Array(Array::Signed(values)) => values.iter().map(|&value| value.try_into().ok()).collect(),
            _ => None,
        }
    }
}

impl Array {
    fn parse(reader: &mut Reader<'_>, what: &str, depth: usize) -> Parsed<Self> {
        let at = reader.offset();
        if depth > MAX_NESTING {
            return Err((at, Defect::Nesting(what.to_owned())));
        }
        let id = reader.u32(what)?;
        let kind = Kind::from_id(id, what).map_err(|defect| (at, defect))?;
        let count = reader.u64(what)?;
        // A count that the rest of the file cannot hold is refused before any element is read.
        let needed = count.saturating_mul(kind.least_bytes());
        if needed > reader.left() {
            let defect = Defect::Truncated { what: what.to_owned(), needed, left: reader.left() };
            return Err((reader.offset(), defect));
        }
        let each = 0..count;
        Ok(match kind {
            Kind::Unsigned(width) => {
                Self::Unsigned(each.map(|_| unsigned(reader, width, what)).collect::<Parsed<_>>()?)
            }
            Kind::Signed(width) => Self::Signed(each.map(|_| signed(reader, width, what)).collect::<Parsed<_>>()?),
            Kind::Float32 => Self::Float(each.map(|_| float32(reader, what)).collect::<Parsed<_>>()?),
            Kind::Float64 => Self::Float(each.map(|_| float64(reader, what)).collect::<Parsed<_>>()?),
            Kind::Bool => Self::Bool(each.map(|_| boolean(reader, what)).collect::<Parsed<_>>()?),
            Kind::String => {
                let mut strings = StringArray::default();
                for _ in each {
                    strings.push(reader.string(what)?);
                }
                Self::Strings(strings)
            }
            Kind::Array => Self::Arrays(each.map(|_| Self::parse(reader, what, depth + 1)).collect::<Parsed<_>>()?),
        })
    }

    /// How many elements the array has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Unsigned(values) => values.len(),
            Self::Signed(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Strings(values) => values.len(),
            Self::Arrays(values) => values.len(),
        }
    }

    /// Whether the array has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl StringArray {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// How many strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(start..end)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<'a> FromIterator<&'a str> for StringArray {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut strings = Self::default();
        for text in texts {
            strings.push(text);
        }
        strings
    }
}

/// Short, for error messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::String(value) => write!(f, "a text of {} bytes", value.len()),
            Self::Array(values) => write!(f, "an array of {}", values.len()),
        }
    }
}

/// The value types of the format, folded by how they are read.
enum Kind {
    Unsigned(u8),
    Signed(u8),
    Float32,
    Float64,
    Bool,
    String,
    Array,
}

impl Kind {
    fn from_id(id: u32, what: &str) -> Result<Self, Defect> {
        Ok(match id {
            0 => Self::Unsigned(1),
            1 => Self::Signed(1),
            2 => Self::Unsigned(2),
            3 => Self::Signed(2),
            4 => Self::Unsigned(4),
            5 => Self::Signed(4),
            6 => Self::Float32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::Unsigned(8),
            11 => Self::Signed(8),
            12 => Self::Float64,
            _ => {
                return Err(Defect::ValueType { what: what.to_owned(), id });
            }
        })
    }

    /// The fewest bytes one element takes in the file.
    fn least_bytes(&self) -> u64 {
        match self {
            Self::Unsigned(width) | Self::Signed(width) => u64::from(*width),
            Self::Float32 => 4,
            Self::Bool => 1,
            Self::Float64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

fn unsigned(reader: &mut Reader<'_>, width: u8, what: &str) -> Parsed<u64> {
    let mut wide = [0; 8];
    let bytes = reader.bytes(u64::from(width), what)?;
    wide[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(wide))
}

fn signed(reader: &mut Reader<'_>, width: u8, what: &str) -> Parsed<i64> {
    let unused_bits = 64 - 8 * u32::from(width);
    // Shifting the sign bit to the top and back extends it.
    Ok(((unsigned(reader, width, what)? << unused_bits).cast_signed()) >> unused_bits)
}

fn float32(reader: &mut Reader<'_>, what: &str) -> Parsed<f64> {
    reader.array(what).map(|bytes| f64::from(f32::from_le_bytes(bytes)))
}

fn float64(reader: &mut Reader<'_>, what: &str) -> Parsed<f64> {
    reader.array(what).map(f64::from_le_bytes)
}

fn boolean(reader: &mut Reader<'_>, what: &str) -> Parsed<bool> {
    let at = reader.offset();
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err((at, Defect::Bool { what: what.to_owned(), value })),
    }
}
