//! Durable records: segments, commit groups, recovery.
