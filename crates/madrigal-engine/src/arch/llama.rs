//! LLaMA, and those that differ from it by a vector or two in the attention: Qwen2 and Qwen2.5 have biases on queries,
//! keys and values; Qwen3 normalises query and key heads before they are rotated, and its head size is its own.
//!
//! Which of these a model has is its [`Kind`]'s business, so that a vector that is missing or too many is an error.

use madrigal_kernels::{AttentionJob, Gate, Heads, Kernels, KvLayer, Product, RopeTable, Rotation};

use super::{Batch, Buffers, Kind, Outputs, rope_table};
use crate::hyperparameters::Hyperparameters;
use crate::voice::Part;
use crate::weights::{Tensor, Weights, WeightsError};

/// The weights of one model.
#[derive(Debug)]
pub(crate) struct Llama {
    shape: Hyperparameters,
    rope: RopeTable,
    pub(super) embedding: Tensor, // [vocabulary, hidden]
    layers: Vec<Layer>,
    norm: Vec<f32>,          // [hidden]
    pub(super) head: Tensor, // [vocabulary, hidden]
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,    // [hidden]
    query: Tensor,               // [heads · head_dim, hidden]
    key: Tensor,                 // [kv_heads · head_dim, hidden]
    value: Tensor,               // [kv_heads · head_dim, hidden]
    biases: Option<Biases>,      // Qwen2
    norms: Option<Norms>,        // Qwen3
    output: Tensor,              // [hidden, heads · head_dim]
    feed_forward_norm: Vec<f32>, // [hidden]
    gate: Tensor,                // [feed_forward, hidden]
    up: Tensor,                  // [feed_forward, hidden]
    down: Tensor,                // [hidden, feed_forward]
}

#[derive(Debug)]
struct Biases {
    query: Vec<f32>, // [heads · head_dim]
    key: Vec<f32>,   // [kv_heads · head_dim]
    value: Vec<f32>, // [kv_heads · head_dim]
}

/// One for all heads.
#[derive(Debug)]
struct Norms {
    query: Vec<f32>, // [head_dim]
    key: Vec<f32>,   // [head_dim]
}

impl Llama {
    pub(super) fn load(kind: Kind, shape: &Hyperparameters, weights: &mut Weights) -> Result<Self, WeightsError> {
        let Hyperparameters { vocabulary, hidden, feed_forward, head_dim, .. } = *shape;
        let (query_width, kv_width) = (shape.query_width(), shape.kv_width());

        let embedding = weights.matrix("token_embd.weight", vocabulary, hidden)?;
        let mut layers = Vec::new();
        for layer in 0..shape.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let bias = |part: &str| format!("blk.{layer}.{part}.bias");
            let biases = match kind {
                Kind::Qwen2 => Some(Biases {
                    query: weights.vector(&bias("attn_q"), query_width)?,
                    key: weights.vector(&bias("attn_k"), kv_width)?,
                    value: weights.vector(&bias("attn_v"), kv_width)?,
                }),
                _ => None,
            };
            let norms = match kind {
                Kind::Qwen3 => Some(Norms {
                    query: weights.vector(&name("attn_q_norm"), head_dim)?,
                    key: weights.vector(&name("attn_k_norm"), head_dim)?,
                }),
                _ => None,
            };
            layers.push(Layer {
                attention_norm: weights.vector(&name("attn_norm"), hidden)?,
                query: weights.matrix(&name("attn_q"), query_width, hidden)?,
                key: weights.matrix(&name("attn_k"), kv_width, hidden)?,
                value: weights.matrix(&name("attn_v"), kv_width, hidden)?,
                biases,
                norms,
                output: weights.matrix(&name("attn_output"), hidden, query_width)?,
                feed_forward_norm: weights.vector(&name("ffn_norm"), hidden)?,
                gate: weights.matrix(&name("ffn_gate"), feed_forward, hidden)?,
                up: weights.matrix(&name("ffn_up"), feed_forward, hidden)?,
                down: weights.matrix(&name("ffn_down"), hidden, feed_forward)?,
            });
        }
        let norm = weights.vector("output_norm.weight", hidden)?;
        let head = weights.head(shape, &embedding)?;
        // GGUF's spelling of Llama 3's rotary scaling: what each frequency is divided by.
        let divisors = match kind == Kind::Llama && weights.has("rope_freqs.weight") {
            true => Some(weights.positive_vector("rope_freqs.weight", head_dim / 2)?),
            false => None,
        };
        let rope = rope_table(shape, divisors.as_deref());
        Ok(Self { shape: shape.clone(), rope, embedding, layers, norm, head })
    }

    pub(super) fn forward(
        &self,
        kernels: &Kernels,
        kv: &mut [KvLayer],
        batch: &Batch<'_>,
        buffers: &mut Buffers,
    ) -> Outputs {
        let Hyperparameters { vocabulary, hidden, heads, head_dim, feed_forward, rms_epsilon, .. } = self.shape;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let rows = batch.rows.len();
        let positions = batch.positions();
        let rotation = Rotation { head_dim, table: &self.rope, positions: &positions, style: self.shape.rope.style };

        let mut input = std::mem::take(&mut buffers.input); // what the next matrices multiply
        let mut x = buffers.floats(rows * hidden); // [rows, hidden], the residual stream
        let mut queries = buffers.floats(rows * query_width); // [rows, heads · head_dim]
        let mut keys = buffers.floats(rows * kv_width); // [rows, kv_heads · head_dim]
        let mut values = buffers.floats(rows * kv_width); // [rows, kv_heads · head_dim]
        let mut attended = buffers.floats(rows * query_width); // [rows, heads · head_dim]
        let mut gate = buffers.floats(rows * feed_forward); // [rows, feed_forward]
        let mut up = buffers.floats(rows * feed_forward); // [rows, feed_forward]

        kernels.embed(&self.embedding.matrix(), batch.rows.iter().map(|row| row.token as usize), &mut x);
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let beside = batch.beside([&layer.query, &layer.key, &layer.value]);
            input.load_normed(kernels, beside, &x, &layer.attention_norm, rms_epsilon, rows);
            let biases = layer.biases.as_ref();
            let mut products = [
                Product::of(layer.query.matrix(), &mut queries).with_bias(biases.map(|biases| &biases.query[..])),
                Product::of(layer.key.matrix(), &mut keys).with_bias(biases.map(|biases| &biases.key[..])),
                Product::of(layer.value.matrix(), &mut values).with_bias(biases.map(|biases| &biases.value[..])),
            ];
            kernels.products(&input, &mut products);
            let sites = [
                (Part::Query, &mut queries[..], query_width),
                (Part::Key, &mut keys[..], kv_width),
                (Part::Value, &mut values[..], kv_width),
            ];
            batch.add_deltas(kernels, index, sites, &input);
            let norms = layer.norms.as_ref();
            let turned = [
                Heads { x: &mut queries, norm: norms.map(|norms| (&norms.query[..], rms_epsilon)) },
                Heads { x: &mut keys, norm: norms.map(|norms| (&norms.key[..], rms_epsilon)) },
            ];
            kernels.rotate(turned, rotation);
            kernels.write_kv(kv, &batch.places(index), &keys, &values);

            let attending = batch.attending(&queries, query_width, index, self.shape.window_of(index));
            let job = AttentionJob { kv, rows: &attending, heads, scale, sinks: None };
            kernels.attention(&job, &mut attended);
            input.load(kernels, batch.beside([&layer.output]), &attended, rows, query_width);
            kernels.products(&input, &mut [Product::onto(layer.output.matrix(), &mut x)]);
            batch.add_deltas(kernels, index, [(Part::Output, &mut x[..], hidden)], &input);

            let beside = batch.beside([&layer.gate, &layer.up]);
            input.load_normed(kernels, beside, &x, &layer.feed_forward_norm, rms_epsilon, rows);
            let mut products = [Product::of(layer.gate.matrix(), &mut gate), Product::of(layer.up.matrix(), &mut up)];
            kernels.products(&input, &mut products);
            let sites = [(Part::Gate, &mut gate[..], feed_forward), (Part::Up, &mut up[..], feed_forward)];
            batch.add_deltas(kernels, index, sites, &input);
            input.load_gated(kernels, batch.beside([&layer.down]), Gate::Silu, &gate, &up, rows);
            kernels.products(&input, &mut [Product::onto(layer.down.matrix(), &mut x)]);
            batch.add_deltas(kernels, index, [(Part::Down, &mut x[..], hidden)], &input);
        }

        let last = batch.wanting(&x, hidden, |row| row.wants_logits); // [wanting, hidden]
        let wanting = last.len() / hidden;
        let mut logits = buffers.floats(wanting * vocabulary); // [wanting, vocabulary]
        input.load_normed(kernels, batch.beside([&self.head]), &last, &self.norm, rms_epsilon, wanting);
        kernels.products(&input, &mut [Product::of(self.head.matrix(), &mut logits)]);
        let mut states = batch.wanting(&x, hidden, |row| row.wants_state); // [wanting, hidden]
        kernels.rms_norm(&mut states, &self.norm, rms_epsilon);
        buffers.input = input;
        buffers.keep([x, queries, keys, values, attended, gate, up]);
        Outputs { logits, states }
    }
}
