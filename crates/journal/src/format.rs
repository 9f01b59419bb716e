//! The bytes of segments, groups and records, as drawn in the crate's head. No IO.
//!
//! Invariant: what `GroupBuffer::seal` makes, `GroupHeader::decode`, `check_chain` and `Records` take, and nothing else.

/// The unit of a write that a device does wholly or not at all.
pub(crate) const SECTOR: usize = 512;
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const GROUP_HEADER_BYTES: usize = 48;
pub(crate) const RECORD_HEADER_BYTES: usize = 20;
const CHAIN_BYTES: usize = 8;
/// Bytes of a group that are not records.
pub(crate) const GROUP_OVERHEAD: usize = GROUP_HEADER_BYTES + CHAIN_BYTES;
const RECORD_VERSION: u8 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"SWJSEGMT";
const GROUP_MAGIC: &[u8; 8] = b"SWJGROUP";

/// Random bytes that tell one journal from another.
pub(crate) type Identity = [u8; 16];

/// The `N` bytes at `at`. The callers pass whole headers.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn identity_at(bytes: &[u8], at: usize) -> Identity {
    array(bytes, at)
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The finalizer of splitmix64: a bijection, so that two chains that differ once differ ever after.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The chain value before the first group of a journal.
pub(crate) fn chain_start(identity: &Identity) -> u64 {
    mix(mix(u64_at(identity, 0)) ^ u64_at(identity, 8))
}

/// The chain value after a group, of which `bytes` is all but the stored value itself.
fn chain_after(before: u64, bytes: &[u8]) -> u64 {
    let length = (bytes.len() + CHAIN_BYTES) as u64;
    mix(before ^ (length << 32 | u64::from(crc32c::crc32c(bytes))))
}

/// A group's length on disk for so many bytes of records.
fn group_bytes(body: usize) -> usize {
    (GROUP_OVERHEAD + body).next_multiple_of(SECTOR)
}

/// What stands at the beginning of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub identity: Identity,
    pub number: u64,
    pub first_lsn: u64,
    pub chain: u64,
    pub segment_bytes: u64,
}

/// Why a segment header was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        put(&mut out, 0, SEGMENT_MAGIC);
        put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, 16, &self.identity);
        put(&mut out, 32, &self.number.to_le_bytes());
        put(&mut out, 40, &self.first_lsn.to_le_bytes());
        put(&mut out, 48, &self.chain.to_le_bytes());
        put(&mut out, 56, &self.segment_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[..508]);
        put(&mut out, 508, &crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(sector: &[u8; SECTOR]) -> Result<SegmentHeader, HeaderFault> {
        if &sector[..8] != SEGMENT_MAGIC || u32_at(sector, 508) != crc32c::crc32c(&sector[..508]) {
            return Err(HeaderFault::Damaged);
        }
        match u32_at(sector, 8) {
            FORMAT_VERSION => Ok(SegmentHeader {
                identity: identity_at(sector, 16),
                number: u64_at(sector, 32),
                first_lsn: u64_at(sector, 40),
                chain: u64_at(sector, 48),
                segment_bytes: u64_at(sector, 56),
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }
}

/// What stands at the beginning of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub segment: u64,
    pub first_lsn: u64,
    pub chain_before: u64,
    pub count: u32,
    pub body: u32,
}

impl GroupHeader {
    fn encode(&self, identity: &Identity) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = [0; GROUP_HEADER_BYTES];
        put(&mut out, 0, GROUP_MAGIC);
        put(&mut out, 8, &self.segment.to_le_bytes());
        put(&mut out, 16, &self.first_lsn.to_le_bytes());
        put(&mut out, 24, &self.chain_before.to_le_bytes());
        put(&mut out, 32, &self.count.to_le_bytes());
        put(&mut out, 36, &self.body.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(identity), &out[..44]);
        put(&mut out, 44, &crc.to_le_bytes());
        out
    }

    /// The header in the first bytes of `bytes` (at least `GROUP_HEADER_BYTES`), when it is whole and of this journal.
    pub(crate) fn decode(bytes: &[u8], identity: &Identity) -> Option<GroupHeader> {
        if &bytes[..8] != GROUP_MAGIC {
            return None;
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(identity), &bytes[..44]);
        (u32_at(bytes, 44) == crc).then(|| GroupHeader {
            segment: u64_at(bytes, 8),
            first_lsn: u64_at(bytes, 16),
            chain_before: u64_at(bytes, 24),
            count: u32_at(bytes, 32),
            body: u32_at(bytes, 36),
        })
    }

    /// The group's length on disk.
    pub(crate) fn bytes(&self) -> usize {
        group_bytes(self.body as usize)
    }

    /// The LSN after the group's last.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.first_lsn.saturating_add(u64::from(self.count))
    }
}

/// The chain value that a whole group ends with, when its content agrees with it.
pub(crate) fn check_chain(group: &[u8], header: &GroupHeader) -> Option<u64> {
    let (content, stored) = group.split_at(group.len() - CHAIN_BYTES);
    let chain = chain_after(header.chain_before, content);
    (chain == u64_at(stored, 0)).then_some(chain)
}

/// The chain value that a group says it ends with, unchecked.
pub(crate) fn stored_chain(trailer: &[u8; CHAIN_BYTES]) -> u64 {
    u64::from_le_bytes(*trailer)
}

/// The records of a group: LSN and payload, or the LSN of a malformed one, after which it ends.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    lsn: u64,
    end: u64,
}

impl<'a> Records<'a> {
    /// `group` holds the whole group of `header`.
    pub(crate) fn new(group: &'a [u8], header: &GroupHeader) -> Self {
        let rest = &group[GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + header.body as usize];
        Records { rest, lsn: header.first_lsn, end: header.next_lsn() }
    }

    /// Takes the next record off, or leaves all as it is.
    fn take(&mut self) -> Option<&'a [u8]> {
        let length = u32_at(self.rest.get(..RECORD_HEADER_BYTES)?, 4) as usize;
        let bytes = self.rest.get(..RECORD_HEADER_BYTES.checked_add(length)?)?;
        let whole = u32_at(bytes, 0) == crc32c::crc32c(&bytes[4..])
            && u64_at(bytes, 8) == self.lsn
            && bytes[16..20] == [RECORD_VERSION, 0, 0, 0];
        if !whole {
            return None;
        }
        self.rest = &self.rest[bytes.len()..];
        Some(&bytes[RECORD_HEADER_BYTES..])
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u64, &'a [u8]), u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let lsn = self.lsn;
        if lsn == self.end {
            // Bytes left over belong to no record.
            return if std::mem::take(&mut self.rest).is_empty() { None } else { Some(Err(lsn)) };
        }
        match self.take() {
            Some(payload) => {
                self.lsn += 1;
                Some(Ok((lsn, payload)))
            }
            None => {
                (self.rest, self.end) = (&[], lsn);
                Some(Err(lsn))
            }
        }
    }
}

/// A group being built, laid out for one write: room for a segment header, the group, a sector of zeros.
pub(crate) struct GroupBuffer {
    bytes: Vec<u8>,
    first_lsn: u64,
    count: u32,
}

/// Where the group begins in a buffer.
const GROUP_AT: usize = SECTOR;
const BODY_AT: usize = GROUP_AT + GROUP_HEADER_BYTES;

impl GroupBuffer {
    pub(crate) fn new() -> Self {
        GroupBuffer { bytes: vec![0; BODY_AT], first_lsn: 0, count: 0 }
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(BODY_AT);
        self.count = 0;
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn first_lsn(&self) -> u64 {
        self.first_lsn
    }

    pub(crate) fn last_lsn(&self) -> u64 {
        self.first_lsn + u64::from(self.count) - 1
    }

    fn body(&self) -> usize {
        self.bytes.len() - BODY_AT
    }

    /// The group's length on disk; before it is sealed.
    pub(crate) fn disk_bytes(&self) -> usize {
        group_bytes(self.body())
    }

    /// Whether a payload of this length still fits a group of at most `max` bytes.
    pub(crate) fn fits(&self, payload: usize, max: usize) -> bool {
        group_bytes(self.body() + RECORD_HEADER_BYTES + payload) <= max
    }

    pub(crate) fn push(&mut self, lsn: u64, payload: &[u8]) {
        if self.count == 0 {
            self.first_lsn = lsn;
        }
        assert_eq!(lsn, self.first_lsn + u64::from(self.count), "records of a group follow each other");
        let mut header = [0; RECORD_HEADER_BYTES];
        put(&mut header, 4, &(payload.len() as u32).to_le_bytes());
        put(&mut header, 8, &lsn.to_le_bytes());
        header[16] = RECORD_VERSION;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[4..]), payload);
        put(&mut header, 0, &crc.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
        self.count += 1;
    }

    /// Completes the group and gives the chain value after it.
    pub(crate) fn seal(&mut self, segment: u64, chain_before: u64, identity: &Identity) -> u64 {
        assert!(self.count > 0, "an empty group is never written");
        let body = self.body();
        let length = group_bytes(body);
        let header = GroupHeader { segment, first_lsn: self.first_lsn, chain_before, count: self.count, body: body as u32 };
        put(&mut self.bytes, GROUP_AT, &header.encode(identity));
        self.bytes.resize(GROUP_AT + length + SECTOR, 0);
        let chain_at = GROUP_AT + length - CHAIN_BYTES;
        let chain = chain_after(chain_before, &self.bytes[GROUP_AT..chain_at]);
        put(&mut self.bytes, chain_at, &chain.to_le_bytes());
        chain
    }

    /// The sealed group, and of the zeros behind it what `room` leaves.
    pub(crate) fn group(&self, room: u64) -> &[u8] {
        let length = (self.bytes.len() - GROUP_AT).min(usize::try_from(room).unwrap_or(usize::MAX));
        &self.bytes[GROUP_AT..GROUP_AT + length]
    }

    /// The segment header and the sealed group, as a new segment begins.
    pub(crate) fn segment_start(&mut self, header: &SegmentHeader) -> &[u8] {
        put(&mut self.bytes, 0, &header.encode());
        let length = self.bytes.len().min(usize::try_from(header.segment_bytes).unwrap_or(usize::MAX));
        &self.bytes[..length]
    }

    /// The sealed group's length on disk.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        (self.bytes.len() - GROUP_AT - SECTOR) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Identity = [7; 16];

    fn sealed(payloads: &[&[u8]]) -> (Vec<u8>, u64) {
        let mut group = GroupBuffer::new();
        for (i, payload) in payloads.iter().enumerate() {
            group.push(10 + i as u64, payload);
        }
        let chain = group.seal(3, 99, &ID);
        (group.group(group.sealed_bytes()).to_vec(), chain)
    }

    fn check(payloads: &[&[u8]], bytes: usize) {
        let (group, chain) = sealed(payloads);
        assert_eq!(group.len(), bytes);
        let header = GroupHeader::decode(&group, &ID).expect("whole");
        assert_eq!((header.segment, header.first_lsn, header.chain_before), (3, 10, 99));
        assert_eq!(check_chain(&group, &header), Some(chain));
        let read: Result<Vec<_>, _> = Records::new(&group, &header).collect();
        let expected: Vec<_> = payloads.iter().enumerate().map(|(i, p)| (10 + i as u64, *p)).collect();
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn group_is_read_as_written() {
        check(&[b"a"], 512);
        check(&[b""], 512);
        check(&[b"a", b"", b"ccc"], 512);
        check(&[&[1; 512 - 48 - 8 - 20]], 512);
        check(&[&[1; 512 - 48 - 8 - 20 + 1]], 1024);
    }

    #[test]
    fn every_flipped_bit_of_a_group_is_seen() {
        let (group, _) = sealed(&[b"one", b"two"]);
        for bit in 0..group.len() * 8 {
            let mut bad = group.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen = GroupHeader::decode(&bad, &ID).is_none_or(|header| check_chain(&bad, &header).is_none());
            assert!(seen, "bit {bit}");
        }
    }

    #[test]
    fn group_of_another_journal_is_not_ours() {
        let (group, _) = sealed(&[b"one"]);
        assert_eq!(GroupHeader::decode(&group, &[8; 16]), None);
    }

    /// A record changed before its group was sealed; with its own CRC made to fit, or not.
    fn check_malformed(at: usize, value: u8, crc_fits: bool) {
        let mut group = GroupBuffer::new();
        group.push(10, b"one");
        let second = group.bytes.len();
        group.push(11, b"two");
        group.bytes[second + at] = value;
        if crc_fits {
            let crc = crc32c::crc32c(&group.bytes[second + 4..]);
            put(&mut group.bytes, second, &crc.to_le_bytes());
        }
        group.seal(3, 99, &ID);
        let bytes = group.group(u64::MAX);
        let header = GroupHeader::decode(bytes, &ID).expect("whole");
        let read: Vec<_> = Records::new(bytes, &header).collect();
        assert_eq!(read, [Ok((10, b"one".as_slice())), Err(11)], "byte {at}, {crc_fits}");
    }

    #[test]
    fn malformed_record_is_named() {
        check_malformed(0, 1, false);
        check_malformed(4, 2, false);
        check_malformed(4, 2, true);
        check_malformed(4, 4, true);
        check_malformed(7, 255, true);
        check_malformed(8, 12, true);
        check_malformed(16, 9, true);
        check_malformed(17, 1, true);
        check_malformed(20, b'T', false);
    }

    #[test]
    fn segment_header_is_read_as_written_and_every_flip_is_seen() {
        let header = SegmentHeader { identity: ID, number: 4, first_lsn: 77, chain: 5, segment_bytes: 4096 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..SECTOR * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(HeaderFault::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn format_version_of_the_future_is_named() {
        let mut bytes = SegmentHeader { identity: ID, number: 1, first_lsn: 1, chain: 0, segment_bytes: 4096 }.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..508]);
        put(&mut bytes, 508, &crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(2)));
    }

    /// The format is durable: these values may change only with its version.
    #[test]
    fn chain_values_are_fixed() {
        assert_eq!(chain_start(&[0; 16]), 0);
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
