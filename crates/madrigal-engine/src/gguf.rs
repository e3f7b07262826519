//! GGUF files (versions 2 and 3, little-endian): metadata and the table of tensors.
//!
//! Owns the container format and every check that needs no knowledge of a model: sizes, offsets, types, duplicates.
//! What a key means, and whether a tensor has the shape a model wants, is decided by the readers (`arch`, `tokenizer`,
//! `template`).
//!
//! Reading is bounded by the file: no count or length from the file reserves more memory than the bytes that are left
//! could fill, so a lying header ends in an error that names the offset.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

mod ggml_type;
mod reader;
mod value;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use ggml_type::GgmlType;
pub use value::{Array, StringArray, Value};

use crate::mapped_file::MappedFile;
use reader::Reader;

/// The alignment of tensor data where the file names none.
const DEFAULT_ALIGNMENT: u64 = 32;
/// GGML knows no tensor of more dimensions.
const MAX_DIMENSIONS: u32 = 4;
/// The longest key the format allows.
const MAX_KEY_BYTES: u64 = 65_535;

/// An opened GGUF file.
#[derive(Debug, Clone)]
pub struct Gguf {
    path: PathBuf,
    file: MappedFile,
    /// 2 or 3.
    pub version: u32,
    /// The key-value section.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors in the order of the file. Empty for files that hold only a vocabulary.
    pub tensors: Vec<TensorInfo>,
}

/// One row of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name, unique in the file.
    pub name: String,
    /// Dimensions in GGML's order: the first one is contiguous (columns), the second one counts rows.
    pub shape: Vec<u64>,
    /// How the values are stored.
    pub kind: GgmlType,
    /// Where the values lie, counted from the start of the file; within the file. Empty for types this program has never heard of.
    pub range: Range<usize>,
}

/// Why a GGUF file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be opened or mapped.
    #[error("open `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file's bytes break the format.
    #[error("read `{}`: {defect} (byte {offset} of {length}); the file is damaged or no GGUF: download or convert it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The length of the file.
        length: u64,
        /// What is wrong there.
        defect: Defect,
    },
    /// A key is missing or has another type than its readers need.
    #[error("read `{}`: {problem}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Which key, and what is wrong with it.
        problem: String,
    },
}

/// What breaks the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The file does not begin with `GGUF`.
    #[error("it does not begin with the magic `GGUF`")]
    Magic,
    /// Another version.
    #[error("GGUF version {0} is not supported, only 2 and 3")]
    Version(u32),
    /// Written for the other byte order.
    #[error("big-endian GGUF is not supported")]
    BigEndian,
    /// The file ends too early.
    #[error("it ends inside {what}: {needed} bytes are needed, {left} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// How many bytes it takes.
        needed: u64,
        /// How many the file still has.
        left: u64,
    },
    /// Text that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    /// An unknown type of metadata value.
    #[error("{what} has the unknown value type {id}")]
    ValueType {
        /// Which value.
        what: String,
        /// The type's number.
        id: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("{what} is a boolean of value {value}")]
    Bool {
        /// Which value.
        what: String,
        /// The byte found.
        value: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("{0} nests arrays too deeply")]
    Nesting(String),
    /// A key or a tensor's name that appears twice.
    #[error("{0} appears twice")]
    Duplicate(String),
    /// A key longer than the format allows.
    #[error("{what} is {length} bytes long, more than {MAX_KEY_BYTES}")]
    LongKey {
        /// Which key.
        what: String,
        /// Its length.
        length: u64,
    },
    /// `general.alignment` is no power of two, or no number.
    #[error("`general.alignment` must be a power of two from 1 to 65536")]
    Alignment,
    /// A tensor's table row makes no sense.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Gguf {
    /// Maps the file and reads its tables.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = MappedFile::open(path).map_err(|source| GgufError::Open { path: path.to_owned(), source })?;
        Self::read(path, file)
    }

    /// Reads a GGUF from memory; `name` stands in error messages.
    pub fn parse(name: &Path, bytes: &[u8]) -> Result<Self, GgufError> {
        Self::read(name, MappedFile::from_bytes(bytes.to_vec()))
    }

    fn read(path: &Path, file: MappedFile) -> Result<Self, GgufError> {
        let length = file.len() as u64;
        let mut reader = Reader::new(&file);
        let parsed = parse_tables(&mut reader);
        let (version, metadata, tensors) = parsed.map_err(|(offset, defect)| GgufError::Malformed {
            path: path.to_owned(),
            offset,
            length,
            defect,
        })?;
        Ok(Self { path: path.to_owned(), file, version, metadata, tensors })
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// The bytes of one tensor of this file.
    #[must_use]
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        self.file.get(tensor.range.clone()).unwrap_or_default()
    }

    /// The value of a key that may be absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The value of a key that must be there, read by one of [`Value`]'s accessors; `want` names the type for the error.
    pub fn require<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, GgufError> {
        self.optional(key, want, read)?.ok_or_else(|| self.metadata_error(format!("key `{key}` ({want}) is missing")))
    }

    /// The value of a key that may be absent but, where present, must be of the wanted type.
    pub fn optional<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| self.metadata_error(format!("key `{key}` must be {want}, it is {value}"))),
        }
    }

    fn metadata_error(&self, problem: String) -> GgufError {
        GgufError::Metadata { path: self.path.clone(), problem }
    }
}

type Parsed<T> = Result<T, (u64, Defect)>;

fn parse_tables(reader: &mut Reader<'_>) -> Parsed<(u32, BTreeMap<String, Value>, Vec<TensorInfo>)> {
    let version = parse_version(reader)?;
    let tensor_count = reader.u64("the tensor count")?;
    let key_count = reader.u64("the key count")?;

    let mut metadata = BTreeMap::new();
    for index in 0..key_count {
        let start = reader.offset();
        let key = parse_name(reader, &format!("key {index}"))?;
        let value = Value::parse(reader, &key)?;
        if metadata.contains_key(&key) {
            return Err((start, Defect::Duplicate(format!("key `{key}`"))));
        }
        metadata.insert(key, value);
    }

    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value
            .as_u64()
            .filter(|alignment| alignment.is_power_of_two() && *alignment <= 65_536)
            .ok_or((reader.offset(), Defect::Alignment))?,
    };

    let mut rows = Vec::new();
    let mut names = HashSet::new();
    for index in 0..tensor_count {
        let start = reader.offset();
        let row = TensorRow::parse(reader, index)?;
        if !names.insert(row.name.clone()) {
            return Err((start, Defect::Duplicate(format!("tensor `{}`", row.name))));
        }
        rows.push(row);
    }

    let data_start = reader.offset().next_multiple_of(alignment);
    let length = reader.length();
    let tensors = rows
        .into_iter()
        .map(|row| {
            let at = row.at;
            row.locate(data_start, alignment, length).map(|tensor| (at, tensor)).map_err(|defect| (at, defect))
        })
        .collect::<Parsed<Vec<_>>>()?;
    refuse_overlaps(&tensors)?;
    let tensors = tensors.into_iter().map(|(_, tensor)| tensor).collect();
    Ok((version, metadata, tensors))
}

fn parse_version(reader: &mut Reader<'_>) -> Parsed<u32> {
    if reader.bytes(4, "the magic").map_err(|_| (0, Defect::Magic))? != b"GGUF" {
        return Err((0, Defect::Magic));
    }
    match reader.u32("the version")? {
        version @ 2..=3 => Ok(version),
        other if (1..=3).contains(&other.swap_bytes()) => Err((4, Defect::BigEndian)),
        other => Err((4, Defect::Version(other))),
    }
}

/// A key or a tensor's name.
fn parse_name(reader: &mut Reader<'_>, what: &str) -> Parsed<String> {
    let start = reader.offset();
    let length = reader.peek_u64().unwrap_or_default();
    if length > MAX_KEY_BYTES && length <= reader.left() {
        return Err((start, Defect::LongKey { what: what.to_owned(), length }));
    }
    reader.string(what).map(str::to_owned)
}

/// A row of the tensor table before its place in the file is known.
struct TensorRow {
    at: u64,
    name: String,
    shape: Vec<u64>,
    kind: GgmlType,
    offset: u64,
}

impl TensorRow {
    fn parse(reader: &mut Reader<'_>, index: u64) -> Parsed<Self> {
        let at = reader.offset();
        let name = parse_name(reader, &format!("the name of tensor {index}"))?;
        let what = format!("tensor `{name}`");
        let dimensions = reader.u32(&what)?;
        if dimensions > MAX_DIMENSIONS {
            let problem = format!("it has {dimensions} dimensions, more than {MAX_DIMENSIONS}");
            return Err((at, Defect::Tensor { name, problem }));
        }
        let shape = (0..dimensions).map(|_| reader.u64(&what)).collect::<Parsed<Vec<_>>>()?;
        let kind = GgmlType(reader.u32(&what)?);
        let offset = reader.u64(&what)?;
        Ok(Self { at, name, shape, kind, offset })
    }

    fn locate(self, data_start: u64, alignment: u64, length: u64) -> Result<TensorInfo, Defect> {
        let Self { name, shape, kind, offset, .. } = self;
        match byte_range(&shape, kind, offset, data_start, alignment, length) {
            Ok(range) => Ok(TensorInfo { name, shape, kind, range }),
            Err(problem) => Err(Defect::Tensor { name, problem }),
        }
    }
}

/// No writer lets tensors share bytes. Where they may not, what a model's tensors make a reader allocate stays in
/// proportion to its file, however many tensors the table names.
fn refuse_overlaps(tensors: &[(u64, TensorInfo)]) -> Parsed<()> {
    let mut by_place: Vec<_> = tensors.iter().filter(|(_, tensor)| !tensor.range.is_empty()).collect();
    by_place.sort_by_key(|(_, tensor)| tensor.range.start);
    for ((_, before), (at, tensor)) in by_place.iter().zip(by_place.iter().skip(1)) {
        if tensor.range.start < before.range.end {
            let problem = format!("its bytes overlap those of tensor `{}`", before.name);
            return Err((*at, Defect::Tensor { name: tensor.name.clone(), problem }));
        }
    }
    Ok(())
}

fn byte_range(
    shape: &[u64],
    kind: GgmlType,
    offset: u64,
    data_start: u64,
    alignment: u64,
    length: u64,
) -> Result<Range<usize>, String> {
    if !offset.is_multiple_of(alignment) {
        return Err(format!("its offset {offset} is no multiple of the alignment {alignment}"));
    }
    let overflow = || format!("its shape {shape:?} overflows");
    let elements = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size)).ok_or_else(overflow)?;
    let bytes = match kind.block() {
        // Readers refuse the type by name; without a block size there is no length to check.
        None => 0,
        Some((block_elements, block_bytes)) => {
            let columns = shape.first().copied().unwrap_or(1);
            if !columns.is_multiple_of(block_elements) {
                return Err(format!("its row of {columns} is no multiple of {kind}'s block of {block_elements}"));
            }
            (elements / block_elements).checked_mul(block_bytes).ok_or_else(overflow)?
        }
    };
    let past_end = || {
        format!(
            "its {bytes} bytes at data offset {offset} reach past the end of the file ({length} bytes, data from {data_start})"
        )
    };
    let start = data_start.checked_add(offset).ok_or_else(past_end)?;
    let end = start.checked_add(bytes).filter(|&end| end <= length).ok_or_else(past_end)?;
    let start = usize::try_from(start).map_err(|_| past_end())?;
    let end = usize::try_from(end).map_err(|_| past_end())?;
    Ok(start..end)
}
