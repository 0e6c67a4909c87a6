//! Keeps the architecture true.
#[test]
fn placeholder() {}
