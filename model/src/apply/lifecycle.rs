//! Lifecycle of artifacts: rules are put in the meta group and pushed to the partitions, which look at each
//! version when it is due, and at all of a project's when its rules change, a bounded number an entry.

use super::Answer;
use crate::Time;
use crate::artifact::{Artifact, ArtifactPath, ArtifactVersion, Content};
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::lifecycle::{Class, Life, Lifecycle, Rule, Stand, Stay, VersionId};
use crate::limits;
use crate::reply::{Effect, Reply};
use crate::row;
use crate::state::State;
use crate::table::{self, H16, tag};

impl State<'_> {
    /// Meta: makes or replaces a project's rules.
    pub(super) fn put_lifecycle(&mut self, project: Name, rules: Vec<Rule>, effects: &mut Vec<Effect>) -> Answer {
        Lifecycle::check(&rules)?;
        let (key, all) = (table::lifecycle(&project), table::key(tag::LIFECYCLES, &[]));
        if !self.txn.contains(&key) {
            let count = self.read::<u64>(&all).unwrap_or(0);
            if count >= limits::LIFECYCLES_MAX {
                let detail = format!("{} projects have lifecycle rules, and no more may", limits::LIFECYCLES_MAX);
                return Err(Refusal::new(Code::RateLimited, detail));
            }
            self.put(all, &(count + 1));
        }
        self.meta.version += 1;
        let version = self.meta.version;
        self.put(key, &Lifecycle { project, version, rules });
        effects.push(Effect::DefinitionsChanged);
        Ok(Reply::Version(version))
    }

    /// Meta: deletes a project's rules.
    pub(super) fn delete_lifecycle(&mut self, project: &Name, effects: &mut Vec<Effect>) -> Answer {
        let (key, all) = (table::lifecycle(project), table::key(tag::LIFECYCLES, &[]));
        if !self.txn.contains(&key) {
            return Err(Refusal::new(Code::NotFound, format!("project {project} has no lifecycle rules")));
        }
        let count = self.read::<u64>(&all).unwrap_or(0).saturating_sub(1);
        self.put(all, &count);
        self.txn.delete(&key);
        self.meta.version += 1;
        effects.push(Effect::DefinitionsChanged);
        Ok(Reply::Version(self.meta.version))
    }

    /// A partition takes over what the meta group has, and looks at the project's versions anew.
    pub(super) fn set_lifecycle(&mut self, new: Lifecycle) -> Answer {
        let key = table::lifecycle(&new.project);
        let known = self.read::<Lifecycle>(&key);
        let gone = new.rules.is_empty();
        let stale = known.as_ref().is_some_and(|known| known.version > new.version || *known == new);
        if stale || (known.is_none() && gone) {
            return Ok(Reply::Done);
        }
        if gone {
            self.txn.delete(&key)
        } else {
            self.put(key, &new)
        }
        let project = table::h16(&[new.project.as_str()]);
        self.txn.delete(&table::by_hash(tag::REVIEW, &project));
        self.mark(table::due_review(self.now(), &project));
        Ok(Reply::Done)
    }

    /// A version's chunks are where they were to be; whoever moved them saw to it. Only what is still wanted is
    /// taken: of another move, the cold tier's sweep may have removed parts already.
    pub(super) fn move_version(&mut self, id: &VersionId, to: Stay) -> Answer {
        let key = table::artifact_version(&id.artifact, id.version);
        let version: Option<ArtifactVersion> = self.read(&key);
        let Some(version) = version.filter(|version| version.updated_at == id.made_at) else {
            return Err(Refusal::new(Code::NotFound, "the version is not there any more"));
        };
        let life = self.life(&id.artifact, id.version);
        if life.stay == to {
            return Ok(Reply::Done);
        }
        let wanted = table::of_version(tag::MOVE, &id.artifact, id.version);
        if self.read::<Stay>(&wanted) != Some(to) {
            return Err(Refusal::new(Code::Conflict, "the version is not to be moved there any more"));
        }
        if life.stay.class == Class::Hot {
            version.manifest.parts().for_each(|part| self.unrefer(part));
        }
        self.put_life(&id.artifact, id.version, Life { stay: to, ..life });
        self.txn.delete(&wanted);
        Ok(Reply::Done)
    }

    /// A version is to be looked at.
    pub(super) fn life_due(&mut self, what: &[u8], at: Time) -> Option<()> {
        let (hash, version) = what.split_first_chunk::<16>()?;
        let version = u32::from_be_bytes(version.try_into().ok()?);
        let life = self.life(hash, version);
        if life.due == Some(at) {
            self.put_life(hash, version, Life { due: None, ..life });
            let head: Artifact = self.read(&table::by_hash(tag::ARTIFACT, hash))?;
            self.look_at(&head, hash, version);
        }
        None
    }

    /// A project's rules changed: its versions are looked at. Some: there is more to do.
    pub(super) fn review_due(&mut self, project: &H16) -> Option<()> {
        let at = table::by_hash(tag::REVIEW, project);
        let all = table::listed_of(project);
        let from = self.read::<H16>(&at).map_or(all, |last| table::after(&table::listed_at(project, &last)));
        let mut found: Vec<H16> = Vec::new();
        row::walk(self.rows(), &from, &all, &mut |key, _| {
            found.extend(key.as_slice().last_chunk::<16>());
            found.len() < limits::LIFE_LOOKS_MAX
        });
        for hash in found {
            if self.chunks_swept >= limits::CHUNKS_SWEPT_MAX {
                return Some(());
            }
            if let Some(head) = self.read::<Artifact>(&table::by_hash(tag::ARTIFACT, &hash)) {
                (head.first..=head.version).for_each(|version| self.look_at(&head, &hash, version));
                self.chunks_swept += 1 + (head.version - head.first.min(head.version)) as usize;
            }
            self.put(at, &hash);
        }
        let stood = self.read::<H16>(&at).map_or(all, |last| table::after(&table::listed_at(project, &last)));
        if self.rows().first(&stood, &table::after(&all)).is_some() {
            return Some(());
        }
        self.txn.delete(&at);
        None
    }

    /// Notes what is to become of a version now, and when it is to be looked at again.
    pub(super) fn look_at(&mut self, head: &Artifact, hash: &H16, version: u32) {
        if head.forget_at.is_some() || version < head.first {
            return;
        }
        let Some(of) = self.read::<ArtifactVersion>(&table::artifact_version(hash, version)) else { return };
        let life = self.life(hash, version);
        let stand = match self.rule_for(&head.project, &head.path) {
            Some(rule) => rule.stand(of.updated_at, !matches!(of.manifest.content, Content::Inline(_)), self.now()),
            None => Stand { expired: false, class: Class::Hot, next: None },
        };
        let wanted = table::of_version(tag::MOVE, hash, version);
        if stand.class <= life.stay.class || stand.expired {
            self.txn.delete(&wanted);
        } else if self.read::<Stay>(&wanted).is_none_or(|known| known.class != stand.class) {
            self.put(wanted, &Stay { class: stand.class, since: self.now() });
        }
        if let Some(due) = life.due.filter(|due| stand.next != Some(*due)) {
            self.txn.delete(&table::due_life(due, hash, version));
        }
        let next = stand.next.filter(|_| !stand.expired);
        if let Some(next) = next {
            self.mark(table::due_life(next, hash, version));
        }
        self.put_life(hash, version, Life { due: next, ..life });
        if stand.expired {
            self.expire_to(hash, version);
        }
    }

    /// Forgets what is noted of a version that is swept; answers where its chunks were kept.
    pub(super) fn end_life(&mut self, hash: &H16, version: u32) -> Class {
        let life = self.life(hash, version);
        if let Some(due) = life.due {
            self.txn.delete(&table::due_life(due, hash, version));
        }
        [tag::LIFE, tag::MOVE].iter().for_each(|tag| self.txn.delete(&table::of_version(*tag, hash, version)));
        life.stay.class
    }

    fn put_life(&mut self, hash: &H16, version: u32, life: Life) {
        let key = table::of_version(tag::LIFE, hash, version);
        if life == Life::default() { self.txn.delete(&key) } else { self.put(key, &life) }
    }

    pub(super) fn life(&self, hash: &H16, version: u32) -> Life {
        self.read(&table::of_version(tag::LIFE, hash, version)).unwrap_or_default()
    }

    fn rule_for(&self, project: &Name, path: &ArtifactPath) -> Option<Rule> {
        let lifecycle: Lifecycle = self.read(&table::lifecycle(project))?;
        lifecycle.rule(path.as_str()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use crate::artifact::{Artifact, ArtifactPath, Chunk, Content, Manifest, Part, PutArtifact, SHARDS, Shards};
    use crate::command::Command;
    use crate::lifecycle::{Class, Lifecycle, Move, Rule, Stay, Stays, VersionId};
    use crate::template::Expected;
    use crate::testing::{World, name, refusal};
    use crate::{Code, Effect, Envelope, Reply, limits, view};

    /// One chunk, named by the number.
    fn chunked(number: u8) -> Manifest {
        let content = Content::Chunks(vec![Chunk { hash: [number; 32], bytes: 9 }]);
        Manifest { size: 9, content_type: None, content_encoding: None, blake3: [number; 32], content }
    }

    /// The same, in shards.
    fn coded(number: u8) -> Manifest {
        let shards = Shards { form_bytes: 9, hashes: [[number; 32]; SHARDS] };
        let part = Part { chunk: Chunk { hash: [number; 32], bytes: 9 }, shards: Some(shards) };
        Manifest { content: Content::Parts(vec![part]), ..chunked(number) }
    }

    fn small(number: u8) -> Manifest {
        let content = Content::Inline(vec![number].into());
        Manifest { size: 1, content_type: None, content_encoding: None, blake3: [number; 32], content }
    }

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::parse(text).unwrap()
    }

    fn put(world: &mut World, at: &str, manifest: Manifest) {
        let put = PutArtifact { project: name("p"), path: path(at), manifest, expected: Expected::default() };
        let reply = world.ask(Command::PutArtifact(Box::new(put)));
        assert!(matches!(reply, Reply::ArtifactPut { .. }), "{reply:?}");
    }

    fn rule(prefix: &str, ages: [u64; 3]) -> Rule {
        let [cold_after_ms, archive_after_ms, expire_after_ms] = ages.map(Some);
        Rule { prefix: prefix.into(), cold_after_ms, archive_after_ms, expire_after_ms }
    }

    fn set(world: &mut World, version: u64, rules: Vec<Rule>) {
        world.ask(Command::SetLifecycle(Lifecycle { project: name("p"), version, rules }));
    }

    /// What is to be moved: the first byte of what it is made of, and where to.
    fn moves(world: &World) -> Vec<(u8, Class)> {
        let mut found: Vec<_> =
            view::moves(&world.rows, None, 100).into_iter().map(|one| (one.manifest.blake3[0], one.to.class)).collect();
        found.sort();
        found
    }

    fn move_all(world: &mut World) {
        for one in view::moves(&world.rows, None, 100) {
            assert_eq!(world.ask(Command::MoveVersion { id: one.id, to: one.to }), Reply::Done);
        }
    }

    fn class(world: &World, at: &str, version: Option<u32>) -> Option<Class> {
        view::artifact(&world.rows, &name("p"), &path(at), version).map(|found| found.stay.class)
    }

    fn paths(world: &World) -> Vec<String> {
        let list: Vec<Artifact> = view::artifacts(&world.rows, &name("p"), "", None, 100).0;
        list.into_iter().map(|one| one.path.to_string()).collect()
    }

    #[test]
    fn a_version_goes_from_class_to_class_and_then_away() {
        let mut world = World::new();
        set(&mut world, 1, vec![rule("logs/", [100, 200, 300])]);
        put(&mut world, "logs/a", chunked(1));
        put(&mut world, "logs/small", small(2));
        put(&mut world, "other", chunked(3));
        world.tick(99);
        assert_eq!(moves(&world), []);
        world.tick(1);
        assert_eq!(moves(&world), [(1, Class::Cold)], "what has no chunks stays");
        assert_eq!(view::chunks(&world.rows, None, 10).len(), 2, "hot until it was moved");
        move_all(&mut world);
        assert_eq!((moves(&world), class(&world, "logs/a", None)), (vec![], Some(Class::Cold)));
        assert_eq!(view::chunks(&world.rows, None, 10).len(), 1, "the nodes need not have its chunks any more");
        world.tick(100);
        assert_eq!(moves(&world), [(1, Class::Archive)]);
        move_all(&mut world);
        assert_eq!(class(&world, "logs/a", None), Some(Class::Archive));
        world.tick(99);
        assert_eq!(paths(&world), ["logs/a", "logs/small", "other"]);
        world.tick(1);
        assert_eq!(paths(&world), ["other"]);
        world.tick(1);
        assert_eq!(view::put_away(&world.rows, None, 10), [], "nothing is left of it");
    }

    #[test]
    fn what_is_kept_in_shards_is_moved_as_well() {
        let mut world = World::new();
        set(&mut world, 1, vec![rule("", [100, 200, 300])]);
        put(&mut world, "a", coded(1));
        world.tick(100);
        assert_eq!(moves(&world), [(1, Class::Cold)]);
        assert_eq!(view::coded(&world.rows, None, 10).len(), 1, "hot until it was moved");
        move_all(&mut world);
        assert_eq!(view::coded(&world.rows, None, 10), []);
        assert!(!view::is_referred(&world.rows, &[1; 32]), "the nodes need not have its shards any more");
        assert_eq!(view::put_away(&world.rows, None, 10)[0].2, [[1; 32]], "the tier keeps it whole");
        world.tick(200);
        world.tick(1);
        assert_eq!(paths(&world), [] as [String; 0]);
    }

    #[test]
    fn versions_grow_old_one_by_one() {
        let mut world = World::new();
        set(&mut world, 1, vec![Rule { expire_after_ms: Some(100), ..rule("", [10, 20, 30]) }]);
        put(&mut world, "a", chunked(1));
        world.at += 50;
        put(&mut world, "a", chunked(2));
        world.tick(50);
        assert_eq!((class(&world, "a", Some(1)), class(&world, "a", Some(2))), (None, Some(Class::Hot)));
        world.tick(50);
        assert_eq!(class(&world, "a", None), None);
    }

    #[test]
    fn new_rules_reach_what_is_there_and_old_ones_end() {
        let mut world = World::new();
        for number in 0..=255 {
            put(&mut world, &format!("a/{number}"), chunked(number));
        }
        put(&mut world, "a/0", chunked(7));
        world.at += 1_000;
        set(&mut world, 1, vec![rule("a/", [500, 5_000, 6_000])]);
        let mut ticks = 0;
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {
            ticks += 1;
            assert!(ticks < 100, "it comes to an end");
        }
        assert!(ticks > 0, "a bounded number at a time");
        assert_eq!(view::moves(&world.rows, None, 1_000).len(), 257);
        set(&mut world, 2, vec![rule("b/", [500, 5_000, 6_000])]);
        set(&mut world, 1, vec![rule("a/", [1, 2, 3])]);
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {}
        assert_eq!(moves(&world), [], "older rules do not come back");
        set(&mut world, 2, Vec::new());
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {}
        assert_eq!((view::next_due(&world.rows), view::lifecycles(&world.rows)), (None, vec![]));
        set(&mut world, 3, vec![rule("a/", [500, 5_000, 6_000])]);
        world.tick(100_000);
        while matches!(world.ask(Command::Tick), Reply::Swept { more: true, .. }) {}
        assert_eq!(paths(&world), [] as [String; 0]);
    }

    #[test]
    fn a_move_of_what_is_gone_or_another_is_refused_and_a_repeated_one_is_not() {
        let mut world = World::new();
        set(&mut world, 1, vec![rule("", [1, 100, 1_000])]);
        put(&mut world, "a", chunked(1));
        world.tick(1);
        let Move { id, to, .. } = view::moves(&world.rows, None, 1)[0].clone();
        let moved = |world: &mut World, id, to| world.ask(Command::MoveVersion { id, to });
        let other = VersionId { made_at: id.made_at + 1, ..id };
        assert_eq!(refusal(&moved(&mut world, other, to)), Some(Code::NotFound));
        for wrong in [Stay { class: Class::Archive, ..to }, Stay { since: to.since + 1, ..to }] {
            assert_eq!(refusal(&moved(&mut world, id, wrong)), Some(Code::Conflict));
        }
        assert_eq!(view::stays(&world.rows, &id), Some(Stays { is: Stay::default(), to: Some(to) }));
        assert_eq!(moved(&mut world, id, to), Reply::Done);
        assert_eq!(moved(&mut world, id, to), Reply::Done);
        assert_eq!(view::stays(&world.rows, &id), Some(Stays { is: to, to: None }));
        assert_eq!(view::stays(&world.rows, &other), None);
        world.ask(Command::DeleteArtifact { project: name("p"), path: path("a"), expected: Expected::default() });
        world.tick(1);
        assert_eq!(refusal(&moved(&mut world, id, to)), Some(Code::NotFound));
    }

    #[test]
    fn a_move_that_was_called_off_in_between_is_refused_though_the_same_is_wanted_again() {
        let mut world = World::new();
        set(&mut world, 1, vec![rule("", [1, 1_000, 2_000])]);
        put(&mut world, "a", chunked(1));
        world.tick(1);
        let first = view::moves(&world.rows, None, 1)[0].clone();
        world.tick(10);
        assert_eq!(view::moves(&world.rows, None, 1)[0].to, first.to, "looking at it again changes nothing");
        set(&mut world, 2, Vec::new());
        world.tick(10);
        assert!(!view::stays(&world.rows, &first.id).unwrap().need(first.to), "its objects may go");
        set(&mut world, 3, vec![rule("", [1, 1_000, 2_000])]);
        world.tick(10);
        let again = view::moves(&world.rows, None, 1)[0].clone();
        assert_eq!((again.to.class, again.id), (Class::Cold, first.id));
        assert_eq!(
            refusal(&world.ask(Command::MoveVersion { id: first.id, to: first.to })),
            Some(Code::Conflict),
            "its objects may be gone"
        );
        assert_eq!(world.ask(Command::MoveVersion { id: again.id, to: again.to }), Reply::Done);
    }

    #[test]
    fn the_meta_group_keeps_a_bounded_number_of_rules() {
        let mut world = World::new();
        let put = |project: &str| Command::PutLifecycle { project: name(project), rules: vec![rule("", [1, 2, 3])] };
        for number in 0..limits::LIFECYCLES_MAX {
            world.quick(put(&number.to_string()));
        }
        assert_eq!(refusal(&world.ask(put("more"))), Some(Code::RateLimited));
        assert!(matches!(world.ask(put("0")), Reply::Version(_)), "a change is no addition");
        let outcome = world.run(&Envelope::plain(Command::DeleteLifecycle(name("0"))));
        assert_eq!(outcome.effects, [Effect::DefinitionsChanged]);
        assert_eq!(refusal(&world.ask(Command::DeleteLifecycle(name("0")))), Some(Code::NotFound));
        assert!(matches!(world.ask(put("more")), Reply::Version(_)));
        assert_eq!(view::lifecycle(&world.rows, &name("more")).unwrap().rules, [rule("", [1, 2, 3])]);
        let none = Command::PutLifecycle { project: name("more"), rules: Vec::new() };
        assert_eq!(refusal(&world.ask(none)), Some(Code::InvalidArgument));
    }
}
