//! Bytes to and from sockets: counting what the kernel took, queues of frames, one task per connection, TCP options.
//!
//! Knows frames, not messages.

pub(crate) mod counting;
pub(crate) mod descriptors;
pub(crate) mod guarded;
pub(crate) mod outgoing;
pub(crate) mod send_queue;
pub(crate) mod socket;
pub(crate) mod traffic;

#[cfg(test)]
mod tests;
