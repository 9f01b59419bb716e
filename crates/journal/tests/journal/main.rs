//! The journal's tests from outside: promises, crashes, flipped bits, a model, real files.

mod common;
mod crashes;
mod edges;
mod files;
mod fixtures;
mod flips;
mod interrupted;
mod model;
mod promises;
mod tail;
mod upkeep;
