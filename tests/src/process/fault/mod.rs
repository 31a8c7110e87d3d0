//! Tools that break things.

mod disk;
mod files;

pub use self::disk::{LoopDisk, SmallDisk, has_root};
pub use self::files::{flip_bit, frames, last_written, log_segments, put_back, sled_files, truncate, write, zero};
