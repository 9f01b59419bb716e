//! The core from outside, by scripts: each rule, and the sequences that a first version got wrong.

mod combinations;
mod gaps;
mod promises;
mod rules;
mod sequences;
mod world;
