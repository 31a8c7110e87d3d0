//! The audit log (meta): entries are appended, and the oldest go when there are too many.

use super::{Answer, invalid};
use crate::audit::{Entry, Head, NewEntry};
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn append_audit(&mut self, new: Vec<NewEntry>) -> Answer {
        if new.len() > limits::AUDIT_APPEND_MAX {
            return invalid(format!("at most {} entries a command", limits::AUDIT_APPEND_MAX));
        }
        let place = table::key(tag::AUDIT_HEAD, &[]);
        let mut head: Head = self.read(&place).unwrap_or(Head { first: 1, ..Head::default() });
        let now = self.now();
        for of in new {
            let entry = Entry::behind(&head.hash, head.seq.saturating_add(1), now, of.clipped());
            self.put(table::by_seq(tag::AUDIT, entry.seq), &entry);
            (head.seq, head.hash) = (entry.seq, entry.hash);
        }
        while head.seq.saturating_sub(head.first) >= limits::AUDIT_ENTRIES_MAX {
            self.txn.delete(&table::by_seq(tag::AUDIT, head.first));
            head.first += 1;
        }
        self.put(place, &head);
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::{Entry, Link, NewEntry};
    use crate::command::Command;
    use crate::limits;
    use crate::testing::World;
    use crate::{Reply, view};

    fn of(target: &str) -> NewEntry {
        NewEntry { actor: "key:a".into(), action: "queue.put".into(), target: target.into(), result: "ok".into() }
    }

    #[test]
    fn entries_are_chained_from_the_first_on() {
        let mut world = World::new();
        world.ask(Command::AppendAudit(vec![of("a"), of("b")]));
        world.tick(5);
        assert_eq!(world.ask(Command::AppendAudit(vec![of("c")])), Reply::Done);
        let entries = view::audit(&world.rows, (0, 0), 10, |_| true).0;
        let targets: Vec<_> = entries.iter().map(|entry| entry.of.target.as_str()).collect();
        assert_eq!(targets, ["a", "b", "c"]);
        let mut last = Link::default();
        for entry in &entries {
            assert!(entry.follows(&last), "{entry:?}");
            last = entry.hash;
        }
        let targets = |from, limit, wanted: &dyn Fn(&Entry) -> bool| {
            let (entries, next) = view::audit(&world.rows, from, limit, wanted);
            (entries.into_iter().map(|entry| entry.of.target).collect::<String>(), next)
        };
        assert_eq!(targets((2, 0), 10, &|_| true), ("c".into(), None), "behind a number");
        assert_eq!(targets((0, world.at), 10, &|_| true), ("c".into(), None), "not before a time");
        assert_eq!(targets((0, world.at - 5), 10, &|_| true), ("abc".into(), None));
        assert_eq!(targets((0, world.at + 1), 10, &|_| true), (String::new(), None));
        assert_eq!(targets((0, 0), 2, &|_| true), ("ab".into(), Some(2)), "goes on behind the last");
        assert_eq!(targets((0, 0), 10, &|entry| entry.of.target == "b"), ("b".into(), None));
    }

    #[test]
    fn the_oldest_entries_go_and_the_rest_is_still_a_chain() {
        let mut world = World::new();
        world.check = false;
        let rounds = limits::AUDIT_ENTRIES_MAX / limits::AUDIT_APPEND_MAX as u64 + 1;
        for _ in 0..rounds {
            world.quick(Command::AppendAudit(vec![of("x"); limits::AUDIT_APPEND_MAX]));
        }
        let (mut kept, mut from) = (Vec::new(), Some(0));
        while let Some(after) = from {
            let (page, next) = view::audit(&world.rows, (after, 0), usize::MAX, |_| true);
            kept.extend(page);
            from = next;
        }
        assert_eq!(kept.len() as u64, limits::AUDIT_ENTRIES_MAX);
        assert!(kept.windows(2).all(|pair| pair[1].follows(&pair[0].hash)));
    }
}
