//! Keys that were refused before an intent (M7): they stay refused, so that a delayed copy is not executed later.
//!
//! Memory only, and bounded: the oldest is forgotten first.

use alloc::collections::{BTreeMap, VecDeque};

use iso8583::ResponseCode;

use crate::movement::Key;

/// How many refused keys are remembered at most: at 100 bytes each, some 6 MB.
const REFUSED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct Refused {
    codes: BTreeMap<Key, (u64, ResponseCode)>,
    order: VecDeque<(u64, Key)>,
}

impl Refused {
    /// Remembers a refusal until a moment of the uptime clock.
    pub(crate) fn remember(&mut self, key: Key, code: ResponseCode, until_ms: u64) {
        self.codes.insert(key, (until_ms, code));
        self.order.push_back((until_ms, key));
        while self.order.len() > REFUSED_MAX {
            self.forget_first();
        }
    }

    /// The code that this key was refused with.
    pub(crate) fn code(&mut self, key: Key, now_ms: u64) -> Option<ResponseCode> {
        while self.order.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            self.forget_first();
        }
        self.codes.get(&key).filter(|(until_ms, _)| *until_ms > now_ms).map(|(_, code)| *code)
    }

    fn forget_first(&mut self) {
        if let Some((until_ms, key)) = self.order.pop_front()
            && self.codes.get(&key).is_some_and(|(newest, _)| *newest == until_ms)
        {
            self.codes.remove(&key);
        }
    }
}
