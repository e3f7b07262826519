//! How strongly programs are confined.

use std::fmt;
use std::str::FromStr;

/// How strongly programs are confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not at all, but for the limits on time and output. Someone must have asked for it by name.
    None,
    /// Resource limits, Landlock and system-call filters.
    Reduced,
    /// Besides, namespaces of its own.
    Full,
}

impl Level {
    /// Its name: `none`, `reduced`, `full`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reduced => "reduced",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown sandbox level `{0}`; use one of: full, reduced, none")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        [Self::None, Self::Reduced, Self::Full]
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| UnknownLevel(name.to_owned()))
    }
}
