//! Remote chat models against a server that speaks every wire and misbehaves on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod wire;
