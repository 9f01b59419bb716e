//! Issuer and terminal behaviour for demonstrations, tests and load.
