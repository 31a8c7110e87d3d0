//! Ack: ends a lease with success. At most one ack of a job is ever accepted; repeating it is fine.

use super::{Answer, each};
use crate::code::Code;
use crate::command::Ack;
use crate::job::JobState;
use crate::limits;
use crate::reply::ItemResult;
use crate::state::State;
use crate::table::{self, tag};

impl State<'_> {
    pub(super) fn ack(&mut self, acks: Vec<Ack>) -> Answer {
        each(acks, |ack| self.ack_one(ack))
    }

    fn ack_one(&mut self, ack: Ack) -> Result<ItemResult, Code> {
        let old = match self.leased(ack.seq, ack.token) {
            Ok(job) => job,
            Err(code) => {
                let accepted = self.job_asked(ack.seq).is_some_and(|job| job.acked_token == Some(ack.token));
                return if accepted { Ok(ItemResult::default()) } else { Err(code) };
            }
        };
        if ack.result.as_ref().is_some_and(|result| result.bytes.len() > limits::PAYLOAD_BYTES_MAX) {
            return Err(Code::PayloadTooLarge);
        }
        if let Some(result) = &ack.result {
            self.put(table::by_seq(tag::RESULT, ack.seq), result);
        }
        let mut new = old.clone();
        new.acked_token = Some(ack.token);
        new.error = None;
        self.finish(&old, new, JobState::Succeeded);
        Ok(ItemResult::default())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::command::{Ack, Command};
    use crate::row::Flow;
    use crate::testing::{World, name};
    use crate::{Code, JobState, Payload, view};

    #[test]
    fn what_goes_through_a_queue_is_counted() {
        let mut world = World::new();
        let (done, failed, lost) = (world.add(|_| {}), world.add(|_| {}), world.add(|_| {}));
        assert_eq!(world.lease(3), [done, failed, lost]);
        world.at += 1_000;
        world.ack(done).unwrap();
        world.at += 1_000;
        world.nack(failed, Some(0), false).unwrap();
        world.tick(3_600_000);
        let flow = view::queue(&world.rows, &name("q")).unwrap().flow;
        let expected = Flow {
            arrived: 5,
            started: 3,
            ended: 3,
            succeeded: 1,
            service_ms: 3_000,
            service_ms2: 5_000_000,
            served: 2,
        };
        assert_eq!(flow, expected, "a lease that ran out counts as ended, and its length says nothing");
        let half = Flow { arrived: 2, started: 1, ..Flow::default() };
        assert_eq!(flow.since(half).plus(half), flow);
    }

    #[test]
    fn an_accepted_ack_may_be_repeated_and_its_result_is_the_first() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        let ack = |text: &'static str| {
            let result = Some(Payload { json: true, bytes: Bytes::from_static(text.as_bytes()) });
            Command::Ack(vec![Ack { seq, token: 1, result }])
        };
        assert!(world.item(ack("1")).is_ok());
        assert!(world.item(ack("2")).is_ok());
        assert_eq!(world.state(seq), Some(JobState::Succeeded));
        assert_eq!(view::result(&world.rows, seq).map(|result| result.bytes), Some(Bytes::from_static(b"1")));
        let other = Command::Ack(vec![Ack { seq, token: 2, result: None }]);
        assert_eq!(world.item(other), Err(Code::LeaseLost));
    }

    #[test]
    fn a_lease_is_over_at_its_end_even_if_no_tick_has_seen_it() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        world.at += 30_000;
        assert_eq!(world.ack(seq), Err(Code::LeaseLost));
        world.tick(0);
        assert_eq!(world.lease(1), [seq]);
        let old = Command::Ack(vec![Ack { seq, token: 1, result: None }]);
        assert_eq!(world.item(old), Err(Code::LeaseLost), "an old token is fenced");
        assert!(world.ack(seq).is_ok());
    }

    #[test]
    fn items_stand_for_themselves_and_an_unknown_job_is_not_found() {
        let mut world = World::new();
        let seq = world.add(|_| {});
        world.lease(1);
        let ack = |seq| Ack { seq, token: 1, result: None };
        let crate::Reply::Items(items) = world.ask(Command::Ack(vec![ack(99), ack(seq)])) else { panic!() };
        assert_eq!(items.iter().map(|item| item.code).collect::<Vec<_>>(), [Some(Code::NotFound), None]);
    }
}
