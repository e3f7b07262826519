//! Matrix products, attention and the rest of a layer at the shapes of Qwen3-0.6B.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use madrigal_kernels::{
    Activations, AttentionJob, AttentionRow, BlockType, Gate, Isa, Kernels, KvLayer, KvPlace, KvShape, KvType, Matrix,
    Precision, Product, pack, packed_bytes,
};

/// Any bytes are weights. Clear upper bits keep scales from being subnormal or infinite, which would cost time.
fn packed(kind: BlockType, rows: usize, cols: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut stored = vec![0u8; rows * kind.row_bytes(cols).expect("whole blocks")];
    for byte in &mut stored {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8 & 0x3b;
    }
    let mut data = vec![0; packed_bytes(kind, rows, cols).expect("whole blocks")];
    pack(kind, rows, cols, &stored, &mut data);
    data
}

fn floats(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn products(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect(), 2).expect("kernels");
    let mut x = Activations::new();
    let (eight, fourteen) = (Precision::Bits8, Precision::Bits14);
    for (kind, precision) in [
        (BlockType::Q4_K, eight),
        (BlockType::Q4_K, fourteen),
        (BlockType::Q6_K, eight),
        (BlockType::Q4_0, eight),
        (BlockType::Q8_0, fourteen),
        (BlockType::F16, fourteen),
        (BlockType::F32, fourteen),
    ] {
        let mut group = c.benchmark_group(format!("products {kind}, {precision:?}"));
        // Layers enough that the weights do not stay in the cache, as in a forward pass.
        for (rows, cols) in [(6144, 1024), (1024, 3072)] {
            let layers: Vec<Vec<u8>> = (0..16).map(|_| packed(kind, rows, cols)).collect();
            for batch in [1, 8, 128] {
                x.load(&kernels, precision, &floats(batch * cols), batch, cols);
                let mut out = vec![0.0; batch * rows];
                let mut turn = 0;
                group.throughput(Throughput::Bytes(layers[0].len() as u64));
                group.bench_function(format!("{rows}x{cols} rows {batch}"), |b| {
                    b.iter(|| {
                        turn = (turn + 1) % layers.len();
                        let weights = Matrix { kind, rows, cols, data: &layers[turn] };
                        kernels.products(&x, &mut [Product::of(weights, black_box(&mut out))]);
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
    let places = |count: usize| -> Vec<KvPlace> {
        let place = |row| KvPlace { row, block: (row / block_len) as u32, slot: row % block_len };
        (0..count).map(place).collect()
    };
    let mut group = c.benchmark_group("attention");
    let cases: [(&str, usize, &[usize]); 4] = [
        ("decode 1 row, 512 positions", 512, &[511]),
        ("decode 1 row, 4096 positions", 4096, &[4095]),
        ("decode 8 rows, 512 positions shared", 512, &[511; 8]),
        ("prefill 128 rows, 512 positions", 512, &std::array::from_fn::<usize, 128, _>(|row| 384 + row)),
    ];
    for (name, context, positions) in cases {
        let mut kv = KvLayer::new(shape, context / block_len);
        let x = floats(context * kv_heads * head_dim);
        kernels.write_kv(&mut kv, &places(context), &x, &x);
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
    let (x, places) = (floats(128 * kv_heads * head_dim), places(128));
    group.bench_function("write 128 rows", |b| b.iter(|| kernels.write_kv(&mut kv, &places, black_box(&x), &x)));
    group.finish();
}

fn inputs(c: &mut Criterion) {
    let kernels = Kernels::new(Isa::detect(), 2).expect("kernels");
    let mut activations = Activations::new();
    let (x, weight) = (floats(8 * 1024), floats(1024));
    c.bench_function("load_normed 8x1024", |b| {
        b.iter(|| activations.load_normed(&kernels, Precision::Bits8, black_box(&x), &weight, 1e-6, 8));
    });
    let (gate, up) = (floats(8 * 3072), floats(8 * 3072));
    c.bench_function("load_gated 8x3072", |b| {
        b.iter(|| activations.load_gated(&kernels, Precision::Bits8, Gate::Silu, black_box(&gate), &up, 8));
    });
}

criterion_group!(benches, products, attention, inputs);
criterion_main!(benches);
