//! A walk over what memory holds, for an operator: a stretch of it between two turns of the engine.
//!
//! Memory holds 100,000 movements and more, and whoever looked at all of them in one go would keep every terminal waiting.
//! The engine looks at a stretch and hands out copies; the thread of the admin socket shows them and asks for the next. So an
//! answer is not of one moment: each movement is as it was when its stretch was looked at.
//! Invariant: a movement that is in memory for the whole walk is looked at exactly once.

use std::sync::Arc;
use std::time::Duration;

use iso8583::{Amount, Stan};
use switch::{Exception, Lsn, Movement, MovementId, Outlook, Switch};
use tokio::sync::{mpsc, oneshot};

use super::admin::Question;
use crate::shell::engine::Event;

/// Movements or entries that one stretch looks at.
const LOOKED_AT: usize = 1_000;

/// Movements that one stretch hands out.
const TAKEN: usize = 100;

/// What the engine has in any case between two stretches.
const PAUSE: Duration = Duration::from_millis(1);

/// Whether a movement is wanted.
pub(crate) type Takes = Arc<dyn Fn(&Movement) -> bool + Send + Sync>;

/// A movement as it was.
pub(crate) struct Seen {
    /// The movement.
    pub(crate) movement: Movement,
    /// What came next to it.
    pub(crate) outlook: Outlook,
}

/// An entry for a person as it was.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) number: Lsn,
    /// The entry.
    pub(crate) exception: Exception,
    /// DE11 and amount of its movement, while memory holds it.
    pub(crate) movement: Option<(Stan, Amount)>,
}

/// What a stretch found, and where the next begins; `None` at the end.
pub(crate) type Found<T, Place> = (Vec<T>, Option<Place>);

/// A stretch of movements: after which, and which are wanted.
pub(crate) struct Stretch {
    after: Option<MovementId>,
    takes: Takes,
}

impl Stretch {
    /// Looks at it.
    pub(crate) fn look(&self, view: &Switch) -> Found<Seen, MovementId> {
        let (mut seen, mut last) = (Vec::new(), None);
        for (looked_at, movement) in view.movements_after(self.after).enumerate() {
            if looked_at == LOOKED_AT || seen.len() == TAKEN {
                return (seen, last);
            }
            last = Some(movement.id);
            if (self.takes)(movement) {
                seen.push(Seen { movement: movement.clone(), outlook: view.outlook(movement) });
            }
        }
        (seen, None)
    }
}

/// A stretch of the entries for a person.
pub(crate) fn entries(view: &Switch, after: Option<Lsn>) -> Found<Entry, Lsn> {
    let rest = view.exceptions_after(after);
    let entry = |(number, exception): (Lsn, &Exception)| {
        let movement = exception.id.and_then(|id| view.movement_by_id(id));
        Entry { number, exception: *exception, movement: movement.map(|m| (m.key.stan, m.fingerprint.amount)) }
    };
    let entries: Vec<Entry> = rest.take(LOOKED_AT).map(entry).collect();
    let next = entries.last().filter(|_| entries.len() == LOOKED_AT).map(|entry| entry.number);
    (entries, next)
}

/// Whoever asks the engine.
pub(crate) type Engine = mpsc::UnboundedSender<Event>;

/// The engine's answer to a question; `None` when it stops.
pub(crate) async fn ask<T>(engine: &Engine, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    engine.send(Event::Ask(question(reply))).ok()?;
    answer.await.ok()
}

/// Every movement that is wanted, oldest first; `None` when the engine stops.
pub(crate) async fn movements(engine: &Engine, takes: Takes, mut each: impl FnMut(Seen)) -> Option<()> {
    let mut after = None;
    loop {
        let stretch = Stretch { after, takes: takes.clone() };
        let (seen, next) = ask(engine, |reply| Question::Stretch(stretch, reply)).await?;
        seen.into_iter().for_each(&mut each);
        if next.is_none() {
            return Some(());
        }
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Every entry for a person, oldest first; `None` when the engine stops.
pub(crate) async fn all_entries(engine: &Engine) -> Option<Vec<Entry>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (entries, next) = ask(engine, |reply| Question::Entries(after, reply)).await?;
        all.extend(entries);
        if next.is_none() {
            return Some(all);
        }
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use crate::observe::json;
    use iso8583::{Currency, Rrn, TerminalId};
    use switch::{Class, Config, Evidence, Fingerprint, GroupNo, IssuerNo, Key, LinkNo, Record, SentAs, StateKind};

    /// What `[partition] dedup_keys` says by default.
    const IN_MEMORY: u64 = 100_000;

    fn movement(id: u64) -> Movement {
        let terminal = TerminalId::new(format!("T{:07}", id % 10_000).as_bytes(), b"MERCHANT0000001").unwrap();
        let stan = Stan::new(u32::try_from(id % 999_999 + 1).unwrap()).unwrap();
        Movement {
            id: MovementId(id),
            rrn: format!("{id:012}").parse::<Rrn>().unwrap(),
            terminal_rrn: None,
            key: Key { terminal, stan, class: Class::Financial },
            group: GroupNo(1),
            fingerprint: Fingerprint {
                processing_code: *b"000000",
                amount: Amount::new(1250, Currency::new(*b"978")).unwrap(),
                card: None,
                references: 0,
                chip: None,
            },
            card: None,
            link: LinkNo { issuer: IssuerNo(1), number: 1 },
            sent_as: SentAs { stan, transmitted: *b"1122184601" },
            local_time: None,
            terminal_transmitted: None,
            entry_mode: None,
            condition: None,
            acquirer: None,
            begun_wall_ms: 1,
            state: StateKind::AwaitingIssuer,
            since_wall_ms: 1,
            answer: None,
            second_approval: None,
            evidence: Evidence::None,
            obligation: None,
            remains_minor: None,
            acknowledged_minor: None,
            confirmed: None,
            operator_rule: None,
            verdict: None,
            reversal_seen: false,
            contested: false,
            last_record: Lsn(0),
        }
    }

    fn memory() -> Switch {
        let mut core = Switch::new(Config::default());
        for id in 1..=IN_MEMORY {
            let record = Record::Intent { movement: movement(id) };
            core.replay(Lsn(id), &switch::Entry { partition: 0, wall_ms: 1, record }).unwrap();
        }
        core
    }

    /// All that are wanted, by their ids, and how many stretches it took.
    fn walk(view: &Switch, takes: impl Fn(&Movement) -> bool + Send + Sync + 'static) -> (Vec<u64>, u64) {
        let (takes, mut after, mut ids, mut stretches): (Takes, _, _, _) = (Arc::new(takes), None, Vec::new(), 0);
        let mut took = Vec::new();
        loop {
            let since = Instant::now();
            let (seen, next) = Stretch { after, takes: takes.clone() }.look(view);
            took.push(since.elapsed());
            stretches += 1;
            assert!(seen.len() <= TAKEN, "a turn waits for {}", seen.len());
            ids.extend(seen.iter().map(|seen| seen.movement.id.0));
            if next.is_none() {
                took.sort();
                let (half, most) = (took[took.len() / 2], took[took.len() * 19 / 20]);
                println!("of {stretches} stretches half took {half:?}, 19 in 20 {most:?} at most");
                return (ids, stretches);
            }
            after = next;
        }
    }

    /// With `--nocapture` it prints what docs/COMMANDS.md says.
    #[test]
    fn a_walk_sees_each_movement_once_and_looks_at_a_stretch_at_a_time() {
        let view = memory();
        let (all, stretches) = walk(&view, |_| true);
        assert_eq!(all, (1..=IN_MEMORY).collect::<Vec<_>>());
        assert_eq!(stretches, IN_MEMORY / TAKEN as u64);
        let (some, stretches) = walk(&view, |m| m.id.0 % 10_000 == 1);
        assert_eq!(some, (0..10).map(|number| number * 10_000 + 1).collect::<Vec<_>>());
        assert_eq!(stretches, IN_MEMORY / LOOKED_AT as u64);
        assert!(walk(&view, |_| false).0.is_empty());
        let since = Instant::now();
        let shown: Vec<_> = view.movements().map(json::movement).collect();
        println!("all {} in one go took {:?}", shown.len(), since.elapsed());
    }
}
