//! What every promise needs: a site (directory, issuer, daemon), messages of a terminal, a host that does as it is told,
//! and waits that end.

use std::io::Write;

pub(crate) mod authority;
pub(crate) mod daemon;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod issuer;
pub(crate) mod line;
pub(crate) mod random;
pub(crate) mod scan;
pub(crate) mod site;
pub(crate) mod strace;
pub(crate) mod wait;

pub(crate) use authority::Authority;
pub(crate) use daemon::Daemon;
pub(crate) use host::Host;
pub(crate) use image::Disk;
pub(crate) use issuer::IssuerProcess;
pub(crate) use line::{code, echo, field, name, repeat_of, reversal_of, sale};
pub(crate) use random::{seed, seed_or};
pub(crate) use site::{Options, Site, card};
pub(crate) use wait::{PATIENCE, until, within};

/// Says that a test cannot run here, past the capture of its output: a skipped proof is told. Always false.
///
/// # Panics
/// Where this variable is set: it says that the machine can.
pub(crate) fn skipped(test: &str, why: &str, required: &str) -> bool {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    assert!(std::env::var_os(required).is_none(), "{required} is set, and {why}");
    false
}
