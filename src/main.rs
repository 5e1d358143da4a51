//! The `occupancy` command.

fn main() {}
