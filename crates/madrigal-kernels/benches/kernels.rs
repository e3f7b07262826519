//! Matrix products, attention and the rest of a layer at the shapes of Qwen3-0.6B.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use madrigal_kernels::{
    Activations, AttentionJob, AttentionRow, BlockType, Isa, Kernels, KvLayer, KvShape, KvType, Matrix,
};

/// Any bytes are weights; the speed does not depend on their values unless they are subnormal.
fn weights(kind: BlockType, rows: usize, cols: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut data = vec![0u8; rows * kind.row_bytes(cols).expect("whole blocks")];
    for byte in &mut data {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    let step = kind.bytes();
    for block in data.chunks_exact_mut(step) {
        let high = match kind {
            BlockType::F32 => 3,
            _ => 1,
        };
        // A small positive exponent in the scale, or in the element itself.
        block[high] = if high == 3 { 0x3c } else { 0x2c };
    }
    data
}

fn floats(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn matmul(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect(), 2).expect("kernels");
    let mut x = Activations::new();
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::F16, BlockType::F32] {
        let mut group = c.benchmark_group(format!("matmul {kind}"));
        // Layers enough that the weights do not stay in the cache, as in a forward pass.
        for (rows, cols) in [(6144, 1024), (1024, 3072)] {
            let data = weights(kind, rows * 16, cols);
            let layer = data.len() / 16;
            for batch in [1, 8] {
                x.load(&kernels, &floats(batch * cols), batch, cols);
                let mut out = vec![0.0; batch * rows];
                let mut turn = 0;
                group.throughput(Throughput::Bytes(layer as u64));
                group.bench_function(format!("{rows}x{cols} rows {batch}"), |b| {
                    b.iter(|| {
                        turn = (turn + 1) % 16;
                        let w = Matrix { kind, rows, cols, data: &data[turn * layer..][..layer] };
                        kernels.matmul(&w, &x, black_box(&mut out));
                    });
                });
            }
        }
        group.finish();
    }
}

/// One layer's attention with the heads of Qwen3-0.6B: rows of one sequence, or of several that share all their blocks.
fn attention(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect(), 2).expect("kernels");
    let (heads, kv_heads, head_dim, block_len) = (16, 8, 128, 32);
    let shape = KvShape { kind: KvType::Bf16, kv_heads, head_dim, block_len };
    let mut group = c.benchmark_group("attention");
    let cases: [(&str, usize, &[usize]); 4] = [
        ("decode 1 row, 512 positions", 512, &[511]),
        ("decode 1 row, 4096 positions", 4096, &[4095]),
        ("decode 8 rows, 512 positions shared", 512, &[511; 8]),
        ("prefill 128 rows, 512 positions", 512, &std::array::from_fn::<usize, 128, _>(|row| 384 + row)),
    ];
    for (name, context, positions) in cases {
        let mut kv = KvLayer::new(shape, context / block_len);
        let row = floats(kv_heads * head_dim);
        for position in 0..context {
            kv.write((position / block_len) as u32, position % block_len, &row, &row);
        }
        let blocks: Vec<u32> = (0..(context / block_len) as u32).collect();
        let q = floats(positions.len() * heads * head_dim);
        let rows: Vec<_> = positions
            .iter()
            .zip(q.chunks_exact(heads * head_dim))
            .map(|(&position, q)| AttentionRow { q, position, window: None, blocks: &blocks })
            .collect();
        let mut out = vec![0.0; q.len()];
        let job = AttentionJob { kv: &kv, rows: &rows, heads, scale: 0.088, sinks: None };
        group.bench_function(name, |b| b.iter(|| kernels.attention(&job, black_box(&mut out))));
    }
    let mut kv = KvLayer::new(shape, 4);
    let row = floats(kv_heads * head_dim);
    group.bench_function("write 128 rows", |b| {
        b.iter(|| {
            for position in 0..128 {
                kv.write((position / block_len) as u32, position % block_len, black_box(&row), &row);
            }
        });
    });
    group.finish();
}

fn layer_rest(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect(), 2).expect("kernels");
    let weight = floats(1024);
    let (x, mut out) = (floats(8 * 1024), vec![0.0; 8 * 1024]);
    c.bench_function("rms_norm 8x1024", |b| {
        b.iter(|| kernels.rms_norm(&x, &weight, 1e-6, black_box(&mut out)));
    });
    let (mut gate, up) = (floats(8 * 3072), floats(8 * 3072));
    c.bench_function("silu_mul 8x3072", |b| {
        b.iter(|| kernels.silu_mul(black_box(&mut gate), &up));
    });
}

criterion_group!(benches, matmul, attention, layer_rest);
criterion_main!(benches);
