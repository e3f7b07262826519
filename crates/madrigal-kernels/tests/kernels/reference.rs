//! Plain f64 formulas, weights with known values, and seeded numbers for the tests.

use madrigal_kernels::{BlockType, Isa, Kernels, Matrix, Precision, pack, packed_bytes};

/// Seeded numbers (SplitMix64, Steele et al. 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `-1..1`.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

pub(crate) const KINDS: [BlockType; 5] =
    [BlockType::F32, BlockType::F16, BlockType::Bf16, BlockType::Q8_0, BlockType::Q4_0];

/// Random weights as stored, behind one byte of padding so that nothing is aligned.
pub(crate) struct Stored {
    bytes: Vec<u8>,
    /// What the bytes mean, decoded here and not by the crate.
    pub(crate) values: Vec<f32>,
}

impl Stored {
    pub(crate) fn random(kind: BlockType, elems: usize, numbers: &mut Numbers) -> Stored {
        let mut bytes = vec![0xff];
        let mut values = Vec::new();
        while values.len() < elems {
            match kind {
                BlockType::F32 => {
                    let value = numbers.float();
                    bytes.extend(value.to_le_bytes());
                    values.push(value);
                }
                BlockType::F16 => {
                    let value = half::f16::from_f32(numbers.float());
                    bytes.extend(value.to_le_bytes());
                    values.push(value.to_f32());
                }
                BlockType::Bf16 => {
                    let value = half::bf16::from_f32(numbers.float());
                    bytes.extend(value.to_le_bytes());
                    values.push(value.to_f32());
                }
                BlockType::Q8_0 => {
                    let scale = half::f16::from_f32(numbers.float() / 127.0);
                    bytes.extend(scale.to_le_bytes());
                    for _ in 0..32 {
                        let quant = numbers.next() as i8;
                        bytes.push(quant as u8);
                        values.push(scale.to_f32() * f32::from(quant));
                    }
                }
                BlockType::Q4_0 => {
                    let scale = half::f16::from_f32(numbers.float() / 8.0);
                    bytes.extend(scale.to_le_bytes());
                    let quants: Vec<u8> = (0..32).map(|_| (numbers.next() & 15) as u8).collect();
                    bytes.extend((0..16).map(|i| quants[i] | quants[i + 16] << 4));
                    values.extend(quants.iter().map(|&q| scale.to_f32() * (f32::from(q) - 8.0)));
                }
                _ => panic!("no writer for {kind}"),
            }
        }
        Stored { bytes, values }
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[1..]
    }

    /// What a matrix of this shape is made of, again behind one byte of padding.
    pub(crate) fn packed(&self, kind: BlockType, rows: usize, cols: usize) -> Packed {
        let mut bytes = vec![0xff; 1 + packed_bytes(kind, rows, cols).expect("whole blocks")];
        pack(kind, rows, cols, self.data(), &mut bytes[1..]);
        Packed { kind, rows, cols, bytes }
    }
}

/// A matrix as kernels take it.
pub(crate) struct Packed {
    kind: BlockType,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Packed {
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix { kind: self.kind, rows: self.rows, cols: self.cols, data: &self.bytes[1..] }
    }
}

/// The largest magnitude to which activations are rounded.
pub(crate) fn largest(precision: Precision) -> f32 {
    match precision {
        Precision::Bits8 => 127.0,
        Precision::Bits14 => 8191.0,
    }
}

/// Activations as quantised weights see them, in blocks of 32.
pub(crate) fn rounded(x: &[f32], precision: Precision) -> Vec<f64> {
    let most = largest(precision);
    let block = |block: &[f32]| {
        let largest = block.iter().fold(0f32, |m, x| m.max(x.abs()));
        let (scale, inverse) = (largest / most, if largest > 0.0 { most / largest } else { 0.0 });
        block.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale)).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(block).collect()
}

pub(crate) fn widened(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

pub(crate) fn assert_close(ours: f32, reference: f64, tolerance: f64, what: &dyn std::fmt::Display) {
    let difference = (f64::from(ours) - reference).abs();
    assert!(difference <= tolerance, "{what}: {ours} instead of {reference}, {difference:e} > {tolerance:e}");
}

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Every instruction set of this processor, on one and on two threads.
pub(crate) fn all_kernels() -> Vec<Kernels> {
    let mut all = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 2] {
            all.push(Kernels::new(isa, threads).expect("kernels"));
        }
    }
    all
}
