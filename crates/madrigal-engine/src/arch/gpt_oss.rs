//! gpt-oss: a mixture of experts with biases everywhere, attention with sinks, and every second layer sliding.
//!
//! A router chooses a few experts for each token and weighs them by a softmax over the chosen. Tokens that chose the same
//! expert are multiplied with it together. A token's experts are added up in the order of their numbers, so its sum does
//! not depend on who shares the batch.

use madrigal_kernels::{Activations, AttentionJob, Kernels, KvLayer, RopeTable};

use super::{Batch, add, add_bias, rope_table};
use crate::hyperparameters::{Experts, Hyperparameters};
use crate::voice::Part;
use crate::weights::{Projection, Tensor, Weights, WeightsError};

/// The weights of one model.
#[derive(Debug)]
pub(crate) struct GptOss {
    shape: Hyperparameters,
    mixture: Experts,
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
    query_bias: Vec<f32>,        // [heads · head_dim]
    key_bias: Vec<f32>,          // [kv_heads · head_dim]
    value_bias: Vec<f32>,        // [kv_heads · head_dim]
    sinks: Vec<f32>,             // [heads]
    output: Tensor,              // [hidden, heads · head_dim]
    output_bias: Vec<f32>,       // [hidden]
    feed_forward_norm: Vec<f32>, // [hidden]
    router: Tensor,              // [experts, hidden]
    router_bias: Vec<f32>,       // [experts]
    experts: Vec<Expert>,
}

#[derive(Debug)]
struct Expert {
    gate: Tensor,        // [feed_forward, hidden]
    up: Tensor,          // [feed_forward, hidden]
    down: Tensor,        // [hidden, feed_forward]
    gate_bias: Vec<f32>, // [feed_forward]
    up_bias: Vec<f32>,   // [feed_forward]
    down_bias: Vec<f32>, // [hidden]
}

/// A token that goes through an expert.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Routed {
    row: usize,
    /// The expert's share in the token's sum.
    weight: f32,
}

impl GptOss {
    pub(super) fn load(shape: &Hyperparameters, weights: &mut Weights) -> Result<Self, WeightsError> {
        let Hyperparameters { vocabulary, hidden, heads, .. } = *shape;
        let mixture = shape.experts.clone().ok_or_else(|| weights.malformed("no experts are described".to_owned()))?;
        let (query_width, kv_width) = (shape.query_width(), shape.kv_width());

        let embedding = weights.matrix("token_embd.weight", vocabulary, hidden)?;
        let mut layers = Vec::new();
        for layer in 0..shape.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let bias = |part: &str| format!("blk.{layer}.{part}.bias");
            layers.push(Layer {
                attention_norm: weights.vector(&name("attn_norm"), hidden)?,
                query: weights.matrix(&name("attn_q"), query_width, hidden)?,
                key: weights.matrix(&name("attn_k"), kv_width, hidden)?,
                value: weights.matrix(&name("attn_v"), kv_width, hidden)?,
                query_bias: weights.vector(&bias("attn_q"), query_width)?,
                key_bias: weights.vector(&bias("attn_k"), kv_width)?,
                value_bias: weights.vector(&bias("attn_v"), kv_width)?,
                sinks: weights.vector(&name("attn_sinks"), heads)?,
                output: weights.matrix(&name("attn_output"), hidden, query_width)?,
                output_bias: weights.vector(&bias("attn_output"), hidden)?,
                feed_forward_norm: weights.vector(&name("post_attention_norm"), hidden)?,
                router: weights.matrix(&name("ffn_gate_inp"), mixture.count, hidden)?,
                router_bias: weights.vector(&bias("ffn_gate_inp"), mixture.count)?,
                experts: load_experts(shape, &mixture, weights, layer)?,
            });
        }
        let norm = weights.vector("output_norm.weight", hidden)?;
        let head = weights.head(shape, &embedding)?;
        let rope = rope_table(shape, None);
        Ok(Self { shape: shape.clone(), mixture, rope, embedding, layers, norm, head })
    }

    pub(super) fn forward(&self, kernels: &Kernels, kv: &mut [KvLayer], batch: &Batch<'_>) -> Vec<f32> {
        let Hyperparameters { vocabulary, hidden, heads, head_dim, feed_forward, rms_epsilon, .. } = self.shape;
        let Experts { count: experts, chosen, limit, alpha } = self.mixture;
        let style = self.shape.rope.style;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (query_width, kv_width) = (self.shape.query_width(), self.shape.kv_width());
        let rows = batch.rows.len();
        let positions = batch.positions();

        let mut input = Activations::new(); // what the next matrices multiply
        let mut x = vec![0.0; rows * hidden]; // [rows, hidden], the residual stream
        let mut normed = vec![0.0; rows * hidden]; // [rows, hidden]
        let mut queries = vec![0.0; rows * query_width]; // [rows, heads · head_dim]
        let mut keys = vec![0.0; rows * kv_width]; // [rows, kv_heads · head_dim]
        let mut values = vec![0.0; rows * kv_width]; // [rows, kv_heads · head_dim]
        let mut attended = vec![0.0; rows * query_width]; // [rows, heads · head_dim]
        let mut scores = vec![0.0; rows * experts]; // [rows, experts]
        let mut delta = vec![0.0; rows * hidden]; // [rows, hidden]

        for (row, x) in batch.rows.iter().zip(x.chunks_exact_mut(hidden)) {
            self.embedding.matrix().dequantize_row(row.token as usize, x);
        }
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            kernels.rms_norm(&x, &layer.attention_norm, rms_epsilon, &mut normed);
            input.load(kernels, &normed, rows, hidden);
            kernels.matmul(&layer.query.matrix(), &input, &mut queries);
            kernels.matmul(&layer.key.matrix(), &input, &mut keys);
            kernels.matmul(&layer.value.matrix(), &input, &mut values);
            add_bias(&mut queries, &layer.query_bias);
            add_bias(&mut keys, &layer.key_bias);
            add_bias(&mut values, &layer.value_bias);
            let sites = [
                (Part::Query, &mut queries[..], query_width),
                (Part::Key, &mut keys[..], kv_width),
                (Part::Value, &mut values[..], kv_width),
            ];
            batch.add_deltas(kernels, index, sites, &normed, hidden);
            kernels.rope(&mut queries, head_dim, &self.rope, &positions, style);
            kernels.rope(&mut keys, head_dim, &self.rope, &positions, style);
            batch.write(kv, index, &keys, &values, kv_width);

            let attending = batch.attending(&queries, query_width, index, self.shape.window_of(index));
            let job = AttentionJob { kv, rows: &attending, heads, scale, sinks: Some(&layer.sinks) };
            kernels.attention(&job, &mut attended);
            input.load(kernels, &attended, rows, query_width);
            kernels.matmul(&layer.output.matrix(), &input, &mut delta);
            add_bias(&mut delta, &layer.output_bias);
            batch.add_deltas(kernels, index, [(Part::Output, &mut delta[..], hidden)], &attended, query_width);
            add(&mut x, &delta);

            kernels.rms_norm(&x, &layer.feed_forward_norm, rms_epsilon, &mut normed);
            input.load(kernels, &normed, rows, hidden);
            kernels.matmul(&layer.router.matrix(), &input, &mut scores);
            add_bias(&mut scores, &layer.router_bias);
            for (expert, tokens) in layer.experts.iter().zip(route(&scores, experts, chosen)) {
                if tokens.is_empty() {
                    continue;
                }
                // What the tokens of this expert are, `[tokens, hidden]`.
                let mut own: Vec<f32> = Vec::with_capacity(tokens.len() * hidden);
                own.extend(tokens.iter().flat_map(|token| &normed[token.row * hidden..][..hidden]));
                let mut gate = vec![0.0; tokens.len() * feed_forward]; // [tokens, feed_forward]
                let mut up = vec![0.0; tokens.len() * feed_forward]; // [tokens, feed_forward]
                input.load(kernels, &own, tokens.len(), hidden);
                kernels.matmul(&expert.gate.matrix(), &input, &mut gate);
                kernels.matmul(&expert.up.matrix(), &input, &mut up);
                add_bias(&mut gate, &expert.gate_bias);
                add_bias(&mut up, &expert.up_bias);
                kernels.clamped_swiglu(&mut gate, &up, alpha, limit);
                input.load(kernels, &gate, tokens.len(), feed_forward);
                kernels.matmul(&expert.down.matrix(), &input, &mut own);
                add_bias(&mut own, &expert.down_bias);
                for (token, own) in tokens.iter().zip(own.chunks_exact(hidden)) {
                    let x = &mut x[token.row * hidden..][..hidden];
                    x.iter_mut().zip(own).for_each(|(x, own)| *x += token.weight * own);
                }
            }
        }

        let last = batch.wanting(&x, hidden); // [wanting, hidden]
        let wanting = last.len() / hidden;
        let mut normed = vec![0.0; last.len()]; // [wanting, hidden]
        let mut logits = vec![0.0; wanting * vocabulary]; // [wanting, vocabulary]
        kernels.rms_norm(&last, &self.norm, rms_epsilon, &mut normed);
        input.load(kernels, &normed, wanting, hidden);
        kernels.matmul(&self.head.matrix(), &input, &mut logits);
        logits
    }
}

fn load_experts(
    shape: &Hyperparameters,
    mixture: &Experts,
    weights: &mut Weights,
    layer: usize,
) -> Result<Vec<Expert>, WeightsError> {
    let Hyperparameters { hidden, feed_forward, .. } = *shape;
    let mut matrices = |projection, shape| weights.experts(layer, projection, mixture.count, shape);
    let gates = matrices(Projection::Gate, [feed_forward, hidden])?;
    let ups = matrices(Projection::Up, [feed_forward, hidden])?;
    let downs = matrices(Projection::Down, [hidden, feed_forward])?;
    let mut biases = |projection, rows| weights.expert_biases(layer, projection, mixture.count, rows);
    let gate_biases = biases(Projection::Gate, feed_forward)?;
    let up_biases = biases(Projection::Up, feed_forward)?;
    let down_biases = biases(Projection::Down, hidden)?;
    let experts = gates.into_iter().zip(ups).zip(downs).enumerate().map(|(expert, ((gate, up), down))| Expert {
        gate,
        up,
        down,
        gate_bias: gate_biases[expert * feed_forward..][..feed_forward].to_vec(),
        up_bias: up_biases[expert * feed_forward..][..feed_forward].to_vec(),
        down_bias: down_biases[expert * hidden..][..hidden].to_vec(),
    });
    Ok(experts.collect())
}

/// The tokens of each expert, by rising rows: every row of `scores`, `[rows, experts]`, goes to its `chosen` best experts,
/// weighed by the softmax of their scores. Of equal scores the first is the better.
fn route(scores: &[f32], experts: usize, chosen: usize) -> Vec<Vec<Routed>> {
    let mut tokens = vec![Vec::new(); experts];
    let mut order: Vec<usize> = Vec::new();
    for (row, scores) in scores.chunks_exact(experts).enumerate() {
        // A score that is no number must not hide: it comes first, and spoils the row's weights.
        let rank = |expert: &usize| if scores[*expert].is_nan() { f32::INFINITY } else { scores[*expert] };
        order.clear();
        order.extend(0..experts);
        order.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
        let best = &order[..chosen.min(experts)];
        let highest = best.first().map_or(0.0, |&expert| scores[expert]);
        let weigh = |expert: usize| libm::expf(scores[expert] - highest);
        let sum: f32 = best.iter().map(|&expert| weigh(expert)).sum();
        for &expert in best {
            tokens[expert].push(Routed { row, weight: weigh(expert) / sum });
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_their_best_experts_with_weights_that_add_up_to_one() {
        let (near, far) = (1.0 / (1.0 + 1.0_f32.exp().recip()), 1.0 / (1.0 + 1.0_f32.exp()));
        let routed = |row, weight| Routed { row, weight };
        #[rustfmt::skip]
        let scores = [
            3.0, -1.0, 2.0, 0.0,
            1.0,  1.0, 1.0, 1.0,
        ];
        let tokens = route(&scores, 4, 2);
        assert_eq!(tokens[1], [routed(1, 0.5)]);
        assert_eq!(tokens[3], []);
        assert!(tokens[0][0].row == 0 && (tokens[0][0].weight - near).abs() < 1e-6);
        assert!(tokens[2][0].row == 0 && (tokens[2][0].weight - far).abs() < 1e-6);
        assert_eq!(tokens[0][1], routed(1, 0.5));
    }

    #[test]
    fn a_score_that_is_no_number_is_not_passed_over() {
        for nan in [f32::NAN, -f32::NAN] {
            let tokens = route(&[5.0, nan, 4.0], 3, 2);
            assert!(tokens[1][0].weight.is_nan() && tokens[0][0].weight.is_nan());
        }
    }
}
