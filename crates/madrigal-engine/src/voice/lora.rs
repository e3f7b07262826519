//! Deltas of low rank (Hu et al. 2021, arXiv 2106.09685): `Δ = scale · B · A` at any sites of any layers.
//!
//! Owns the factors as 16-bit floats, transposed so that both stream.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use madrigal_kernels::{Half, LowRank, RowKernels};
use sha2::{Digest, Sha256};

use super::{Delta, Part, VoiceError};
use crate::hyperparameters::Hyperparameters;
use crate::sampling::philox4x32;

/// A delta of low rank.
#[derive(Debug, Clone)]
pub struct Lora {
    store: Half,
    scale: f32,
    sites: BTreeMap<(usize, Part), Factors>,
    digest: [u8; 32],
}

/// One site's factors, as they are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSite {
    /// The layer, from 0.
    pub layer: usize,
    /// The product.
    pub part: Part,
    /// Columns of `b`, rows of `a`.
    pub rank: usize,
    /// `[rank, inputs]`.
    pub a: Vec<f32>,
    /// `[outputs, rank]`.
    pub b: Vec<f32>,
}

/// Factors that are no delta.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoraError {
    /// Two pairs of factors for one site.
    #[error("make a delta of low rank: layer {layer} has two pairs of factors for {}", part.name())]
    Twice {
        /// The layer.
        layer: usize,
        /// The product.
        part: Part,
    },
    /// A factor's length does not go with its rank.
    #[error("make a delta of low rank: layer {layer}, {}: factors of {a} and {b} values do not have rank {rank}", part.name())]
    Shape {
        /// The layer.
        layer: usize,
        /// The product.
        part: Part,
        /// What the rank was said to be.
        rank: usize,
        /// Values of `a`.
        a: usize,
        /// Values of `b`.
        b: usize,
    },
    /// A value that a 16-bit float does not hold.
    #[error("make a delta of low rank: layer {layer}, {}: {value} is no finite 16-bit number", part.name())]
    Value {
        /// The layer.
        layer: usize,
        /// The product.
        part: Part,
        /// The value.
        value: f32,
    },
    /// A strength that is no number.
    #[error("make a delta of low rank: its scale is {scale}; it must be finite")]
    Scale {
        /// The scale.
        scale: f32,
    },
    /// Nothing to add anywhere.
    #[error("make a delta of low rank: there are no factors")]
    Empty,
}

#[derive(Debug, Clone)]
struct Factors {
    rank: usize,
    inputs: usize,
    outputs: usize,
    down: Vec<u8>, // [rank, inputs]
    up: Vec<u8>,   // [rank, outputs]
}

impl Lora {
    /// A delta of these factors, rounded to 16 bits. PEFT's `scale` is `alpha / rank`, or `alpha / √rank` (rsLoRA).
    pub fn new(sites: impl IntoIterator<Item = LoraSite>, scale: f32, store: Half) -> Result<Self, LoraError> {
        if !scale.is_finite() {
            return Err(LoraError::Scale { scale });
        }
        let mut stored = BTreeMap::new();
        for site in sites {
            let (layer, part) = (site.layer, site.part);
            if stored.insert((layer, part), Factors::new(&site, store)?).is_some() {
                return Err(LoraError::Twice { layer, part });
            }
        }
        if stored.is_empty() {
            return Err(LoraError::Empty);
        }
        let digest = digest(store, scale, &stored);
        Ok(Self { store, scale, sites: stored, digest })
    }

    /// Random factors for all products of some layers, but not those of experts: what speed is measured with. About as
    /// strong as a trained delta: its outputs are about a tenth of its inputs.
    pub fn random(shape: &Hyperparameters, rank: usize, layers: Range<usize>, seed: u64) -> Result<Self, LoraError> {
        let sites = layers.flat_map(|layer| {
            Part::ALL.into_iter().filter(|part| part.exists(shape)).map(move |part| {
                let (inputs, outputs) = part.widths(shape);
                let site = (layer * Part::ALL.len() + part as usize) as u32;
                LoraSite {
                    layer,
                    part,
                    rank,
                    a: uniform(seed, [site, 0], rank * inputs, (3.0 / inputs as f32).sqrt()),
                    b: uniform(seed, [site, 1], rank * outputs, 0.1 * (3.0 / rank as f32).sqrt()),
                }
            })
        });
        Self::new(sites, 1.0, Half::F16)
    }

    /// The sites, with their factors as they are stored and `b` as it is trained.
    pub fn sites(&self) -> impl Iterator<Item = LoraSite> {
        self.sites.iter().map(|(&(layer, part), factors)| {
            let Factors { rank, outputs, .. } = *factors;
            let (a, up) = (widened(self.store, &factors.down), widened(self.store, &factors.up));
            let b = (0..outputs * rank).map(|index| up[index % rank * outputs + index / rank]).collect();
            LoraSite { layer, part, rank, a, b }
        })
    }

    /// What the product of the factors is multiplied with.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Bytes of all factors.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sites.values().map(|factors| factors.down.len() + factors.up.len()).sum()
    }
}

impl Delta for Lora {
    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn first_layer(&self) -> usize {
        self.sites.keys().next().map_or(0, |&(layer, _)| layer)
    }

    fn acts_on(&self, layer: usize, part: Part) -> bool {
        self.sites.contains_key(&(layer, part))
    }

    fn add(&self, kernels: RowKernels, layer: usize, part: Part, x: &[f32], y: &mut [f32]) {
        if let Some(Factors { rank, down, up, .. }) = self.sites.get(&(layer, part)) {
            kernels.low_rank(&LowRank { store: self.store, rank: *rank, down, up, scale: self.scale }, x, y);
        }
    }

    fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError> {
        for (&(layer, part), factors) in &self.sites {
            let name = part.name();
            if layer >= shape.layers {
                return Err(VoiceError::new(format!(
                    "its delta acts on layer {layer}, the model has {}",
                    shape.layers
                )));
            }
            if !part.exists(shape) {
                return Err(VoiceError::new(format!(
                    "its delta acts on {name} of layer {layer}, which experts have here"
                )));
            }
            let (found, expected) = ((factors.inputs, factors.outputs), part.widths(shape));
            if found != expected {
                return Err(VoiceError::new(format!(
                    "its delta of layer {layer}, {name}, maps {} inputs to {} outputs, the model {} to {}",
                    found.0, found.1, expected.0, expected.1
                )));
            }
        }
        Ok(())
    }
}

impl Factors {
    fn new(site: &LoraSite, store: Half) -> Result<Self, LoraError> {
        let LoraSite { layer, part, rank, a, b } = site;
        let (layer, part, rank) = (*layer, *part, *rank);
        let whole = |length: usize| rank > 0 && length > 0 && length.is_multiple_of(rank);
        if !(whole(a.len()) && whole(b.len())) {
            return Err(LoraError::Shape { layer, part, rank, a: a.len(), b: b.len() });
        }
        let (inputs, outputs) = (a.len() / rank, b.len() / rank);
        let transposed: Vec<f32> = (0..b.len()).map(|index| b[index % outputs * rank + index / outputs]).collect();
        let half = |values: &[f32]| rounded(store, values).map_err(|value| LoraError::Value { layer, part, value });
        Ok(Self { rank, inputs, outputs, down: half(a)?, up: half(&transposed)? })
    }
}

/// Rounds to 16 bits, or says which value cannot be.
fn rounded(store: Half, values: &[f32]) -> Result<Vec<u8>, f32> {
    let mut bytes = Vec::with_capacity(values.len() * 2);
    for &value in values {
        let (bits, finite) = match store {
            Half::F16 => (f16::from_f32(value).to_bits(), f16::from_f32(value).is_finite()),
            Half::Bf16 => (bf16::from_f32(value).to_bits(), bf16::from_f32(value).is_finite()),
        };
        if !finite {
            return Err(value);
        }
        bytes.extend(bits.to_le_bytes());
    }
    Ok(bytes)
}

fn widened(store: Half, bytes: &[u8]) -> Vec<f32> {
    let bits = bytes.as_chunks::<2>().0.iter().map(|raw| u16::from_le_bytes(*raw));
    match store {
        Half::F16 => bits.map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Half::Bf16 => bits.map(|bits| bf16::from_bits(bits).to_f32()).collect(),
    }
}

fn digest(store: Half, scale: f32, sites: &BTreeMap<(usize, Part), Factors>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("madrigal lora 1\0");
    hash.update([match store {
        Half::F16 => 0,
        Half::Bf16 => 1,
    }]);
    hash.update(scale.to_bits().to_le_bytes());
    for (&(layer, part), factors) in sites {
        let numbers = [layer, part as usize, factors.rank, factors.inputs, factors.outputs];
        for number in numbers {
            hash.update((number as u64).to_le_bytes());
        }
        hash.update(&factors.down);
        hash.update(&factors.up);
    }
    hash.finalize().into()
}

/// Numbers between `-bound` and `bound`.
fn uniform(seed: u64, stream: [u32; 2], count: usize, bound: f32) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let mut values = Vec::with_capacity(count.next_multiple_of(4));
    for block in 0..count.div_ceil(4) {
        let bits = philox4x32([block as u32, (block >> 32) as u32, stream[0], stream[1]], key);
        // 24 bits are what an f32 between 0 and 1 holds.
        values.extend(bits.map(|bits| bound * ((bits >> 8) as f32 / 8_388_608.0 - 1.0)));
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(layer: usize, part: Part) -> LoraSite {
        LoraSite { layer, part, rank: 2, a: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], b: vec![1.0, -1.0, 0.5, 2.0] }
    }

    #[test]
    fn the_sum_of_a_small_example() {
        let kernels = madrigal_kernels::Kernels::new(madrigal_kernels::Isa::Portable, 1).unwrap();
        for store in [Half::F16, Half::Bf16] {
            let lora = Lora::new([site(3, Part::Up)], 0.5, store).unwrap();
            assert_eq!((lora.first_layer(), lora.acts_on(3, Part::Up), lora.acts_on(3, Part::Gate)), (3, true, false));
            assert_eq!(lora.sites().next(), Some(site(3, Part::Up)));
            // A x = [14, 32]; B A x = [-18, 71].
            let mut y = [100.0, 200.0];
            lora.add(kernels.rows(), 3, Part::Up, &[1.0, 2.0, 3.0], &mut y);
            assert_eq!(y, [91.0, 235.5]);
            lora.add(kernels.rows(), 2, Part::Up, &[1.0, 2.0, 3.0], &mut y);
            assert_eq!(y, [91.0, 235.5]);
        }
    }

    #[test]
    fn the_digest_tells_apart_all_that_makes_a_difference() {
        let with = |layer, part, scale, store, value: f32| {
            let mut site = site(layer, part);
            site.a[0] = value;
            Lora::new([site], scale, store).unwrap().digest()
        };
        let all = [
            with(0, Part::Up, 1.0, Half::F16, 1.0),
            with(1, Part::Up, 1.0, Half::F16, 1.0),
            with(0, Part::Down, 1.0, Half::F16, 1.0),
            with(0, Part::Up, 2.0, Half::F16, 1.0),
            with(0, Part::Up, 1.0, Half::Bf16, 1.0),
            with(0, Part::Up, 1.0, Half::F16, 1.5),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        assert_eq!(all[0], with(0, Part::Up, 1.0, Half::F16, 1.0));
    }

    #[test]
    fn factors_that_are_no_delta_are_refused() {
        let wrong = |change: fn(&mut LoraSite)| {
            let mut site = site(0, Part::Key);
            change(&mut site);
            Lora::new([site], 1.0, Half::F16).unwrap_err()
        };
        assert!(matches!(wrong(|site| site.rank = 0), LoraError::Shape { rank: 0, .. }));
        assert!(matches!(wrong(|site| site.rank = 4), LoraError::Shape { rank: 4, .. }));
        assert!(matches!(wrong(|site| site.b.clear()), LoraError::Shape { b: 0, .. }));
        assert!(matches!(wrong(|site| site.a[2] = 70_000.0), LoraError::Value { value: 70_000.0, .. }));
        assert!(matches!(wrong(|site| site.b[2] = f32::NAN), LoraError::Value { .. }));
        let twice = Lora::new([site(0, Part::Key), site(0, Part::Key)], 1.0, Half::F16);
        assert_eq!(twice.unwrap_err(), LoraError::Twice { layer: 0, part: Part::Key });
        assert_eq!(Lora::new([], 1.0, Half::F16).unwrap_err(), LoraError::Empty);
        assert!(matches!(Lora::new([site(0, Part::Key)], f32::INFINITY, Half::F16), Err(LoraError::Scale { .. })));
    }
}
