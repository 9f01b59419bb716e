//! Messages of versions, classes and kinds that the switch does not know: each has an answer that is written down.

use std::time::{Duration, Instant};

use crate::support::line::frame;
use crate::support::site::PAN;
use crate::support::{Options, Site, code, echo, sale};

/// Less than a terminal waits for an answer, by far.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What comes back for a sale whose MTI is another: DE39, or nothing.
async fn check(site: &Site, mti: &[u8; 4], answered: Option<(&str, &str)>) {
    let mut line = site.line(1).await;
    let mut bytes = frame(&sale(1, 1, PAN, 100));
    bytes[2..6].copy_from_slice(mti);
    line.send_bytes(&bytes).await;
    let mti = String::from_utf8_lossy(mti);
    match answered {
        Some((with, de39)) => {
            let answer = line.receive().await.unwrap_or_else(|| panic!("{mti} is answered"));
            assert_eq!((answer.mti().as_str(), code(&answer)), (with, de39), "{mti}");
            assert_eq!(code(&line.ask(&echo(1, 2)).await), "00", "{mti}: the connection stays");
        }
        None => line.assert_silent(1).await,
    }
}

#[tokio::test]
async fn unknown_messages_have_a_defined_answer() {
    let site = Site::open(Options::default()).await;
    // Versions: 1993, 2003, national, private.
    for (mti, with) in [(b"1200", "1210"), (b"2200", "2210"), (b"8200", "8210"), (b"9200", "9210")] {
        check(&site, mti, Some((with, "12"))).await;
    }
    // Classes that are reserved or not spoken here, and functions of known ones.
    for (mti, with) in [
        (b"0000", "0010"),
        (b"0300", "0310"),
        (b"0600", "0610"),
        (b"0700", "0710"),
        (b"0900", "0910"),
        (b"0280", "0290"),
        (b"0209", "0218"),
    ] {
        check(&site, mti, Some((with, "12"))).await;
    }
    // An answer answers nothing that was asked, and gets none.
    for mti in [b"0210", b"0430", b"0810", b"1210"] {
        check(&site, mti, None).await;
    }
    assert_eq!(site.daemon.movements().await, [], "none of them is a movement");
    assert_eq!(site.issuer.movements(), []);
}

#[tokio::test]
async fn what_names_no_terminal_gets_30_and_what_names_nothing_is_closed() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let mut nameless = sale(1, 1, PAN, 100);
    nameless.remove(41);
    assert_eq!(code(&line.ask(&nameless).await), "30");
    let mut bytes = frame(&sale(1, 1, PAN, 100));
    // Neither digits nor letters of a version.
    bytes[2..6].copy_from_slice(b"02X0");
    line.send_bytes(&bytes).await;
    assert!(line.receive().await.is_none(), "nothing of it can be answered");
    site.daemon.series_counts("switchd_terminal_closed_total", "reason=\"unreadable\"", 1.0).await;
}

/// More of each than `terminal_in_flight_max`: none of them waits for an answer, so what comes after them does not either.
#[tokio::test]
async fn answers_that_nobody_asked_for_keep_no_sale_waiting() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    for (stan, mti) in (1..).zip([b"0210", b"0430", b"0810"]) {
        for _ in 0..40 {
            let mut bytes = frame(&sale(1, 900 + stan, PAN, 100));
            bytes[2..6].copy_from_slice(mti);
            line.send_bytes(&bytes).await;
        }
        let sent = Instant::now();
        let answer = line.ask(&sale(1, stan, PAN, 1250)).await;
        let mti = String::from_utf8_lossy(mti);
        assert_eq!(code(&answer), "00", "after 40 of {mti}");
        assert!(sent.elapsed() < AT_ONCE, "after 40 of {mti} a sale waited for {:?}", sent.elapsed());
    }
    assert_eq!(site.issuer_net(), 3 * 1250);
}
