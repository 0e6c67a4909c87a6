//! Publishing across both worlds. Tests of `broker::publish`.

mod cache;
mod crossing;
mod crowd;
mod headers;
mod kept;
mod overtaken;
mod random;
mod refusals;
mod rights;
mod routes;
mod town;
