//! Who somebody is and what they may do: one principal and one list of rules for every protocol. Imports `model`.
//!
//! - [`principal`] the authenticated peer, which every verb of the broker takes
//! - [`authenticator`] from a user name and password to a principal
//! - [`password_file`] users and their argon2id hashes
//! - [`acl`] rules: the first that matches decides
//! - [`filter_set`] whether one topic filter covers or meets another, which a subscription's rules turn on

pub mod acl;
pub mod authenticator;
pub mod filter_set;
pub mod password_file;
pub mod principal;

pub use principal::Principal;
