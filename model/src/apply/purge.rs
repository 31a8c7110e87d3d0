//! Purge: removes what waits in a queue, for good; what is leased or final stays.

use crate::id::Name;
use crate::job::JobState;
use crate::limits;
use crate::reply::Reply;
use crate::state::State;
use crate::table;

impl State<'_> {
    pub(super) fn purge(&mut self, name: &Name) -> Reply {
        let Some(number) = self.known(name) else { return Reply::Swept { done: 0, more: false } };
        let sweep = limits::SWEEP_MAX as usize;
        let mut waiting = Vec::new();
        // Blocked, scheduled and ready are the first three states, one after the other in STATE.
        let (from, to) = (table::state(number, JobState::Blocked, 0), table::state(number, JobState::Leased, 0));
        self.rows().scan(&from, &to, &mut |key, _| {
            waiting.push((*key, table::last_u64(key)));
            waiting.len() < sweep
        });
        for (key, seq) in &waiting {
            match self.job(*seq) {
                Some(job) => self.remove(&job),
                None => self.txn.delete(key),
            }
        }
        let more = self.rows().first(&from, &to).is_some();
        Reply::Swept { done: waiting.len() as u64, more }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Command, When};
    use crate::testing::{World, name};
    use crate::{JobState, Reply, view};

    #[test]
    fn a_purge_removes_what_waits_and_leaves_the_rest() {
        let mut world = World::new();
        let (dead, leased) = (world.add(|_| {}), world.add(|_| {}));
        world.lease(2);
        world.nack(dead, None, true).expect("dead");
        let scheduled = world.add(|job| job.run_at = Some(When::In(1_000)));
        for _ in 0..3 {
            world.add(|job| job.order_key = Some("k".into()));
        }
        assert_eq!(world.ask(Command::Purge(name("q"))), Reply::Swept { done: 4, more: false });
        assert_eq!((world.state(scheduled), view::payload(&world.rows, scheduled)), (None, None));
        assert_eq!((world.state(dead), world.state(leased)), (Some(JobState::Dead), Some(JobState::Leased)));
    }
}
