//! Agents as instances of a systemd unit, `bravo-agent@TYPE-1.service` and on. The unit says what they run, as whom,
//! within which bounds, and how long they may take to leave; systemd starts those again that die.

#[cfg(test)]
mod fake;
mod manager;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(super) use manager::Manager;

use self::manager::Unit;
use super::{ActError, Actuator};
use crate::config::Pool;
use crate::telemetry::events::AgentMoved;
use crate::transport::wire::Share;

/// Instances of one pool on this machine, those on their way out with them.
const INSTANCES_MAX: usize = 64;

/// The instances of one pool on this machine.
pub(super) struct Units {
    manager: Arc<Manager>,
    agent_type: String,
    seen: Instances,
}

/// The numbers of the instances that there are.
#[derive(Debug, Default)]
struct Instances {
    /// They run, or are about to.
    staying: BTreeSet<u32>,
    /// They finish their jobs. Until they are gone their numbers are nobody else's: systemd would start such an
    /// instance only when it has left.
    leaving: BTreeSet<u32>,
}

impl Units {
    pub(super) fn new(pool: &Pool, manager: Arc<Manager>) -> Self {
        Self { manager, agent_type: pool.agent_type.to_string(), seen: Instances::default() }
    }

    fn unit(&self, number: u32) -> String {
        format!("bravo-agent@{}-{number}.service", self.agent_type)
    }

    /// The number of an instance of this pool; another pool's type may begin with this one's.
    fn number(&self, unit: &str) -> Option<u32> {
        let rest = unit.strip_prefix("bravo-agent@")?.strip_prefix(&self.agent_type)?.strip_prefix('-')?;
        let number = rest.strip_suffix(".service")?.parse().ok()?;
        (self.unit(number) == unit).then_some(number)
    }

    async fn look(&self) -> Result<Instances, ActError> {
        let units = self.manager.units(&format!("bravo-agent@{}-*.service", self.agent_type)).await?;
        let mut seen = Instances::default();
        for (number, unit) in units.iter().filter_map(|unit| Some((self.number(&unit.name)?, unit))) {
            match life(unit) {
                Life::Stays => seen.staying.insert(number),
                Life::Leaves => seen.leaving.insert(number),
                Life::Over => continue,
            };
        }
        Ok(seen)
    }

    async fn follow(&mut self, share: Option<&Share>) -> Result<(), ActError> {
        let Some(share) = share else { return Ok(()) };
        self.seen = self.look().await?;
        let wanted = share.agents as usize;
        let (staying, leaving) = (&self.seen.staying, &self.seen.leaving);
        let room = INSTANCES_MAX.saturating_sub(staying.len() + leaving.len());
        let missing = wanted.saturating_sub(staying.len()).min(room);
        let free = |number: &u32| !staying.contains(number) && !leaving.contains(number);
        let fresh: Vec<u32> = (1..).filter(free).take(missing).collect();
        let surplus: Vec<u32> = staying.iter().rev().take(staying.len().saturating_sub(wanted)).copied().collect();
        // What one of them is refused is no reason to leave the others.
        let mut refused = Ok(());
        let mut moved = (0, 0);
        for number in fresh {
            match self.manager.start(&self.unit(number)).await {
                Ok(()) => moved.0 += usize::from(self.seen.staying.insert(number)),
                Err(error) => refused = Err(error),
            }
            if matches!(refused, Err(ActError::Slow(..))) {
                break;
            }
        }
        for number in surplus {
            match self.manager.stop(&self.unit(number)).await {
                Ok(()) => moved.1 += usize::from(self.seen.staying.remove(&number)),
                Err(error) => refused = Err(error),
            }
            if matches!(refused, Err(ActError::Slow(..))) {
                break;
            }
        }
        for (what, count) in [("started", moved.0), ("asked_to_leave", moved.1)] {
            if count > 0 {
                AgentMoved { agent_type: &self.agent_type, what, count }.emit();
            }
        }
        refused
    }
}

enum Life {
    Stays,
    Leaves,
    Over,
}

/// What is about to become of a unit. Whoever waits for its start, since it waits for another unit or was told only
/// now, counts as one that runs; whoever waits for its end as one that leaves.
fn life(unit: &Unit) -> Life {
    match (unit.state.as_str(), unit.job.as_str()) {
        ("deactivating", _) => Life::Leaves,
        ("active" | "activating" | "reloading" | "refreshing", "stop") => Life::Leaves,
        ("active" | "activating" | "reloading" | "refreshing", _) | (_, "start" | "restart") => Life::Stays,
        _ => Life::Over,
    }
}

impl Actuator for Units {
    fn apply<'a>(&'a mut self, share: Option<&'a Share>) -> BoxFuture<'a, Result<(), ActError>> {
        Box::pin(self.follow(share))
    }

    fn running(&self) -> u32 {
        u32::try_from(self.seen.staying.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Systemd;
    use super::*;
    use crate::config::ActuatorKind;
    use crate::scaling::pool::smallest;
    use bravo_model::Name;
    use bravo_model::scaling::ScalingPolicy;

    fn name(text: &str) -> Name {
        Name::parse("name", text).unwrap()
    }

    fn units(systemd: &Systemd, agent_type: &str) -> Units {
        let pool = Pool { actuator: ActuatorKind::Systemd, ..Pool::of(name(agent_type)) };
        Units::new(&pool, Arc::new(Manager::new(Some(systemd.address()))))
    }

    async fn follow(units: &mut Units, agents: u32) -> Result<(), ActError> {
        let share = Share { agents, of: smallest(ScalingPolicy::of(name("coder")), 0) };
        units.apply(Some(&share)).await
    }

    #[tokio::test]
    async fn instances_are_started_from_the_lowest_number_and_stopped_from_the_highest() {
        let systemd = Systemd::start();
        let mut units = units(&systemd, "coder");
        follow(&mut units, 3).await.unwrap();
        assert_eq!(units.running(), 3);
        // One ended by itself; the next look sees it.
        systemd.set("bravo-agent@coder-2.service", "failed", "");
        follow(&mut units, 3).await.unwrap();
        follow(&mut units, 1).await.unwrap();
        assert_eq!(units.running(), 1);
        let unit = |verb: &str, number: u32| format!("{verb} bravo-agent@coder-{number}.service replace");
        let wanted = [("start", 1), ("start", 2), ("start", 3), ("start", 2), ("stop", 3), ("stop", 2)];
        assert_eq!(systemd.asked(), wanted.map(|(verb, number)| unit(verb, number)));
    }

    #[tokio::test]
    async fn an_instance_that_finishes_its_jobs_counts_for_nothing_and_keeps_its_number() {
        let systemd = Systemd::start();
        let mut units = units(&systemd, "coder");
        follow(&mut units, 2).await.unwrap();
        follow(&mut units, 1).await.unwrap();
        assert_eq!(systemd.state("bravo-agent@coder-2.service"), "deactivating", "asked, and let work on");
        follow(&mut units, 1).await.unwrap();
        follow(&mut units, 2).await.unwrap();
        assert_eq!(systemd.state("bravo-agent@coder-3.service"), "active", "another one takes its place at once");
        assert_eq!((units.running(), systemd.asked().len()), (2, 4));
        systemd.set("bravo-agent@coder-2.service", "inactive", "");
        follow(&mut units, 3).await.unwrap();
        assert_eq!(systemd.state("bravo-agent@coder-2.service"), "active", "its number is free again");
    }

    #[tokio::test]
    async fn an_instance_whose_start_waits_is_not_started_twice_and_others_are_none_of_this_pool() {
        let systemd = Systemd::start();
        let mut units = units(&systemd, "coder");
        systemd.set("bravo-agent@coder-1.service", "inactive", "start");
        for foreign in ["coder-x-2", "coder-03", "coder-+4", "coder", "tester-1"] {
            systemd.set(&format!("bravo-agent@{foreign}.service"), "active", "");
        }
        follow(&mut units, 1).await.unwrap();
        assert_eq!((units.running(), systemd.asked().len()), (1, 0));
    }

    #[tokio::test]
    async fn what_is_refused_is_told_and_is_no_reason_to_leave_the_others() {
        let systemd = Systemd::start();
        let mut units = units(&systemd, "coder");
        systemd.refuse("bravo-agent@coder-1.service");
        let error = follow(&mut units, 2).await.unwrap_err().to_string();
        assert!(error.contains("Interactive authentication required"), "{error}");
        assert_eq!((units.running(), systemd.state("bravo-agent@coder-2.service")), (1, "active".into()));
    }

    #[tokio::test]
    async fn a_pool_on_its_way_out_leaves_no_room_without_end() {
        let systemd = Systemd::start();
        let mut units = units(&systemd, "coder");
        for number in 1..=60 {
            systemd.set(&format!("bravo-agent@coder-{number}.service"), "deactivating", "stop");
        }
        follow(&mut units, 20).await.unwrap();
        assert_eq!(units.running(), 4);
    }
}
