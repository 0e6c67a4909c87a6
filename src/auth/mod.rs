//! Who somebody is and what they may do: one principal and one list of rules for every protocol. Imports `model`.
//!
//! - [`principal`] the authenticated peer, which every verb of the broker takes

pub mod principal;

pub use principal::Principal;
