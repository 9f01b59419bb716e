//! The core from outside, by scripts: each rule, and the sequences that a first version got wrong.

mod answers;
mod combinations;
mod confirmation;
mod every;
mod links;
mod profiles;
mod promises;
mod rekeys;
mod resolve;
mod restart;
mod reversals;
mod rotation;
mod sequences;
mod speak;
mod terminal;
mod totality;
mod undone;
mod world;
