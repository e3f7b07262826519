//! The gated activations of feed-forward layers. They are computed where the next products' input is made
//! ([`crate::Activations::load_gated`]).

use crate::exp::exp;

/// How a gate and what it lets through become one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// `silu(gate) * up`, where `silu(x) = x / (1 + e^-x)`.
    Silu,
    /// gpt-oss's: `(up + 1) * gate * sigmoid(alpha * gate)`, with `gate` cut off above `limit` and `up` beyond
    /// `-limit..=limit`.
    ClampedSwiglu {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Where both are cut off.
        limit: f32,
    },
}

impl Gate {
    /// Writes the result. What is not a number stays visible.
    #[inline(always)]
    pub(crate) fn apply(self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        match self {
            Gate::Silu => {
                for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
                    *out = gate / (1.0 + exp(-gate)) * up;
                }
            }
            Gate::ClampedSwiglu { alpha, limit } => {
                for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
                    // Unlike `f32::min`, comparisons keep a NaN.
                    let cut = if gate > limit { limit } else { gate };
                    let up = if up > limit { limit } else { up };
                    let up = if up < -limit { -limit } else { up };
                    *out = cut / (1.0 + exp(-alpha * cut)) * (up + 1.0);
                }
            }
        }
    }
}
