//! What goes wrong by itself, again and again, until faults stop.
//!
//! Invariant: after [`World::calm_chaos`] nothing here changes the world any more.

use iso8583::Rrn;
use switch::{AskId, Case, Input, Movement, Resolution, Rule, StateKind};

use crate::plan::Trouble;
use crate::queue::{Micros, SECOND};
use crate::world::{Event, World};

/// Something that comes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chaos {
    Kill,
    PowerLoss,
    SyncFails,
    DiskFills,
    DiskHasRoom,
    WallJumps,
    Suspends,
    /// An operator stops the switch and starts it again.
    Stop,
    HostDown,
    HostUp(usize),
    /// An operator decides.
    Decides,
}

/// What comes, by which trouble, and the mean time between two, in seconds.
const COMES: [(Chaos, Trouble, u64); 9] = [
    (Chaos::Kill, Trouble::Kill, 90),
    (Chaos::PowerLoss, Trouble::PowerLoss, 120),
    (Chaos::SyncFails, Trouble::SyncFails, 150),
    (Chaos::DiskFills, Trouble::DiskFull, 200),
    (Chaos::WallJumps, Trouble::WallJump, 120),
    (Chaos::Suspends, Trouble::Suspend, 100),
    (Chaos::Stop, Trouble::CleanRestart, 180),
    (Chaos::HostDown, Trouble::HostDown, 150),
    (Chaos::Decides, Trouble::Operator, 60),
];

impl World {
    pub(crate) fn begin_chaos(&mut self) {
        for (chaos, trouble, mean_s) in COMES {
            if self.plan.has(trouble) {
                let first = self.below(mean_s * SECOND);
                self.events.put(first, Event::Chaos(chaos));
            }
        }
    }

    pub(crate) fn chaos(&mut self, chaos: Chaos) {
        let comes = COMES.iter().find(|(comes, ..)| *comes == chaos);
        if let Some((_, trouble, mean_s)) = comes {
            // A stop that is under way is not a new one.
            let under_way = chaos == Chaos::Stop && self.machine.draining;
            if !under_way {
                if !self.troubled {
                    return;
                }
                self.struck(*trouble);
                let next: Micros = self.now + SECOND + self.below(2 * mean_s * SECOND);
                self.events.put(next, Event::Chaos(chaos));
            }
        }
        match chaos {
            Chaos::Kill | Chaos::PowerLoss => {
                let power = chaos == Chaos::PowerLoss;
                if self.dice.chance(0.5) { self.die(power) } else { self.machine.doomed = Some(power) }
            }
            Chaos::SyncFails => {
                let (nth, kept) = (1 + self.below(20), self.dice.chance(0.5));
                self.machine.storage.fail_sync(nth, kept);
            }
            Chaos::DiskFills => {
                self.machine.disk_full = true;
                self.machine.storage.set_space_left(Some(0));
                let later = self.now + 5 * SECOND + self.below(60 * SECOND);
                self.events.put(later, Event::Chaos(Chaos::DiskHasRoom));
            }
            Chaos::DiskHasRoom => {
                self.machine.disk_full = false;
                self.machine.storage.set_space_left(None);
            }
            Chaos::WallJumps => {
                let span = [60_000, 3_600_000, 90_000_000][self.below(3) as usize];
                self.machine.wall_error_ms = self.below(2 * span) as i64 - span as i64;
                let error = self.machine.wall_error_ms;
                self.tell(|| format!("--- the wall clock is {error} ms wrong"));
            }
            Chaos::Suspends => {
                let span = [2, 20, 300][self.below(3) as usize];
                self.machine.awake_at = self.now + self.dice.below(span * SECOND);
                self.tell(|| "--- suspended".to_owned());
            }
            Chaos::Stop => self.stop_cleanly(),
            Chaos::HostDown => {
                let host = self.below(self.hosts.len() as u64) as usize;
                self.host_goes_down(host);
                let later = self.now + SECOND + self.below(120 * SECOND);
                self.events.put(later, Event::Chaos(Chaos::HostUp(host)));
            }
            Chaos::HostUp(host) => self.hosts[host].up = true,
            Chaos::Decides => self.operator_decides(),
        }
    }

    /// Faults stop: disks, clocks and hosts are as they should be.
    pub(crate) fn calm_chaos(&mut self) {
        self.machine.disk_full = false;
        self.machine.doomed = None;
        self.machine.storage.set_space_left(None);
        self.machine.wall_error_ms = 0;
        self.machine.awake_at = self.machine.awake_at.min(self.now);
        for host in &mut self.hosts {
            host.up = true;
            host.issuer.faults().replace(Vec::new());
        }
        if !self.machine.runs() {
            self.events.put(self.now, Event::Start);
        }
    }

    /// A person looks at the list, asks the issuer, and decides what fits.
    pub(crate) fn operator_decides(&mut self) {
        // He sees what the switch shows: not while it is suspended, with messages before its door.
        let Some(partition) = self.machine.partition.as_ref().filter(|_| self.machine.awake_at <= self.now) else { return };
        let mut doubtful: Vec<(Rrn, u64)> = Vec::new();
        let parked = |movement: &Movement| matches!(movement.operator_rule, Some(Rule::R2 | Rule::R4));
        // What is still being reversed decides itself.
        let decidable =
            |movement: &&Movement| movement.state == StateKind::NeedsOperator && (!movement.owes() || parked(movement));
        for movement in partition.view().doubt().filter(decidable) {
            doubtful.push((movement.rrn, movement.amount().minor()));
        }
        let view = partition.view();
        let settled = |rrn: &Rrn| view.movement_by_rrn(rrn).is_none_or(|movement| !movement.in_doubt());
        let named = view.exceptions().filter_map(|(_, exception)| exception.rrn);
        let exceptions: Vec<Rrn> = named.filter(settled).collect();
        for (rrn, amount) in doubtful {
            let stands = self.stands_at_issuers(&rrn);
            let believed = self.believed_by_terminal(&rrn);
            let resolution = match (stands, believed) {
                (0, _) => Resolution::UndoneElsewhere,
                (_, Some(false)) => Resolution::Undo,
                (minor, _) if minor < amount => Resolution::AdjustedElsewhere { minor },
                (_, _) => Resolution::Stands,
            };
            self.out.coverage.event("operator's decision");
            self.tell(|| format!("operator: {rrn} {}", resolution.name()));
            self.resolve(rrn, resolution);
        }
        for rrn in exceptions {
            self.resolve(rrn, Resolution::Stands);
        }
    }

    fn resolve(&mut self, rrn: Rrn, resolution: Resolution) {
        let (who, why) = ("operator".to_owned(), "asked the issuer".to_owned());
        self.input(Input::Resolve { ask: AskId(1), case: Case::Movement(rrn), resolution, who, why });
    }
}
