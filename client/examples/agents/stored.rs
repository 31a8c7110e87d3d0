//! What agents hand on to each other: artifacts, named with the hash of their bytes.

use bravo_client::{Client, Failure, JobContext, Source};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Larger artifacts are none of ours.
const BYTES_MAX: usize = 64 << 20;

/// An artifact that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Where it is in the job's project.
    pub(crate) path: String,
    pub(crate) version: u32,
    /// Of its bytes, in hexadecimal digits.
    pub(crate) blake3: String,
    pub(crate) size: u64,
}

/// A path for what belongs to this job's workflow.
pub(crate) fn path(job: &JobContext, name: &str) -> String {
    format!("apps/{}/{name}", job.workflow().unwrap_or(job.id()))
}

/// Stores bytes. A job that is done twice stores the same ones, which make no second version.
pub(crate) async fn put(
    client: &Client,
    job: &JobContext,
    name: &str,
    source: impl Into<Source>,
    kind: &str,
) -> Result<Stored, Failure> {
    let path = path(job, name);
    let answer = client.put_artifact(job.project(), &path, source, Some(kind)).await?;
    Ok(Stored { path, version: answer.version, blake3: answer.blake3, size: answer.size })
}

/// Fetches what another agent stored, and checks that it is that.
pub(crate) async fn get(client: &Client, job: &JobContext, stored: &Stored) -> Result<Bytes, Failure> {
    let artifact = client.artifact(job.project(), &stored.path, Some(stored.version)).await?;
    let bytes = artifact.bytes(BYTES_MAX).await?;
    if blake3::hash(&bytes).to_hex().as_str() != stored.blake3 {
        return Err(Failure::new(format!("{}: these are other bytes than were stored", stored.path)));
    }
    Ok(bytes)
}
