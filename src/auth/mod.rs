//! Who somebody is and what they may do: one principal and one list of rules for every protocol. Imports `model`.
//!
//! - [`principal`] the authenticated peer, which every verb of the broker takes
//! - [`authenticator`] from what a peer offers to a principal
//! - [`checks`] the threads that hash, and what they remember
//! - [`password_file`] all users, [`user_record`] one: an argon2id hash, perhaps a SCRAM verifier
//! - [`scram`] the exchange SCRAM-SHA-256
//! - [`acl`] rules: the first that matches decides
//! - [`filter_set`] whether one topic filter covers or meets another, which a subscription's rules turn on

pub mod acl;
pub mod authenticator;
pub mod checks;
pub mod filter_set;
pub mod password_file;
pub mod principal;
pub mod scram;
pub mod user_record;

pub use principal::Principal;
