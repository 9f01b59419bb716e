//! What every promise needs: a site (directory, issuer, daemon), messages of a terminal, a host that does as it is told,
//! and waits that end.

pub(crate) mod daemon;
pub(crate) mod host;
pub(crate) mod issuer;
pub(crate) mod line;
pub(crate) mod random;
pub(crate) mod scan;
pub(crate) mod site;
pub(crate) mod wait;

pub(crate) use daemon::Daemon;
pub(crate) use host::Host;
pub(crate) use issuer::IssuerProcess;
pub(crate) use line::{code, echo, field, name, repeat_of, reversal_of, sale};
pub(crate) use random::{seed, seed_or};
pub(crate) use site::{Options, Site, card};
pub(crate) use wait::{PATIENCE, until, within};
