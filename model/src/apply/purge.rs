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
