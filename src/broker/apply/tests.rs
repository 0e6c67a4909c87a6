//! Replay equals live state; no record makes apply panic. Part of `broker::apply`.
