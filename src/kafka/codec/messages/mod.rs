//! One file per request, with the layout of every version at its head. Part of `kafka/codec`.
//!
//! Requests decode into borrowed structures, responses encode from owned ones. In the tables `s` is a
//! string, `?` marks what may be null, `[…]` an array, `tags` the end of a structure in flexible versions.

pub mod api_versions;
pub mod create_topics;
pub mod fetch;
pub mod list_offsets;
pub mod metadata;
pub mod produce;

#[cfg(test)]
mod tests;
