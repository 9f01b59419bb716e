//! What the daemon is given to read by its operator: configuration with registry, keys, certificates, orders.

use std::path::Path;

use partition::Keys;
use switch::{Case, Entry, Record, Resolution, Switch};

use crate::bound::holding_at_most;

/// Between the configuration and the registry, on a line of its own.
const REGISTRY: &str = "\n=== registry\n";

/// The registry that goes with an input that has none.
const USUAL_REGISTRY: &str = include_str!("../../../deploy/terminals.toml");

/// Text of `switchd.toml`, and of the registry behind `REGISTRY`. What is refused is refused with at least one problem, each
/// with a line that the files have and nothing that steers a terminal. What is accepted is the same twice, keeps T1 and R3,
/// takes no approval for a refusal, and makes a core.
///
/// # Panics
/// When one of these does not hold.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, registry) = text.split_once(REGISTRY).unwrap_or((text, USUAL_REGISTRY));
    let bound = (2 << 20) + 600 * data.len();
    match holding_at_most(bound, || switchd::parsers::configuration(text, registry)) {
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for nothing");
            let lines = 1 + text.lines().count().max(registry.lines().count());
            problems.iter().for_each(|problem| told(problem, lines));
        }
        Ok(read) => {
            let again = switchd::parsers::configuration(text, registry).expect("accepted before");
            assert_eq!(read.shown, again.shown, "the same twice");
            keeps_the_rules(&read);
            Switch::new(read.core);
        }
    }
}

/// `FILE:LINE: text`, or `FILE: text`, of one line.
fn told(problem: &str, lines: usize) {
    assert!(!problem.chars().any(char::is_control), "a problem that steers a terminal: {problem:?}");
    let (place, text) = problem.split_once(": ").expect("a problem names its file");
    assert!(!text.is_empty(), "{problem}");
    let line = place.split_once(".toml:").map(|(_, line)| line.parse::<usize>().expect("a line is a number"));
    assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}: there are {lines} lines");
}

fn keeps_the_rules(read: &switchd::parsers::Configuration) {
    for (number, link) in &read.core.links {
        for (group, patience_ms) in &read.terminal_response_timeout_ms {
            assert!(link.response_timeout_ms < *patience_ms, "T1: link {number} against group {group:?}");
        }
        assert!(read.tcp_user_timeout_ms[number] < link.original_horizon_ms, "R3: link {number}");
        for approval in ["00", "10", "11"] {
            let code = approval.parse().expect("a code");
            assert_eq!(link.codes.money(code), switch::Money::Moved, "{approval} on link {number}");
        }
        assert!(read.core.issuers.contains_key(&number.issuer), "link {number} is nobody's");
    }
    for route in &read.core.routes {
        assert!(read.core.issuers.contains_key(&route.issuer), "a route to nobody");
    }
    assert!(read.core.partition <= 35 && read.core.dedup_keys > 0);
    assert!(!read.core.routes.is_empty() && !read.core.groups.is_empty());
}

/// Text of a key file. A refusal names a line that there is and shows no key; what is accepted is shown without its keys.
///
/// # Panics
/// When one of these does not hold.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = holding_at_most(64 * 1024 + 64 * data.len(), || Keys::parse(Path::new("keys"), text));
    let shown = match &read {
        Ok(keys) => format!("{keys:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    let hex = |word: &&str| word.len() >= 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
    for key in text.split_whitespace().filter(hex) {
        assert!(!shown.contains(&key[..16]), "a key is shown");
    }
    if let Err(partition::KeyError::Line { line, .. }) = read {
        assert!((1..=text.lines().count()).contains(&line), "line {line}");
    }
}

/// A terminal's certificate, which the other side of a handshake chooses. The fingerprint is of all its bytes; the common name
/// is text that stands in them.
///
/// # Panics
/// When one of these does not hold.
pub fn certificate(data: &[u8]) {
    let bound = 64 * 1024 + 64 * data.len();
    let (subject, fingerprint) = holding_at_most(bound, || switchd::parsers::certificate(data));
    assert!(fingerprint.len() == 64 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
    if let Some(subject) = &subject {
        assert!(data.windows(subject.len().max(1)).any(|bytes| bytes == subject.as_bytes()) || subject.is_empty());
    }
    let mut longer = data.to_vec();
    longer.push(0);
    assert_ne!(fingerprint, switchd::parsers::certificate(&longer).1, "one byte more is another certificate");
    assert_eq!((subject, fingerprint), switchd::parsers::certificate(data), "the same twice");
}

/// What `switchd resolve` sends to the admin socket: a name, a line feed, JSON. What is accepted names who and why in a line of
/// 1 to 255 bytes, holds no card number, and is kept as it was given.
///
/// # Panics
/// When one of these does not hold.
pub fn order(data: &[u8]) {
    let Some((named, body)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) else { return };
    let bound = 64 * 1024 + 16 * data.len();
    let Ok((case, resolution, who, why)) = holding_at_most(bound, || switchd::parsers::order(named, body)) else { return };
    for text in [&who, &why] {
        assert!((1..=255).contains(&text.len()) && !text.trim().is_empty());
        assert!(!text.chars().any(char::is_control));
        assert!(!holds_a_card(text), "a card number is kept in clear");
    }
    let record = match case {
        Case::Entry(exception) => Record::ExceptionClosed { exception, who, why },
        Case::Movement(_) => {
            Record::Resolved { id: switch::MovementId(1), verdict: switch::Verdict { resolution, who, why, wall_ms: 1 } }
        }
    };
    let entry = Entry { partition: 1, wall_ms: 1, record };
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    assert_eq!(Entry::decode(&bytes).as_ref(), Ok(&entry), "kept as it was given");
    if let Resolution::AdjustedElsewhere { .. } = resolution {
        assert!(body.contains("amount"), "an amount that nobody named");
    }
}

/// 13 digits in a row, or groups of digits of 13 to 19 in all whose check digit is right, with no letter between them.
fn holds_a_card(text: &str) -> bool {
    // What separates groups becomes one space, letters a bar that nothing crosses.
    let mut flat = String::new();
    for character in text.chars() {
        flat.push(match character {
            digit if digit.is_ascii_digit() => digit,
            letter if letter.is_alphanumeric() => '|',
            _ => ' ',
        });
    }
    flat.split('|').any(|part| {
        let groups: Vec<&str> = part.split(' ').filter(|group| !group.is_empty()).collect();
        (0..groups.len()).any(|from| {
            (from + 1..=groups.len()).any(|to| {
                let digits = groups[from..to].concat();
                groups[from].len() >= 13 || (13..=19).contains(&digits.len()) && luhn(&digits)
            })
        })
    })
}

fn luhn(digits: &str) -> bool {
    // The value of a digit, and of a doubled one.
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let values: Vec<usize> = digits.bytes().map(|digit| usize::from(digit - b'0')).collect();
    let odd_from_behind = |at: usize| (values.len() - 1 - at) % 2 == 1;
    let sum: u32 =
        (0..values.len()).map(|at| if odd_from_behind(at) { DOUBLED[values[at]] } else { values[at] as u32 }).sum();
    sum.is_multiple_of(10)
}
