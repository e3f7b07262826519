//! Attention over blocks of keys and values.

use madrigal_kernels::{AttentionJob, AttentionRow, Isa, Kernels, KvLayer, KvShape, KvType};
use proptest::prelude::*;

use crate::reference::{Numbers, all_kernels, assert_close, bits};

/// Keys, values and queries of one sequence.
struct Sequence {
    /// `[length, kv_heads * head_dim]`.
    k: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
    /// `[length, heads * head_dim]`.
    q: Vec<Vec<f32>>,
    blocks: Vec<u32>,
    window: Option<usize>,
}

struct World {
    shape: KvShape,
    heads: usize,
    sequences: Vec<Sequence>,
    /// Physical blocks.
    blocks: usize,
}

const SCALE: f32 = 0.3;

impl World {
    /// Sequences of the given lengths, their blocks scattered.
    fn random(shape: KvShape, heads: usize, lengths: &[usize], windows: bool, numbers: &mut Numbers) -> World {
        let needed: usize = lengths.iter().map(|n| n.div_ceil(shape.block_len)).sum();
        let mut free: Vec<u32> = (0..needed as u32 + 2).collect();
        let sequences = lengths.iter().map(|&length| {
            let blocks = (0..length.div_ceil(shape.block_len)).map(|_| free.swap_remove(numbers.below(free.len())));
            let blocks = blocks.collect();
            let mut rows = |heads: usize| (0..length).map(|_| numbers.floats(heads * shape.head_dim)).collect();
            let (k, v, mut q): (_, _, Vec<Vec<f32>>) = (rows(shape.kv_heads), rows(shape.kv_heads), rows(heads));
            q.iter_mut().flatten().for_each(|q| *q *= 4.0);
            let window = (windows && numbers.below(3) > 0).then(|| 1 + numbers.below(2 * shape.block_len));
            Sequence { k, v, q, blocks, window }
        });
        let sequences = sequences.collect();
        World { shape, heads, sequences, blocks: needed + 2 }
    }

    /// A layer with the positions below `until` of one sequence, or with everything. All other
    /// slots hold NaN, so that reading one is seen.
    fn layer(&self, only: Option<(usize, usize)>) -> KvLayer {
        let KvShape { kv_heads, head_dim, block_len, .. } = self.shape;
        let mut layer = KvLayer::new(self.shape, 0);
        layer.resize(self.blocks);
        let nan = vec![f32::NAN; kv_heads * head_dim];
        for block in 0..self.blocks {
            for slot in 0..block_len {
                layer.write(block as u32, slot, &nan, &nan);
            }
        }
        for (index, sequence) in self.sequences.iter().enumerate() {
            let until = match only {
                None => sequence.k.len(),
                Some((one, until)) if one == index => until,
                Some(_) => 0,
            };
            for p in 0..until {
                layer.write(sequence.blocks[p / block_len], p % block_len, &sequence.k[p], &sequence.v[p]);
            }
        }
        layer
    }

    fn row(&self, sequence: usize, position: usize) -> AttentionRow<'_> {
        let Sequence { q, blocks, window, .. } = &self.sequences[sequence];
        AttentionRow { q: &q[position], position, window: *window, blocks }
    }

    fn attend(&self, kernels: &Kernels, kv: &KvLayer, rows: &[AttentionRow<'_>], sinks: Option<&[f32]>) -> Vec<f32> {
        let mut out = vec![f32::NAN; rows.len() * self.heads * self.shape.head_dim];
        kernels.attention(&AttentionJob { kv, rows, heads: self.heads, scale: SCALE, sinks }, &mut out);
        out
    }

    /// One head of one row, in f64, over the stored values.
    fn expected(&self, sequence: usize, position: usize, head: usize, sink: Option<f32>) -> Vec<f64> {
        let KvShape { kind, kv_heads, head_dim, .. } = self.shape;
        let Sequence { k, v, q, window, .. } = &self.sequences[sequence];
        let stored = |x: f32| match kind {
            KvType::F32 => f64::from(x),
            KvType::Bf16 => half::bf16::from_f32(x).to_f64(),
        };
        let own = head / (self.heads / kv_heads) * head_dim;
        let start = window.map_or(0, |window| (position + 1).saturating_sub(window));
        let query = &q[position][head * head_dim..][..head_dim];
        let score = |key: &Vec<f32>| {
            let dot: f64 = query.iter().zip(&key[own..]).map(|(&q, &k)| f64::from(q) * stored(k)).sum();
            (dot * f64::from(SCALE)).exp()
        };
        let weights: Vec<f64> = k[start..=position].iter().map(score).collect();
        let total: f64 = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| f64::from(sink).exp());
        let value = |d: usize| {
            let sum: f64 = weights.iter().zip(&v[start..]).map(|(w, v)| w * stored(v[own + d])).sum();
            sum / total
        };
        (0..head_dim).map(value).collect()
    }
}

#[test]
fn agrees_with_f64() {
    let mut numbers = Numbers(8);
    // Query heads, key heads, elements of a head, positions in a block.
    let shapes = [(16, 8, 128, 32), (4, 4, 8, 32), (6, 2, 16, 64), (8, 1, 32, 32), (3, 1, 12, 32), (2, 2, 40, 32)];
    for kernels in all_kernels() {
        for (heads, kv_heads, head_dim, block_len) in shapes {
            for kind in [KvType::F32, KvType::Bf16] {
                let shape = KvShape { kind, kv_heads, head_dim, block_len };
                let world = World::random(shape, heads, &[1, 70, 33, 5], true, &mut numbers);
                let places: Vec<(usize, usize)> =
                    [(0, 0), (1, 0), (1, 69), (2, 32), (1, 31), (1, 32), (3, 4), (2, 7)].into();
                let rows: Vec<_> = places.iter().map(|&(s, p)| world.row(s, p)).collect();
                for sinks in [None, Some(numbers.floats(heads))] {
                    let out = world.attend(&kernels, &world.layer(None), &rows, sinks.as_deref());
                    for (index, &(sequence, position)) in places.iter().enumerate() {
                        for head in 0..heads {
                            let sink = sinks.as_ref().map(|sinks| sinks[head]);
                            let expected = world.expected(sequence, position, head, sink);
                            let ours = &out[(index * heads + head) * head_dim..];
                            let what = format!("{} {shape:?} row {index} head {head}", kernels.isa());
                            for (&ours, expected) in ours.iter().zip(expected) {
                                assert_close(ours, expected, 3e-6, &what);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn copied_blocks_and_growth_keep_values() {
    let shape = KvShape { kind: KvType::Bf16, kv_heads: 2, head_dim: 16, block_len: 32 };
    // Values take whole lines of 32 elements.
    assert_eq!(shape.block_bytes(), 2 * (16 + 32) * 32 * 2);
    let world = World::random(shape, 4, &[45], false, &mut Numbers(9));
    let mut layer = world.layer(None);
    let kernels = Kernels::new(Isa::detect(), 1).unwrap();
    let before = world.attend(&kernels, &layer, &[world.row(0, 44)], None);
    layer.resize(world.blocks + 3);
    let copies = [world.blocks as u32 + 1, world.blocks as u32 + 2];
    for (&from, &to) in world.sequences[0].blocks.iter().zip(&copies) {
        layer.copy_block(from, to);
    }
    let row = AttentionRow { blocks: &copies, ..world.row(0, 44) };
    assert_eq!(bits(&world.attend(&kernels, &layer, &[row], None)), bits(&before));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each row alone, over a layer that holds nothing but what it may see, has the bits that it
    /// has in any mixture of rows.
    #[test]
    fn a_row_alone_is_the_row_in_a_batch(
        (heads, kv_heads) in prop::sample::select(&[(4usize, 2usize), (3, 1), (2, 2)][..]),
        head_dim in prop::sample::select(&[8usize, 12, 64, 128][..]),
        block_len in prop::sample::select(&[32usize, 64][..]),
        kind in prop::sample::select(&[KvType::F32, KvType::Bf16][..]),
        lengths in prop::collection::vec(1usize..90, 1..5),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        with_sinks: bool,
        seed: u64,
    ) {
        let mut numbers = Numbers(seed);
        let shape = KvShape { kind, kv_heads, head_dim, block_len };
        let world = World::random(shape, heads, &lengths, true, &mut numbers);
        let sinks = with_sinks.then(|| numbers.floats(heads));
        let sinks = sinks.as_deref();
        let places: Vec<(usize, usize)> = picks.iter().map(|(sequence, position)| {
            let sequence = sequence.index(lengths.len());
            (sequence, position.index(lengths[sequence]))
        }).collect();
        let rows: Vec<_> = places.iter().map(|&(s, p)| world.row(s, p)).collect();
        let layer = world.layer(None);
        for isa in Isa::available() {
            let one = Kernels::new(isa, 1).unwrap();
            let two = Kernels::new(isa, 2).unwrap();
            let whole = world.attend(&two, &layer, &rows, sinks);
            prop_assert!(whole.iter().all(|y| y.is_finite()));
            for (index, &(sequence, position)) in places.iter().enumerate().take(6) {
                let own = world.layer(Some((sequence, position + 1)));
                let alone = world.attend(&one, &own, &rows[index..=index], sinks);
                let width = heads * head_dim;
                prop_assert_eq!(bits(&alone), bits(&whole[index * width..(index + 1) * width]));
            }
        }
    }

    /// A prompt in chunks has the bits of the prompt at once.
    #[test]
    fn chunks_of_a_prompt_are_the_whole_prompt(
        length in 2usize..80,
        chunk in 1usize..40,
        kind in prop::sample::select(&[KvType::F32, KvType::Bf16][..]),
        seed: u64,
    ) {
        let shape = KvShape { kind, kv_heads: 2, head_dim: 16, block_len: 32 };
        let world = World::random(shape, 4, &[length], true, &mut Numbers(seed));
        let rows: Vec<_> = (0..length).map(|p| world.row(0, p)).collect();
        for isa in Isa::available() {
            let kernels = Kernels::new(isa, 2).unwrap();
            let whole = world.attend(&kernels, &world.layer(None), &rows, None);
            let mut parts = Vec::new();
            for start in (0..length).step_by(chunk) {
                let end = length.min(start + chunk);
                let layer = world.layer(Some((0, end)));
                parts.extend(world.attend(&kernels, &layer, &rows[start..end], None));
            }
            prop_assert_eq!(bits(&parts), bits(&whole));
        }
    }
}
