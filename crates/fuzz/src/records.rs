//! Stored records and snapshots: what the journal's checksums let through and the core reads.

use std::collections::BTreeMap;

use switch::{Config, Entry, Group, GroupNo, Issuer, IssuerNo, Link, LinkNo, Lsn, Route, Switch};

use crate::bound::holding_at_most;

/// A configuration with one of everything.
pub(crate) fn config() -> Config {
    let mut config = Config { dedup_keys: 4, ..Config::default() };
    config.groups = BTreeMap::from([(GroupNo(1), Group::default()), (GroupNo(2), Group::default())]);
    config.issuers.insert(IssuerNo(1), Issuer::default());
    for number in 1..=2 {
        let link = Link { sign_on: false, echo_after_ms: 0, ..Link::default() };
        config.links.insert(LinkNo { issuer: IssuerNo(1), number }, link);
    }
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    config
}

/// Records one behind another, each after its length in two bytes. What is read is written again to the same bytes. What the
/// core takes of them leaves a state that a snapshot holds whole.
///
/// # Panics
/// When one of these does not hold.
pub fn records(mut data: &[u8]) {
    let mut core = Switch::new(config());
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        data = rest;
        let Ok(entry) = holding_at_most(4096 + 64 * length, || Entry::decode(bytes)) else { continue };
        let mut again = Vec::new();
        entry.encode(&mut again);
        assert_eq!(again, bytes, "one record, one form: {entry:?}");
        let lsn = Lsn(core.lsn().0 + 1);
        if core.replay(lsn, &entry).is_err() {
            // The start is refused with it, and the core is gone.
            return;
        }
    }
    restored_whole(&core);
}

/// A snapshot. What is read leaves a state that is written and read again to the same bytes.
///
/// # Panics
/// When this does not hold.
pub fn snapshot_bytes(data: &[u8]) {
    if let Ok(core) = holding_at_most(64 * 1024 + 256 * data.len(), || Switch::restore(config(), data)) {
        restored_whole(&core);
    }
}

fn snapshot(core: &Switch) -> Vec<u8> {
    let mut bytes = Vec::new();
    core.snapshot(&mut bytes);
    bytes
}

fn restored_whole(core: &Switch) {
    let bytes = snapshot(core);
    let again = Switch::restore(config(), &bytes).expect("a snapshot of the core's own is read");
    assert_eq!(snapshot(&again), bytes, "what a snapshot holds");
    assert_eq!(again.movements().count(), core.movements().count());
    assert_eq!(again.doubt().count(), core.doubt().count());
}
