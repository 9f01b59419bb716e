//! Options of TCP sockets.

use std::io;
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
