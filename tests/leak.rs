//! What must never be on disk or in a log (section 10): after sales, reversals, crashes and bad messages every byte that
//! the daemon wrote or showed is searched for what the test sent.

use counterparts::faults::{Fault, MtiClass, Side};
use iso8583::Fields;
use tempfile::TempDir;

use crate::support::daemon::switchd;
use crate::support::line::frame;
use crate::support::scan::{Secrets, files, forms};
use crate::support::site::rule;
use crate::support::{Options, Site, code, repeat_of, reversal_of, sale};

/// Numbers that nothing else in a test could contain by chance.
const PANS: [&str; 4] = ["4917846203957186", "5391827364019283", "6038475610293847561", "374958203917465"];
/// What follows on track 2: expiry, service code, discretionary data with a CVV in it.
const TAIL: &str = "30122017395820461";
const PIN_BLOCK: [u8; 8] = [0x9c, 0x41, 0xe7, 0xb2, 0x58, 0x0d, 0xf6, 0x13];
/// 9F26, the cryptogram.
const CRYPTOGRAM: [u8; 8] = [0xd3, 0x8a, 0x67, 0xf1, 0x2e, 0xb9, 0x54, 0x0c];
/// 9F1F, track 1 discretionary data.
const CHIP_TRACK_1: &[u8] = b"73905184620957318406";
/// Additional data with a CVV2 of a card that was not present (DE48).
const CVV2: &str = "9182CVV2=736451928";

fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    for pan in PANS {
        secrets = secrets.digits("a card number", pan).digits("track 2", &format!("{pan}={TAIL}"));
    }
    secrets
        .digits("the end of a track", TAIL)
        .digits("9F1F", std::str::from_utf8(CHIP_TRACK_1).expect("it is text"))
        .bytes("the PIN block", &PIN_BLOCK)
        .bytes("the cryptogram", &CRYPTOGRAM)
        .bytes("CVV2", CVV2.as_bytes())
}

/// DE55 with everything in it that must not be kept.
fn chip(pan: &str) -> Vec<u8> {
    let mut track: String = format!("{pan}D{TAIL}");
    if track.len() % 2 == 1 {
        track.push('F');
    }
    let digit = |letter: u8| char::from(letter).to_digit(16).expect("it is hex");
    let packed = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    let track: Vec<u8> = track.as_bytes().chunks(2).map(packed).collect();
    let mut tlv = Vec::new();
    for (tag, value) in [(&[0x57][..], &track[..]), (&[0x9f, 0x1f], CHIP_TRACK_1), (&[0x9f, 0x26], &CRYPTOGRAM)] {
        tlv.extend_from_slice(tag);
        tlv.push(u8::try_from(value.len()).expect("it is short"));
        tlv.extend_from_slice(value);
    }
    tlv
}

/// A sale with every secret that a message can carry.
fn telling(number: u16, stan: u32, pan: &str) -> Fields {
    let mut request = sale(number, stan, pan, 1250);
    request.set(35, format!("{pan}={TAIL}").as_bytes());
    request.set(45, format!("B{pan}^DOE/JANE^{TAIL}").as_bytes());
    request.set(48, CVV2.as_bytes());
    request.set(52, &PIN_BLOCK);
    request.set(55, &chip(pan));
    request
}

/// A frame with a byte that cannot be, in the middle of this piece of it.
fn spoiled(stan: u32, piece: &[u8]) -> Vec<u8> {
    let mut bytes = frame(&telling(1, stan, PANS[3]));
    let at = bytes.windows(piece.len()).position(|window| window == piece).expect("it is there");
    bytes[at + piece.len() / 2] = 0xff;
    bytes
}

/// Makes the daemon handle secrets in every way that it knows.
async fn scenario(site: &mut Site) {
    // The issuer takes card numbers in clear, and shows them masked.
    let accounts = PANS.map(|pan| format!(r#"{{"card":"{pan}","balance":1000000}}"#)).join(",");
    let settings = format!(r#"{{"accounts":[{accounts}]}}"#);
    let put = counterparts::net::http::put_text(site.issuer.control_address(), "/settings", &settings).await;
    put.expect("the issuer takes its settings");

    // Approved, repeated, conflicting (D4), reversed.
    let mut line = site.line(1).await;
    for (at, pan) in PANS.into_iter().enumerate() {
        let stan = 1 + 10 * u32::try_from(at).expect("it is small");
        let request = telling(1, stan, pan);
        assert_eq!(code(&line.ask(&request).await), "00");
        assert_eq!(code(&line.ask(&repeat_of(&request)).await), "00");
        let mut conflict = telling(1, stan, pan);
        conflict.set(4, b"000000009999");
        assert_eq!(code(&line.ask(&conflict).await), "94");
        assert_eq!(code(&line.ask(&reversal_of(&request, stan + 1)).await), "00");
    }
    // Unwound after silence, with a reversal that is refused, over a crash.
    site.issuer.set_faults(vec![
        rule(MtiClass::Request, Fault::Silence(Side::AfterLedger)),
        rule(MtiClass::Reversal, Fault::Answer("91".parse().expect("it is a code"))),
    ]);
    let silent = telling(1, 101, PANS[0]);
    assert_eq!(code(&line.ask(&silent).await), "68");
    site.crash().await;
    site.no_faults();
    site.reaches(&silent, "unwound").await;
    // Declined, refused for its terminal, refused for its content, and unreadable in the middle of the secrets.
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&telling(1, 102, "4917846203957194")).await), "14");
    assert_eq!(code(&line.ask(&telling(2, 103, PANS[1])).await), "03");
    line.send_bytes(&spoiled(104, b"^DOE/JANE^")).await;
    assert_eq!(code(&line.receive().await.expect("it said who it is")), "30");
    line.send_bytes(&spoiled(105, PANS[3].as_bytes())).await;
    assert!(line.receive().await.is_none(), "it did not say who it is");
    let mut line = site.line(1).await;
    let mut cut_short = frame(&telling(1, 106, PANS[3]));
    cut_short.truncate(cut_short.len() - 9);
    let length = u16::try_from(cut_short.len() - 2).expect("it was one");
    cut_short[..2].copy_from_slice(&length.to_be_bytes());
    line.send_bytes(&cut_short).await;
    assert_eq!(code(&line.receive().await.expect("it said who it is")), "30");
    site.nothing_in_doubt().await;
}

/// Everything that the daemon shows, written into files below the site's directory.
async fn keep_what_it_shows(site: &Site) {
    let shown = site.dir().join("shown");
    std::fs::create_dir(&shown).expect("the directory is ours");
    let keep = |name: &str, bytes: &[u8]| std::fs::write(shown.join(name), bytes).expect("the directory is ours");
    keep("metrics", site.daemon.metrics().await.as_bytes());
    keep("admin-tx", site.daemon.admin_text("/tx").await.as_bytes());
    keep("admin-doubt", site.daemon.admin_text("/doubt").await.as_bytes());
    let config = site.config();
    let config = config.to_str().expect("the path is text");
    let rrn = site.daemon.movements().await.remove(0).rrn;
    for (name, args) in [
        ("doubt", &["doubt"][..]),
        ("doubt-json", &["doubt", "--json"]),
        ("tx", &["tx", "--all"]),
        ("tx-one", &["tx", &rrn]),
        ("tx-one-json", &["tx", &rrn, "--json"]),
    ] {
        let output = switchd(args.iter().copied().chain(["--config", config])).await;
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        keep(name, &[output.stdout, output.stderr].concat());
    }
}

#[tokio::test]
async fn no_secret_is_found_in_any_file_log_or_output() {
    let mut site = Site::open(Options { log: "debug", ..Options::impatient() }).await;
    scenario(&mut site).await;
    keep_what_it_shows(&site).await;
    let masked = "491784******7186";
    assert!(site.daemon.log().contains(masked), "the log shows masked cards, so it was worth a search");
    assert!(site.daemon.admin_text("/tx").await.contains(masked));
    site.daemon.stop().await;
    let searched = files(site.dir());
    let of_journal = searched.iter().filter(|file| file.starts_with(site.dir().join("journal"))).count();
    assert!(of_journal >= 2, "the journal is among what was searched: {searched:?}");
    let (found, looked_at) = secrets().search(site.dir());
    assert_eq!(found, Vec::<String>::new(), "in {} files, {looked_at} bytes", searched.len());
}

/// The search is worth something only if it finds what is there.
#[test]
fn the_search_finds_each_secret_in_each_form() {
    let secrets = secrets();
    let check = |what: &str, secret: &[u8]| {
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("below")).expect("the directory is ours");
        let mut bytes: Vec<u8> = (0..5_000_u32).map(|at| (at * 7919 % 251) as u8).collect();
        std::fs::write(dir.path().join("below/clean"), &bytes).expect("the directory is ours");
        assert_eq!(secrets.search(dir.path()).0, Vec::<String>::new(), "noise");
        bytes.splice(2_500..2_500, secret.iter().copied());
        std::fs::write(dir.path().join("below/planted"), &bytes).expect("the directory is ours");
        let (found, _) = secrets.search(dir.path());
        assert!(found.len() == 1 && found[0].contains("planted"), "{what}: {found:?}");
    };
    for pan in PANS {
        for (form, bytes) in forms(pan) {
            check(form, &bytes);
        }
        check("cut at its end", &pan.as_bytes()[..11]);
        check("cut at its beginning", &pan.as_bytes()[pan.len() - 11..]);
        for (form, bytes) in forms(&format!("{pan}={TAIL}")) {
            check(form, &bytes);
        }
        check("the chip's track 2", &chip(pan)[2..]);
    }
    for (form, bytes) in forms(TAIL) {
        check(form, &bytes);
    }
    for secret in [&PIN_BLOCK[..], &CRYPTOGRAM, CVV2.as_bytes(), CHIP_TRACK_1] {
        check("bytes", secret);
        check("hex", crate::support::scan::hex(secret).as_bytes());
        check("HEX", crate::support::scan::hex(secret).to_ascii_uppercase().as_bytes());
    }
    check("a frame", &frame(&telling(1, 1, PANS[0])));
}
