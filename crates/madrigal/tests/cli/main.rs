//! The built program, used as people and machines use it.

mod bad_input;
mod crash;
mod machine;
mod people;
mod place;
mod reproducible;
