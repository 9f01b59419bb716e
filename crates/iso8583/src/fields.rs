//! The canonical message: MTI and field values as a person reads them, whatever the dialect.
//!
//! Text fields are ASCII text (digits, never packed; track 2 with `=`), binary fields (PIN block,
//! chip data, MACs) are raw bytes. It knows no encoding and checks no content: parsing and
//! assembly do, by the dialect's table. Reusable: [`Fields::clear`] keeps the buffers.
//! Invariant: every byte of the buffer that is not a value of a present field is zero, also when the
//! buffer is given back to the allocator.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use zeroize::ZeroizeOnDrop;

use crate::mask;
use crate::types::Mti;

/// Where a value is in the buffer.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

/// A message as values: MTI and data elements 2 to 128.
///
/// `Debug` is masked; the buffer is wiped on clear and on drop.
pub struct Fields {
    mti: Mti,
    /// Bit `n - 1` is set when data element `n` is present.
    present: u128,
    /// One span for each present data element, in their order.
    spans: Vec<Span>,
    /// The values, in the order in which they were set; zero from `used` on.
    buffer: Vec<u8>,
    used: usize,
}

impl Fields {
    /// Room for a usual message, so that it is filled without growing.
    const USUAL_BYTES: usize = 512;
    const USUAL_FIELDS: usize = 32;

    /// An empty message.
    pub fn new(mti: Mti) -> Self {
        Self { mti, present: 0, spans: Vec::with_capacity(Self::USUAL_FIELDS), buffer: vec![0; Self::USUAL_BYTES], used: 0 }
    }

    /// Wipes all fields, keeps the buffers, and starts a message of this type.
    pub fn clear(&mut self, mti: Mti) {
        self.mti = mti;
        self.present = 0;
        self.spans.clear();
        self.wipe_used();
        self.used = 0;
    }

    /// The message type.
    pub const fn mti(&self) -> Mti {
        self.mti
    }

    /// Changes the message type and keeps the fields.
    pub fn set_mti(&mut self, mti: Mti) {
        self.mti = mti;
    }

    /// True if the data element is present, be it with an empty value.
    pub const fn has(&self, de: u8) -> bool {
        bit(de) & self.present != 0
    }

    /// The value: ASCII text, or raw bytes of a binary data element ([`mask::is_binary`]).
    /// A variable field of length zero is present and empty.
    pub fn get(&self, de: u8) -> Option<&[u8]> {
        if !self.has(de) {
            return None;
        }
        let span = self.spans.get(self.rank(de))?;
        self.buffer.get(span.start..span.start + span.len)
    }

    /// The value as text; `None` if absent, binary, or not UTF-8.
    pub fn text(&self, de: u8) -> Option<&str> {
        if mask::is_binary(de) {
            return None;
        }
        core::str::from_utf8(self.get(de)?).ok()
    }

    /// Sets or replaces a value. Content and length are judged at assembly.
    ///
    /// # Panics
    /// If `de` is not 2 to 128: which field to set is our own decision, never a peer's.
    pub fn set(&mut self, de: u8, value: &[u8]) {
        self.allocate(de, value.len()).copy_from_slice(value);
    }

    /// Makes the data element present with `len` zero bytes, for the caller to fill.
    ///
    /// # Panics
    /// If `de` is not 2 to 128.
    pub(crate) fn allocate(&mut self, de: u8, len: usize) -> &mut [u8] {
        assert!((2..=128).contains(&de), "data elements are 2 to 128");
        let bit = bit(de);
        if self.present & bit != 0 {
            self.remove_present(de);
        }
        let span = self.take_room(len);
        // Most messages are filled in order: then no field after this one is present.
        if self.present < bit {
            self.spans.push(span);
        } else {
            self.spans.insert(self.rank(de), span);
        }
        self.present |= bit;
        &mut self.buffer[span.start..span.start + span.len]
    }

    /// Removes a data element and wipes its value.
    pub fn remove(&mut self, de: u8) {
        if self.has(de) {
            self.remove_present(de);
        }
    }

    fn remove_present(&mut self, de: u8) {
        let span = self.spans.remove(self.rank(de));
        self.present &= !bit(de);
        let end = span.start + span.len;
        wipe(&mut self.buffer[span.start..end]);
        // The newest value gives its room back, so that replacing it again and again does not grow.
        if end == self.used {
            self.used = span.start;
        }
    }

    /// Copies a data element from another message; absent there, it is removed here.
    pub fn copy_from(&mut self, other: &Self, de: u8) {
        match other.get(de) {
            Some(value) => self.set(de, value),
            None => self.remove(de),
        }
    }

    /// The present data elements in their order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut left = self.present;
        self.spans.iter().map(move |span| {
            // One span for each bit, so a bit is left; 127 + 1 fits a byte.
            let de = left.trailing_zeros() as u8 + 1;
            left &= left.wrapping_sub(1);
            (de, &self.buffer[span.start..span.start + span.len])
        })
    }

    /// Bit `n - 1` is set when data element `n` is present.
    pub(crate) const fn present(&self) -> u128 {
        self.present
    }

    /// How many present data elements come before this one: the index of its span.
    fn rank(&self, de: u8) -> usize {
        (self.present & (bit(de) - 1)).count_ones() as usize
    }

    /// Takes the next `len` bytes of the buffer. It grows into a new one, and the old one is wiped.
    fn take_room(&mut self, len: usize) -> Span {
        let start = self.used;
        let needed = start + len;
        if needed > self.buffer.len() {
            let mut grown = vec![0; needed.max(self.buffer.len() * 2)];
            grown[..start].copy_from_slice(&self.buffer[..start]);
            self.wipe_used();
            self.buffer = grown;
        }
        self.used = needed;
        Span { start, len }
    }

    fn wipe_used(&mut self) {
        wipe(&mut self.buffer[..self.used]);
    }
}

/// Writes zeros that the compiler may not leave out. Many bytes at a time, unlike the volatile writes
/// of `Zeroize`, as every message is wiped.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

/// Bit of a data element; none for 0 and from 129 on.
pub(crate) const fn bit(de: u8) -> u128 {
    if de == 0 || de > 128 { 0 } else { 1 << (de - 1) }
}

/// A copy without the gaps that replaced values left.
impl Clone for Fields {
    fn clone(&self) -> Self {
        let len = self.spans.iter().map(|span| span.len).sum();
        let mut copy = Self {
            mti: self.mti,
            present: self.present,
            spans: Vec::with_capacity(self.spans.len()),
            buffer: vec![0; len],
            used: 0,
        };
        for (_, value) in self.iter() {
            let span = copy.take_room(value.len());
            copy.buffer[span.start..span.start + span.len].copy_from_slice(value);
            copy.spans.push(span);
        }
        copy
    }
}

/// Equal MTI and equal values, wherever they lie in the buffer.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.mti == other.mti && self.present == other.present && self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({}", self.mti)?;
        for (de, value) in self.iter() {
            write!(f, ", {de}=")?;
            mask::write_masked(de, value, f)?;
        }
        f.write_str(")")
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.wipe_used();
    }
}

impl ZeroizeOnDrop for Fields {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const MTI: Mti = Mti::new(b"0200");

    #[test]
    fn fields_are_kept_in_order() {
        let mut fields = Fields::new(MTI);
        fields.set(128, &[1; 8]);
        fields.set(41, b"TERM0001");
        fields.set(2, b"4111111111111111");
        fields.set(41, b"T1");
        fields.set(3, b"000000");
        fields.remove(3);
        fields.remove(3);
        let want: [(u8, &[u8]); 3] = [(2, b"4111111111111111"), (41, b"T1"), (128, &[1; 8])];
        assert!(fields.iter().eq(want));
        assert_eq!(fields.text(41), Some("T1"));
        assert_eq!(fields.text(128), None, "binary is not text");
        assert_eq!(fields.get(3), None);
        for nonsense in [0, 1, 129, 255] {
            assert!(!fields.has(nonsense) && fields.get(nonsense).is_none());
        }
    }

    #[test]
    fn equal_by_content_and_copied() {
        let mut a = Fields::new(MTI);
        a.set(4, b"000000000100");
        a.set(11, b"000001");
        let mut b = Fields::new(MTI);
        b.set(11, b"999999");
        b.set(37, b"532604123456");
        b.copy_from(&a, 11);
        b.copy_from(&a, 4);
        b.copy_from(&a, 37);
        assert_eq!(a, b);
        assert_eq!(a, b.clone());
        b.set_mti(MTI.response());
        assert_ne!(a, b);
    }

    #[test]
    fn debug_is_masked() {
        let mut fields = Fields::new(MTI);
        fields.set(2, b"4111111111111111");
        fields.set(35, b"4111=28");
        fields.set(39, b"00");
        assert_eq!(format!("{fields:?}"), "Fields(0200, 2=411111******1111, 35=*******, 39=00)");
    }

    #[test]
    fn replaced_removed_and_cleared_values_are_wiped() {
        let mut fields = Fields::new(MTI);
        fields.set(35, b"4111=2812");
        fields.set(11, b"000001");
        fields.set(35, b"5");
        assert!(fields.buffer.starts_with(b"\0\0\0\0\0\0\0\0\x000000015\0"));
        fields.set(35, b"4111=2812");
        fields.clear(MTI);
        assert_eq!(fields.buffer, [0; Fields::USUAL_BYTES]);
        assert!(fields.iter().next().is_none());
    }

    #[test]
    fn growing_keeps_the_values() {
        let mut fields = Fields::new(MTI);
        for de in 2..=128 {
            fields.set(de, &vec![de; usize::from(de)]);
        }
        assert!(fields.iter().all(|(de, value)| value == vec![de; usize::from(de)]));
        assert_eq!(fields.iter().count(), 127);
    }
}
