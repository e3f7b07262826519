//! The architectures: one file each, in which the forward pass reads from top to bottom.
//!
//! Owns the choice among them and what their passes share: the batch they are given. Scheduling, sampling and the
//! ownership of KV blocks are elsewhere (`engine`, `sampling`, `kv`).

mod deltas;
mod gpt_oss;
mod llama;

use std::sync::Arc;

use madrigal_kernels::{Activations, AttentionRow, Kernels, KvLayer, KvPlace, Precision, RopeStyle, RopeTable};

use crate::hyperparameters::Hyperparameters;
use crate::voice::Voice;
use crate::weights::{Tensor, Weights, WeightsError};

/// One token to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Index into [`Batch::tables`].
    pub(crate) sequence: usize,
    /// The token's place in its sequence, from 0.
    pub(crate) position: usize,
    pub(crate) token: u32,
    pub(crate) wants_logits: bool,
    /// Wants what the last layer leaves, after the final norm.
    pub(crate) wants_state: bool,
    /// Index into [`Batch::voices`].
    pub(crate) voice: Option<usize>,
    /// The blocks hold its keys and values already: of the layers below [`Batch::shared_layers`], of those from it on.
    /// They have the very bits that would be written, and others may be reading them.
    pub(crate) stored: [bool; 2],
}

/// The KV blocks that hold a sequence's positions; those that its rows write belong to it alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Blocks<'a> {
    /// Of the layers below [`Batch::shared_layers`].
    pub(crate) below: &'a [u32],
    /// Of the layers from there on.
    pub(crate) above: &'a [u32],
}

/// Rows of any sequences, prompt chunks and decode steps mixed. Rows of one sequence stand in the order of their positions.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    pub(crate) rows: Vec<Row>,
    /// Per sequence.
    pub(crate) tables: Vec<Blocks<'a>>,
    /// No voice acts on the layers below; their keys and values are shared by all voices, in blocks of their own.
    pub(crate) shared_layers: usize,
    /// The voices that rows have; each is there once.
    pub(crate) voices: Vec<Arc<Voice>>,
    /// Positions in a block.
    pub(crate) block_len: usize,
    /// How finely activations are rounded where the weights allow the choice.
    pub(crate) activations: Precision,
}

/// What comes out of a pass, for the rows that want it, in their order.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// `[rows that want logits, vocabulary]`.
    pub(crate) logits: Vec<f32>,
    /// `[rows that want their state, hidden]`, after the final norm.
    pub(crate) states: Vec<f32>,
}

/// Memory that is used again by the next pass: what a prompt needs is too much to be fetched from the system every time.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    input: Activations,
    spare: Vec<Vec<f32>>,
}

impl Buffers {
    /// So many numbers, of any value.
    fn floats(&mut self, len: usize) -> Vec<f32> {
        // The smallest that is large enough, else the largest.
        let fits = self.spare.iter().enumerate().filter(|(_, spare)| spare.capacity() >= len);
        let smallest = fits.min_by_key(|(_, spare)| spare.capacity()).map(|(index, _)| index);
        let largest = self.spare.iter().enumerate().max_by_key(|(_, spare)| spare.capacity()).map(|(index, _)| index);
        let mut floats = smallest.or(largest).map_or_else(Vec::new, |index| self.spare.swap_remove(index));
        floats.resize(len, 0.0);
        floats
    }

    /// Takes back what was handed out.
    pub(crate) fn keep(&mut self, used: impl IntoIterator<Item = Vec<f32>>) {
        self.spare.extend(used);
    }
}

/// A supported architecture's name as GGUF's `general.architecture` or `model_type` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    GptOss,
    Llama,
    Qwen2,
    Qwen3,
}

impl Kind {
    pub(crate) fn from_gguf_name(name: &str) -> Option<Self> {
        match name {
            "gpt-oss" => Some(Self::GptOss),
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    pub(crate) fn from_model_type(name: &str) -> Option<Self> {
        match name {
            "gpt_oss" => Some(Self::GptOss),
            // Mistral is a llama whose layers may slide.
            "llama" | "mistral" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GptOss => "gpt-oss",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// How llama.cpp's converter lays out the heads of a GGUF.
    pub(crate) fn gguf_rope_style(self) -> RopeStyle {
        match self {
            Self::Llama => RopeStyle::Interleaved,
            Self::GptOss | Self::Qwen2 | Self::Qwen3 => RopeStyle::HalfSplit,
        }
    }
}

/// A loaded architecture.
#[derive(Debug)]
pub(crate) enum Architecture {
    GptOss(gpt_oss::GptOss),
    Llama(llama::Llama),
}

impl Architecture {
    pub(crate) fn load(kind: Kind, shape: &Hyperparameters, weights: &mut Weights) -> Result<Self, WeightsError> {
        let loaded = match kind {
            Kind::GptOss => Self::GptOss(gpt_oss::GptOss::load(shape, weights)?),
            Kind::Llama | Kind::Qwen2 | Kind::Qwen3 => Self::Llama(llama::Llama::load(kind, shape, weights)?),
        };
        weights.finish(kind.name())?;
        Ok(loaded)
    }

    /// Whether the output matrix is the embedding.
    pub(crate) fn tied(&self) -> bool {
        let (embedding, head) = match self {
            Self::GptOss(model) => (&model.embedding, &model.head),
            Self::Llama(model) => (&model.embedding, &model.head),
        };
        embedding.name == head.name
    }

    /// Reads all rows. `kv` has one entry for each layer.
    pub(crate) fn forward(
        &self,
        kernels: &Kernels,
        kv: &mut [KvLayer],
        batch: &Batch<'_>,
        buffers: &mut Buffers,
    ) -> Outputs {
        match self {
            Self::GptOss(model) => model.forward(kernels, kv, batch, buffers),
            Self::Llama(model) => model.forward(kernels, kv, batch, buffers),
        }
    }
}

impl Batch<'_> {
    /// How finely the input of these matrices is rounded.
    fn beside<'a>(&self, matrices: impl IntoIterator<Item = &'a Tensor>) -> Precision {
        self.activations.beside(matrices.into_iter().map(|matrix| matrix.kind))
    }

    /// Every row's position.
    fn positions(&self) -> Vec<u32> {
        self.rows.iter().map(|row| row.position as u32).collect()
    }

    /// The blocks of `layer` that hold the positions of a sequence.
    fn blocks(&self, sequence: usize, layer: usize) -> &[u32] {
        let tables = &self.tables[sequence];
        if layer < self.shared_layers { tables.below } else { tables.above }
    }

    /// Where the keys and values of the rows go in `layer`, those that are not there yet.
    fn places(&self, layer: usize) -> Vec<KvPlace> {
        let tier = usize::from(layer >= self.shared_layers);
        let rows = self.rows.iter().enumerate().filter(|(_, row)| !row.stored[tier]);
        rows.map(|(index, row)| KvPlace {
            row: index,
            block: self.blocks(row.sequence, layer)[row.position / self.block_len],
            slot: row.position % self.block_len,
        })
        .collect()
    }

    /// Every row with its query, `[rows, width]`: it attends to the positions up to its own, to the last `window` of them
    /// where the layer slides.
    fn attending<'a>(
        &'a self,
        queries: &'a [f32],
        width: usize,
        layer: usize,
        window: Option<usize>,
    ) -> Vec<AttentionRow<'a>> {
        let rows = self.rows.iter().zip(queries.chunks_exact(width));
        rows.map(|(row, q)| {
            let blocks = self.blocks(row.sequence, layer);
            AttentionRow { q, position: row.position, window, blocks }
        })
        .collect()
    }

    /// The rows of `x`, `[rows, width]`, that want something.
    fn wanting(&self, x: &[f32], width: usize, wants: impl Fn(&Row) -> bool) -> Vec<f32> {
        let rows = self.rows.iter().zip(x.chunks_exact(width));
        rows.filter(|(row, _)| wants(row)).flat_map(|(_, x)| x).copied().collect()
    }
}

/// The table of rotary angles for the whole window. `divisors` is GGUF's `rope_freqs.weight`.
fn rope_table(shape: &Hyperparameters, divisors: Option<&[f32]>) -> RopeTable {
    let mut frequencies = shape.rope_frequencies();
    for (frequency, divisor) in frequencies.iter_mut().zip(divisors.unwrap_or_default()) {
        *frequency /= f64::from(*divisor);
    }
    let frequencies: Vec<f32> = frequencies.into_iter().map(|frequency| frequency as f32).collect();
    RopeTable::new(&frequencies, shape.context, shape.rope.scaling.attention_factor())
}
