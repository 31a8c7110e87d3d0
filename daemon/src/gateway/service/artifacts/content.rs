//! Gives an artifact out, chunk by chunk.

use std::ops::Range;
use std::sync::Arc;

use bravo_model::Refusal;
use bravo_model::artifact::{Content, Manifest, Part};
use bravo_model::lifecycle::{Stay, VersionId};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::turn;
use crate::cold::ColdName;
use crate::gateway::app::App;
use crate::telemetry::events::ArtifactBytes;

/// Chunks that are read ahead of the reader.
const AHEAD: usize = 2;

/// Which version's bytes are given out, and where they were when it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The version's partition.
    pub(crate) partition: u16,
    /// The version.
    pub(crate) id: VersionId,
    /// Where its chunks are.
    pub(crate) stay: Stay,
}

impl Source {
    fn name(self, index: u32) -> ColdName {
        ColdName { partition: self.partition, id: self.id, stay: self.stay, index }
    }
}

/// The bytes of a range. Answered when the first of them are there, so that a refusal can still be told.
pub(crate) async fn stream(
    app: &Arc<App>,
    source: &Source,
    manifest: &Manifest,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, Refusal>>, Refusal> {
    if let Content::Inline(bytes) = &manifest.content {
        let part = bytes.slice(range.start as usize..range.end as usize);
        ArtifactBytes::Out(part.len() as u64).emit();
        return Ok(stream::once(async { Ok(part) }).boxed());
    }
    let place = turn(&app.artifacts.reads).await?;
    let (cluster, source) = (app.cluster.clone(), *source);
    let mut parts = stream::iter(parts(manifest, &range))
        .map(move |(index, part, range)| {
            let cluster = cluster.clone();
            async move { cluster.chunk_of(source.name(index), part).await.map(|bytes| bytes.slice(range)) }
        })
        .buffered(AHEAD);
    let first = parts.try_next().await?;
    let held = move |part: Result<Bytes, Refusal>| {
        let _ = &place;
        ArtifactBytes::Out(part.as_ref().map_or(0, |part| part.len() as u64)).emit();
        part
    };
    Ok(stream::iter(first.map(Ok)).chain(parts).map(held).boxed())
}

/// The parts that a range touches, which one of all each is, and what of it is in the range.
fn parts(manifest: &Manifest, range: &Range<u64>) -> Vec<(u32, Part, Range<usize>)> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (index, part) in (0..).zip(manifest.parts()) {
        let end = start + u64::from(part.chunk.bytes);
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            found.push((index, part, (from - start) as usize..(to - start) as usize));
        }
        start = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use bravo_model::artifact::Chunk;

    use super::*;

    #[test]
    fn a_range_touches_the_chunks_that_it_is_in() {
        let chunks = [4, 4, 2].map(|bytes| Chunk { hash: [bytes as u8; 32], bytes });
        let content = Content::Chunks(chunks.to_vec());
        let manifest = Manifest { size: 10, content_type: None, content_encoding: None, blake3: [0; 32], content };
        let of = |range| parts(&manifest, &range).into_iter().map(|(.., part)| part).collect::<Vec<_>>();
        assert_eq!(of(0..10), [0..4, 0..4, 0..2]);
        assert_eq!(of(3..5), [3..4, 0..1]);
        assert_eq!(of(4..8).as_slice(), std::slice::from_ref(&(0..4)));
        assert_eq!(of(9..10).as_slice(), std::slice::from_ref(&(1..2)));
        assert!(of(5..5).is_empty());
    }
}
