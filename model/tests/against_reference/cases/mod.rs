//! Histories written by hand: what random ones once found, each as short as it gets.

use bravo_model::command::{Ack, Command, Envelope, Lease, Nack, NewJob};
use bravo_model::job::Payload;

use crate::history::{History, Step, name};

fn history(steps: Vec<(u64, Command)>) -> History {
    let step = |(at, command)| Step { at, commands: vec![Envelope::plain(command)] };
    History { steps: steps.into_iter().map(step).collect() }
}

fn job(priority: u8, concurrency_key: Option<&str>) -> NewJob {
    NewJob {
        priority,
        max_attempts: Some(9),
        concurrency_key: concurrency_key.map(str::to_owned),
        ..NewJob::new(name("a"), name("p"), Payload { json: true, bytes: "1".into() })
    }
}

fn lease(max: u32) -> Command {
    Command::Lease(Lease { bytes_max: 1_000, lease_ms: Some(500), ..Lease::new(name("a"), name("w"), max) })
}

fn nack(seq: u64, token: u64, retry_in_ms: u64) -> Command {
    Command::Nack(vec![Nack { seq, token, error: None, retry_in_ms: Some(retry_in_ms), dead: false, unseen: false }])
}

/// A slot that is freed goes to the highest priority, though a lower one came back for it before.
pub(crate) fn a_freed_slot_goes_to_the_highest_priority() -> History {
    history(vec![
        (1_000, Command::Enqueue(vec![job(4, Some("c1")), job(9, Some("c1"))])),
        (1_000, lease(10)),     // 2 leased, 1 parked.
        (1_010, nack(2, 1, 1)), // 1 comes back for the slot.
        (1_020, Command::Tick), // 2 is ready again, and first by priority.
        (1_020, lease(1)),      // 2 has the slot; 1 is in the ready order still.
        (1_030, nack(2, 2, 0)), // 2 is ready at once.
        (1_040, lease(1)),      // It must be 2 again.
        (1_050, Command::Ack(vec![Ack { seq: 2, token: 3, result: None }])),
        (1_060, lease(1)),
    ])
}
