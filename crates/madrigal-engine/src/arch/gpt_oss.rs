//! gpt-oss: a mixture of experts with biases everywhere, attention with sinks, and every second layer sliding.
//!
//! A router chooses a few experts for each token and weighs them by a softmax over the chosen. Tokens that chose the same
//! expert are multiplied with it together. A token's experts are added up in the order of their numbers, so its sum does
//! not depend on who shares the batch.

use std::ops::Range;

use madrigal_kernels::{AttentionJob, Gate, Heads, Kernels, KvLayer, Product, RopeTable, Rotation};

use super::{Batch, Buffers, Outputs, rope_table};
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

/// Which tokens go through which experts.
#[derive(Debug, Default)]
struct Routes {
    /// By expert, then by rising rows: the row that goes through it.
    rows: Vec<u32>,
    /// Its share in the row's sum.
    weights: Vec<f32>,
    /// `0..rows.len()`, to pick results by.
    order: Vec<u32>,
    /// Per expert: its part of `rows`.
    experts: Vec<Range<usize>>,
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

    pub(super) fn forward(
        &self,
        kernels: &Kernels,
        kv: &mut [KvLayer],
        batch: &Batch<'_>,
        buffers: &mut Buffers,
    ) -> Outputs {
        let Hyperparameters { vocabulary, hidden, heads, head_dim, feed_forward, rms_epsilon, .. } = self.shape;
        let Experts { count: experts, chosen, limit, alpha } = self.mixture;
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
        let routes = rows * chosen.min(experts); // a token's way through one of its experts
        let mut scores = buffers.floats(rows * experts); // [rows, experts]
        let mut gate = buffers.floats(routes * feed_forward); // [routes, feed_forward]
        let mut up = buffers.floats(routes * feed_forward); // [routes, feed_forward]
        let mut down = buffers.floats(routes * hidden); // [routes, hidden]

        kernels.embed(&self.embedding.matrix(), batch.rows.iter().map(|row| row.token as usize), &mut x);
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let beside = batch.beside([&layer.query, &layer.key, &layer.value]);
            input.load_normed(kernels, beside, &x, &layer.attention_norm, rms_epsilon, rows);
            let mut products = [
                Product::of(layer.query.matrix(), &mut queries).with_bias(Some(&layer.query_bias)),
                Product::of(layer.key.matrix(), &mut keys).with_bias(Some(&layer.key_bias)),
                Product::of(layer.value.matrix(), &mut values).with_bias(Some(&layer.value_bias)),
            ];
            kernels.products(&input, &mut products);
            let sites = [
                (Part::Query, &mut queries[..], query_width),
                (Part::Key, &mut keys[..], kv_width),
                (Part::Value, &mut values[..], kv_width),
            ];
            batch.add_deltas(kernels, index, sites, &input);
            kernels.rotate([&mut queries, &mut keys].map(|x| Heads { x, norm: None }), rotation);
            kernels.write_kv(kv, &batch.places(index), &keys, &values);

            let attending = batch.attending(&queries, query_width, index, self.shape.window_of(index));
            let job = AttentionJob { kv, rows: &attending, heads, scale, sinks: Some(&layer.sinks) };
            kernels.attention(&job, &mut attended);
            input.load(kernels, batch.beside([&layer.output]), &attended, rows, query_width);
            kernels.products(
                &input,
                &mut [Product::onto(layer.output.matrix(), &mut x).with_bias(Some(&layer.output_bias))],
            );
            batch.add_deltas(kernels, index, [(Part::Output, &mut x[..], hidden)], &input);

            let experts_in = layer.experts.iter().flat_map(|expert| [&expert.gate, &expert.up]);
            let beside = batch.beside(experts_in.chain([&layer.router]));
            input.load_normed(kernels, beside, &x, &layer.feed_forward_norm, rms_epsilon, rows);
            let router = Product::of(layer.router.matrix(), &mut scores).with_bias(Some(&layer.router_bias));
            kernels.products(&input, &mut [router]);
            let routes = Routes::new(&scores, experts, chosen);
            // Through one expert after the other, the tokens of each together: [routes, feed_forward].
            let mut products = Vec::new();
            let mut parts = (&mut gate[..], &mut up[..]);
            for (expert, range) in layer.experts.iter().zip(&routes.experts).filter(|(_, range)| !range.is_empty()) {
                let (own_gate, rest_gate) = parts.0.split_at_mut(range.len() * feed_forward);
                let (own_up, rest_up) = parts.1.split_at_mut(range.len() * feed_forward);
                parts = (rest_gate, rest_up);
                let rows = &routes.rows[range.clone()];
                let bias = Some(&expert.gate_bias[..]);
                products.push(Product::of(expert.gate.matrix(), own_gate).with_bias(bias).with_rows(rows));
                let bias = Some(&expert.up_bias[..]);
                products.push(Product::of(expert.up.matrix(), own_up).with_bias(bias).with_rows(rows));
            }
            kernels.products(&input, &mut products);
            let beside = batch.beside(layer.experts.iter().map(|expert| &expert.down));
            input.load_gated(kernels, beside, Gate::ClampedSwiglu { alpha, limit }, &gate, &up, routes.rows.len());
            let mut products = Vec::new();
            let mut rest = &mut down[..]; // [routes, hidden]
            for (expert, range) in layer.experts.iter().zip(&routes.experts).filter(|(_, range)| !range.is_empty()) {
                let (own, others) = rest.split_at_mut(range.len() * hidden);
                rest = others;
                let bias = Some(&expert.down_bias[..]);
                let rows = &routes.order[range.clone()];
                products.push(Product::of(expert.down.matrix(), own).with_bias(bias).with_rows(rows));
            }
            kernels.products(&input, &mut products);
            routes.add(&down, hidden, &mut x);
        }

        let last = batch.wanting(&x, hidden, |row| row.wants_logits); // [wanting, hidden]
        let wanting = last.len() / hidden;
        let mut logits = buffers.floats(wanting * vocabulary); // [wanting, vocabulary]
        input.load_normed(kernels, batch.beside([&self.head]), &last, &self.norm, rms_epsilon, wanting);
        kernels.products(&input, &mut [Product::of(self.head.matrix(), &mut logits)]);
        let mut states = batch.wanting(&x, hidden, |row| row.wants_state); // [wanting, hidden]
        kernels.rms_norm(&mut states, &self.norm, rms_epsilon);
        buffers.input = input;
        buffers.keep([x, queries, keys, values, attended, scores, gate, up, down]);
        Outputs { logits, states }
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

impl Routes {
    /// Every row of `scores`, `[rows, experts]`, goes to its `chosen` best experts, weighed by the softmax of their scores.
    /// Of equal scores the first is the better.
    fn new(scores: &[f32], experts: usize, chosen: usize) -> Self {
        let mut tokens: Vec<Vec<(u32, f32)>> = vec![Vec::new(); experts];
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
                tokens[expert].push((row as u32, weigh(expert) / sum));
            }
        }
        let mut routes = Self::default();
        for tokens in tokens {
            let start = routes.rows.len();
            routes.rows.extend(tokens.iter().map(|&(row, _)| row));
            routes.weights.extend(tokens.iter().map(|&(_, weight)| weight));
            routes.experts.push(start..routes.rows.len());
        }
        routes.order = (0..routes.rows.len() as u32).collect();
        routes
    }

    /// Adds every route's result, `[routes, width]`, to its row of `x`, by rising experts: a row's sum does not depend on
    /// the rows around it.
    fn add(&self, results: &[f32], width: usize, x: &mut [f32]) {
        for ((&row, &weight), result) in self.rows.iter().zip(&self.weights).zip(results.chunks_exact(width)) {
            let x = &mut x[row as usize * width..][..width];
            x.iter_mut().zip(result).for_each(|(x, result)| *x += weight * result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_their_best_experts_with_weights_that_add_up_to_one() {
        let (near, far) = (1.0 / (1.0 + 1.0_f32.exp().recip()), 1.0 / (1.0 + 1.0_f32.exp()));
        #[rustfmt::skip]
        let scores = [
            3.0, -1.0, 2.0, 0.0,
            1.0,  1.0, 1.0, 1.0,
        ];
        let routes = Routes::new(&scores, 4, 2);
        assert_eq!(routes.experts, [0..2, 2..3, 3..4, 4..4]);
        assert_eq!(routes.rows, [0, 1, 1, 0]);
        for (weight, expected) in routes.weights.iter().zip([near, 0.5, 0.5, far]) {
            assert!((weight - expected).abs() < 1e-6, "{weight} instead of {expected}");
        }
        let mut x = [10.0, 20.0];
        routes.add(&[1.0, 2.0, 4.0, 8.0], 1, &mut x);
        assert!((x[0] - (10.0 + near + 8.0 * far)).abs() < 1e-5 && x[1] == 23.0);
    }

    #[test]
    fn a_score_that_is_no_number_is_not_passed_over() {
        for nan in [f32::NAN, -f32::NAN] {
            let routes = Routes::new(&[5.0, nan, 4.0], 3, 2);
            assert!(routes.rows == [0, 0] && routes.weights.iter().all(|weight| weight.is_nan()));
        }
    }
}
