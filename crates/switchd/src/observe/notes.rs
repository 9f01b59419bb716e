//! What the core notes, as metrics and log lines. A card is shown masked, a movement by its RRN.
//!
//! Every note is counted. An issuer that is down owes thousands of reversals at once: of each kind of line so many a second
//! are written ([`Quota`](super::quota::Quota)), the journal has them all.

use iso8583::{MaskedPan, Rrn};
use switch::{IssuerNo, Note, StateKind, Switch};

use crate::clock;
use crate::observe::quota::Subject;
use crate::shell::Shell;

/// Counts and logs a note.
pub(crate) fn note(shell: &Shell, view: &Switch, note: Note) {
    let meters = &shell.meters;
    match note {
        Note::Answered { mti, code, rrn, after_ms, issuer_ms } => {
            meters.answered(mti, code);
            meters.answer_took(after_ms, issuer_ms);
            tracing::debug!(%mti, %code, rrn = shown(rrn), card = card(view, rrn), after_ms, issuer_ms, "answered");
        }
        Note::Decided { rule, rrn } => {
            meters.count_by_rule("switchd_decided_total", rule);
            tracing::debug!(rule, rrn = shown(rrn), card = card(view, rrn), "decided");
        }
        Note::ObligationRecorded { issuer, rule, rrn } => {
            meters.obligation_recorded(issuer, rule);
            if says(shell, issuer, "reversal promised") {
                tracing::info!(issuer = issuer.0, rule, %rrn, card = card(view, Some(rrn)), "reversal promised");
            }
        }
        Note::ObligationSent { issuer, rrn, attempt } => {
            meters.count_by_issuer("switchd_obligations_sent_total", issuer);
            if says(shell, issuer, "reversal sent") {
                tracing::info!(issuer = issuer.0, %rrn, attempt, "reversal sent");
            }
        }
        Note::ObligationAcknowledged { issuer, rrn, code } => {
            meters.count_by_issuer("switchd_obligations_acknowledged_total", issuer);
            if says(shell, issuer, "reversal acknowledged") {
                tracing::info!(issuer = issuer.0, %rrn, %code, "reversal acknowledged");
            }
        }
        Note::LateAnswer { issuer, rrn, code } => {
            meters.count_by_issuer("switchd_late_answers_total", issuer);
            if says(shell, issuer, "late answer") {
                tracing::warn!(issuer = issuer.0, %rrn, %code, card = card(view, Some(rrn)), "late answer");
            }
        }
        Note::Unmatched { link, stray } => {
            shell.strays.keep(clock::now().wall_ms, link, stray, None);
            meters.count_by_issuer("switchd_unmatched_answers_total", link.issuer);
            if shell.lines.take(Subject::Issuer(link.issuer)) {
                let (issuer, mti) = (link.issuer.0, stray.mti);
                tracing::warn!(issuer, %mti, "message from the issuer matches nothing that waits");
            }
        }
        Note::Exception { rule, rrn } => {
            meters.count_by_rule("switchd_exceptions_total", rule);
            if shell.lines.take(Subject::Person(rule)) {
                tracing::warn!(rule, rrn = shown(rrn), card = card(view, rrn), "a person must look: see `switchd doubt`");
            }
        }
        Note::State { id: _, rrn, state } => state_changed(shell, view, rrn, state),
        Note::LinkReady { link, ready } => link_ready(shell, link, ready),
    }
}

/// Whether a line of this kind may be written about a movement of this issuer.
fn says(shell: &Shell, issuer: IssuerNo, kind: &'static str) -> bool {
    shell.lines.take(Subject::Movements(issuer, kind))
}

fn state_changed(shell: &Shell, view: &Switch, rrn: Rrn, state: StateKind) {
    let person = state == StateKind::NeedsOperator;
    // Several times for each transaction: the card is not formatted for a line that nobody writes.
    if !person && !tracing::enabled!(tracing::Level::DEBUG) || person && !shell.lines.take(Subject::Person(state.name())) {
        return;
    }
    let (card, state) = (card(view, Some(rrn)), state.name());
    if person {
        tracing::warn!(%rrn, card, state, "movement");
    } else {
        tracing::debug!(%rrn, card, state, "movement");
    }
}

fn link_ready(shell: &Shell, link: switch::LinkId, ready: bool) {
    let links = shell.links.borrow();
    let Some(peer) = links.get((link.index, link.generation)) else { return };
    let name = shell.settings.links.get(&peer.number).map_or("", |settings| settings.name.as_str());
    tracing::info!(link = %peer.number, name, ready, "link connection");
}

fn shown(rrn: Option<Rrn>) -> String {
    rrn.map_or_else(String::new, |rrn| rrn.to_string())
}

/// First six and last four digits, or nothing.
fn card(view: &Switch, rrn: Option<Rrn>) -> String {
    let masked: Option<MaskedPan> = rrn.and_then(|rrn| view.movement_by_rrn(&rrn)?.card).map(|card| card.masked);
    masked.map_or_else(String::new, |masked| masked.to_string())
}
