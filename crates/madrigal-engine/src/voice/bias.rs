//! A fixed list of what is added to some tokens' logits.

use sha2::{Digest, Sha256};

use super::{LogitFilter, VoiceError};
use crate::hyperparameters::Hyperparameters;

/// Adds a number of its own to the logit of each listed token.
#[derive(Debug, Clone, PartialEq)]
pub struct BiasList {
    /// Sorted by token, each once.
    biases: Vec<(u32, f32)>,
}

impl BiasList {
    /// A list in any order. Fails on a token that stands twice and on numbers that are not finite.
    pub fn new(mut biases: Vec<(u32, f32)>) -> Result<Self, VoiceError> {
        biases.sort_by_key(|&(id, _)| id);
        if let Some(twice) = biases.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(VoiceError::new(format!("its bias names token {} twice", twice[0].0)));
        }
        if let Some((id, bias)) = biases.iter().find(|(_, bias)| !bias.is_finite()) {
            return Err(VoiceError::new(format!("its bias of token {id} is {bias}")));
        }
        Ok(Self { biases })
    }
}

impl LogitFilter for BiasList {
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix("madrigal bias 1\0");
        for (id, bias) in &self.biases {
            hash.update(id.to_le_bytes());
            hash.update(bias.to_bits().to_le_bytes());
        }
        hash.finalize().into()
    }

    fn filter(&self, _: &[u32], logits: &mut [f32]) {
        for &(id, bias) in &self.biases {
            logits[id as usize] += bias;
        }
    }

    fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError> {
        match self.biases.last() {
            Some(&(id, _)) if id as usize >= shape.vocabulary => Err(VoiceError::new(format!(
                "its bias names token {id}, the model's vocabulary has {}",
                shape.vocabulary
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_are_added_and_their_order_does_not_matter() {
        let list = BiasList::new(vec![(3, -1.5), (0, 2.0)]).unwrap();
        let mut logits = [1.0; 4];
        list.filter(&[], &mut logits);
        assert_eq!(logits, [3.0, 1.0, 1.0, -0.5]);
        let other = BiasList::new(vec![(0, 2.0), (3, -1.5)]).unwrap();
        assert_eq!(list.digest(), other.digest());
        assert_ne!(list.digest(), BiasList::new(vec![(0, 2.0), (3, -1.25)]).unwrap().digest());
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for wrong in [vec![(1, 0.5), (1, 0.5)], vec![(1, f32::NAN)], vec![(0, f32::INFINITY)]] {
            assert!(BiasList::new(wrong).is_err());
        }
    }
}
