//! Scenario files of the mock issuer.

use counterparts::issuer::Issuer;
use counterparts::scenario::Scenario;
use iso8583::{Fields, Mti};

use crate::bound::holding_at_most;

/// JSON of a scenario. A refusal shows no number as long as a card's. What is accepted is shown without its cards, and an
/// issuer can live by it.
///
/// # Panics
/// When one of these does not hold.
pub fn scenario(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else { return };
    match holding_at_most((1 << 20) + 200 * data.len(), || json.parse::<Scenario>()) {
        Err(error) => {
            let text = format!("{error} {error:?}");
            let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
            assert!(longest <= 10, "{text}");
        }
        Ok(scenario) => {
            let shown = format!("{scenario:?}") + &serde_json::to_string(&scenario).expect("it can be shown");
            for account in scenario.settings.iter().flat_map(|settings| &settings.accounts) {
                assert!(!shown.contains(account.card.digits()), "a card is shown");
            }
            live(scenario);
        }
    }
}

/// A sale, its repeat, its reversal and an echo, some time apart.
fn live(scenario: Scenario) {
    let mut issuer = Issuer::new(scenario.settings.unwrap_or_default(), 7);
    issuer.faults().replace(scenario.rules);
    for (step, mti) in [b"0200", b"0201", b"0420", b"0421", b"0800", b"0200"].into_iter().enumerate() {
        let mut message = Fields::new(Mti::new(mti));
        let stan = format!("{:06}", 1 + step / 5);
        let original = format!("0200{stan}112204580700000000000000000000000000");
        for (de, value) in [
            (2, "4000001234567899"),
            (3, "000000"),
            (4, "000000001000"),
            (7, "1122045807"),
            (11, &stan),
            (37, "632610000001"),
            (41, "TERM0001"),
            (42, "MERCHANT0000001"),
            (49, "978"),
        ] {
            message.set(de, value.as_bytes());
        }
        if mti[1] == b'4' {
            message.set(90, &original.as_bytes()[..42]);
        }
        let now_ms = 1_795_331_289_000 + 1_000 * step as u64;
        let _ = issuer.receive(now_ms, &message);
        let _ = issuer.resume(now_ms, &message);
    }
    let _ = (issuer.report(10), issuer.movements());
}
