//! The journal's tests from outside: promises, crashes, flipped bits, a model, real files.

mod common;
mod promises;
