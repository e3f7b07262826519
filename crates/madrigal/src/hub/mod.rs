//! Models of the Hugging Face Hub: fetching them, and finding them where they were fetched to.
//!
//! Owns the wire (`client`, `fetch`), the folder that is shared with Hugging Face's own tools (`cache`, `lock`), and
//! which files of a repository make up a model (`choice`). Does not own the command line. The crate `hf-hub` is not
//! used: its downloads begin anew after an interruption, it compares no checksum, and it builds `aws-lc`.

mod access;
mod cache;
mod checksum;
mod choice;
mod client;
mod error;
mod fetch;
mod lock;
mod name;
mod pull;

pub(crate) use self::access::Access;
pub(crate) use self::cache::{Cache, PulledModel};
pub(crate) use self::choice::is_later_part;
pub(crate) use self::client::Hub;
pub(crate) use self::fetch::Step;
pub(crate) use self::name::RepoName;
pub(crate) use self::pull::{Pulled, pull};
