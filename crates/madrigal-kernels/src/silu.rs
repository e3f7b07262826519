//! The gated activation of the feed-forward layer.

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
