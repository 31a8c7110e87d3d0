//! Webhooks: put, disable and delete (meta), what partitions are told of them, and how an event becomes
//! a delivery in the entry that made it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Answer;
use crate::code::{Code, Refusal};
use crate::command::NewJob;
use crate::happened::Happened;
use crate::id::Name;
use crate::job::{Job, Payload};
use crate::limits;
use crate::reply::{Effect, Reply};
use crate::row;
use crate::state::State;
use crate::table::{self, tag};
use crate::webhook::{self, Notice, PutWebhook, Subscription, Webhook};

/// What one entry has found out of webhooks, and the deliveries that the present command is to make.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Whether the partition has subscriptions at all.
    any: Option<bool>,
    of: BTreeMap<Name, Arc<[Subscription]>>,
    /// Project, webhook and payload of each.
    due: Vec<(Name, Name, Bytes)>,
}

impl State<'_> {
    pub(super) fn put_webhook(&mut self, put: PutWebhook, effects: &mut Vec<Effect>) -> Answer {
        put.validate()?;
        let key = table::webhook(tag::WEBHOOK, &put.project, &put.name);
        let old: Option<Webhook> = self.read(&key);
        if old.is_none() {
            self.check_webhooks(&put.project)?;
        }
        let now = self.now();
        self.meta.version += 1;
        let version = self.meta.version;
        let secret = match &old {
            Some(old) if put.secret_is_made_up => old.secret.clone(),
            _ => put.secret,
        };
        let created_at = old.as_ref().map_or(now, |old| old.created_at);
        let PutWebhook { project, name, url, events, queue, disabled, .. } = put;
        let new = Webhook { project, name, version, url, events, queue, disabled, secret, created_at, updated_at: now };
        self.put(key, &new);
        if old.is_none() {
            self.count_row(tag::WEBHOOKS, true);
        }
        effects.push(Effect::DefinitionsChanged);
        Ok(Reply::WebhookPut { version, created: old.is_none() })
    }

    /// Disables a webhook whose receiver wants nothing more, if it is still the one that was asked.
    pub(super) fn disable_webhook(
        &mut self,
        project: &Name,
        name: &Name,
        version: u64,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        let key = table::webhook(tag::WEBHOOK, project, name);
        let Some(mut webhook) = self.read::<Webhook>(&key) else { return Err(no_webhook(name)) };
        if webhook.version == version && !webhook.disabled {
            self.meta.version += 1;
            (webhook.version, webhook.disabled, webhook.updated_at) = (self.meta.version, true, self.now());
            self.put(key, &webhook);
            effects.push(Effect::DefinitionsChanged);
        }
        Ok(Reply::Version(webhook.version))
    }

    pub(super) fn delete_webhook(&mut self, project: &Name, name: &Name, effects: &mut Vec<Effect>) -> Answer {
        let key = table::webhook(tag::WEBHOOK, project, name);
        if !self.txn.contains(&key) {
            return Err(no_webhook(name));
        }
        self.txn.delete(&key);
        self.count_row(tag::WEBHOOKS, false);
        self.meta.version += 1;
        effects.push(Effect::DefinitionsChanged);
        Ok(Reply::Version(self.meta.version))
    }

    fn check_webhooks(&self, project: &Name) -> Result<(), Refusal> {
        let all: u64 = self.read(&table::key(tag::WEBHOOKS, &[])).unwrap_or(0);
        let prefix = table::webhooks(tag::WEBHOOK, project);
        let mut own = 0;
        row::walk(self.rows(), &prefix, &prefix, &mut |_, _| {
            own += 1;
            true
        });
        for (count, max, of) in
            [(own, limits::WEBHOOKS_OF_PROJECT_MAX, "project"), (all, limits::WEBHOOKS_MAX, "cluster")]
        {
            if count >= max {
                let detail = format!("the {of} has {count} webhooks, and no more may be made");
                return Err(Refusal::retry_after(Code::RateLimited, detail, 60_000));
            }
        }
        Ok(())
    }

    /// A partition keeps the newest version that it was told.
    pub(super) fn set_webhook(&mut self, new: Subscription) -> Reply {
        let key = table::webhook(tag::SUBSCRIPTION, &new.project, &new.name);
        match self.read::<Subscription>(&key) {
            Some(old) if old.version >= new.version => return Reply::Done,
            Some(_) => {}
            None => self.count_row(tag::SUBSCRIPTIONS, true),
        }
        self.put(key, &new);
        self.hooks = Hooks::default();
        Reply::Done
    }

    /// Forgets a webhook that was deleted; deliveries that wait are for their worker to drop.
    pub(super) fn forget_webhook(&mut self, project: &Name, name: &Name, version: u64) -> Reply {
        let key = table::webhook(tag::SUBSCRIPTION, project, name);
        if self.read::<Subscription>(&key).is_some_and(|old| old.version <= version) {
            self.txn.delete(&key);
            self.count_row(tag::SUBSCRIPTIONS, false);
            self.hooks = Hooks::default();
        }
        Reply::Done
    }

    /// Whether anybody, webhook or watcher, may ask for what happens.
    pub(crate) fn is_followed(&mut self) -> bool {
        self.happened.is_some() || self.has_hooks()
    }

    fn has_hooks(&mut self) -> bool {
        if let Some(any) = self.hooks.any {
            return any;
        }
        let any = self.read::<u64>(&table::key(tag::SUBSCRIPTIONS, &[])).is_some_and(|count| count > 0);
        self.hooks.any = Some(any);
        any
    }

    /// Notes what happened for those who watch, and for the webhooks that ask for it.
    pub(crate) fn note(&mut self, happened: Happened) {
        // A delivery that told of deliveries would have no end.
        if self.has_hooks() && !happened.queue().is_some_and(webhook::is_queue) {
            self.hook(&happened);
        }
        if let Some(all) = &mut self.happened {
            all.push(happened);
        }
    }

    fn hook(&mut self, happened: &Happened) {
        let project = happened.project();
        for subscription in self.subscriptions(project).iter().filter(|one| one.wants(happened)) {
            let (webhook, version) = (subscription.name.clone(), subscription.version);
            let notice = Notice { webhook: webhook.clone(), version, happened: happened.clone() };
            // Nothing in a notice fails to be JSON.
            let Ok(payload) = serde_json::to_vec(&notice) else { continue };
            self.hooks.due.push((project.clone(), webhook, payload.into()));
        }
    }

    fn subscriptions(&mut self, project: &Name) -> Arc<[Subscription]> {
        if let Some(known) = self.hooks.of.get(project) {
            return known.clone();
        }
        let prefix = table::webhooks(tag::SUBSCRIPTION, project);
        let mut found: Vec<Subscription> = Vec::new();
        row::walk(self.rows(), &prefix, &prefix, &mut |_, value| {
            found.extend(row::decode::<Subscription>(value).filter(|one| one.project == *project));
            true
        });
        let found: Arc<[Subscription]> = found.into();
        self.hooks.of.insert(project.clone(), found.clone());
        found
    }

    /// Makes the deliveries of what the command did. Beyond the bound of one webhook they are dropped,
    /// and the leader says so.
    pub(super) fn make_deliveries(&mut self) {
        let mut dropped = 0;
        for (project, webhook, payload) in std::mem::take(&mut self.hooks.due) {
            let waiting: u64 = self.read(&table::webhook(tag::DELIVERIES, &project, &webhook)).unwrap_or(0);
            if waiting >= limits::DELIVERIES_MAX {
                dropped += 1;
                continue;
            }
            let Ok(queue) = Name::parse("queue", webhook::QUEUE) else { continue };
            let job = NewJob {
                // A lane of its own for each webhook: a slow receiver pays for the time that it takes.
                fairness_key: Some(lane(&project, &webhook)),
                concurrency_key: Some(webhook.as_str().to_owned()),
                ..NewJob::new(queue, project, Payload { json: true, bytes: payload })
            };
            self.take_in(job);
        }
        if dropped > 0 {
            self.noted.push(Effect::DeliveriesDropped(dropped));
        }
    }

    /// Counts the deliveries of a webhook that are not over.
    pub(crate) fn count_delivery(&mut self, old: Option<&Job>, new: Option<&Job>) {
        let waits = |job: Option<&Job>| job.is_some_and(|job| !job.state.is_final());
        let (was, is) = (waits(old), waits(new));
        let Some(job) = new.or(old).filter(|job| was != is && webhook::is_queue(&job.queue)) else { return };
        let Some(name) = &job.concurrency_key else { return };
        let key = table::webhook_text(tag::DELIVERIES, &job.project, name);
        let mut count: u64 = self.read(&key).unwrap_or(0);
        row::step(&mut count, is);
        if count == 0 {
            self.txn.delete(&key);
        } else {
            self.put(key, &count);
        }
    }

    pub(super) fn count_row(&mut self, tag: u8, up: bool) {
        let key = table::key(tag, &[]);
        let mut count: u64 = self.read(&key).unwrap_or(0);
        row::step(&mut count, up);
        self.put(key, &count);
    }
}

fn lane(project: &Name, webhook: &Name) -> String {
    table::h16(&[project.as_str(), webhook.as_str()]).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_webhook(name: &Name) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no webhook {name}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Ack, Command, Entry, Lease, ListFilter, Nack, NewJob};
    use crate::happened::{Happened, JobEventKind};
    use crate::schedule::{NewSchedule, Overlap, Target};
    use crate::testing::{World, name, new_job, refusal, task};
    use crate::webhook::{Notice, PutWebhook, QUEUE, Secret, Subscription};
    use crate::workflow::{Action, EventKind, NewWorkflow, Plan};
    use crate::{Code, Effect, Envelope, Job, JobState, QueueConfig, Reply, apply, limits, view};

    fn subscription(events: &[&str]) -> Subscription {
        Subscription {
            project: name("p"),
            name: name("hook"),
            version: 1,
            events: events.iter().map(ToString::to_string).collect(),
            queue: None,
            disabled: false,
        }
    }

    fn set(subscription: Subscription) -> Command {
        Command::SetWebhook(Box::new(subscription))
    }

    fn put(project: &str, hook: &str) -> PutWebhook {
        PutWebhook {
            project: name(project),
            name: name(hook),
            url: "https://example.org/".into(),
            events: vec!["*".into()],
            queue: None,
            disabled: false,
            secret: Secret(Bytes::from_static(&[7; 32])),
            secret_is_made_up: true,
        }
    }

    impl World {
        fn deliveries(&self) -> Vec<Job> {
            let filter = ListFilter { queue: Some(name(QUEUE)), ..ListFilter::default() };
            view::list(&self.rows, &filter, None, 1_000).jobs
        }

        fn told(&self) -> Vec<String> {
            self.deliveries().iter().map(|job| self.notice(job.seq).happened.kind().to_owned()).collect()
        }

        fn notice(&self, seq: u64) -> Notice {
            serde_json::from_slice(&view::payload(&self.rows, seq).expect("a payload").bytes).expect("a notice")
        }

        fn lease_deliveries(&mut self) -> Vec<u64> {
            let lease = Lease::new(name(QUEUE), name("w"), 99);
            match self.ask(Command::Lease(lease)) {
                Reply::Leased(leased) => leased.jobs.iter().map(|job| job.seq).collect(),
                reply => panic!("{reply:?}"),
            }
        }
    }

    #[test]
    fn the_entry_that_makes_an_event_makes_its_delivery() {
        let mut world = World::new();
        world.ask(set(subscription(&["job.dead", "job.succeeded"])));
        let seq = world.add(|_| {});
        world.lease(1);
        assert_eq!(world.told(), [""; 0], "neither enqueue nor lease is asked for");
        let nack = Nack { seq, token: 1, error: Some("no".into()), retry_in_ms: None, dead: true, unseen: false };
        let entry = Entry { at: world.at, commands: vec![Envelope::plain(Command::Nack(vec![nack])).encode()] };
        let outcome = apply(&mut world.rows, 1, &entry).remove(0);
        let [delivery] = world.deliveries().try_into().expect("one delivery");
        assert_eq!((delivery.state, delivery.project.clone()), (JobState::Ready, name("p")));
        assert!(outcome.effects.contains(&Effect::QueueReady(name(QUEUE))), "its worker is told");
        let notice = world.notice(delivery.seq);
        assert_eq!((notice.webhook, notice.version), (name("hook"), 1));
        let Happened::Job(event) = notice.happened else { panic!("of a job") };
        assert_eq!((event.seq, event.kind, event.error.as_deref()), (seq, JobEventKind::Dead, Some("no")));
    }

    #[test]
    fn a_webhook_gets_its_projects_events_of_its_queue_alone() {
        let mut world = World::new();
        world.ask(set(subscription(&["job.enqueued"])));
        world.ask(set(Subscription { name: name("of-q"), queue: Some(name("q")), ..subscription(&["job.*"]) }));
        world.ask(set(Subscription { name: name("off"), disabled: true, ..subscription(&["*"]) }));
        world.add(|job| job.project = name("other"));
        assert!(world.deliveries().is_empty());
        world.add(|job| job.queue = name("r"));
        assert_eq!(world.told(), ["job.enqueued"]);
        world.add(|_| {});
        assert_eq!(world.deliveries().len(), 3);
    }

    #[test]
    fn events_of_workflows_are_told() {
        let mut world = World::new();
        world.ask(set(subscription(&["workflow.*", "task.succeeded"])));
        let mut timer = task("t", &[]);
        timer.action = Action::Timer(10);
        let new = NewWorkflow {
            name: String::new(),
            project: name("p"),
            template: None,
            input: Bytes::from_static(b"null"),
            deadline: None,
            retention_ms: 1_000_000,
            plan: Plan { tasks: vec![timer], on_failure: None },
        };
        world.ask(Command::StartWorkflow(Box::new(new)));
        world.tick(10);
        assert_eq!(world.told(), ["workflow.started", "task.succeeded", "workflow.succeeded"]);
        let last = world.deliveries().last().map(|job| job.seq).expect("a delivery");
        let Happened::Workflow { event, .. } = world.notice(last).happened else { panic!("of a workflow") };
        assert_eq!(event.kind, EventKind::WorkflowSucceeded);
    }

    #[test]
    fn deliveries_are_not_told_of() {
        let mut world = World::new();
        world.ask(set(subscription(&["*"])));
        let seq = world.add(|_| {});
        let deliveries = world.lease_deliveries();
        assert_eq!(deliveries.len(), 1);
        world.ack(deliveries[0]).expect("acked");
        assert_eq!(world.told(), ["job.enqueued"], "no event of the reserved queue makes a delivery");
        assert_eq!(world.state(seq), Some(JobState::Ready));
    }

    #[test]
    fn a_failed_delivery_is_tried_again_and_dies_with_its_attempts() {
        let mut world = World::new();
        world.ask(set(subscription(&["job.enqueued"])));
        world.add(|_| {});
        let seq = world.deliveries()[0].seq;
        for attempt in 1..=crate::webhook::ATTEMPTS {
            assert_eq!(world.lease_deliveries(), [seq], "attempt {attempt}");
            world.nack(seq, Some(crate::webhook::pause_ms(attempt)), false).expect("nacked");
            world.tick(crate::webhook::pause_ms(attempt));
        }
        assert_eq!(world.state(seq), Some(JobState::Dead));
        assert_eq!(world.ask(Command::Retry(seq)), Reply::State(JobState::Ready), "it may be sent again by hand");
    }

    #[test]
    fn a_slow_receiver_holds_no_more_than_its_share() {
        let mut world = World::new();
        world.ask(set(subscription(&["job.enqueued"])));
        world.ask(set(Subscription { name: name("other"), ..subscription(&["job.enqueued"]) }));
        world.ask(Command::Enqueue(vec![new_job(); 20]));
        let leased = world.lease_deliveries();
        assert_eq!(leased.len(), 2 * crate::webhook::AT_ONCE as usize);
    }

    #[test]
    fn nobody_else_puts_jobs_into_the_reserved_queue() {
        let mut world = World::new();
        let job = NewJob { queue: name(QUEUE), ..new_job() };
        let schedule = NewSchedule {
            name: name("s"),
            cron: "* * * * *".into(),
            timezone: "UTC".into(),
            overlap: Overlap::Skip,
            catch_up_ms: 0,
            paused: false,
            target: Target::Job(Box::new(job.clone())),
            source: Bytes::new(),
        };
        let dead_letter = QueueConfig { dead_letter: Some(name(QUEUE)), ..QueueConfig::default() };
        for command in [
            Command::Enqueue(vec![job]),
            Command::PutSchedule(Box::new(schedule)),
            Command::PutQueue { name: name("q"), config: dead_letter },
            Command::PutQueue { name: name(QUEUE), config: QueueConfig::default() },
        ] {
            assert_eq!(refusal(&world.ask(command.clone())), Some(Code::InvalidArgument), "{command:?}");
        }
        let mut bad = task("t", &[]);
        bad.action = Action::Job { queue: name(QUEUE), max_attempts: None, priority: 4 };
        let plan = Plan { tasks: vec![bad], on_failure: None };
        assert_eq!(crate::workflow::check::check(&plan, "")[0].path, "tasks[0].queue");
        let pause = Command::SwitchQueue { name: name(QUEUE), paused: Some(true), draining: None };
        assert!(matches!(world.ask(pause), Reply::Version(_)), "deliveries may be paused");
        let definition = view::definition(&world.rows, &name(QUEUE)).expect("it is defined");
        assert_eq!(definition.config, crate::webhook::queue_config());
    }

    #[test]
    fn beyond_its_bound_a_webhook_is_told_no_more_and_others_are() {
        let mut world = World::new();
        world.check = false;
        world.ask(set(subscription(&["job.enqueued"])));
        for _ in 0..limits::DELIVERIES_MAX as usize / limits::ENQUEUE_JOBS_MAX {
            world.quick(Command::Enqueue(vec![new_job(); limits::ENQUEUE_JOBS_MAX]));
        }
        world.ask(set(Subscription { name: name("other"), ..subscription(&["job.enqueued"]) }));
        let outcome = world.run(&Envelope::plain(Command::Enqueue(vec![new_job()])));
        assert!(outcome.effects.contains(&Effect::DeliveriesDropped(1)), "{:?}", outcome.effects);
        let stats = view::queue(&world.rows, &name(QUEUE)).expect("the queue");
        assert_eq!(stats.count(JobState::Ready), limits::DELIVERIES_MAX + 1);
        let seq = world.lease_deliveries()[0];
        let token = world.job(seq).lease_token;
        world.ask(Command::Ack(vec![Ack { seq, token, result: None }]));
        let outcome = world.run(&Envelope::plain(Command::Enqueue(vec![new_job()])));
        assert!(!outcome.effects.contains(&Effect::DeliveriesDropped(1)), "there is room again");
    }

    #[test]
    fn webhooks_are_bounded_and_keep_the_secret_that_they_were_made_with() {
        let mut world = World::new();
        let ask = |world: &mut World, put: PutWebhook| world.ask(Command::PutWebhook(Box::new(put)));
        assert_eq!(ask(&mut world, put("p", "a")), Reply::WebhookPut { version: 1, created: true });
        let mut again = put("p", "a");
        again.secret = Secret(Bytes::from_static(&[8; 32]));
        assert_eq!(ask(&mut world, again.clone()), Reply::WebhookPut { version: 2, created: false });
        let kept = |world: &World| view::webhook(&world.rows, &name("p"), &name("a")).expect("it is there").secret.0;
        assert_eq!(kept(&world), Bytes::from_static(&[7; 32]));
        again.secret_is_made_up = false;
        ask(&mut world, again);
        assert_eq!(kept(&world), Bytes::from_static(&[8; 32]), "one that is given counts");
        for n in 1..limits::WEBHOOKS_OF_PROJECT_MAX {
            assert!(matches!(ask(&mut world, put("p", &format!("a{n}"))), Reply::WebhookPut { .. }));
        }
        assert_eq!(refusal(&ask(&mut world, put("p", "more"))), Some(Code::RateLimited));
        assert!(matches!(ask(&mut world, put("other", "a")), Reply::WebhookPut { created: true, .. }));
        let bad = [
            PutWebhook { url: "x".repeat(limits::WEBHOOK_URL_BYTES_MAX + 1), ..put("p", "a") },
            PutWebhook { events: vec![], ..put("p", "a") },
            PutWebhook { secret: Secret(Bytes::from_static(&[1; 23])), ..put("p", "a") },
        ];
        for bad in bad {
            assert_eq!(refusal(&ask(&mut world, bad)), Some(Code::InvalidArgument));
        }
        assert_eq!(view::webhooks_of(&world.rows, &name("p")).len(), limits::WEBHOOKS_OF_PROJECT_MAX as usize);
        let delete = || Command::DeleteWebhook { project: name("p"), name: name("a") };
        assert!(matches!(world.ask(delete()), Reply::Version(_)));
        assert_eq!(refusal(&world.ask(delete())), Some(Code::NotFound));
    }

    #[test]
    fn a_webhook_that_changed_meanwhile_is_not_disabled() {
        let mut world = World::new();
        let ask = |world: &mut World| world.ask(Command::PutWebhook(Box::new(put("p", "a"))));
        ask(&mut world);
        ask(&mut world);
        let disable = |version| Command::DisableWebhook { project: name("p"), name: name("a"), version };
        world.ask(disable(1));
        let is_disabled = |world: &World| view::webhook(&world.rows, &name("p"), &name("a")).expect("there").disabled;
        assert!(!is_disabled(&world));
        world.ask(disable(2));
        assert!(is_disabled(&world));
    }

    #[test]
    fn a_partition_keeps_the_newest_subscription() {
        let mut world = World::new();
        world.ask(set(Subscription { version: 5, ..subscription(&["job.dead"]) }));
        world.ask(set(Subscription { version: 4, ..subscription(&["*"]) }));
        let forget = |version| Command::ForgetWebhook { project: name("p"), name: name("hook"), version };
        world.ask(forget(4));
        assert_eq!(view::subscriptions(&world.rows)[0].version, 5);
        world.ask(forget(5));
        assert_eq!(view::subscriptions(&world.rows), []);
        world.add(|_| {});
        assert!(world.deliveries().is_empty());
    }
}
