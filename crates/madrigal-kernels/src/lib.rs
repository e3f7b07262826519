//! The numeric kernels of Madrigal: quantised blocks, matrix products, attention, norms.
//!
//! Owns the arithmetic of one forward pass and the thread pool that runs it. It knows nothing of
//! model files, architectures or sequences; those live in `madrigal-engine`.
//!
//! # Batch invariance
//! A row's result is bit-equal whatever other rows share the call, however a prompt was cut into
//! chunks, and for any number of threads. Every float reduction therefore runs in an order that
//! is fixed by shapes and absolute positions alone. Tiles, units of work and threads only decide
//! *who* computes an output, never *how*. Results may differ between instruction sets.
//!
//! # Instruction sets
//! Each kernel is written once, generic over the private trait `Simd`, and compiled once per instruction set.
//! `exp`, `sin` and `cos` are our own or from the `libm` crate, never from the platform.

mod activations;
mod attention;
mod block;
mod blocked;
mod dense;
mod disjoint;
mod exp;
mod float16;
mod gate;
mod isa;
mod kernels;
mod kv;
mod limits;
mod matrix;
mod norm;
mod pool;
mod product;
mod rope;
mod row;
mod simd;
mod tiles;

pub use activations::{Activations, Precision, UnknownPrecision};
pub use attention::{AttentionJob, AttentionRow};
pub use block::{BlockType, dequantize};
pub use gate::Gate;
pub use isa::{Isa, UnknownIsa};
pub use kernels::{Kernels, KernelsError};
pub use kv::{KvLayer, KvPlace, KvShape, KvType, UnknownKvType};
pub use matrix::{Matrix, pack, packed_bytes};
pub use product::Product;
pub use rope::{Heads, RopeStyle, RopeTable, Rotation};
pub use row::{Half, LowRank, RowKernels, RowSite};
