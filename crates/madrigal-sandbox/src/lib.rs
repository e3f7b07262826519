//! Running programs that nobody here wrote: what they may do, for how long, and what became of them.
//!
//! Owns confinement and limits. Knows nothing of agents, tasks or journals. What a program's output means is the
//! business of whoever runs it.
//!
//! # How a program is confined
//! At [`Level::Full`] it has namespaces of its own (bubblewrap): no network, no other processes, a read-only file system
//! with the interpreter and a small `/tmp` in memory. Inside, a shim sets resource limits, Landlock rules and system-call
//! filters, and only then becomes the program. [`Level::Reduced`] is the shim alone, and nothing can be written at all.
//! Nothing degrades in silence: [`Sandbox::open`] runs hostile programs first and refuses a level that does not hold.

mod interpreter;
#[cfg(target_os = "linux")]
mod judge;
mod level;
mod limits;
#[cfg(target_os = "linux")]
mod running;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod self_test;
#[cfg(target_os = "linux")]
pub mod shim;
#[cfg(target_os = "linux")]
mod system_calls;

pub use interpreter::{Interpreter, InterpreterError};
#[cfg(target_os = "linux")]
pub use judge::{Judged, Task, Verdict};
pub use level::{Level, UnknownLevel};
pub use limits::Limits;
#[cfg(target_os = "linux")]
pub use running::{End, Output, Running};
#[cfg(target_os = "linux")]
pub use sandbox::{Program, Sandbox, SandboxError, Shim};
