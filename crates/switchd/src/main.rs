//! The acquirer transaction switch daemon.
fn main() {}
