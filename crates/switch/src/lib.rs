//! The money rules as a pure state machine.
#![no_std]
extern crate alloc;
