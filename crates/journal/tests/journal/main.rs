//! The journal's tests from outside: promises, crashes, flipped bits, a model, real files.

mod common;
mod crashes;
mod files;
mod flips;
mod model;
mod promises;
