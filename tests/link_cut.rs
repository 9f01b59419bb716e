//! A link that is cut with a request in flight: unwound at once (T2), without disturbing the others (R0, R3).

use counterparts::faults::{Fault, Side};

use crate::support::host::answer_to;
use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, field, sale, until};

#[tokio::test]
async fn t2_a_cut_before_the_answer_is_68_at_once_and_unwound() {
    for side in [Side::BeforeLedger, Side::AfterLedger] {
        // The timeout is far away: only the cut can be the reason.
        let site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
        site.on_requests(Fault::Cut(side));
        let mut line = site.line(1).await;
        let request = sale(1, 1, PAN, 1250);
        assert_eq!(code(&line.ask(&request).await), "68", "{side:?}");
        assert_eq!(site.tx(&request).await.cause.as_deref(), Some("T2"));
        site.no_faults();
        site.reaches(&request, "unwound").await;
        assert_eq!(site.issuer_net(), 0, "{side:?}");
        site.nothing_in_doubt().await;
    }
}

/// R3: the reversal overtakes its original. Its acknowledgement must not end the obligation.
#[tokio::test]
async fn r3_a_reversal_that_overtakes_its_original_is_sent_again_after_the_horizon() {
    let site = Site::open(Options { original_horizon: 3_000, ..Options::default() }).await;
    // The ledger moves long after the connection, and with it the answer, is gone.
    site.on_requests(Fault::DelayMs(2_000));
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    until("the issuer has the request", async || (site.issuer.report().counts.faults == 1).then_some(())).await;
    site.issuer.set_links_up(false);
    assert_eq!(code(&line.receive().await.expect("68 comes")), "68");
    site.issuer.set_links_up(true);
    until("the early reversal is answered", async || (site.issuer.report().counts.reversals_unknown > 0).then_some(()))
        .await;
    site.issuer_moved(1).await;
    site.reaches(&request, "unwound").await;
    assert_eq!(site.issuer_net(), 0, "the early acknowledgement did not count");
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn r0_one_of_two_links_dies_and_the_other_carries_on_reversal_included() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options { original_horizon: 1_500, ..Options::default() }, &[Some(&host), None]).await;
    until("both links are up", async || {
        (site.daemon.metrics().await.matches("switchd_link_connections{").count() >= 2
            && site.daemon.metric("switchd_link_connections").await == 2.0)
            .then_some(())
    })
    .await;
    // The sales spread over both links; the host never answers those that it gets.
    let mut lines = Vec::new();
    let mut requests = Vec::new();
    let mut over_host = Vec::new();
    for number in 1..=3 {
        let mut line = site.line(number).await;
        let request = sale(number, 1, PAN, 100);
        line.send(&request).await;
        over_host.push(site.tx(&request).await.link == "1.1");
        lines.push(line);
        requests.push(request);
    }
    assert!(over_host.contains(&true), "the first link has its share");
    let mut connection = None;
    for _ in over_host.iter().filter(|over_host| **over_host) {
        connection = Some(host.next().await.line);
    }
    host.refuse();
    host.cut(connection.expect("at least one came"));
    for ((line, request), over_host) in lines.iter_mut().zip(&requests).zip(over_host) {
        let answer = line.receive().await.expect("every terminal gets its answer");
        assert_eq!(code(&answer), if over_host { "68" } else { "00" }, "{}", field(request, 41));
        if over_host {
            let tx = site.reaches(request, "unwound").await;
            assert_eq!(tx.cause.as_deref(), Some("T2"));
        }
    }
    // New work does not notice.
    assert_eq!(code(&lines[0].ask(&sale(1, 2, PAN, 50)).await), "00");
    site.nothing_in_doubt().await;
}

/// T2: several connections of one link are one STAN space; an answer counts on whichever it comes.
#[tokio::test]
async fn t2_an_answer_on_another_connection_of_the_link_counts() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options { connections: 2, ..Options::default() }, &[Some(&host)]).await;
    until("both connections are up", async || (site.daemon.metric("switchd_link_connections").await == 2.0).then_some(()))
        .await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let arrived = host.next().await;
    let other = 1 - arrived.line;
    host.send(other, &answer_to(&arrived.message, "00"));
    let answer = line.receive().await.expect("the answer comes");
    assert_eq!(code(&answer), "00");
    site.reaches(&request, "awaiting_confirmation").await;
    // What happens to the first connection afterwards is nothing to it.
    host.cut(arrived.line);
    until("the connection is gone", async || (site.daemon.metric("switchd_link_closed_total").await >= 1.0).then_some(()))
        .await;
    assert_eq!(site.tx(&request).await.state, "awaiting_confirmation");
    host.assert_nothing_more();
}

#[tokio::test]
async fn a_link_that_was_cut_comes_back_by_itself_every_time() {
    let site = Site::open(Options::default()).await;
    for round in 1..=3 {
        site.issuer.set_links_up(false);
        until("the daemon says that it is not ready", async || (!site.daemon.is_ready().await).then_some(())).await;
        site.issuer.set_links_up(true);
        until("the daemon is ready again", async || site.daemon.is_ready().await.then_some(())).await;
        let answer = site.line(1).await.ask(&sale(1, round, PAN, 10)).await;
        assert_eq!(code(&answer), "00");
    }
}
