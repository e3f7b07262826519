//! Token ids on the command line and on the screen.

use std::str::FromStr;

use crate::failure::{Failure, Result};
use crate::output::neutral;

/// The ids in `1,2,3` or `1 2 3`.
pub(super) fn parse(list: &str) -> Result<Vec<u32>> {
    let words = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let ids = words
        .map(|word| {
            u32::from_str(word).map_err(|_| {
                let word = neutral(word).into_owned();
                Failure::wrong(format!("`{word}` in --ids is no token id; write whole numbers, e.g. --ids 1,403,407"))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if ids.is_empty() {
        return Err(Failure::wrong("--ids holds no token id; write whole numbers, e.g. --ids 1,403,407"));
    }
    Ok(ids)
}

/// A piece of a token as a word of a line: quoted, with its white space visible.
pub(super) fn shown(piece: &str) -> String {
    format!("{piece:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ids() {
        for (list, expected) in [("7", vec![7]), ("1,2,3", vec![1, 2, 3]), (" 1, 2\n3 ", vec![1, 2, 3])] {
            assert_eq!(parse(list).unwrap(), expected, "{list:?}");
        }
        for list in ["", " , ", "1,x", "-1", "1.5", "4294967296"] {
            let failure = parse(list).unwrap_err();
            assert!(failure.message().contains("--ids"), "{list:?}: {}", failure.message());
        }
    }
}
