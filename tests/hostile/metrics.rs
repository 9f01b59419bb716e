//! The metrics' address is not for strangers; one who gets there takes no descriptor from the journal, and blinds nobody for
//! longer than an idle time.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Scene, assert_closed};
use crate::support::site::PAN;
use crate::support::{Options, code, sale, within};

#[tokio::test]
async fn three_hundred_connections_to_the_metrics_take_ten_descriptors_and_end() {
    let metrics = "connections_max = 10\nidle_timeout = \"1s\"";
    let site = Scene::open(Options { metrics, ..Options::default() }).await;
    let before = site.daemon.descriptors();
    let mut held = Vec::new();
    for number in 0..300 {
        let connected = within("a connection", TcpStream::connect(site.daemon.metrics_address())).await;
        let mut stream = connected.expect("the kernel takes it");
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await.expect("it is open");
        }
        held.push(stream);
    }
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "00");
    let during = site.daemon.descriptors();
    assert!(during <= before + 10 + 5, "{before} files and sockets before, {during} during");
    for stream in &mut held[..10] {
        assert_closed(stream).await;
    }
    drop(held);
    assert!(site.daemon.metric("switchd_ready").await == 1.0, "who asks is answered");
}
