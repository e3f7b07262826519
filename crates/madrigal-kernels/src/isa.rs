//! Instruction sets: their names, and which of them this processor has.
//!
//! Does not own the code behind them; that is `simd`.

use std::fmt;
use std::str::FromStr;

use crate::simd::Dispatch;

/// An instruction set that the kernels are compiled for.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust; runs everywhere and is what the others are tested against.
    Portable,
    /// 64-bit ARM.
    Neon,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
}

/// The name of an instruction set that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set `{0}`; use one of: portable, neon, avx2, avx512")]
pub struct UnknownIsa(pub String);

impl Isa {
    const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The fastest instruction set that this processor has.
    #[must_use]
    pub fn detect() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Portable)
    }

    /// Every instruction set that this processor has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        let mut all = Isa::ALL.to_vec();
        all.retain(|&isa| Dispatch::new(isa).is_some());
        all
    }

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let known = Isa::ALL.into_iter().find(|isa| isa.name() == name);
        known.ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}
