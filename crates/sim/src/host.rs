//! The issuers' side: the behaviour is `counterparts`', here it is given connections and time.
//!
//! Invariant: what an issuer's ledger moves, it moves by [`Issuer`]; this module decides only when and where answers go.

use std::collections::BTreeSet;

use counterparts::issuer::{Effect, Issuer};
use iso8583::Fields;

use crate::chaos::Chaos;
use crate::plan::{Plan, Trouble};
use crate::queue::{MS, Micros};
use crate::wire::{End, Peer};
use crate::world::{Event, World};

/// One issuer's host.
pub(crate) struct Host {
    pub(crate) issuer: Issuer,
    pub(crate) up: bool,
    /// RRNs that it judged after the horizon.
    pub(crate) judged_late: BTreeSet<String>,
    /// The trouble of each of its rules, and how often each rule has struck.
    causes: Vec<(Trouble, u64)>,
}

impl Host {
    pub(crate) fn all(plan: &Plan) -> Vec<Host> {
        (0_u64..)
            .zip(&plan.issuers)
            .map(|(number, settings)| {
                let (causes, rules) = plan.host_faults(*settings);
                let causes = causes.into_iter().map(|trouble| (trouble, 0)).collect();
                let mut issuer = Issuer::new(plan.host_settings(*settings), plan.seed ^ (number << 32));
                issuer.faults().replace(rules);
                Host { issuer, up: true, judged_late: BTreeSet::new(), causes }
            })
            .collect()
    }

    /// The trouble whose rule has struck the message that just came.
    fn struck_by(&mut self) -> Option<Trouble> {
        let rules = self.issuer.faults().rules().iter().map(|rule| rule.acted);
        let (cause, acted) = self.causes.iter_mut().zip(rules).find(|((_, before), acted)| before != acted)?;
        cause.1 = acted;
        Some(cause.0)
    }
}

impl World {
    pub(crate) fn host_receives(&mut self, host: usize, at: usize, message: &Fields) {
        if !self.hosts[host].up {
            return;
        }
        let wrong = self.auditor.issuer_sees(message);
        if let Some(wrong) = wrong {
            self.violation(wrong);
        }
        let wall_ms = self.wall_ms();
        let effect = self.hosts[host].issuer.receive(wall_ms, message);
        if let Some(trouble) = self.hosts[host].struck_by() {
            self.struck(trouble);
        }
        if self.plan.has(Trouble::UnknownReversal00) && self.is_believed(host, message, &effect) {
            self.out.coverage.trouble(Trouble::UnknownReversal00);
        }
        self.take_effect(at, effect);
    }

    /// The reversal of an original that the issuer does not know is answered with 00.
    fn is_believed(&self, host: usize, reversal: &Fields, effect: &Effect) -> bool {
        let Effect::Answer(answer) = effect else { return false };
        let rrn = reversal.text(37).unwrap_or_default().trim_end();
        let knows = || self.hosts[host].issuer.movements().iter().any(|movement| movement.rrn == rrn);
        reversal.mti().class() == 4 && answer.text(39) == Some("00") && !knows()
    }

    fn take_effect(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Answer(answer) => self.host_answers(at, 0, answer),
            Effect::Later { after_ms, effect } => {
                self.events.put(self.now + after_ms * MS, Event::HostDoes { conn: at, effect });
            }
            Effect::Resume { after_ms, message } => {
                let event = Event::HostResumes { conn: at, message: Box::new(message) };
                self.events.put(self.now + after_ms * MS, event);
            }
            Effect::Twice { first, after_ms, second } => {
                self.host_answers(at, 0, first);
                self.host_answers(at, after_ms, second);
            }
            Effect::Alone(answer) => {
                self.host_answers(at, 0, answer);
                for other in self.siblings(at) {
                    self.peer_hangs_up(other);
                }
            }
            Effect::Elsewhere(answer) => {
                let other = self.siblings(at).pop();
                self.host_answers(other.unwrap_or(at), 0, answer);
            }
            // T4: what cannot be read is counted by the shell and does not reach the core.
            Effect::Garbage => self.out.coverage.event("answer that cannot be read"),
            // Half a frame keeps all that comes after it from being read, until the connection ends.
            Effect::HalfAndSilence(_) | Effect::ImpossibleLength => self.conns[at].garbled = true,
            Effect::Half(_) | Effect::Cut => self.peer_hangs_up(at),
            Effect::Down { for_ms } => {
                let Peer::Host { host, .. } = self.conns[at].peer else { return };
                self.host_goes_down(host, for_ms * MS);
            }
            Effect::Silence => {}
        }
    }

    pub(crate) fn host_does(&mut self, at: usize, effect: Effect) {
        if self.conns[at].peer_up {
            self.take_effect(at, effect);
        }
    }

    fn host_answers(&mut self, at: usize, after_ms: u64, answer: Fields) {
        let thinks = MS + self.below(10 * MS);
        let leaves: Micros = self.now + after_ms * MS + thinks;
        self.events.put(leaves, Event::HostSends { conn: at, message: Box::new(answer) });
    }

    pub(crate) fn host_resumes(&mut self, at: usize, message: &Fields) {
        let Peer::Host { host, .. } = self.conns[at].peer else { return };
        if !self.hosts[host].up {
            return;
        }
        let wall_ms = self.wall_ms();
        if self.plan.has(Trouble::BeyondHorizon) {
            let rrn = message.text(37).unwrap_or_default().trim_end().to_owned();
            if self.auditor.horizon_is_over(&rrn, self.now / MS) {
                self.hosts[host].judged_late.insert(rrn);
            }
        }
        if let Some(answer) = self.hosts[host].issuer.resume(wall_ms, message) {
            self.host_answers(at, 0, answer);
        }
    }

    /// An answer leaves on its connection, or on another of the link (T2).
    pub(crate) fn host_sends(&mut self, at: usize, message: Box<Fields>) {
        let Peer::Host { host, .. } = self.conns[at].peer else { return };
        if !self.hosts[host].up {
            return;
        }
        let closed = !self.conns[at].peer_up;
        let siblings = self.siblings(at);
        let elsewhere = !siblings.is_empty()
            && (closed && self.plan.has(Trouble::HostElsewhere) || self.strikes(Trouble::HostElsewhere, 0.05));
        let at = if elsewhere { siblings[self.below(siblings.len() as u64) as usize] } else { at };
        if self.conns[at].peer_up && !self.conns[at].garbled {
            self.send(at, End::Peer, message);
        }
    }

    /// The other open connections of the same link.
    fn siblings(&self, at: usize) -> Vec<usize> {
        let of = self.conns[at].peer;
        let open = |other: &usize| *other != at && self.conns[*other].peer == of && self.conns[*other].peer_up;
        (0..self.conns.len()).rev().take(400).filter(open).collect()
    }

    /// The host goes down for a while, with all its connections.
    pub(crate) fn host_goes_down(&mut self, host: usize, for_how_long: Micros) {
        self.events.put(self.now + for_how_long, Event::Chaos(Chaos::HostUp(host)));
        self.hosts[host].up = false;
        self.tell(|| format!("--- issuer {} is down", host + 1));
        for at in 0..self.conns.len() {
            if matches!(self.conns[at].peer, Peer::Host { host: of, .. } if of == host) && self.conns[at].peer_up {
                self.peer_hangs_up(at);
            }
        }
    }
}
