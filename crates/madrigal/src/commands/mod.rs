//! One file per command.

pub(crate) mod completions;
pub(crate) mod env;
pub(crate) mod model;
pub(crate) mod persona;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod swarm;
pub(crate) mod talk;
