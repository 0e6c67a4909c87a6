//! Topologies at work. Tests of `broker::exchanges`.
