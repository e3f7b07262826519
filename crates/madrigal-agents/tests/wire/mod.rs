//! A small HTTP server for the wires, and what is tried with it.

mod contract;
mod discovery;
mod exchange;
mod faults;
mod hostile;
mod secrets;
pub(crate) mod server;
pub(crate) mod speech;
pub(crate) mod table;
