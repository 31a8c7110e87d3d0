//! Artifacts: put, read, list, delete.

mod coded;
mod content;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bravo_api::Timestamp;
use bravo_api::convert::reads::{Freshness, Page};
use bravo_api::json::{ArtifactListAnswer, ArtifactSummary};
use bravo_model::artifact::{Artifact, ArtifactPath, Manifest, PutArtifact};
use bravo_model::template::Expected;
use bravo_model::view::Found;
use bravo_model::{Code, Command, Envelope, Name, Refusal, Reply};
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use coded::{Coding, LARGE_WINDOW, Turn, ZSTD_WINDOW_LOG, turned};
pub(crate) use content::{Source, stream};
pub(crate) use upload::{Upload, check_size};

use super::reads::{Kind, earlier, read as read_group, read_shared, wrong_answer};
use super::wrong_reply;
use crate::cluster::Repeat;
use crate::gateway::app::App;
use crate::gateway::call::{Call, hash};
use crate::raft::types::{GroupId, META_GROUP, partition_group};
use crate::routing;
use crate::transport::wire::{Answer, Query};

/// Artifacts that are written in chunks at a time, and as many that are read: each holds a few chunks.
const STREAMS_MAX: usize = 32;
/// Artifacts that are packed or unpacked at a time: each has a thread and a window.
const CODERS_MAX: usize = 8;
/// How long one waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// Where an artifact is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Where it belongs.
    pub(crate) project: Name,
    /// Where it is there.
    pub(crate) path: ArtifactPath,
}

/// Memory for chunks.
pub(crate) struct Turns {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    coders: Arc<Semaphore>,
}

impl Turns {
    /// A place for one that is to be packed or unpacked. Without it, one that is not packed goes out as it is,
    /// and one that must be unpacked waits.
    pub(crate) async fn coder(&self, turn_of: Turn) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        match turn_of {
            Turn::Pack(_) => Ok(self.coders.clone().try_acquire_owned().ok()),
            Turn::Unpack(_) => turn(&self.coders).await.map(Some),
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(STREAMS_MAX));
        Self { reads: places(), writes: places(), coders: Arc::new(Semaphore::new(CODERS_MAX)) }
    }
}

/// Makes an artifact or its next version of what was taken in; answers version and whether it is new.
pub(crate) async fn put(
    app: &Arc<App>,
    call: &Call,
    place: Place,
    manifest: Manifest,
    expected: Expected,
) -> Result<(u32, bool), Refusal> {
    call.caller.may_write(&place.project)?;
    // The content may have taken long to come.
    app.door.holds(&app.cluster, &call.caller)?;
    let group = group_of(app, &place);
    let Place { project, path } = place;
    let put = Command::PutArtifact(Box::new(PutArtifact { project, path, manifest, expected }));
    match propose(app, call, group, put).await? {
        Reply::ArtifactPut { version, created, .. } => Ok((version, created)),
        other => Err(wrong_reply(&other)),
    }
}

/// Deletes an artifact with all its versions.
pub(crate) async fn delete(app: &Arc<App>, call: &Call, place: Place, expected: Expected) -> Result<(), Refusal> {
    if !call.caller.sees(&place.project) {
        return Err(Refusal::new(Code::NotFound, format!("there is no artifact {}", place.path)));
    }
    let group = group_of(app, &place);
    let Place { project, path } = place;
    match propose(app, call, group, Command::DeleteArtifact { project, path, expected }).await? {
        Reply::Done => Ok(()),
        other => Err(wrong_reply(&other)),
    }
}

/// One version of an artifact, the newest if none is named.
pub(crate) async fn find(
    app: &Arc<App>,
    call: &Call,
    place: &Place,
    version: Option<u32>,
    freshness: Freshness,
) -> Result<Found, Refusal> {
    if !call.caller.sees(&place.project) {
        return Err(no_artifact(place, version));
    }
    let query = Query::Artifact(place.project.clone(), place.path.clone(), version);
    match read_group(app, call, group_of(app, place), query, freshness).await? {
        Answer::Artifact(Some(found)) => Ok(*found),
        Answer::Artifact(None) => Err(no_artifact(place, version)),
        _ => Err(wrong_answer()),
    }
}

fn no_artifact(place: &Place, version: Option<u32>) -> Refusal {
    let of = version.map_or_else(String::new, |version| format!(" with a version {version} that is kept"));
    Refusal::new(Code::NotFound, format!("there is no artifact {}{of}", place.path))
}

/// Where a version's bytes are.
pub(crate) fn source(app: &App, place: &Place, found: &Found) -> Source {
    Source { partition: home(app, place), id: found.id, stay: found.stay }
}

/// A page of a project's artifacts, over all partitions.
pub(crate) async fn list(
    app: &Arc<App>,
    call: &Call,
    project: &Name,
    prefix: &str,
    page: &Page,
) -> Result<ArtifactListAnswer, Refusal> {
    let after = page.cursor.as_deref().map(decode).transpose()?;
    if !call.caller.sees(project) {
        let as_of = Timestamp(app.cluster.now(META_GROUP));
        return Ok(ArtifactListAnswer { artifacts: Vec::new(), next_cursor: None, as_of });
    }
    let partitions = 0..app.cluster.partitions();
    let query = Query::Artifacts {
        project: project.clone(),
        prefix: prefix.to_owned(),
        after,
        limit: u32::try_from(page.limit).unwrap_or(u32::MAX),
    };
    let reads = partitions.map(|partition| {
        read_shared(app, call, Kind::Analytics, partition_group(partition), query.clone(), page.freshness)
    });
    let (mut found, mut more, mut oldest) = (Vec::new(), false, None);
    for answer in join_all(reads).await {
        let (Answer::Artifacts(part, more_there), as_of) = answer? else { return Err(wrong_answer()) };
        oldest = earlier(oldest, as_of);
        found.extend(part);
        more |= more_there;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    more |= found.len() > page.limit;
    found.truncate(page.limit);
    let next_cursor = found.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.path.as_str()));
    let artifacts = found.into_iter().map(summary).collect();
    Ok(ArtifactListAnswer { artifacts, next_cursor, as_of: Timestamp(oldest.unwrap_or_default()) })
}

fn summary(artifact: Artifact) -> ArtifactSummary {
    ArtifactSummary {
        path: artifact.path.into(),
        version: artifact.version,
        size: artifact.size,
        etag: format!("\"{}\"", artifact.etag),
        content_type: artifact.content_type,
        updated_at: Timestamp(artifact.updated_at),
    }
}

fn decode(cursor: &str) -> Result<String, Refusal> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))
}

fn group_of(app: &App, place: &Place) -> GroupId {
    partition_group(home(app, place))
}

fn home(app: &App, place: &Place) -> u16 {
    let Place { project, path } = place;
    routing::artifact_home(project.as_str(), path.as_str(), app.cluster.partitions())
}

async fn turn(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    match tokio::time::timeout(TURN_PATIENCE, places.clone().acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Refusal::retry_after(Code::Shed, "as many artifacts are under way as may be", 1_000)),
    }
}

/// A body may have taken longer than calls may: what comes after it has its own time.
async fn propose(app: &Arc<App>, call: &Call, group: GroupId, command: Command) -> Result<Reply, Refusal> {
    let body = hash(&[&Envelope::plain(command.clone()).encode()]);
    let idempotency = Some(call.remembered("", body));
    let fresh = Instant::now() + Duration::from_millis(app.limits.request_timeout_ms);
    let deadline = if call.timeout_given { call.deadline } else { fresh };
    app.cluster.propose(group, &call.envelope(idempotency, command), Repeat::Safe, deadline).await
}
