//! The gated activations of feed-forward layers.

use crate::Kernels;
use crate::exp::exp;
use crate::simd::{Op, Simd};

impl Kernels {
    /// `gate = silu(gate) * up`, where `silu(x) = x / (1 + e^-x)`.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gate of {} elements, up of {}", gate.len(), up.len());
        const CHUNK: usize = 2048;
        let dispatch = self.dispatch;
        self.pool.for_chunks(gate, CHUNK, |_, index, gate| {
            let up = &up[index * CHUNK..][..gate.len()];
            dispatch.run(SiluMul { gate, up });
        });
    }

    /// gpt-oss's activation: `gate = (up + 1) * gate * sigmoid(alpha * gate)`, with `gate` cut off above `limit` and `up`
    /// beyond `-limit..=limit`. What is not a number stays visible.
    pub fn clamped_swiglu(&self, gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) {
        assert_eq!(gate.len(), up.len(), "gate of {} elements, up of {}", gate.len(), up.len());
        const CHUNK: usize = 2048;
        let dispatch = self.dispatch;
        self.pool.for_chunks(gate, CHUNK, |_, index, gate| {
            let up = &up[index * CHUNK..][..gate.len()];
            dispatch.run(ClampedSwiglu { gate, up, alpha, limit });
        });
    }
}

struct SiluMul<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Op for SiluMul<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

struct ClampedSwiglu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
    alpha: f32,
    limit: f32,
}

impl Op for ClampedSwiglu<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        let Self { alpha, limit, .. } = self;
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            // Unlike `f32::min`, comparisons keep a NaN.
            let cut = if *gate > limit { limit } else { *gate };
            let up = if up > limit { limit } else { up };
            let up = if up < -limit { -limit } else { up };
            *gate = cut / (1.0 + exp(-alpha * cut)) * (up + 1.0);
        }
    }
}
