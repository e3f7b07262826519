//! Attention over blocks of keys and values.

use madrigal_kernels::{AttentionJob, AttentionRow, Isa, Kernels, KvLayer, KvPlace, KvShape, KvType};
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

/// Stores one position.
fn write(layer: &mut KvLayer, block: u32, slot: usize, k: &[f32], v: &[f32]) {
    Kernels::new(Isa::Portable, 1).expect("kernels").write_kv(layer, &[KvPlace { row: 0, block, slot }], k, v);
}

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

    /// Lets sequence `to` have the first `blocks` blocks of sequence `from`.
    fn share(&mut self, from: usize, to: usize, blocks: usize) {
        let shared = blocks * self.shape.block_len;
        let Sequence { k, v, blocks: ids, .. } = &self.sequences[from];
        let (k, v, ids) = (k[..shared].to_vec(), v[..shared].to_vec(), ids[..blocks].to_vec());
        let to = &mut self.sequences[to];
        to.k.splice(..shared, k);
        to.v.splice(..shared, v);
        to.blocks.splice(..blocks, ids);
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
                write(&mut layer, block as u32, slot, &nan, &nan);
            }
        }
        for (index, sequence) in self.sequences.iter().enumerate() {
            let until = match only {
                None => sequence.k.len(),
                Some((one, until)) if one == index => until,
                Some(_) => 0,
            };
            for p in 0..until {
                write(&mut layer, sequence.blocks[p / block_len], p % block_len, &sequence.k[p], &sequence.v[p]);
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

/// Query heads, key heads, elements of a head, positions in a block.
const SHAPES: [(usize, usize, usize, usize); 9] = [
    (16, 8, 128, 32),
    (4, 4, 8, 32),
    (6, 2, 16, 64),
    (8, 1, 32, 32),
    (3, 1, 12, 32),
    (2, 2, 40, 32),
    (14, 2, 64, 32),
    (7, 1, 20, 32),
    (5, 1, 80, 32),
];

/// Kernels on 1, 2 and 3 threads for every instruction set.
fn kernels_on_many_threads() -> Vec<Kernels> {
    let one_isa = |isa| [1, 2, 3].map(|threads| Kernels::new(isa, threads).expect("kernels"));
    Isa::available().into_iter().flat_map(one_isa).collect()
}

fn check_against_f64(
    kernels: &Kernels,
    world: &World,
    places: &[(usize, usize)],
    sinks: Option<&[f32]>,
    tolerance: f64,
) -> Vec<f32> {
    let (heads, head_dim) = (world.heads, world.shape.head_dim);
    let rows: Vec<_> = places.iter().map(|&(s, p)| world.row(s, p)).collect();
    let out = world.attend(kernels, &world.layer(None), &rows, sinks);
    for (index, &(sequence, position)) in places.iter().enumerate() {
        for head in 0..heads {
            let expected = world.expected(sequence, position, head, sinks.map(|sinks| sinks[head]));
            let ours = &out[(index * heads + head) * head_dim..];
            let what = format!("{} {:?} row {index} head {head}", kernels.isa(), world.shape);
            for (&ours, expected) in ours.iter().zip(expected) {
                assert_close(ours, expected, tolerance, &what);
            }
        }
    }
    out
}

#[test]
fn agrees_with_f64() {
    let mut numbers = Numbers(8);
    for (heads, kv_heads, head_dim, block_len) in SHAPES {
        for kind in [KvType::F32, KvType::Bf16] {
            let shape = KvShape { kind, kv_heads, head_dim, block_len };
            let world = World::random(shape, heads, &[1, 70, 33, 5], true, &mut numbers);
            let places = [(0, 0), (1, 0), (1, 69), (2, 32), (1, 31), (1, 32), (3, 4), (2, 7)];
            for sinks in [None, Some(numbers.floats(heads))] {
                for kernels in all_kernels() {
                    check_against_f64(&kernels, &world, &places, sinks.as_deref(), 3e-6);
                }
            }
        }
    }
}

/// A context of several strips, which few heads on many threads compute apart.
#[test]
fn long_contexts_have_the_same_bits_on_any_number_of_threads() {
    let mut numbers = Numbers(10);
    for (heads, kv_heads, window) in [(2, 1, None), (7, 1, Some(700)), (4, 2, Some(1)), (16, 8, None)] {
        let shape = KvShape { kind: KvType::Bf16, kv_heads, head_dim: 16, block_len: 32 };
        let mut world = World::random(shape, heads, &[1600, 513], false, &mut numbers);
        world.sequences[0].window = window;
        let sinks = numbers.floats(heads);
        let places = [(0, 1599), (1, 512), (0, 1023), (0, 1024), (1, 511), (0, 3)];
        let mut by_isa: Option<(Isa, Vec<f32>)> = None;
        for kernels in kernels_on_many_threads() {
            let out = check_against_f64(&kernels, &world, &places, Some(&sinks), 1e-5);
            let width = heads * shape.head_dim;
            let alone = world.attend(&kernels, &world.layer(Some((0, 1600))), &[world.row(0, 1599)], Some(&sinks));
            assert_eq!(bits(&alone), bits(&out[..width]), "{} on {} threads", kernels.isa(), kernels.threads());
            match &by_isa {
                Some((isa, first)) if *isa == kernels.isa() => assert_eq!(bits(first), bits(&out), "{isa}"),
                _ => by_isa = Some((kernels.isa(), out)),
            }
        }
    }
}

/// Vectors of 16 lanes with fused products have the same bits, however wide the registers are.
#[test]
fn vector_instruction_sets_agree_to_the_bit() {
    let vectors: Vec<Isa> = Isa::available().into_iter().filter(|&isa| isa != Isa::Portable).collect();
    let mut numbers = Numbers(11);
    for (heads, kv_heads, head_dim, block_len) in SHAPES {
        for kind in [KvType::F32, KvType::Bf16] {
            let shape = KvShape { kind, kv_heads, head_dim, block_len };
            let world = World::random(shape, heads, &[600, 90], true, &mut numbers);
            let rows: Vec<_> = [(0, 599), (1, 89), (1, 40), (0, 598)].map(|(s, p)| world.row(s, p)).into();
            let sinks = numbers.floats(heads);
            let results = vectors.iter().map(|&isa| {
                let kernels = Kernels::new(isa, 2).unwrap();
                bits(&world.attend(&kernels, &world.layer(None), &rows, Some(&sinks)))
            });
            let results: Vec<_> = results.collect();
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{shape:?}: {vectors:?} differ");
        }
    }
}

/// Sequences that share blocks, with strangers between them, on tables that part and have windows of their own.
#[test]
fn rows_that_share_blocks_need_not_be_neighbours() {
    let mut numbers = Numbers(12);
    for (heads, kv_heads, head_dim, block_len) in SHAPES {
        let shape = KvShape { kind: KvType::Bf16, kv_heads, head_dim, block_len };
        let mut world = World::random(shape, heads, &[150, 140, 130, 200, 150], true, &mut numbers);
        world.share(0, 2, 2);
        world.share(0, 4, 1);
        world.sequences[3].window = Some(1);
        let places: Vec<_> = (0..30).map(|i| (i % 5, 129 - i / 5 * 7)).collect();
        let sinks = numbers.floats(heads);
        let layers: Vec<_> = places.iter().map(|&(s, p)| world.layer(Some((s, p + 1)))).collect();
        for kernels in kernels_on_many_threads() {
            let out = check_against_f64(&kernels, &world, &places, Some(&sinks), 3e-6);
            let outs = places.iter().zip(&layers).zip(out.chunks(heads * head_dim)).step_by(3);
            for ((&(sequence, position), own), out) in outs {
                let alone = world.attend(&kernels, own, &[world.row(sequence, position)], Some(&sinks));
                assert_eq!(bits(&alone), bits(out), "{} {shape:?} {sequence} at {position}", kernels.isa());
            }
        }
    }
}

/// What a later position holds, even if it is not a number, never reaches an earlier row of the same tile.
#[test]
fn a_bad_row_does_not_spoil_the_rows_before_it() {
    let shape = KvShape { kind: KvType::Bf16, kv_heads: 1, head_dim: 16, block_len: 32 };
    let mut world = World::random(shape, 2, &[20], false, &mut Numbers(13));
    world.sequences[0].v[10][3] = f32::NAN;
    world.sequences[0].k[12][5] = f32::INFINITY;
    for kernels in all_kernels() {
        let rows: Vec<_> = (0..20).map(|p| world.row(0, p)).collect();
        let out = world.attend(&kernels, &world.layer(None), &rows, None);
        for (position, row) in out.chunks(32).enumerate() {
            let bad = row.iter().any(|y| y.is_nan());
            assert_eq!(bad, position >= 10, "{} position {position}: {row:?}", kernels.isa());
        }
    }
}

/// Rows of several blocks in any order, some left out, on any number of threads.
#[test]
fn positions_stored_together_are_those_stored_one_by_one() {
    let mut numbers = Numbers(11);
    for kind in [KvType::F32, KvType::Bf16] {
        let shape = KvShape { kind, kv_heads: 3, head_dim: 40, block_len: 32 };
        let (k, v) = (numbers.floats(50 * 120), numbers.floats(50 * 120));
        let place = |row: usize| KvPlace { row, block: [2, 0][row / 32], slot: (row * 7) % 32 };
        let places: Vec<KvPlace> = (0..50).rev().filter(|row| row % 5 != 0).map(place).collect();
        let mut expected = KvLayer::new(shape, 3);
        for &KvPlace { row, block, slot } in &places {
            write(&mut expected, block, slot, &k[row * 120..][..120], &v[row * 120..][..120]);
        }
        for kernels in kernels_on_many_threads() {
            let mut layer = KvLayer::new(shape, 3);
            kernels.write_kv(&mut layer, &places, &k, &v);
            assert_eq!(format!("{layer:?}"), format!("{expected:?}"), "{} {kind}", kernels.isa());
        }
    }
}

#[test]
fn copied_slots_leave_the_others_alone() {
    for kind in [KvType::F32, KvType::Bf16] {
        for (block_len, slots) in [(32, 0), (32, 1), (32, 17), (32, 32), (64, 40)] {
            let shape = KvShape { kind, kv_heads: 2, head_dim: 20, block_len };
            let mut world = World::random(shape, 4, &[block_len, block_len], false, &mut Numbers(14));
            let mut layer = world.layer(None);
            layer.copy_slots(world.sequences[0].blocks[0], world.sequences[1].blocks[0], slots);
            let [from, to] = &mut world.sequences[..] else { unreachable!() };
            to.k[..slots].clone_from_slice(&from.k[..slots]);
            to.v[..slots].clone_from_slice(&from.v[..slots]);
            let kernels = Kernels::new(Isa::detect(), 1).unwrap();
            let rows = [world.row(0, block_len - 1), world.row(1, block_len - 1)];
            let expected = world.attend(&kernels, &world.layer(None), &rows, None);
            assert_eq!(bits(&world.attend(&kernels, &layer, &rows, None)), bits(&expected), "{shape:?} {slots}");
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
        (heads, kv_heads) in prop::sample::select(&[(4usize, 2usize), (3, 1), (2, 2), (7, 1), (14, 2)][..]),
        head_dim in prop::sample::select(&[8usize, 12, 20, 64, 80, 128][..]),
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
            let three = Kernels::new(isa, 3).unwrap();
            let whole = world.attend(&two, &layer, &rows, sinks);
            prop_assert!(whole.iter().all(|y| y.is_finite()));
            prop_assert_eq!(bits(&world.attend(&three, &layer, &rows, sinks)), bits(&whole));
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
