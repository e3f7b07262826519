//! The kernels against references in f64, against each other, and their batch invariance.

mod attention;
mod layers;
mod matmul;
mod quant_blocks;
mod reference;
mod row;
