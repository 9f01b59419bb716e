//! End to end: the real daemon as a process, real TLS, real files, a mock issuer or a scripted host behind it.
//!
//! One file per promise; each names the rule that it keeps. Rules have their tables of cases in the crates: here is only
//! what needs sockets, a disk and a process. Invariant: nothing waits by sleeping; every wait is for a condition, has a
//! deadline, and fails with the end of the daemon's log.

mod support;

mod approval;
mod bad_answers;
mod certificate;
mod configuration;
mod crash;
mod decline;
mod dependencies;
mod deploy;
mod doubt;
mod drain;
mod expiry;
mod failed_sync;
mod fault_matrix;
mod faults;
mod history;
mod hostile;
mod hung_sync;
mod index;
mod issuer_down;
mod late_answer;
mod law_page;
mod leak;
mod link_cut;
mod newest;
mod offline;
mod operate;
mod overload;
mod reload;
mod repeat;
mod resolve;
mod restart;
mod restored;
mod retention;
mod reversal_ignored;
mod rotation;
mod second_process;
mod security_page;
mod silent_peers;
mod terminal_reversal;
mod timeout_reversal;
mod two_shops;
mod undeliverable;
mod unread_log;
