//! The engine's logits beside those that PyTorch computed from the same weights.

use std::path::Path;

use serde::Deserialize;

use crate::speaker::Speaker;

/// What the training leaves beside the weights.
pub(crate) const FILE: &str = "parity.json";

#[derive(Debug, Deserialize)]
struct Reference {
    ids: Vec<u32>,
    /// One list for each id.
    logits: Vec<Vec<f32>>,
}

/// The largest difference of any logit from PyTorch's; nothing where there is no reference.
pub(crate) fn largest_difference(speaker: &Speaker, model: &Path) -> Result<Option<f32>, String> {
    let path = model.join(FILE);
    let Ok(text) = std::fs::read(&path) else { return Ok(None) };
    let Reference { ids, logits } =
        serde_json::from_slice(&text).map_err(|error| format!("read {}: {error}", path.display()))?;
    let found = speaker.logits(&ids)?;
    let expected: Vec<f32> = logits.concat();
    if found.len() != expected.len() {
        return Err(format!("compare logits: {} beside {}", found.len(), expected.len()));
    }
    Ok(Some(found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)))
}
