//! The tests of evertask that see it from outside, in one program.

mod conformance;
mod memory;
mod model;
