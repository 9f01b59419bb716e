//! A card as the core may know it: sealed, keyed, masked. The core never holds a PAN in the clear (section 10).

use core::fmt;

use iso8583::MaskedPan;

/// Bytes of a sealed PAN: AES-256-GCM over a fixed 20-byte block (length, 19 digits), with its 16-byte tag.
pub const SEALED_BYTES: usize = 36;

/// A PAN encrypted at rest, as it stands in records and snapshots. Only the partition can open it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedPan {
    /// Which key sealed it.
    pub key: u16,
    /// Start epoch (4 bytes) ‖ counter (8 bytes), never used twice with one key.
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    pub sealed: [u8; SEALED_BYTES],
}

impl fmt::Debug for SealedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedPan(key {})", self.key)
    }
}

/// HMAC-SHA256 of the PAN under the look-up key, cut to 16 bytes: equal cards have equal values, and nothing else shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardHmac(pub [u8; 16]);

/// A card: what reversals need, what comparisons need, what people may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// For reversals.
    pub sealed: SealedPan,
    /// For comparisons.
    pub hmac: CardHmac,
    /// First 6 and last 4 digits.
    pub masked: MaskedPan,
}
