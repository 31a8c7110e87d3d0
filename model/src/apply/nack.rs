//! Nack: ends a lease with failure. The job waits for its next attempt, or dies.

use super::{Answer, each};
use crate::backoff;
use crate::code::Code;
use crate::command::Nack;
use crate::job::JobState;
use crate::limits;
use crate::reply::ItemResult;
use crate::state::State;

impl State<'_> {
    pub(super) fn nack(&mut self, nacks: Vec<Nack>) -> Answer {
        let answer = each(nacks, |nack| {
            self.unseen = nack.unseen;
            self.nack_one(nack)
        });
        self.unseen = false;
        answer
    }

    fn nack_one(&mut self, nack: Nack) -> Result<ItemResult, Code> {
        let old = self.leased(nack.seq, nack.token)?;
        if nack.retry_in_ms.is_some_and(|ms| ms > limits::HORIZON_MS_MAX) {
            return Err(Code::InvalidArgument);
        }
        let mut new = old.clone();
        new.error = nack.error.map(cut);
        if nack.dead && !new.cancel_requested {
            self.finish(&old, new, JobState::Dead);
            return Ok(ItemResult::default());
        }
        let backoff = &self.queue(old.keeping.queue_number).def.config.backoff;
        let pause_ms = nack.retry_in_ms.unwrap_or_else(|| backoff::pause_ms(backoff, old.seq, old.attempt));
        let run_at = self.now().saturating_add(pause_ms);
        self.fail(&old, new, run_at);
        Ok(ItemResult::default())
    }
}

/// Cuts an error text to its bound, between characters.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > limits::ERROR_BYTES_MAX {
        let end = (0..=limits::ERROR_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::cut;
    use crate::command::When;
    use crate::testing::{World, name};
    use crate::{Code, JobState, QueueConfig, limits, view};

    #[test]
    fn a_failed_job_waits_for_its_backoff_and_dies_with_its_attempts() {
        let mut world = World::new();
        let seq = world.add(|job| job.max_attempts = Some(2));
        world.lease(1);
        world.nack(seq, None, false).expect("nacked");
        let job = world.job(seq);
        assert_eq!((job.state, job.error.as_deref(), world.why(seq)), (JobState::Scheduled, Some("no"), "backoff"));
        assert!((world.at + 800..=world.at + 1_000).contains(&job.run_at));
        world.tick(1_000);
        assert_eq!(world.leases(1).jobs[0].attempt, 2);
        world.nack(seq, None, false).expect("nacked");
        assert_eq!(world.state(seq), Some(JobState::Dead));
        assert_eq!(world.nack(seq, None, false), Err(Code::LeaseLost));
    }

    #[test]
    fn a_worker_may_choose_the_pause_or_give_up() {
        let mut world = World::new();
        let [now, dead] = [world.add(|_| {}), world.add(|_| {})];
        world.lease(2);
        world.nack(now, Some(0), false).expect("nacked");
        world.nack(dead, Some(0), true).expect("nacked");
        assert_eq!((world.state(now), world.state(dead)), (Some(JobState::Ready), Some(JobState::Dead)));
    }

    #[test]
    fn a_failure_after_the_deadline_is_the_last() {
        let mut world = World::new();
        let seq = world.add(|job| job.deadline = Some(When::In(100)));
        world.lease(1);
        world.tick(200);
        assert_eq!(world.state(seq), Some(JobState::Leased), "a leased job may finish");
        world.nack(seq, Some(0), false).expect("nacked");
        assert_eq!((world.state(seq), world.job(seq).error), (Some(JobState::Dead), Some("deadline_exceeded".into())));
    }

    #[test]
    fn a_dead_job_leaves_one_linked_copy_and_copies_leave_none() {
        let mut world = World::new();
        world.set(QueueConfig { dead_letter: Some(name("dead")), ..QueueConfig::default() });
        let seq = world.add(|job| job.metadata = bytes::Bytes::from_static(br#"{"a":1}"#));
        world.lease(1);
        world.nack(seq, None, true).expect("dead");
        let copies = crate::command::ListFilter { queue: Some(name("dead")), ..Default::default() };
        let copies = view::list(&world.rows, &copies, None, 10).jobs;
        assert_eq!(copies.len(), 1);
        assert_eq!(copies[0].metadata, r#"{"a":1,"dead_letter_of":"j1-1"}"#);
        assert_eq!(view::payload(&world.rows, copies[0].seq), view::payload(&world.rows, seq));
        assert_eq!(world.state(seq), Some(JobState::Dead));
    }

    #[test]
    fn dead_letter_queues_in_a_circle_do_not_run_away() {
        let mut world = World::new();
        world.set(QueueConfig { dead_letter: Some(name("q")), max_attempts: 1, ..QueueConfig::default() });
        let seq = world.add(|_| {});
        world.lease(1);
        world.nack(seq, None, false).expect("dead");
        assert!(world.lease(9).is_empty());
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let cut = cut("ä".repeat(limits::ERROR_BYTES_MAX));
        assert_eq!(cut.len(), limits::ERROR_BYTES_MAX);
        assert!(super::cut(format!("x{}", "ä".repeat(limits::ERROR_BYTES_MAX))).len() < limits::ERROR_BYTES_MAX);
    }
}
