//! probe placeholder
fn main() {}
