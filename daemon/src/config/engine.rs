//! The machinery of a node: replication, batching and storage.

use super::key::{GIB, KIB, MIB, int, section};

section! {
    /// Replication: timing, snapshots, and how client commands become log entries.
    ["raft"] Raft {
        /// Milliseconds between two heartbeats of a leader. Those of all groups that two nodes share
        /// travel in one message.
        heartbeat_interval_ms: u64 = 300, int(10, 10_000);
        /// Shortest silence in milliseconds after which a follower asks for an election. At least
        /// twice the heartbeat interval, so that one late heartbeat starts nothing.
        election_timeout_min_ms: u64 = 700, int(50, 60_000);
        /// Longest such silence. Each voter draws its own from a part of the span between the two.
        election_timeout_max_ms: u64 = 950, int(60, 120_000);
        /// Log bytes of a group since its last snapshot below which no new one is made. Above it, a
        /// snapshot is due when this part of the log has outgrown the state.
        snapshot_log_bytes_min: u64 = 64 * MIB, int(MIB, 64 * GIB);
        /// Bytes of one piece of a snapshot on its way to another node.
        snapshot_chunk_bytes: u64 = MIB, int(64 * KIB, 8 * MIB);
        /// Jobs (or acks, nacks, extends, leases) that one log entry may carry. A single call with
        /// more goes alone.
        batch_jobs_max: u32 = 4_096, int(1, 65_536);
        /// Bytes that one log entry may carry. A single call with more goes alone.
        batch_bytes_max: u64 = 4 * MIB, int(64 * KIB, 16 * MIB);
        /// Log entries of one partition that may be on their way at a time.
        inflight_batches_max: u32 = 2, int(1, 256);
        /// Commands that may wait for the next entry of one partition. Further ones are refused with
        /// `shed`.
        queued_commands_max: u32 = 32_768, int(16, 1_048_576);
        /// Bytes of such commands. Further ones are refused with `shed`.
        queued_bytes_max: u64 = 64 * MIB, int(16 * MIB, 4 * GIB);
    }
}

section! {
    /// Disk and memory of one node.
    ["storage"] Storage {
        /// Bytes of one preallocated log segment. Space is given back a segment at a time.
        log_segment_bytes: u64 = 64 * MIB, int(16 * MIB, 4 * GIB);
        /// Bytes of recent log entries kept in memory, over all groups, for followers that lag.
        log_cache_bytes: u64 = 32 * MIB, int(MIB, 16 * GIB);
        /// Bytes that may wait for the log's writer, over all groups. Above it, new commands are refused
        /// with `shed` until the disk has caught up.
        log_queue_bytes_max: u64 = 64 * MIB, int(16 * MIB, 4 * GIB);
        /// Bytes of live state kept in memory, over all groups. What is colder moves to disk.
        memory_bytes_max: u64 = 384 * MIB, int(16 * MIB, 1_024 * GIB);
        /// Bytes of memory for payloads and results that were moved to disk and read again: half for pages
        /// of them, half for single ones. Memory is taken as it fills.
        cache_memory_bytes: u64 = 100 * MIB, int(MIB, 256 * GIB);
        /// Bytes of disk for single payloads and results that this memory had no room for; 0 for none.
        cache_disk_bytes: u64 = GIB, int(0, 16_384 * GIB);
    }
}
