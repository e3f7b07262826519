//! Remote chat models against a server that speaks every wire and misbehaves on demand.

mod wire;
