//! A disk that loses power: ext4 in an image file, mounted through a loop device.
//!
//! What the kernel holds in memory for the mount is not in the image file. So a copy of the file is what a disk has after the
//! power went: everything that was synced, and of the rest what happened to be written back. A copy counts only if the device
//! wrote nothing while it was made, as otherwise it is of no one moment. Needs root and a loop device. Invariant: a disk that
//! goes leaves no mount behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{skipped, until, within};

/// Enough for a dozen segments of a test's journal and its checkpoints.
const IMAGE_BYTES: u64 = 48 << 20;

/// A mounted disk. It is unmounted when dropped: whoever writes on it has to be gone by then.
pub(crate) struct Disk {
    dir: TempDir,
}

impl Disk {
    /// A new disk with nothing on it.
    ///
    /// # Errors
    /// What a machine says that may not mount.
    pub(crate) async fn mounted() -> Result<Self, String> {
        let disk = Disk { dir: TempDir::with_prefix("switchd-disk-").expect("a temporary directory") };
        std::fs::create_dir(disk.mount_point()).expect("the directory is ours");
        let file = std::fs::File::create_new(disk.image()).expect("the directory is ours");
        file.set_len(IMAGE_BYTES).expect("the directory has room");
        // The tables are made now: nothing is to write on its own later.
        let now = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run("mkfs.ext4", &[&now[..], &[text(&disk.image())]].concat()).await?;
        disk.mount().await?;
        Ok(disk)
    }

    /// The same; says `SKIPPED` of a test that cannot run without.
    pub(crate) async fn mounted_for(test: &str) -> Option<Self> {
        match Self::mounted().await {
            Ok(disk) => Some(disk),
            Err(reason) => {
                skipped(test, &format!("no ext4 can be mounted here ({reason})"), "SWITCHD_REQUIRE_MOUNT");
                None
            }
        }
    }

    /// Where a directory of the disk is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount_point().join(name)
    }

    /// The power goes: from now on nothing that is written counts. Whoever writes does nothing at this moment.
    pub(crate) async fn lose_power(&self) -> Outage<'_> {
        until("the disk is copied as of one moment", async || {
            let before = self.written();
            let copied = run("cp", &["--sparse=always", text(&self.image()), text(&self.copy())]).await;
            copied.expect("the directory has room for a copy");
            (before.is_some() && self.written() == before).then_some(())
        })
        .await;
        Outage { disk: self }
    }

    /// How much the device has written so far; none while it is at work.
    fn written(&self) -> Option<Vec<String>> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("there are mounts");
        let mount_point = self.mount_point();
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            (rest.split(' ').next() == Some(text(&mount_point))).then_some(device)
        });
        let device = device.expect("it is mounted").trim_start_matches("/dev/");
        let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).expect("a loop device has statistics");
        let fields: Vec<_> = stat.split_whitespace().collect();
        // As the kernel documents the file: write I/Os and write sectors; in flight.
        (fields[8] == "0").then(|| [fields[4], fields[6]].map(str::to_owned).to_vec())
    }

    async fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image()), text(&self.mount_point())]).await
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn copy(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A machine that may not mount has nothing to unmount.
        let _ = Command::new("umount").arg(self.mount_point()).stderr(Stdio::null()).status();
    }
}

/// A disk without power.
#[must_use = "the power has to come back"]
pub(crate) struct Outage<'a> {
    disk: &'a Disk,
}

impl Outage<'_> {
    /// The power is back, and the disk has what it had when it went. Nobody has a file of it open.
    pub(crate) async fn ends(self) {
        let disk = self.disk;
        run("umount", &[text(&disk.mount_point())]).await.expect("nobody uses it");
        std::fs::rename(disk.copy(), disk.image()).expect("both are ours");
        disk.mount().await.expect("it could be mounted before");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

async fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(program, command.output()).await.map_err(|reason| format!("{program}: {reason}"))?;
    let Output { status, stderr, .. } = output;
    if status.success() { Ok(()) } else { Err(format!("{program}: {}", String::from_utf8_lossy(&stderr).trim())) }
}
