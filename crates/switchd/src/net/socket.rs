//! Options of TCP sockets, and what the kernel still holds of what was written.
//!
//! The count of unacknowledged bytes comes from the kernel's table of connections in `/proc`, as the system call for it
//! needs `unsafe`; it is read only when a request was not answered in time.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

use crate::config::Tcp;

/// Small messages at once, dead peers noticed.
pub(crate) fn set_options(stream: &TcpStream, tcp: &Tcp) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(tcp.user_timeout_ms).unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(stream, true)?;
    let every = Duration::from_millis(tcp.keepalive_ms.max(1_000));
    sockopt::set_tcp_keepidle(stream, every)?;
    sockopt::set_tcp_keepintvl(stream, every)?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

/// Makes the close of this socket a reset: what the kernel holds is thrown away.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::warn!(%error, "cannot set the linger option");
    }
}

/// Bytes that were written to this socket and that the peer's host has not acknowledged.
pub(crate) fn unacknowledged_bytes(stream: &TcpStream) -> io::Result<u64> {
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    let table = fs::read_to_string(match local {
        SocketAddr::V4(_) => "/proc/self/net/tcp",
        SocketAddr::V6(_) => "/proc/self/net/tcp6",
    })?;
    find(&table, local, peer).ok_or_else(|| io::Error::other("the connection is not in the kernel's table"))
}

/// The send queue of a connection in the kernel's table.
fn find(table: &str, local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let (local, peer) = (kernel_address(local), kernel_address(peer));
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        if columns.next()? != local || columns.next()? != peer {
            return None;
        }
        let (send_queue, _) = columns.nth(1)?.split_once(':')?;
        u64::from_str_radix(send_queue, 16).ok()
    })
}

/// An address as the table writes it: words of four bytes as numbers of this machine, in hex.
fn kernel_address(address: SocketAddr) -> String {
    let octets: Vec<u8> = match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    let word = |w: &[u8]| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
    let words: String = octets.chunks_exact(4).map(word).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket};

    /// A peer that does not read, with a small window, so that the kernel must keep what is written.
    async fn stuffed(address: &str) -> (u64, u64) {
        let listening = if address.starts_with('[') { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
        listening.set_recv_buffer_size(4096).unwrap();
        listening.bind(address.parse().unwrap()).unwrap();
        let listener: TcpListener = listening.listen(1).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_peer, _) = listener.accept().await.unwrap();
        let empty = unacknowledged_bytes(&stream).unwrap();
        let write = stream.write_all(&[0; 8 << 20]);
        assert!(tokio::time::timeout(Duration::from_millis(100), write).await.is_err(), "the kernel took it all");
        (empty, unacknowledged_bytes(&stream).unwrap())
    }

    #[test]
    fn r3_unacknowledged_bytes_are_seen() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let (before, after) = stuffed(address).await;
                assert_eq!(before, 0, "{address}");
                assert!(after > 0, "{address}");
            }
        });
    }
}
