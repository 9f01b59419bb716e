//! The index's tests from outside: one suite for every engine, and the thread that keeps an index up.

mod conformance;
mod live;
mod world;
