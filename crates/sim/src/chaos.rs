//! What goes wrong by itself, again and again, until faults stop.
//!
//! Invariant: after [`World::calm_chaos`] nothing here changes the world any more.

use crate::machine::Death;
use crate::plan::Trouble;
use crate::queue::{Micros, SECOND};
use crate::world::{Event, World};

/// Something that comes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chaos {
    Kill,
    PowerLoss,
    SyncFails,
    WriteFails,
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
const COMES: [(Chaos, Trouble, u64); 10] = [
    (Chaos::Kill, Trouble::Kill, 90),
    (Chaos::PowerLoss, Trouble::PowerLoss, 120),
    (Chaos::SyncFails, Trouble::SyncFails, 150),
    (Chaos::WriteFails, Trouble::WriteFails, 150),
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
                let next: Micros = self.now + SECOND + self.below(2 * mean_s * SECOND);
                self.events.put(next, Event::Chaos(chaos));
                if !self.strikes_something(chaos) {
                    return;
                }
                self.count(chaos, *trouble);
            }
        }
        match chaos {
            Chaos::Kill => self.strikes_down(Death::Killed),
            Chaos::PowerLoss => self.strikes_down(Death::PowerLost),
            Chaos::SyncFails => {
                let (nth, kept) = (1 + self.below(20), self.dice.chance(0.5));
                self.machine.storage.fail_sync(nth, kept);
                self.machine.failing = Some(Trouble::SyncFails);
            }
            Chaos::WriteFails => {
                let (nth, written) = (1 + self.below(20), self.below(3000) as usize);
                let written = if self.dice.chance(0.3) { 0 } else { written };
                self.machine.storage.fail_write(nth, written);
                self.machine.failing = Some(Trouble::WriteFails);
            }
            Chaos::DiskFills => self.disk_fills(),
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
                let for_how_long = SECOND + self.below(120 * SECOND);
                self.host_goes_down(host, for_how_long);
            }
            Chaos::HostUp(host) => self.hosts[host].up = true,
            Chaos::Decides => self.operator_decides(),
        }
    }

    /// Whether what comes now does anything: a process that is down is not killed, and a disk that fails already fails once.
    fn strikes_something(&self, chaos: Chaos) -> bool {
        match chaos {
            Chaos::Kill | Chaos::PowerLoss | Chaos::Suspends | Chaos::Stop | Chaos::Decides => self.machine.runs(),
            Chaos::SyncFails | Chaos::WriteFails => self.machine.runs() && self.machine.failing.is_none(),
            Chaos::DiskFills => !self.machine.disk_full,
            Chaos::HostDown | Chaos::WallJumps => true,
            Chaos::DiskHasRoom | Chaos::HostUp(_) => true,
        }
    }

    /// What is a fault, and when: a sync or a write that fails is counted when somebody meets it.
    fn count(&mut self, chaos: Chaos, trouble: Trouble) {
        match chaos {
            Chaos::SyncFails | Chaos::WriteFails => {}
            Chaos::Stop | Chaos::Decides => self.out.coverage.trouble(trouble),
            Chaos::Kill
            | Chaos::PowerLoss
            | Chaos::Suspends
            | Chaos::DiskFills
            | Chaos::DiskHasRoom
            | Chaos::WallJumps
            | Chaos::HostDown
            | Chaos::HostUp(_) => self.struck(trouble),
        }
    }

    /// At once, or in the middle of the next commit.
    fn strikes_down(&mut self, how: Death) {
        if self.dice.chance(0.5) { self.die(how) } else { self.machine.doomed = Some(how) }
    }

    fn disk_fills(&mut self) {
        self.machine.disk_full = true;
        self.machine.storage.set_space_left(Some(0));
        let later = self.now + 5 * SECOND + self.below(60 * SECOND);
        self.events.put(later, Event::Chaos(Chaos::DiskHasRoom));
    }

    /// Faults stop: disks, clocks and hosts are as they should be.
    pub(crate) fn calm_chaos(&mut self) {
        self.machine.disk_full = false;
        self.machine.doomed = None;
        self.machine.failing = None;
        self.machine.storage.set_space_left(None);
        self.machine.storage.power_off_after(u64::MAX);
        self.machine.storage.fail_sync(u64::MAX, true);
        self.machine.storage.fail_write(u64::MAX, 0);
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
}
