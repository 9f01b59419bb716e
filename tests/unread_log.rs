//! Nobody reads the log: journald hangs, or a pipe is full. The switch goes on, and says afterwards how much was lost.
//!
//! The daemon's standard error is a pipe that was filled up before its start, so that the very first line blocks whoever
//! writes it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::support::daemon::SWITCHD;
use crate::support::site::PAN;
use crate::support::{Options, Site, code, sale, until, within};

/// Both ends of the pipe, which never wait.
struct Pipe(File);

impl Pipe {
    fn new(path: &Path) -> Self {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("the directory is ours");
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        Pipe(file.expect("it was just made"))
    }

    /// Writes until it takes no more.
    fn fill(&mut self) {
        for chunk in [4096, 1] {
            let chunk = vec![b'x'; chunk];
            while self.0.write(&chunk).is_ok() {}
        }
    }

    /// What is in it.
    fn read(&mut self) -> String {
        let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut chunk) {
                Ok(count) => text.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A site whose daemon logs into the pipe.
async fn site(log: &'static str) -> (Site, Pipe) {
    let mut site = Site::open(Options { log, ..Options::default() }).await;
    site.daemon.stop().await;
    let path = site.dir().join("log.pipe");
    let mut pipe = Pipe::new(&path);
    pipe.fill();
    let redirect = format!("exec \"$@\" 2>{}", path.display());
    site.spawn_again_under(&["sh", "-c", &redirect, "sh"].map(str::to_owned));
    site.daemon.ready().await;
    (site, pipe)
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_sale_and_what_was_lost_is_counted_and_said() {
    let (site, mut pipe) = site("debug").await;
    let mut line = site.line(1).await;
    let mut stan = 0;
    // Some lines each, until there is no room for more.
    while site.daemon.metric("switchd_log_lines_dropped_total").await == 0.0 {
        for _ in 0..200 {
            stan += 1;
            assert_eq!(code(&line.ask(&sale(1, stan, PAN, u64::from(stan))).await), "00");
        }
        assert!(stan < 20_000, "the log keeps all there is");
    }
    let mut log = String::new();
    until("the log goes on, and says what it lost", async || {
        log.push_str(&pipe.read());
        log.contains("lines of this log were dropped").then_some(())
    })
    .await;
    assert!(log.contains("journal open"), "what fitted is there");
    assert_eq!(code(&line.ask(&sale(1, stan + 1, PAN, u64::from(stan + 1))).await), "00");
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_up_the_end_of_the_process() {
    let (mut site, mut pipe) = site("info").await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "00");
    site.daemon.stop().await;
    // Whoever restarts it waits for its end: one that cannot start must not stand there with its message for ever.
    pipe.fill();
    let daemon = [SWITCHD, "serve", "--config", "nowhere.toml"];
    let redirect = format!("exec \"$@\" 2>{}", site.dir().join("log.pipe").display());
    let child = tokio::process::Command::new("sh").args(["-c", &redirect, "sh"]).args(daemon).kill_on_drop(true).spawn();
    let ended = within("the end of the process", child.expect("it starts").wait_with_output()).await;
    assert_eq!(ended.expect("it is ours").status.code(), Some(10));
}

/// The last lines of a process are those that are needed most.
#[tokio::test]
async fn the_log_ends_with_the_last_words_when_somebody_reads() {
    let (mut site, mut pipe) = site("info").await;
    let mut log = pipe.read();
    site.daemon.stop().await;
    log.push_str(&pipe.read());
    assert!(log.contains("journal open") && log.trim_end().ends_with("exit=\"done\""), "{log}");
}
