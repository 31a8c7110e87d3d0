//! Compiles the .proto files, without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 12] = [
    "bravo/v1/common.proto",
    "bravo/v1/jobs.proto",
    "bravo/v1/work.proto",
    "bravo/v1/queues.proto",
    "bravo/v1/cluster.proto",
    "bravo/v1/templates.proto",
    "bravo/v1/workflows.proto",
    "bravo/v1/schedules.proto",
    "bravo/v1/webhooks.proto",
    "bravo/v1/events.proto",
    "bravo/v1/scaling.proto",
    "externalscaler/externalscaler.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("bravo.v1.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(set)?;
    Ok(())
}
