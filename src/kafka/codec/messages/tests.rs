//! Every message against the crate `kafka-protocol`, at every version.
