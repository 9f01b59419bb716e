//! Carries out what the core asks for: queues frames, takes writes back, closes, passes notes on.
//!
//! Invariant: a write that cannot be queued is reported here and now, any other by its connection.

use std::fmt::Display;

use switch::{Action, ActionId, ConnId, Input, LinkId, Note, Query, QueryId, Report, Switch};

use super::Shell;
use crate::net::traffic::End;
use crate::observe::notes;

/// Carries an action out. A look-up is handed back: the engine has the thread for it.
pub(crate) fn carry_out(shell: &Shell, view: &Switch, action: Action) -> Option<(QueryId, Query)> {
    match action {
        Action::ToTerminal { id, conn, message } => {
            let peer = shell.terminals.borrow().get(place(conn)).cloned();
            let queued = peer.is_some_and(|peer| {
                peer.in_flight.answered();
                let put = |out: &mut Vec<u8>| shell.wire.put(peer.dialect, &message, out);
                written(peer.line.push(Some(id), shell.settings.limits.write_backlog_max, put))
            });
            if !queued {
                report(shell, id, Report::Undeliverable);
            }
            None
        }
        Action::ToIssuer { id, link, message, card } => {
            assert!(card.is_none(), "the partition opens cards");
            let Some(link) = shell.links.borrow().get(link_place(link)).cloned() else {
                report(shell, id, Report::NotSent);
                return None;
            };
            let put = |out: &mut Vec<u8>| shell.wire.put(link.dialect, &message, out);
            if !written(link.line.push(Some(id), shell.settings.limits.link_write_backlog_max, put)) {
                report(shell, id, Report::Unbuildable);
            }
            None
        }
        Action::Withdraw { id, conn } => {
            let peer = shell.terminals.borrow().get(place(conn)).cloned();
            if peer.is_some_and(|peer| peer.line.withdraw(id)) {
                report(shell, id, Report::Undeliverable);
            }
            None
        }
        // The partition's own.
        Action::Unsend { .. } => None,
        Action::ResetIfUnacknowledged { link } => {
            if let Some(link) = shell.links.borrow().get(link_place(link)) {
                link.line.reset_if_unacknowledged();
            }
            None
        }
        Action::CloseLink { link, refused } => {
            if let Some(link) = shell.links.borrow().get(link_place(link)) {
                if let Some(code) = refused {
                    tracing::warn!(link = %link.number, %code, "the issuer refused the sign-on");
                }
                link.line.close(End::Unresponsive);
            }
            None
        }
        Action::Find { id, query } => Some((id, query)),
        Action::Resolved { ask, result } => {
            shell.orders.answer(view, ask, result);
            None
        }
        Action::Note(note) => {
            if let Note::LinkReady { link, ready: true } = note
                && let Some(link) = shell.links.borrow().get(link_place(link))
            {
                link.was_ready.set(true);
            }
            notes::note(shell, view, note);
            None
        }
    }
}

/// Whether the message could be written in the peer's dialect.
fn written<E: Display>(queued: Result<(), E>) -> bool {
    if let Err(error) = &queued {
        tracing::error!(%error, "a message cannot be written in the dialect of its peer");
    }
    queued.is_ok()
}

fn report(shell: &Shell, action: ActionId, report: Report) {
    shell.mailbox.push(Input::Report { action, report });
}

fn place(conn: ConnId) -> super::table::Place {
    (conn.index, conn.generation)
}

fn link_place(link: LinkId) -> super::table::Place {
    (link.index, link.generation)
}
