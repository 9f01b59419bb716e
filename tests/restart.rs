//! Open obligations outlive the process (M4, K3): a stop and a crash change nothing about what is owed.

use counterparts::faults::{Fault, MtiClass, Side};

use crate::support::host::answer_to;
use crate::support::site::{PAN, rule};
use crate::support::{Host, Options, Site, code, field, sale};

/// A site whose issuer has moved the money of a sale, said nothing, and takes no reversal.
async fn owing(request: &iso8583::Fields) -> Site {
    let site = Site::open(Options::impatient()).await;
    let silent = rule(MtiClass::Request, Fault::Silence(Side::AfterLedger));
    site.issuer.set_faults(vec![silent, rule(MtiClass::Reversal, Fault::Ignore)]);
    assert_eq!(code(&site.line(1).await.ask(request).await), "68");
    assert_eq!(site.issuer_net(), 1250);
    site
}

#[tokio::test]
async fn k3_an_obligation_survives_a_stop_and_is_kept_after_the_start() {
    let request = sale(1, 1, PAN, 1250);
    let mut site = owing(&request).await;
    site.daemon.stop().await;
    site.no_faults();
    site.start_again().await;
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T1"));
    assert_eq!(site.issuer_net(), 0);
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn k3_an_obligation_survives_three_crashes_in_a_row() {
    let request = sale(1, 1, PAN, 1250);
    let mut site = owing(&request).await;
    for _ in 0..3 {
        site.crash().await;
        assert_eq!(site.tx(&request).await.state, "awaiting_reversal_ack");
    }
    site.no_faults();
    site.reaches(&request, "unwound").await;
    assert_eq!(site.issuer_net(), 0);
    site.nothing_in_doubt().await;
}

/// K3, R1: what the host sees of it.
#[tokio::test]
async fn k3_after_a_crash_the_reversal_goes_on_as_a_repeat_with_the_same_numbers() {
    let mut host = Host::start().await;
    let mut site = Site::with_hosts(Options::impatient(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let original = host.next().await;
    // With an answer held each send decides: so there is one reversal and its numbers.
    let mut wrong = answer_to(&original.message, "00");
    wrong.set(4, b"000000009999");
    host.send(original.line, &wrong);
    let before = host.next().await;
    assert_eq!(before.message.mti().as_str(), "0420");
    site.crash().await;
    // The switch may have repeated it before it was killed; those came on the old connection.
    let after = host.next_after(before.line).await;
    assert_eq!(after.message.mti().as_str(), "0421");
    for de in [2, 3, 4, 7, 11, 37, 41, 42, 49, 90, 95] {
        assert_eq!(field(&after.message, de), field(&before.message, de), "DE{de}");
    }
    host.answer(&after, "00");
    site.reaches(&request, "unwound").await;
}
