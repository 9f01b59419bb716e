//! What a response code says about money, and which codes acknowledge a reversal. One table per link.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use iso8583::ResponseCode;

/// What an acquirer may conclude about the money from a code alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Money {
    /// The issuer moved it.
    Moved,
    /// The issuer did not move it.
    NotMoved,
    /// The code does not say: not a usable answer (T1).
    Unknown,
}

/// The codes of one link. A code that is in no list is `Unknown`.
#[derive(Clone, Debug)]
pub struct CodeTable {
    money: BTreeMap<ResponseCode, Money>,
    /// Codes that mean "there is no such original" in an answer to a reversal (R2): 25, 21, 12.
    pub no_original: Vec<ResponseCode>,
}

const MOVED: &[&[u8; 2]] = &[b"00", b"10", b"11", b"16", b"32", b"A2", b"A4", b"A5", b"A6"];

const NOT_MOVED: &[&[u8; 2]] = &[
    b"01", b"02", b"03", b"04", b"05", b"07", b"12", b"13", b"14", b"15", b"17", b"19", b"21", b"23", b"25", b"30", b"31",
    b"33", b"34", b"35", b"36", b"37", b"38", b"39", b"40", b"41", b"42", b"43", b"44", b"45", b"51", b"52", b"53", b"54",
    b"55", b"56", b"57", b"58", b"59", b"60", b"61", b"62", b"63", b"64", b"65", b"66", b"67", b"75", b"77", b"90", b"91",
    b"92", b"93", b"97", b"99", b"A0", b"A1", b"A3", b"A7",
];

impl Default for CodeTable {
    /// The usual reading: 00, 10, 11, 16, 32, A2, A4, A5, A6 moved; 06, 09, 20, 22, 26, 68, 69, 79, 94, 95, 96, 98 and all
    /// unlisted codes unknown; the rest not moved.
    fn default() -> Self {
        let mut money = BTreeMap::new();
        for code in MOVED {
            money.insert(ResponseCode::new(**code), Money::Moved);
        }
        for code in NOT_MOVED {
            money.insert(ResponseCode::new(**code), Money::NotMoved);
        }
        CodeTable {
            money,
            no_original: vec![ResponseCode::new(*b"25"), ResponseCode::new(*b"21"), ResponseCode::new(*b"12")],
        }
    }
}

impl CodeTable {
    /// What this code says about money.
    pub fn money(&self, code: ResponseCode) -> Money {
        self.money.get(&code).copied().unwrap_or(Money::Unknown)
    }

    /// Reads a code differently on this link.
    pub fn set(&mut self, code: ResponseCode, money: Money) {
        self.money.insert(code, money);
    }
}
