//! Tasks for agents that write programs.
//!
//! Owns where tasks come from. How agents are prompted, routed and measured comes with the experiments.

pub mod draws;
pub mod families;
pub mod tasks;
