//! What the issuer remembers of the requests it has decided, and how a message names one of them.
//!
//! Holds no card and no money. Invariant: a message is tied to a request only if nothing that both
//! carry (class, DE7, 37, 41, 42) differs, and they share the STAN or the RRN.

use std::collections::HashMap;

use iso8583::{Amount, Fields, Mti, ResponseCode, Rrn, Stan};

use super::ledger::{AccountId, MovementId};

/// What a message says of the request it is, repeats or reverses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Second digit of the MTI; `None` if the message does not say.
    class: Option<u8>,
    pub(super) stan: Stan,
    de7: Option<[u8; 10]>,
    pub(super) rrn: Option<Rrn>,
    pub(super) terminal: Option<[u8; 8]>,
    merchant: Option<[u8; 15]>,
}

impl Reference {
    /// The request that this message is. `None` without a STAN.
    pub(super) fn of_request(message: &Fields) -> Option<Self> {
        Some(Self {
            class: Some(message.mti().class()),
            stan: Stan::try_from(message.get(11)?).ok()?,
            de7: exact(message, 7),
            rrn: message.get(37).and_then(|rrn| Rrn::try_from(rrn).ok()),
            terminal: exact(message, 41),
            merchant: exact(message, 42),
        })
    }

    /// The request that this reversal is for: by DE90, else by its own STAN. `None` without either.
    pub(super) fn of_original(reversal: &Fields) -> Option<Self> {
        let own = Self::of_request(reversal);
        let Some((mti, stan, de7)) = reversal.get(90).and_then(original_data) else {
            // A reversal has its own DE7, which says nothing of the original's.
            return own.map(|own| Self { class: None, de7: None, ..own });
        };
        Some(Self {
            class: Some(mti.class()),
            stan,
            de7,
            rrn: reversal.get(37).and_then(|rrn| Rrn::try_from(rrn).ok()),
            terminal: exact(reversal, 41),
            merchant: exact(reversal, 42),
        })
    }

    /// True unless something that both carry differs, the STAN apart.
    fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        same(self.class, other.class)
            && same(self.de7, other.de7)
            && same(self.rrn, other.rrn)
            && same(self.terminal, other.terminal)
            && same(self.merchant, other.merchant)
    }
}

/// DE90: MTI 4, STAN 6, DE7 10 (zeros: not given); acquirer codes follow and are not looked at.
fn original_data(de90: &[u8]) -> Option<(Mti, Stan, Option<[u8; 10]>)> {
    let mti = Mti::try_from(de90.get(..4)?).ok()?;
    let stan = Stan::try_from(de90.get(4..10)?).ok()?;
    let de7: [u8; 10] = de90.get(10..20)?.try_into().ok()?;
    Some((mti, stan, (de7 != *b"0000000000").then_some(de7)))
}

/// A data element of exactly `N` bytes.
fn exact<const N: usize>(message: &Fields, de: u8) -> Option<[u8; N]> {
    message.get(de)?.try_into().ok()
}

/// A request and what became of it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) reference: Reference,
    pub(super) account: Option<AccountId>,
    /// What was asked for.
    pub(super) amount: Option<Amount>,
    /// What was approved, if that is less.
    pub(super) approved_amount: Option<Amount>,
    pub(super) code: ResponseCode,
    /// DE38 of an approval.
    pub(super) approval: Option<[u8; 6]>,
    /// What was available after an approval, for DE54.
    pub(super) available: i64,
    pub(super) movement: Option<MovementId>,
    /// DE38 and movement of a second approval, which no second request asked for.
    pub(super) second: Option<([u8; 6], MovementId)>,
    /// The decision before this one with the same STAN.
    previous: Option<usize>,
}

impl Decision {
    pub(super) fn declined(reference: Reference, code: ResponseCode) -> Self {
        Self {
            reference,
            account: None,
            amount: None,
            approved_amount: None,
            code,
            approval: None,
            available: 0,
            movement: None,
            second: None,
            previous: None,
        }
    }
}

/// All decisions, found by STAN and by RRN; and reversals that came before their originals.
#[derive(Debug, Default)]
pub(super) struct Memory {
    decisions: Vec<Decision>,
    newest_by_stan: HashMap<Stan, usize>,
    newest_by_rrn: HashMap<Rrn, usize>,
    early_reversals: HashMap<Stan, Vec<Reference>>,
}

impl Memory {
    pub(super) fn keep(&mut self, mut decision: Decision) -> &Decision {
        let id = self.decisions.len();
        decision.previous = self.newest_by_stan.insert(decision.reference.stan, id);
        if let Some(rrn) = decision.reference.rrn {
            self.newest_by_rrn.insert(rrn, id);
        }
        self.decisions.push(decision);
        &self.decisions[id]
    }

    /// The newest request that this reference names: by STAN, else by RRN alone.
    pub(super) fn find(&self, reference: &Reference) -> Option<&Decision> {
        self.position(reference).map(|id| &self.decisions[id])
    }

    /// The same, to be changed.
    pub(super) fn find_mut(&mut self, reference: &Reference) -> Option<&mut Decision> {
        self.position(reference).map(|id| &mut self.decisions[id])
    }

    fn position(&self, reference: &Reference) -> Option<usize> {
        let mut next = self.newest_by_stan.get(&reference.stan).copied();
        while let Some(id) = next {
            let decision = &self.decisions[id];
            if decision.reference.agrees(reference) {
                return Some(id);
            }
            next = decision.previous;
        }
        None
    }

    /// The newest request with this reference's RRN, whatever its STAN; its terminal must agree.
    pub(super) fn find_by_rrn(&self, reference: &Reference) -> Option<&Decision> {
        let decision = self.of_rrn(reference.rrn?)?;
        let only_place = Reference { class: None, de7: None, ..reference.clone() };
        decision.reference.agrees(&only_place).then_some(decision)
    }

    /// The newest request with this RRN.
    pub(super) fn of_rrn(&self, rrn: Rrn) -> Option<&Decision> {
        self.newest_by_rrn.get(&rrn).map(|id| &self.decisions[*id])
    }

    pub(super) fn remember_early(&mut self, original: Reference) {
        let known = self.early_reversals.entry(original.stan).or_default();
        if !known.contains(&original) {
            known.push(original);
        }
    }

    /// True if this request was reversed before it came.
    pub(super) fn reversed_early(&self, request: &Reference) -> bool {
        self.early_reversals.get(&request.stan).is_some_and(|early| early.iter().any(|original| original.agrees(request)))
    }
}
