//! Schedules: put, delete, and what a tick does.

use bytes::Bytes;

use super::{Answer, invalid};
use crate::Time;
use crate::code::{Code, Refusal};
use crate::command::NewJob;
use crate::finish::with_members;
use crate::id::Name;
use crate::limits;
use crate::reply::Reply;
use crate::schedule::cron::Ticks;
use crate::schedule::{NewSchedule, Overlap, Run, Schedule, Target};
use crate::state::State;
use crate::table::{self, H16, tag};
use crate::webhook;
use crate::workflow::NewWorkflow;

/// How often a run that waits for the one before is looked at.
const LOOK_MS: u64 = 500;

impl State<'_> {
    pub(super) fn put_schedule(&mut self, new: NewSchedule) -> Answer {
        let ticks = match Ticks::parse(&new.cron, &new.timezone) {
            Ok(ticks) => ticks,
            Err((field, detail)) => return invalid(format!("{field}: {detail}")),
        };
        let now = self.now();
        let Some(next) = ticks.after(now) else { return invalid("cron: it never ticks") };
        if new.catch_up_ms > limits::CATCH_UP_MS_MAX {
            return invalid(format!("catch_up_ms: at most {}", limits::CATCH_UP_MS_MAX));
        }
        if let Target::Job(job) = &new.target {
            webhook::refuse_queue("job.queue", &job.queue)?;
        }
        let hash = table::h16(&[new.name.as_str()]);
        let old = self.schedule(&hash);
        if old.is_none() {
            let count = self.read::<u64>(&table::key(tag::SCHEDULES, &[])).unwrap_or(0);
            if count >= limits::SCHEDULES_MAX {
                let detail = format!("there are {count} schedules in this partition, and no more may be made");
                return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
            }
            self.put(table::key(tag::SCHEDULES, &[]), &count.saturating_add(1));
        }
        if old.is_some() && !self.may_touch_schedule(&hash) {
            return Err(Refusal::new(Code::Conflict, format!("the name {} is taken", new.name)));
        }
        let created = old.is_none();
        if let Some(old) = &old {
            self.disarm(&hash, old);
        }
        let blank = Schedule {
            name: new.name.clone(),
            cron: String::new(),
            timezone: String::new(),
            overlap: Overlap::Skip,
            catch_up_ms: 0,
            paused: false,
            created_at: now,
            updated_at: now,
            next: None,
            last: None,
            last_run: None,
            look_at: None,
            queued: 0,
            runs: 0,
            skipped: 0,
            missed: 0,
        };
        let schedule = Schedule {
            cron: new.cron,
            timezone: new.timezone,
            overlap: new.overlap,
            catch_up_ms: new.catch_up_ms,
            paused: new.paused,
            updated_at: now,
            next: Some(next),
            look_at: None,
            queued: 0,
            ..old.unwrap_or(blank)
        };
        self.put(table::by_hash(tag::SCHEDULE_TARGET, &hash), &(new.target, new.source));
        self.arm_schedule(&hash, &schedule);
        Ok(Reply::SchedulePut { created })
    }

    /// Pauses a schedule, or lets it go on: from the next tick after now.
    pub(super) fn pause_schedule(&mut self, name: &Name, paused: bool) -> Answer {
        let hash = table::h16(&[name.as_str()]);
        let Some(mut schedule) = self.schedule_asked(&hash) else { return Err(no_schedule(name)) };
        if schedule.paused != paused {
            self.disarm(&hash, &schedule);
            schedule.paused = paused;
            schedule.updated_at = self.now();
            let ticks = Ticks::parse(&schedule.cron, &schedule.timezone).ok();
            schedule.next = ticks.and_then(|ticks| ticks.after(self.now()));
            self.arm_schedule(&hash, &schedule);
        }
        Ok(Reply::Done)
    }

    pub(super) fn delete_schedule(&mut self, name: &Name) -> Answer {
        let hash = table::h16(&[name.as_str()]);
        let Some(schedule) = self.schedule_asked(&hash) else { return Err(no_schedule(name)) };
        self.disarm(&hash, &schedule);
        self.txn.delete(&table::by_hash(tag::SCHEDULE, &hash));
        self.txn.delete(&table::by_hash(tag::SCHEDULE_TARGET, &hash));
        let count = self.read::<u64>(&table::key(tag::SCHEDULES, &[])).unwrap_or(0);
        self.put(table::key(tag::SCHEDULES, &[]), &count.saturating_sub(1));
        Ok(Reply::Done)
    }

    /// The schedule that a caller names, if it is there for that caller.
    fn schedule_asked(&self, hash: &H16) -> Option<Schedule> {
        self.schedule(hash).filter(|_| self.may_touch_schedule(hash))
    }

    /// A schedule belongs to the project of what it starts.
    fn may_touch_schedule(&self, hash: &H16) -> bool {
        let target: Option<(Target, Bytes)> = self.read(&table::by_hash(tag::SCHEDULE_TARGET, hash));
        target.is_none_or(|(target, _)| self.may_touch(target.project()))
    }

    /// A tick is due, or a run that waits is to be looked at.
    pub(super) fn schedule_due(&mut self, hash: &H16, at: Time) {
        let Some(mut schedule) = self.schedule(hash) else { return };
        if schedule.next != Some(at) && schedule.look_at != Some(at) {
            return;
        }
        self.disarm(hash, &schedule);
        if schedule.look_at.is_some_and(|look_at| look_at <= self.now()) {
            schedule.look_at = None;
        }
        if schedule.next == Some(at) {
            self.tick_schedule(&mut schedule, at);
        }
        if schedule.queued > 0 && !self.is_active(schedule.last_run) {
            schedule.queued -= 1;
            self.run_schedule(&mut schedule, hash, at);
        }
        if schedule.queued > 0 {
            schedule.look_at = Some(self.now().saturating_add(LOOK_MS));
        }
        self.arm_schedule(hash, &schedule);
    }

    fn tick_schedule(&mut self, schedule: &mut Schedule, at: Time) {
        let now = self.now();
        let Ok(ticks) = Ticks::parse(&schedule.cron, &schedule.timezone) else {
            schedule.next = None;
            return;
        };
        let earliest = now.saturating_sub(schedule.catch_up_ms);
        if schedule.paused || at < earliest {
            schedule.missed = schedule.missed.saturating_add(1);
            // All that came too late is passed over at once, not tick by tick.
            let from = if schedule.paused { now } else { earliest.saturating_sub(1).max(at) };
            schedule.next = ticks.after(from);
            return;
        }
        schedule.next = ticks.after(at);
        let active = schedule.overlap != Overlap::Allow && (schedule.queued > 0 || self.is_active(schedule.last_run));
        match schedule.overlap {
            Overlap::Skip if active => schedule.skipped = schedule.skipped.saturating_add(1),
            Overlap::Queue if active && schedule.queued >= limits::SCHEDULE_QUEUED_MAX => {
                schedule.skipped = schedule.skipped.saturating_add(1);
            }
            Overlap::Queue if active => schedule.queued = schedule.queued.saturating_add(1),
            _ => {
                let hash = table::h16(&[schedule.name.as_str()]);
                self.run_schedule(schedule, &hash, at);
            }
        }
    }

    /// Starts what the schedule starts. Limits of the queue do not stop it, since there is nobody to tell.
    fn run_schedule(&mut self, schedule: &mut Schedule, hash: &H16, at: Time) {
        let Some((target, _)) = self.read::<(Target, Bytes)>(&table::by_hash(tag::SCHEDULE_TARGET, hash)) else {
            return;
        };
        schedule.last_run = match target {
            Target::Job(job) => {
                let told = format!("\"schedule\":\"{}\",\"scheduled_at_ms\":{at}", schedule.name);
                let metadata = with_members(&job.metadata, &told);
                Some(Run::Job(self.take_in(NewJob { metadata, ..*job }).seq))
            }
            Target::Workflow(new) => self.open_workflow(NewWorkflow { ..*new }, None).ok().map(Run::Workflow),
        };
        schedule.last = Some(at);
        schedule.runs = schedule.runs.saturating_add(1);
    }

    fn is_active(&self, run: Option<Run>) -> bool {
        match run {
            Some(Run::Job(seq)) => self.job(seq).is_some_and(|job| !job.state.is_final()),
            Some(Run::Workflow(seq)) => self.workflow(seq).is_some_and(|workflow| !workflow.status.is_final()),
            None => false,
        }
    }

    fn schedule(&self, hash: &H16) -> Option<Schedule> {
        self.read(&table::by_hash(tag::SCHEDULE, hash))
    }

    fn arm_schedule(&mut self, hash: &H16, schedule: &Schedule) {
        self.put(table::by_hash(tag::SCHEDULE, hash), schedule);
        for at in [schedule.next, schedule.look_at].into_iter().flatten() {
            self.mark(table::due_schedule(at, hash));
        }
    }

    fn disarm(&mut self, hash: &H16, schedule: &Schedule) {
        for at in [schedule.next, schedule.look_at].into_iter().flatten() {
            self.txn.delete(&table::due_schedule(at, hash));
        }
    }
}

fn no_schedule(name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no schedule {name}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Command, NewJob};
    use crate::schedule::{NewSchedule, Overlap, Run, Schedule, Target};
    use crate::testing::{World, name, new_job, refusal, task};
    use crate::workflow::{NewWorkflow, Plan};
    use crate::{Code, Reply, view};

    fn every_second(overlap: Overlap) -> NewSchedule {
        NewSchedule {
            name: name("s"),
            cron: "* * * * * *".into(),
            timezone: "UTC".into(),
            overlap,
            catch_up_ms: 10_000,
            paused: false,
            target: Target::Job(Box::new(new_job())),
            source: Bytes::new(),
        }
    }

    impl World {
        fn put_schedule(&mut self, new: NewSchedule) {
            assert!(matches!(self.ask(Command::PutSchedule(Box::new(new))), Reply::SchedulePut { .. }));
        }

        fn schedule(&self) -> Schedule {
            view::schedule(&self.rows, &name("s")).expect("the schedule is there").0
        }
    }

    #[test]
    fn each_tick_starts_one_run_whoever_asks_how_often() {
        let mut world = World::new();
        world.put_schedule(every_second(Overlap::Allow));
        for _ in 0..3 {
            world.tick(1_000);
            world.tick(0);
        }
        assert_eq!((world.schedule().runs, world.lease(9).len()), (3, 3));
        let job = world.job(1);
        let told = format!(r#"{{"schedule":"s","scheduled_at_ms":{}}}"#, 1_001_000);
        assert_eq!(job.metadata, told);
        assert_eq!(world.schedule().last_run, Some(Run::Job(3)));
    }

    #[test]
    fn what_is_late_is_caught_up_within_the_window_and_no_further() {
        let mut world = World::new();
        let mut new = every_second(Overlap::Allow);
        new.catch_up_ms = 2_500;
        world.put_schedule(new);
        world.tick(60_000);
        assert_eq!(world.lease(99).len(), 3, "the ticks of the last 2.5 s");
        let schedule = world.schedule();
        assert_eq!((schedule.runs, schedule.missed), (3, 1));
        assert!(schedule.next.is_some_and(|next| next > world.at));
    }

    #[test]
    fn overlap_is_skipped_or_queued() {
        let mut world = World::new();
        world.put_schedule(every_second(Overlap::Skip));
        world.tick(3_000);
        let first = world.lease(9);
        assert_eq!((first.len(), world.schedule().skipped), (1, 2));
        world.ack(first[0]).expect("acked");
        world.put_schedule(every_second(Overlap::Queue));
        world.tick(1_000);
        world.tick(1_000);
        let second = world.lease(9);
        assert_eq!((second.len(), world.schedule().queued), (1, 1));
        world.ack(second[0]).expect("acked");
        world.tick(500);
        assert_eq!((world.lease(9).len(), world.schedule().queued), (1, 0));
    }

    #[test]
    fn a_workflow_is_started_whole() {
        let mut world = World::new();
        let workflow = NewWorkflow {
            name: "nightly".into(),
            project: name("p"),
            template: None,
            input: Bytes::from_static(b"{}"),
            deadline: None,
            retention_ms: 1_000_000,
            plan: Plan { tasks: vec![task("a", &[])], on_failure: None },
        };
        let mut new = every_second(Overlap::Skip);
        new.target = Target::Workflow(Box::new(workflow));
        world.put_schedule(new);
        world.tick(1_000);
        assert_eq!(world.schedule().last_run, Some(Run::Workflow(1)));
        assert_eq!(world.lease(9).len(), 1);
    }

    #[test]
    fn pause_delete_and_what_is_not_there() {
        let mut world = World::new();
        world.put_schedule(every_second(Overlap::Allow));
        world.ask(Command::PauseSchedule { name: name("s"), paused: true });
        world.tick(5_000);
        assert!(world.lease(9).is_empty());
        world.ask(Command::PauseSchedule { name: name("s"), paused: false });
        world.tick(1_000);
        assert_eq!(world.lease(9).len(), 1, "what it missed while it was paused stays missed");
        assert_eq!(world.ask(Command::DeleteSchedule(name("s"))), Reply::Done);
        assert_eq!(refusal(&world.ask(Command::DeleteSchedule(name("s")))), Some(Code::NotFound));
        world.tick(5_000);
        assert!(world.lease(9).is_empty());
        let bad = NewSchedule { cron: "0 0 30 2 *".into(), ..every_second(Overlap::Allow) };
        assert_eq!(refusal(&world.ask(Command::PutSchedule(Box::new(bad)))), Some(Code::InvalidArgument));
        assert!(view::schedules(&world.rows).is_empty());
    }

    #[test]
    fn a_put_replaces_the_whole_and_keeps_what_was_counted() {
        let mut world = World::new();
        world.put_schedule(every_second(Overlap::Allow));
        world.tick(1_000);
        let target = Target::Job(Box::new(NewJob { priority: 9, ..new_job() }));
        let new = NewSchedule { cron: "* * * * *".into(), target, ..every_second(Overlap::Allow) };
        assert_eq!(world.ask(Command::PutSchedule(Box::new(new))), Reply::SchedulePut { created: false });
        world.tick(1_000);
        assert_eq!(world.schedule().runs, 1);
        world.tick(18_000);
        assert_eq!((world.schedule().runs, world.job(2).priority), (2, 9));
    }
}
