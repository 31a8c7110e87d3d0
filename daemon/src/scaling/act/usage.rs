//! What the agents that this node runs use, measured from one question to the next.
//!
//! An agent is fully used when it and what it started take one processor, and as much of the memory as there is for each
//! processor of the machine.

use std::collections::BTreeMap;
use std::time::Instant;

use bravo_model::Name;
use parking_lot::Mutex;

use crate::telemetry::machine::machine_bytes;
use crate::telemetry::process::Descent;
use crate::transport::wire::AgentUse;

/// What was seen of agents at the last question.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Mutex<Seen>,
}

/// When, and by process the seconds that it had taken.
type Seen = (Option<Instant>, BTreeMap<u32, f64>);

impl Meter {
    /// What is used now, of each type; agents that were not there at the last question do not count yet.
    pub(super) fn take(&self, agents: &[(Name, Vec<u32>)]) -> Vec<AgentUse> {
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let bytes_each = machine_bytes().unwrap_or(f64::INFINITY) / processors;
        let each = |pid: &u32| Some((*pid, Descent::take(*pid)?));
        let measure =
            |(agent_type, pids): &(Name, Vec<u32>)| (agent_type.clone(), pids.iter().filter_map(each).collect());
        let measured: Vec<(Name, Vec<(u32, Descent)>)> = agents.iter().map(measure).collect();
        let mut last = self.last.lock();
        let now = Instant::now();
        let passed_s = last.0.map_or(f64::INFINITY, |then| now.duration_since(then).as_secs_f64().max(0.001));
        let mut seen = BTreeMap::new();
        let add = |(agent_type, processes): (Name, Vec<(u32, Descent)>)| {
            let mut sum = AgentUse { agent_type, agents: 0, cpu: 0.0, memory: 0.0 };
            for (pid, now) in processes {
                seen.insert(pid, now.cpu_seconds);
                let Some(before) = last.1.get(&pid) else { continue };
                sum.agents += 1;
                sum.cpu += (now.cpu_seconds - before).max(0.0) / passed_s;
                sum.memory += now.resident_bytes / bytes_each;
            }
            sum
        };
        let uses = measured.into_iter().map(add).filter(|sum| sum.agents > 0).collect();
        *last = (Some(now), seen);
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_works_is_told_from_who_sleeps_and_what_an_agent_started_counts_as_its_own() {
        let start = |script: &str| std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let mut busy = start("sh -c 'while :; do :; done' & wait");
        let mut idle = start("sleep 60 & wait");
        let name = |text| Name::parse("name", text).unwrap();
        let agents = [(name("busy"), vec![busy.id()]), (name("idle"), vec![idle.id(), u32::MAX])];
        let meter = Meter::default();
        let until = Instant::now() + Duration::from_secs(30);
        while Descent::take(busy.id()).is_none_or(|of| of.processes < 2) {
            assert!(Instant::now() < until, "it starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(meter.take(&agents), [], "nothing to compare with");
        let told = loop {
            std::thread::sleep(Duration::from_millis(200));
            let told = meter.take(&agents);
            if told[0].cpu > 0.0 || Instant::now() > until {
                break told;
            }
        };
        for (child, script) in [(&mut busy, "busy"), (&mut idle, "idle")] {
            for pid in Descent::pids(child.id()) {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                    .unwrap_or_else(|error| panic!("{script}: {error}"));
            }
            child.wait().unwrap();
        }
        assert_eq!((told[0].agents, told[1].agents), (1, 1));
        assert!(told[0].cpu > 0.0 && told[1].cpu < told[0].cpu, "{told:?}");
        assert!(told.iter().all(|of| of.memory > 0.0), "{told:?}");
    }
}
