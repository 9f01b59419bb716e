//! Core, journal, outbox and sealing as one value.
