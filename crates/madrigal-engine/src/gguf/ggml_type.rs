//! The storage types of GGML by number: names and block sizes. Their arithmetic lives in `madrigal-kernels`.

use std::fmt;

/// A tensor type as the file numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GgmlType(
    /// The number in the file.
    pub u32,
);

/// `(number, name, elements a block, bytes a block)`, from ggml's `enum ggml_type` and its `type_traits`.
/// Numbers missing here were removed from GGML or mean repacked layouts that never stand in files.
const TYPES: [(u32, &str, u64, u64); 32] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

impl GgmlType {
    /// 32-bit floats.
    pub const F32: Self = Self(0);
    /// IEEE 16-bit floats.
    pub const F16: Self = Self(1);
    /// 4-bit integers, one 16-bit scale for 32.
    pub const Q4_0: Self = Self(2);
    /// 8-bit integers, one 16-bit scale for 32.
    pub const Q8_0: Self = Self(8);
    /// 16-bit brain floats.
    pub const BF16: Self = Self(30);

    /// Elements and bytes of one block, if the type is known.
    #[must_use]
    pub fn block(self) -> Option<(u64, u64)> {
        self.row().map(|(_, _, elements, bytes)| (elements, bytes))
    }

    /// The name that GGUF tools use, if the type is known.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|(_, name, ..)| name)
    }

    fn row(self) -> Option<(u32, &'static str, u64, u64)> {
        TYPES.into_iter().find(|(id, ..)| *id == self.0)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
