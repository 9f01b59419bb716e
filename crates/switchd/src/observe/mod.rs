//! What people and gauges see: logs, metrics, health, the admin socket. Never more of a card than its masked number.

pub(crate) mod admin;
pub(crate) mod alone;
pub(crate) mod expiry;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod log;
pub(crate) mod meters;
pub(crate) mod notes;
pub(crate) mod outlook;
pub(crate) mod quota;
pub(crate) mod resolve;
pub(crate) mod status;
pub(crate) mod strays;
pub(crate) mod walk;
