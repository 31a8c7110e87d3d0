//! Artifacts: how a node keeps its chunks in order, and where old ones go.

use super::key::{GIB, Kind, MIB, int, section};
use std::path::PathBuf;

section! {
    /// How a node keeps the chunks of artifacts in order, in the background.
    ["artifacts"] Artifacts {
        /// Milliseconds between two searches for chunks of which no artifact is made.
        sweep_interval_ms: u64 = 600_000, int(100, 86_400_000);
        /// Such a chunk is removed when nobody has written it, or said that it is in use, for this many
        /// milliseconds. Uploads say so every sixth of it. The same on all nodes.
        orphan_age_ms: u64 = 3_600_000, int(600, 30 * 86_400_000);
        /// Milliseconds between two rounds in which every chunk is read again.
        scrub_interval_ms: u64 = 60_000, int(100, 30 * 86_400_000);
        /// Pause in milliseconds after each file that is read again: with 500, 8 MiB a second at most, and 2 MiB
        /// where all are shards.
        scrub_pause_ms: u64 = 500, int(0, 600_000);
        /// Milliseconds between two looks for chunks that this node lacks, and for shards that the nodes lack of
        /// chunks whose partition it leads.
        heal_interval_ms: u64 = 10_000, int(100, 86_400_000);
        /// Milliseconds between two rounds in which a leader moves what its projects' rules say.
        move_interval_ms: u64 = 10_000, int(100, 86_400_000);
        /// Bytes in memory of the cache of chunks that were read here and belong elsewhere: to other nodes, or to
        /// the cold tier.
        cache_memory_bytes: u64 = 64 * MIB, int(16 * MIB, 256 * GIB);
        /// Bytes of that cache on disk; 0: none. A chunk is kept for an hour.
        cache_disk_bytes: u64 = 4 * GIB, int(0, 16_384 * GIB);
    }
}

section! {
    /// Where versions of artifacts go by the projects' lifecycle rules. Without a bucket each node has a
    /// folder of its own, and a version goes to those of all replicas; a bucket is shared by all nodes,
    /// which are all to be told the same one.
    ["cold"] Cold {
        /// The folder of this node, where there is no bucket. Default: `cold` in `node.data_dir`.
        dir: Option<PathBuf> = None, Kind::Path;
        /// A bucket that speaks S3.
        bucket: Option<String> = None, Kind::Text;
        /// The URL of the store, where it is not Amazon's. Plain `http://` is taken as said.
        endpoint: Option<String> = None, Kind::Text;
        /// The bucket's region.
        region: String = "us-east-1".into(), Kind::Text;
        /// What the names of all objects begin with. Two clusters that share a bucket need different ones.
        prefix: Option<String> = None, Kind::Text;
        /// The id of the access key. Default: what the machine's role gives.
        access_key_id: Option<String> = None, Kind::Text;
        /// The file with its secret.
        secret_access_key_file: Option<PathBuf> = None, Kind::Path;
        /// The storage class of archived objects, such as `GLACIER_IR`; one that must be thawed before it
        /// can be read will not do.
        archive_class: Option<String> = None, Kind::Text;
    }
}
