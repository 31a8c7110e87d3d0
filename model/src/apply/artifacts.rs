//! Artifacts: a put of other content makes the next version. What no longer counts goes in the background,
//! a bounded number of chunks an entry, since one artifact may have very many.

use super::Answer;
use crate::Time;
use crate::artifact::{
    Artifact, ArtifactPath, ArtifactVersion, Chunk, ChunkRefs, Coded, CodedRefs, Manifest, Part, PutArtifact, SHARDS,
};
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::lifecycle::Class;
use crate::limits;
use crate::reply::Reply;
use crate::row;
use crate::state::State;
use crate::table::{self, H16, tag};
use crate::template::Expected;

impl State<'_> {
    pub(super) fn put_artifact(&mut self, put: PutArtifact) -> Answer {
        let hash = table::artifact_hash(&put.project, &put.path);
        let head: Option<Artifact> = self.read(&table::by_hash(tag::ARTIFACT, &hash));
        let there = head.as_ref().filter(|head| head.forget_at.is_none());
        demand(&put.expected, &put.path, there)?;
        put.manifest.check()?;
        if let Some(head) = there
            && let Some(newest) = self.read::<ArtifactVersion>(&table::artifact_version(&hash, head.version))
            && newest.manifest.says_the_same(&put.manifest)
        {
            let (version, updated_at) = (head.version, newest.updated_at);
            self.keep_as(&hash, version, newest, put.manifest);
            return Ok(Reply::ArtifactPut { version, created: false, changed: false, updated_at });
        }
        let created = there.is_none();
        if created {
            self.count_artifact(&put.project, head.is_none())?;
            self.put(table::artifact_listed(&put.project, &hash), &put.path);
        }
        let version = head.as_ref().map_or(0, |head| head.version).saturating_add(1);
        let kept = version.saturating_sub(limits::ARTIFACT_VERSIONS_MAX - 1).max(1);
        let first = head.as_ref().map_or(1, |head| head.first).max(kept);
        if head.as_ref().is_some_and(|head| head.first < first) {
            self.mark(table::due_artifact(self.now(), &hash));
        }
        put.manifest.parts().for_each(|part| self.refer(part));
        let updated_at = self.now();
        let manifest = put.manifest;
        let head = Artifact {
            project: put.project,
            path: put.path,
            version,
            first,
            size: manifest.size,
            etag: manifest.etag(),
            content_type: manifest.content_type.clone(),
            updated_at,
            forget_at: None,
        };
        self.put(table::artifact_version(&hash, version), &ArtifactVersion { manifest, updated_at });
        self.put(table::by_hash(tag::ARTIFACT, &hash), &head);
        self.look_at(&head, &hash, version);
        Ok(Reply::ArtifactPut { version, created, changed: true, updated_at })
    }

    /// The newest version was put again: it is kept as its bytes came now, whole or in shards. What is not kept
    /// on the nodes' disks any more stays as it is.
    fn keep_as(&mut self, hash: &H16, version: u32, was: ArtifactVersion, manifest: Manifest) {
        if was.manifest == manifest || self.life(hash, version).stay.class != Class::Hot {
            return;
        }
        manifest.parts().for_each(|part| self.refer(part));
        was.manifest.parts().for_each(|part| self.unrefer(part));
        self.put(table::artifact_version(hash, version), &ArtifactVersion { manifest, ..was });
    }

    pub(super) fn delete_artifact(&mut self, project: &Name, path: &ArtifactPath, expected: &Expected) -> Answer {
        let hash = table::artifact_hash(project, path);
        let head: Option<Artifact> = self.read(&table::by_hash(tag::ARTIFACT, &hash));
        let head = head.filter(|head| head.forget_at.is_none());
        demand(expected, path, head.as_ref())?;
        let Some(head) = head else { return Err(no_artifact(path)) };
        self.retire(head, &hash);
        Ok(Reply::Done)
    }

    /// Versions up to this one are too old; with the newest, the artifact goes.
    pub(super) fn expire_to(&mut self, hash: &H16, version: u32) {
        let key = table::by_hash(tag::ARTIFACT, hash);
        let Some(mut head) = self.read::<Artifact>(&key).filter(|head| head.forget_at.is_none()) else { return };
        if version >= head.version {
            return self.retire(head, hash);
        }
        head.first = head.first.max(version.saturating_add(1));
        self.put(key, &head);
        self.mark(table::due_artifact(self.now(), hash));
    }

    /// All versions are to go; the number is remembered for a while.
    fn retire(&mut self, mut head: Artifact, hash: &H16) {
        let project = head.project.clone();
        head.first = head.version.saturating_add(1);
        head.size = 0;
        head.etag = String::new();
        head.content_type = None;
        head.updated_at = self.now();
        head.forget_at = Some(self.now().saturating_add(limits::ARTIFACT_NUMBER_KEPT_MS));
        self.put(table::by_hash(tag::ARTIFACT, hash), &head);
        self.txn.delete(&table::artifact_listed(&project, hash));
        self.step_count(table::artifacts(&project), false);
        self.mark(table::due_artifact(self.now(), hash));
    }

    /// Versions are to go, or a deleted artifact's number is to be forgotten. Some: there is more to do.
    pub(super) fn artifact_due(&mut self, hash: &H16) -> Option<()> {
        let key = table::by_hash(tag::ARTIFACT, hash);
        let head: Artifact = self.read(&key)?;
        let prefix = table::by_hash(tag::ARTIFACT_VERSION, hash);
        while let Some((old, value)) =
            row::front(self.rows(), &prefix).filter(|(old, _)| table::last_u32(old) < head.first)
        {
            if self.chunks_swept >= limits::CHUNKS_SWEPT_MAX {
                return Some(());
            }
            let version: Option<ArtifactVersion> = row::decode(&value);
            let hot = self.end_life(hash, table::last_u32(&old)) == Class::Hot;
            for part in version.iter().filter(|_| hot).flat_map(|version| version.manifest.parts()) {
                self.unrefer(part);
                self.chunks_swept += 1 + part.shards.map_or(0, |_| SHARDS);
            }
            self.chunks_swept += 1;
            self.txn.delete(&old);
        }
        let forget_at: Time = head.forget_at?;
        if forget_at <= self.now() {
            self.txn.delete(&key);
            self.step_count(table::key(tag::ARTIFACT_NUMBERS, &[]), false);
        } else {
            self.mark(table::due_artifact(forget_at, hash));
        }
        None
    }

    /// Counts a new artifact, if there is room for it.
    fn count_artifact(&mut self, project: &Name, number: bool) -> Result<(), Refusal> {
        let (listed, numbers) = (table::artifacts(project), table::key(tag::ARTIFACT_NUMBERS, &[]));
        let full = |what: &str, max: u64| {
            let detail = format!("{what} has {max} artifacts in this partition, and no more may be made");
            Err(Refusal::retry_after(Code::RateLimited, detail, 60_000))
        };
        if self.read::<u64>(&listed).unwrap_or(0) >= limits::ARTIFACTS_OF_PROJECT_MAX {
            return full(&format!("project {project}"), limits::ARTIFACTS_OF_PROJECT_MAX);
        }
        if number && self.read::<u64>(&numbers).unwrap_or(0) >= limits::ARTIFACTS_MAX {
            return full("the cluster", limits::ARTIFACTS_MAX);
        }
        self.step_count(listed, true);
        if number {
            self.step_count(numbers, true);
        }
        Ok(())
    }

    /// A row with a count, which is there while it is above zero.
    fn step_count(&mut self, key: crate::txn::Key, up: bool) {
        let mut count = self.read::<u64>(&key).unwrap_or(0);
        row::step(&mut count, up);
        if count == 0 { self.txn.delete(&key) } else { self.put(key, &count) }
    }

    fn refer(&mut self, Part { chunk, shards }: Part) {
        match shards {
            None => self.refer_whole(chunk),
            Some(shards) => self.refer_coded(Coded { chunk, shards }),
        }
    }

    pub(super) fn unrefer(&mut self, Part { chunk, shards }: Part) {
        match shards {
            None => self.unrefer_whole(chunk),
            Some(shards) => self.unrefer_coded(Coded { chunk, shards }),
        }
    }

    fn refer_whole(&mut self, chunk: Chunk) {
        let key = table::chunk_refs(&chunk.hash);
        let refs = self.read(&key).map_or(0, |known: ChunkRefs| known.refs);
        self.put(key, &ChunkRefs { chunk, refs: refs.saturating_add(1) });
    }

    fn unrefer_whole(&mut self, chunk: Chunk) {
        let key = table::chunk_refs(&chunk.hash);
        match self.read::<ChunkRefs>(&key) {
            Some(known) if known.refs > 1 => self.put(key, &ChunkRefs { refs: known.refs - 1, ..known }),
            _ => self.txn.delete(&key),
        }
    }

    /// The first place counts its shards.
    fn refer_coded(&mut self, coded: Coded) {
        let key = table::coded(&coded.id());
        let refs = self.read(&key).map_or(0, |known: CodedRefs| known.refs);
        self.put(key, &CodedRefs { coded, refs: refs.saturating_add(1) });
        if refs == 0 {
            coded.shards.hashes.iter().for_each(|hash| self.step_count(table::shard_refs(hash), true));
        }
    }

    /// The last place gives its shards up.
    fn unrefer_coded(&mut self, coded: Coded) {
        let key = table::coded(&coded.id());
        match self.read::<CodedRefs>(&key) {
            Some(known) if known.refs > 1 => self.put(key, &CodedRefs { refs: known.refs - 1, ..known }),
            Some(_) => {
                self.txn.delete(&key);
                coded.shards.hashes.iter().for_each(|hash| self.step_count(table::shard_refs(hash), false));
            }
            None => {}
        }
    }
}

fn demand(expected: &Expected, path: &ArtifactPath, there: Option<&Artifact>) -> Result<(), Refusal> {
    if expected.holds(there.map(|head| head.etag.as_str())) {
        return Ok(());
    }
    let detail = match there {
        Some(head) => format!("{path} is at version {} now, with the ETag \"{}\"", head.version, head.etag),
        None => format!("there is no artifact {path}"),
    };
    Err(Refusal::new(Code::PreconditionFailed, detail))
}

fn no_artifact(path: &ArtifactPath) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no artifact {path}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::artifact::{ArtifactPath, Chunk, Content, Manifest, Part, PutArtifact, SHARDS, Shards};
    use crate::command::Command;
    use crate::lifecycle::{Lifecycle, Rule};
    use crate::template::{Expected, Tags};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Reply, limits, view};

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).unwrap()
    }

    fn inline(text: &str) -> Manifest {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let blake3 = *blake3::hash(&bytes).as_bytes();
        let size = bytes.len() as u64;
        Manifest { size, content_type: None, content_encoding: None, blake3, content: Content::Inline(bytes) }
    }

    /// Of as many chunks as numbers; equal numbers are equal chunks.
    fn chunked(numbers: &[u8]) -> Manifest {
        let chunk = |number: &u8| Chunk { hash: [*number; 32], bytes: limits::CHUNK_BYTES as u32 };
        let chunks: Vec<Chunk> = numbers.iter().map(chunk).collect();
        let size = (numbers.len() * limits::CHUNK_BYTES) as u64;
        let blake3 = *blake3::hash(numbers).as_bytes();
        Manifest { size, content_type: None, content_encoding: None, blake3, content: Content::Chunks(chunks) }
    }

    /// The same, each chunk in shards: the chunk's number and those after it. Of numbers from 200 on, whole.
    fn coded(numbers: &[u8]) -> Manifest {
        let part = |number: &u8| {
            let chunk = Chunk { hash: [*number; 32], bytes: limits::CHUNK_BYTES as u32 };
            let hashes = std::array::from_fn(|index| [*number + index as u8; 32]);
            Part { chunk, shards: (*number < 200).then_some(Shards { form_bytes: 1 << 20, hashes }) }
        };
        Manifest { content: Content::Parts(numbers.iter().map(part).collect()), ..chunked(numbers) }
    }

    fn put(of: &str, manifest: Manifest, expected: Expected) -> Command {
        Command::PutArtifact(Box::new(PutArtifact { project: name("p"), path: path(of), manifest, expected }))
    }

    fn plain(of: &str, manifest: Manifest) -> Command {
        put(of, manifest, Expected::default())
    }

    fn delete(of: &str, expected: Expected) -> Command {
        Command::DeleteArtifact { project: name("p"), path: path(of), expected }
    }

    fn version(reply: &Reply) -> u32 {
        match reply {
            Reply::ArtifactPut { version, .. } => *version,
            other => panic!("{other:?}"),
        }
    }

    fn of(world: &World, at: &str, version: Option<u32>) -> Option<Manifest> {
        view::artifact(&world.rows, &name("p"), &path(at), version).map(|found| found.of.manifest)
    }

    fn chunks(world: &World) -> Vec<(u8, u64)> {
        let found = view::chunks(&world.rows, None, 100);
        found.into_iter().map(|refs| (refs.chunk.hash[0], refs.refs)).collect()
    }

    /// The first byte of each chunk that is kept in shards, and its places; and of how many hashes shards are counted.
    fn coded_chunks(world: &World) -> (Vec<(u8, u64)>, usize) {
        let mut found: Vec<_> =
            view::coded(&world.rows, None, 100).into_iter().map(|row| (row.coded.chunk.hash[0], row.refs)).collect();
        found.sort_unstable();
        let shards = (0..=u8::MAX).filter(|number| view::shard_refs(&world.rows, &[*number; 32]) > 0);
        (found, shards.count())
    }

    fn paths(world: &World, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let (page, more) = view::artifacts(&world.rows, &name("p"), prefix, after, limit);
        (page.into_iter().map(|one| one.path.to_string()).collect(), more)
    }

    #[test]
    fn other_content_makes_the_next_version_and_the_same_does_not() {
        let mut world = World::new();
        let updated_at = world.at;
        let reply = |version, created, changed| Reply::ArtifactPut { version, created, changed, updated_at };
        assert_eq!(world.ask(plain("a/b", inline("one"))), reply(1, true, true));
        assert_eq!(world.ask(plain("a/b", inline("one"))), reply(1, false, false));
        assert_eq!(world.ask(plain("a/b", inline("two"))), reply(2, false, true));
        let typed = Manifest { content_type: Some("text/plain".into()), ..inline("two") };
        assert_eq!(world.ask(plain("a/b", typed.clone())), reply(3, false, true), "another type is a change");
        assert_eq!(of(&world, "a/b", None), Some(typed));
        assert_eq!(of(&world, "a/b", Some(1)), Some(inline("one")));
        assert_eq!((of(&world, "a/b", Some(4)), of(&world, "a/b", Some(0)), of(&world, "a", None)), (None, None, None));
    }

    #[test]
    fn a_write_under_a_condition_that_does_not_hold_changes_nothing() {
        let mut world = World::new();
        let refused = Some(Code::PreconditionFailed);
        let any = || Expected { matches: Some(Tags::Any), differs: None };
        let matching = |of: &Manifest| Expected { matches: Some(Tags::These(vec![of.etag()])), differs: None };
        assert_eq!(refusal(&world.ask(put("a", inline("1"), any()))), refused);
        assert_eq!(version(&world.ask(put("a", inline("1"), Expected::absent()))), 1);
        assert_eq!(refusal(&world.ask(put("a", inline("1"), Expected::absent()))), refused);
        assert_eq!(version(&world.ask(put("a", inline("2"), matching(&inline("1"))))), 2);
        assert_eq!(refusal(&world.ask(put("a", inline("3"), matching(&inline("1"))))), refused);
        assert_eq!(refusal(&world.ask(delete("a", matching(&inline("1"))))), refused);
        assert_eq!(world.ask(delete("a", matching(&inline("2")))), Reply::Done);
        assert_eq!(refusal(&world.ask(delete("a", Expected::default()))), Some(Code::NotFound));
    }

    #[test]
    fn chunks_are_counted_while_a_version_has_them() {
        let mut world = World::new();
        world.ask(plain("a", chunked(&[1, 2, 1])));
        world.ask(plain("b", chunked(&[2, 3])));
        world.ask(plain("a", chunked(&[4])));
        assert_eq!(chunks(&world), [(1, 2), (2, 2), (3, 1), (4, 1)]);
        assert!(view::is_referred(&world.rows, &[3; 32]) && !view::is_referred(&world.rows, &[9; 32]));
        world.ask(delete("a", Expected::default()));
        assert_eq!(of(&world, "a", Some(1)), None, "gone at once, whatever is still to be swept");
        world.tick(1);
        assert_eq!(chunks(&world), [(2, 1), (3, 1)]);
        assert_eq!(view::chunks(&world.rows, Some([2; 32]), 100).len(), 1);
    }

    #[test]
    fn shards_are_counted_while_a_version_has_them() {
        let mut world = World::new();
        world.ask(plain("a", coded(&[10, 20, 10, 200])));
        world.ask(plain("b", coded(&[20, 21])));
        assert_eq!(chunks(&world), [(200, 1)], "whole chunks are counted as ever");
        assert_eq!(coded_chunks(&world), (vec![(10, 2), (20, 2), (21, 1)], 6 + 7));
        assert_eq!([20, 21, 26, 27].map(|number| view::shard_refs(&world.rows, &[number; 32])), [1, 2, 1, 0]);
        assert!(view::is_referred(&world.rows, &[15; 32]) && !view::is_referred(&world.rows, &[16; 32]));
        let first = view::coded(&world.rows, None, 1);
        assert_eq!(view::coded(&world.rows, Some(first[0].coded.id()), 100).len(), 2, "page by page");
        world.ask(delete("a", Expected::default()));
        world.tick(1);
        assert_eq!((chunks(&world), coded_chunks(&world)), (vec![], (vec![(20, 1), (21, 1)], 7)));
        assert!(!view::is_referred(&world.rows, &[15; 32]));
        world.ask(delete("b", Expected::default()));
        world.tick(1);
        assert_eq!(coded_chunks(&world), (vec![], 0));
    }

    #[test]
    fn one_chunk_may_be_kept_in_two_ways() {
        let mut world = World::new();
        let mut other = coded(&[10]);
        if let Content::Parts(parts) = &mut other.content {
            parts[0].shards = Some(Shards { form_bytes: 2, hashes: [[99; 32]; SHARDS] });
        }
        world.ask(plain("a", coded(&[10])));
        world.ask(plain("b", other));
        world.ask(plain("c", chunked(&[10])));
        assert_eq!((coded_chunks(&world), chunks(&world)), ((vec![(10, 1), (10, 1)], 7), vec![(10, 1)]));
        assert_eq!(view::shard_refs(&world.rows, &[99; 32]), 6, "each place counts, even in one chunk");
        world.ask(delete("b", Expected::default()));
        world.tick(1);
        assert_eq!((coded_chunks(&world), chunks(&world)), ((vec![(10, 1)], 6), vec![(10, 1)]));
    }

    #[test]
    fn what_is_put_again_is_kept_as_it_came_last() {
        let mut world = World::new();
        world.ask(plain("a", chunked(&[10, 20])));
        let updated_at = world.at;
        let same = Reply::ArtifactPut { version: 1, created: false, changed: false, updated_at };
        world.at += 5;
        assert_eq!(world.ask(plain("a", coded(&[10, 20]))), same, "the content is the same");
        assert_eq!((chunks(&world), coded_chunks(&world).0), (vec![], vec![(10, 1), (20, 1)]));
        assert_eq!(of(&world, "a", Some(1)), Some(coded(&[10, 20])));
        assert_eq!(world.ask(plain("a", chunked(&[10, 20]))), same);
        assert_eq!((chunks(&world), coded_chunks(&world)), (vec![(10, 1), (20, 1)], (vec![], 0)));
        let rule =
            Rule { prefix: String::new(), cold_after_ms: Some(1), archive_after_ms: None, expire_after_ms: None };
        world.ask(Command::SetLifecycle(Lifecycle { project: name("p"), version: 1, rules: vec![rule] }));
        world.tick(10);
        let moved = view::moves(&world.rows, None, 1)[0].clone();
        assert_eq!(world.ask(Command::MoveVersion { id: moved.id, to: moved.to }), Reply::Done);
        assert_eq!(world.ask(plain("a", coded(&[10, 20]))), same);
        assert_eq!((chunks(&world), coded_chunks(&world)), (vec![], (vec![], 0)), "it is in the cold tier");
    }

    #[test]
    fn numbers_go_on_while_caches_may_show_the_old_ones() {
        let mut world = World::new();
        world.ask(plain("a", inline("1")));
        world.ask(plain("a", inline("2")));
        world.ask(delete("a", Expected::default()));
        world.tick(limits::ARTIFACT_NUMBER_KEPT_MS - 1);
        let updated_at = world.at;
        let back = Reply::ArtifactPut { version: 3, created: true, changed: true, updated_at };
        assert_eq!(world.ask(plain("a", inline("2"))), back);
        assert_eq!(of(&world, "a", Some(2)), None);
        world.tick(1);
        assert_eq!(of(&world, "a", None), Some(inline("2")), "the old end does not count any more");
        world.ask(delete("a", Expected::default()));
        world.tick(limits::ARTIFACT_NUMBER_KEPT_MS);
        assert_eq!(version(&world.ask(plain("a", inline("1")))), 1);
    }

    #[test]
    fn the_oldest_versions_make_room() {
        let mut world = World::new();
        let max = limits::ARTIFACT_VERSIONS_MAX;
        for number in 1..=max + 5 {
            let reply = world.ask(plain("a", chunked(&[number as u8])));
            assert_eq!(version(&reply), number);
        }
        let kept = |world: &World, version| of(world, "a", Some(version)).is_some();
        assert!(!kept(&world, 5) && kept(&world, 6) && kept(&world, max + 5));
        world.tick(1);
        assert_eq!(view::chunks(&world.rows, None, 1_000).len(), max as usize);
    }

    #[test]
    fn a_sweep_does_a_bounded_part_an_entry() {
        let mut world = World::new();
        let many: Vec<u8> = (0..=255).collect();
        for number in 0..60 {
            let mut numbers = many.clone();
            numbers.push(number);
            world.quick(plain("a", chunked(&numbers)));
        }
        world.ask(delete("a", Expected::default()));
        let mut ticks = 0;
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {
            ticks += 1;
        }
        assert!(ticks > 1, "{ticks}");
        assert_eq!(chunks(&world), []);
        let some: Vec<u8> = (0..50).collect();
        for number in 0..60 {
            let mut numbers = some.clone();
            numbers.push(number);
            world.quick(plain("b", coded(&numbers)));
        }
        world.ask(delete("b", Expected::default()));
        let mut ticks = 0;
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {
            ticks += 1;
        }
        assert!(ticks > 1, "a chunk in shards counts for its rows: {ticks}");
        assert_eq!(coded_chunks(&world), (vec![], 0));
    }

    #[test]
    fn a_list_is_in_the_order_of_paths() {
        let mut world = World::new();
        for at in ["b/2", "a", "b/10", "c", "b/1"] {
            world.ask(plain(at, inline(at)));
        }
        world.ask(plain("gone", inline("x")));
        world.ask(delete("gone", Expected::default()));
        assert_eq!(paths(&world, "", None, 100), (["a", "b/1", "b/10", "b/2", "c"].map(Into::into).into(), false));
        assert_eq!(paths(&world, "b/", None, 2), (["b/1", "b/10"].map(Into::into).into(), true));
        assert_eq!(paths(&world, "b/", Some("b/10"), 2), (["b/2"].map(Into::into).into(), false));
        assert_eq!(view::artifacts(&world.rows, &name("other"), "", None, 10).0, []);
    }
}
