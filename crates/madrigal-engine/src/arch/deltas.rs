//! The deltas of the rows' voices, added to what the model's own matrices give.
//!
//! Owns which row gets which delta, and the order: rows of one voice stand together, so that its weights are read once
//! while they are near. The sum of a row does not depend on that order. Rows without a voice cost nothing.

use std::sync::Arc;

use madrigal_kernels::{Activations, Kernels, RowSite};

use super::Batch;
use crate::voice::{Delta, Part};

impl Batch<'_> {
    /// `y += Δ(x)` for the rows whose voice acts on `layer`, at the sites that share the input `x`: each
    /// with its part, its outputs, `[rows, width]`, and their width.
    pub(super) fn add_deltas<const SITES: usize>(
        &self,
        kernels: &Kernels,
        layer: usize,
        sites: [(Part, &mut [f32], usize); SITES],
        x: &Activations,
    ) {
        if self.voices.is_empty() {
            return;
        }
        let parts = sites.each_ref().map(|&(part, ..)| part);
        let acts = |delta: &&Arc<dyn Delta>| parts.iter().any(|&part| delta.acts_on(layer, part));
        let acting: Vec<bool> = self.voices.iter().map(|voice| voice.delta.as_ref().filter(acts).is_some()).collect();
        let mut rows: Vec<(usize, usize)> = Vec::new(); // (voice, row)
        for (index, row) in self.rows.iter().enumerate() {
            rows.extend(row.voice.filter(|&voice| acting[voice]).map(|voice| (voice, index)));
        }
        if rows.is_empty() {
            return;
        }
        rows.sort_unstable();
        let rows: Vec<usize> = rows.into_iter().map(|(_, row)| row).collect();
        let mut sites = sites.map(|(_, out, width)| RowSite { out, width });
        kernels.for_rows(&rows, &mut sites, |kernels, site, row, y| {
            let delta = self.rows[row].voice.and_then(|voice| self.voices[voice].delta.as_ref());
            if let Some(delta) = delta.filter(|delta| delta.acts_on(layer, parts[site])) {
                delta.add(kernels, layer, parts[site], x.row(row), y);
            }
        });
    }
}
