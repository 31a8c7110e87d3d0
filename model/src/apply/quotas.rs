//! Quotas (meta), and the count of what each project has in a partition.

use std::collections::btree_map::Entry;

use super::Answer;
use crate::code::{Code, Refusal};
use crate::id::Name;
use crate::job::Job;
use crate::limits;
use crate::quota::{Quota, Usage};
use crate::reply::Reply;
use crate::row::step;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn put_quota(&mut self, mut new: Quota) -> Answer {
        let place = table::of_project(tag::QUOTA, &new.project);
        if !self.txn.contains(&place) {
            let count: u64 = self.read(&table::key(tag::QUOTAS, &[])).unwrap_or(0);
            if count >= limits::QUOTAS_MAX {
                let detail = format!("{count} projects have quotas, and no more may");
                return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
            }
            self.count_row(tag::QUOTAS, true);
        }
        self.meta.version += 1;
        new.version = self.meta.version;
        self.put(place, &new);
        Ok(Reply::Version(new.version))
    }

    pub(super) fn delete_quota(&mut self, project: &Name) -> Answer {
        let place = table::of_project(tag::QUOTA, project);
        if !self.txn.contains(&place) {
            return Err(Refusal::new(Code::NotFound, format!("project {project} has no quota")));
        }
        self.txn.delete(&place);
        self.count_row(tag::QUOTAS, false);
        Ok(Reply::Done)
    }

    /// Counts what a project has, as one of its jobs changes.
    pub(crate) fn count_usage(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let has = |job: Option<&Job>| {
            job.map_or((false, 0), |job| (!job.state.is_final(), u64::from(job.keeping.payload_bytes)))
        };
        let ((waited, was), (waits, is)) = (has(old), has(new));
        let Some(job) = new.or(old).filter(|_| (waited, was) != (waits, is)) else { return };
        let txn = &*self.txn;
        let usage = match self.usages.entry(job.project.clone()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(
                txn.get(&table::of_project(tag::USAGE, &job.project))
                    .and_then(|row| crate::row::decode::<Usage>(&row))
                    .unwrap_or_default(),
            ),
        };
        if waited != waits {
            step(&mut usage.jobs, waits);
        }
        usage.bytes = usage.bytes.saturating_sub(was).saturating_add(is);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::Command;
    use crate::quota::{Quota, Usage};
    use crate::testing::{World, name, refusal};
    use crate::{Code, Payload, view};

    #[test]
    fn a_quota_is_put_replaced_and_deleted() {
        let mut world = World::new();
        let quota =
            |jobs_max| Quota { project: name("p"), version: 0, jobs_max, bytes_max: None, jobs_per_second: Some(5) };
        world.ask(Command::PutQuota(Box::new(quota(Some(1)))));
        world.ask(Command::PutQuota(Box::new(quota(Some(2)))));
        let kept = view::quota(&world.rows, &name("p")).unwrap();
        assert_eq!((kept.jobs_max, kept.version, view::quotas(&world.rows).len()), (Some(2), 2, 1));
        world.ask(Command::DeleteQuota(name("p")));
        assert_eq!(view::quota(&world.rows, &name("p")), None);
        assert_eq!(refusal(&world.ask(Command::DeleteQuota(name("p")))), Some(Code::NotFound));
    }

    #[test]
    fn what_a_project_has_is_counted_until_it_is_gone() {
        let mut world = World::new();
        let usage = |world: &World, project: &str| view::usage(&world.rows, &name(project));
        let payload = |bytes: &'static [u8]| Payload { json: true, bytes: bytes.into() };
        let first = world.add(|job| job.payload = payload(b"\"12345678\""));
        world.add(|job| (job.payload, job.project) = (payload(b"1"), name("other")));
        assert_eq!(usage(&world, "p"), Usage { jobs: 1, bytes: 10 });
        assert_eq!(usage(&world, "other"), Usage { jobs: 1, bytes: 1 });
        assert_eq!(world.lease(1), [first]);
        world.ack(first).unwrap();
        assert_eq!(usage(&world, "p"), Usage { jobs: 0, bytes: 10 }, "it is kept for a while");
        world.tick(365 * 86_400_000);
        assert_eq!(usage(&world, "p"), Usage::default());
        assert_eq!(usage(&world, "absent"), Usage::default());
    }
}
