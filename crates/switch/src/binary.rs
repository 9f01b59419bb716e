//! How records and snapshots become bytes: fixed-width little-endian numbers, one tag byte before each choice.
//!
//! Every type is written and read by the same list of fields, so that the two cannot drift apart. Reading checks every
//! value again: damaged bytes that passed the journal's checksums give [`Damaged`], never a wrong state.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use iso8583::{Amount, Currency, MaskedPan, ResponseCode, Rrn, Stan, TerminalId};

use crate::card::{Card, CardHmac, SEALED_BYTES, SealedPan};
use crate::ids::{GroupNo, IssuerNo, LinkNo, Lsn, MovementId};

/// Bytes that are not what this version of the format writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// What could not be read.
    pub what: &'static str,
}

impl core::fmt::Display for Damaged {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "stored bytes do not hold a valid {}", self.what)
    }
}

impl core::error::Error for Damaged {}

/// A value that can be stored.
pub(crate) trait Stored: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the value off the front.
    fn take(from: &mut &[u8]) -> Result<Self, Damaged>;
}

fn split<'a>(from: &mut &'a [u8], len: usize, what: &'static str) -> Result<&'a [u8], Damaged> {
    if from.len() < len {
        return Err(Damaged { what });
    }
    let (head, tail) = from.split_at(len);
    *from = tail;
    Ok(head)
}

macro_rules! stored_number {
    ($($type:ty),*) => { $(
        impl Stored for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
                let bytes = split(from, size_of::<$type>(), stringify!($type))?;
                Ok(<$type>::from_le_bytes(bytes.try_into().map_err(|_| Damaged { what: stringify!($type) })?))
            }
        }
    )* };
}
stored_number!(u8, u16, u32, u64);

impl<const N: usize> Stored for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        split(from, N, "byte string")?.try_into().map_err(|_| Damaged { what: "byte string" })
    }
}

impl Stored for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged { what: "flag" }),
        }
    }
}

impl<T: Stored> Stored for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Ok(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    (count as u64).put(out);
}

fn take_count(from: &mut &[u8]) -> Result<usize, Damaged> {
    let count = usize::try_from(u64::take(from)?).map_err(|_| Damaged { what: "count" })?;
    // Each element takes at least a byte: a damaged count must not reserve memory for what cannot be there.
    if count > from.len() { Err(Damaged { what: "count" }) } else { Ok(count) }
}

impl<T: Stored> Stored for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        (0..take_count(from)?).map(|_| T::take(from)).collect()
    }
}

impl<K: Stored + Ord, V: Stored> Stored for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        (0..take_count(from)?).map(|_| Ok((K::take(from)?, V::take(from)?))).collect()
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

/// Text of at most 255 bytes.
impl Stored for alloc::string::String {
    fn put(&self, out: &mut Vec<u8>) {
        let bytes = &self.as_bytes()[..self.len().min(255)];
        out.push(bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        let len = usize::from(u8::take(from)?);
        let bytes = split(from, len, "text")?;
        Ok(core::str::from_utf8(bytes).map_err(|_| Damaged { what: "text" })?.into())
    }
}

impl Stored for TerminalId {
    fn put(&self, out: &mut Vec<u8>) {
        self.terminal().put(out);
        self.merchant().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        TerminalId::try_from(split(from, 23, "terminal")?).map_err(|_| Damaged { what: "terminal" })
    }
}

impl Stored for Stan {
    fn put(&self, out: &mut Vec<u8>) {
        self.get().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Stan::new(u32::take(from)?).map_err(|_| Damaged { what: "STAN" })
    }
}

impl Stored for Rrn {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Rrn::try_from(split(from, 12, "RRN")?).map_err(|_| Damaged { what: "RRN" })
    }
}

impl Stored for ResponseCode {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        ResponseCode::try_from(split(from, 2, "response code")?).map_err(|_| Damaged { what: "response code" })
    }
}

impl Stored for Currency {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Currency::try_from(split(from, 3, "currency")?).map_err(|_| Damaged { what: "currency" })
    }
}

impl Stored for Amount {
    fn put(&self, out: &mut Vec<u8>) {
        self.minor().put(out);
        self.currency().put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Amount::new(u64::take(from)?, Currency::take(from)?).map_err(|_| Damaged { what: "amount" })
    }
}

impl Stored for MaskedPan {
    fn put(&self, out: &mut Vec<u8>) {
        alloc::string::ToString::to_string(self).put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        let text = alloc::string::String::take(from)?;
        MaskedPan::try_from(text.as_bytes()).map_err(|_| Damaged { what: "masked PAN" })
    }
}

/// Writes and reads a struct field by field, in the order of the list.
macro_rules! stored_struct {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl crate::binary::Stored for $type {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                $( self.$field.put(out); )*
            }
            fn take(from: &mut &[u8]) -> Result<Self, crate::binary::Damaged> {
                Ok(Self { $( $field: crate::binary::Stored::take(from)?, )* })
            }
        }
    };
}

/// Writes and reads an enum: a tag byte, then the fields of the variant. Tags are never used again for something else.
macro_rules! stored_enum {
    ($type:ident { $($tag:literal => $variant:ident $( { $($field:ident),* $(,)? } )? ),* $(,)? }) => {
        impl crate::binary::Stored for $type {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                match self {
                    $( Self::$variant $( { $($field),* } )? => {
                        out.push($tag);
                        $( $( crate::binary::Stored::put($field, out); )* )?
                    } )*
                }
            }
            fn take(from: &mut &[u8]) -> Result<Self, crate::binary::Damaged> {
                let tag = <u8 as crate::binary::Stored>::take(from)?;
                match tag {
                    $( $tag => Ok(Self::$variant $( { $($field: crate::binary::Stored::take(from)?),* } )? ), )*
                    _ => Err(crate::binary::Damaged { what: stringify!($type) }),
                }
            }
        }
    };
}
pub(crate) use {stored_enum, stored_struct};

macro_rules! stored_newtype {
    ($($type:ident),*) => { $(
        impl Stored for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
                Ok($type(Stored::take(from)?))
            }
        }
    )* };
}
stored_newtype!(IssuerNo, GroupNo, MovementId, Lsn, CardHmac);
stored_struct!(LinkNo { issuer, number });
stored_struct!(Card { sealed, hmac, masked });

impl Stored for SealedPan {
    fn put(&self, out: &mut Vec<u8>) {
        self.key.put(out);
        self.nonce.put(out);
        self.sealed.put(out);
    }
    fn take(from: &mut &[u8]) -> Result<Self, Damaged> {
        Ok(SealedPan { key: u16::take(from)?, nonce: Stored::take(from)?, sealed: <[u8; SEALED_BYTES]>::take(from)? })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;

    use super::*;

    fn taken<T: Stored>(mut bytes: &[u8]) -> Result<(T, usize), &'static str> {
        T::take(&mut bytes).map(|value| (value, bytes.len())).map_err(|damaged| damaged.what)
    }

    #[test]
    fn what_no_version_wrote_is_damaged() {
        assert_eq!(taken::<bool>(&[0, 9]), Ok((false, 1)));
        assert_eq!(taken::<bool>(&[1]), Ok((true, 0)));
        assert_eq!(taken::<bool>(&[2]), Err("flag"));
        assert_eq!(taken::<u32>(&[1, 0, 0]), Err("u32"));
        assert_eq!(taken::<u32>(&[1, 0, 0, 0]), Ok((1, 0)));
        assert_eq!(taken::<[u8; 3]>(&[1, 2]), Err("byte string"));
        assert_eq!(taken::<Option<u8>>(&[1]), Err("u8"));
        // A count of what cannot be there, and one of what just is.
        assert_eq!(taken::<Vec<u8>>(&[3, 0, 0, 0, 0, 0, 0, 0, 7, 7]), Err("count"));
        assert_eq!(taken::<Vec<u8>>(&[2, 0, 0, 0, 0, 0, 0, 0, 7, 7]), Ok((vec![7, 7], 0)));
        assert_eq!(taken::<Vec<u8>>(&[0; 8]), Ok((vec![], 0)));
        assert_eq!(taken::<BTreeMap<u8, u8>>(&[2, 0, 0, 0, 0, 0, 0, 0, 7, 7, 8]), Err("u8"));
        assert_eq!(taken::<String>(&[2, b'a', b'b']), Ok(("ab".into(), 0)));
        assert_eq!(taken::<String>(&[3, b'a', b'b']), Err("text"));
        assert_eq!(taken::<String>(&[1, 0xff]), Err("text"));
        assert_eq!(taken::<Stan>(&1_000_000_u32.to_le_bytes()), Err("STAN"));
        assert_eq!(taken::<Rrn>(b"12345678901"), Err("RRN"));
        assert_eq!(Damaged { what: "flag" }.to_string(), "stored bytes do not hold a valid flag");
    }

    #[test]
    fn a_text_is_cut_to_what_its_length_can_say() {
        for (length, kept) in [(254, 254), (255, 255), (256, 255)] {
            let mut bytes = Vec::new();
            "x".repeat(length).put(&mut bytes);
            assert_eq!(taken::<String>(&bytes), Ok(("x".repeat(kept), 0)));
        }
    }
}
