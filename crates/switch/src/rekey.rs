//! New keys in the life of a journal, and what is in memory compared by them.
//!
//! A card is compared by its mark ([`CardHmac`]), and every comparison of the rules (D2 to D13, R6) is of two marks under one
//! look-up key: what memory holds is marked anew when that key changes, and whoever brings a movement from the journal
//! ([`crate::Input::Found`]) marks it first. Invariant: the first look-up key of [`Switch::keys`] is the one that all of memory
//! is marked under.
//!
//! Not here: keys. The core knows numbers and check values, and asks whoever holds the keys for marks.

use alloc::vec::Vec;
use core::ops::Bound;

use crate::card::{CardHmac, SealedPan};
use crate::ids::{MovementId, Now};
use crate::machine::{Output, Switch};
use crate::movement::Movement;
use crate::record::Record;

/// The number of every look-up key; keys that seal count from 1.
const LOOK_UP: u16 = 0;

/// Movements in one record of marks: 2.4 kB.
const MARKS_MAX: usize = 100;

/// What a sealed card is known by under the look-up key that is used from now on; `None` for a card that cannot be opened.
pub type MarkOf<'a> = &'a dyn Fn(&SealedPan) -> Option<CardHmac>;

impl Switch {
    /// The keys from now on, by number and check value, those that look up (number 0) and those that seal each the newest
    /// first. All that were there before must be among them: whoever holds the keys has seen to it. Their records come before
    /// those of anything that is sealed or marked with them, so a journal that holds such a card opens only with its keys.
    pub fn take_keys(&mut self, now: Now, keys: Vec<(u16, [u8; 8])>, mark_of: MarkOf<'_>, out: &mut Output) {
        let now = self.steady(now);
        let of_look_up = |keys: &[(u16, [u8; 8])]| keys.iter().find(|(number, _)| *number == LOOK_UP).copied();
        if let Some(old) = of_look_up(&self.state.keys).filter(|old| of_look_up(&keys) != Some(*old)) {
            // Until all is marked anew the old key stays the first: a start after a crash in the middle begins again.
            let mut both = alloc::vec![old];
            both.extend(keys.iter().filter(|key| **key != old));
            self.write(now, Record::Keys { keys: both }, out);
            self.mark_anew(now, mark_of, out);
        }
        if self.state.keys != keys {
            self.write(now, Record::Keys { keys }, out);
        }
    }

    /// What the keys of the newest life are known by.
    pub fn keys(&self) -> &[(u16, [u8; 8])] {
        &self.state.keys
    }

    fn mark_anew(&mut self, now: Now, mark_of: MarkOf<'_>, out: &mut Output) {
        let differs = |movement: &Movement| {
            let card = movement.card?;
            mark_of(&card.sealed).filter(|mark| *mark != card.hmac).map(|mark| (movement.id, mark))
        };
        let mut from = Bound::Unbounded;
        loop {
            // A record may let go of what ended long ago: the next are looked for when it is written.
            let movements = self.state.movements.range((from, Bound::Unbounded));
            let marks: Vec<(MovementId, CardHmac)> = movements.filter_map(|(_, m)| differs(m)).take(MARKS_MAX).collect();
            let Some((last, _)) = marks.last() else { break };
            from = Bound::Excluded(*last);
            self.write(now, Record::Marked { marks }, out);
        }
        for card in self.look_ups.cards() {
            card.hmac = mark_of(&card.sealed).unwrap_or(card.hmac);
        }
    }
}
