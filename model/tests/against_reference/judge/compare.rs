//! What is compared: replies, jobs, queues, reasons, due times, invariants.

use bravo_model::command::{Command, Lease, ListFilter};
use bravo_model::job::JobState;
use bravo_model::reply::Reply;

use super::machine::{Machine, Shown};
use super::trial::{Verdict, complain};
use crate::history::name;
use crate::reference::{Reason, Reference};

/// The queues of all histories.
pub(crate) const QUEUES: [&str; 3] = ["a", "b", "graves"];

/// Replies must be equal; of refusals the code alone.
pub(crate) fn replies(reference: &Reference, command: &Command, expected: &Reply, actual: &Reply) -> Verdict {
    let held_back = matches!(command, Command::Lease(lease) if reference.has_held_back(&lease.queue));
    let same = match (expected, actual) {
        (Reply::Refused(expected), Reply::Refused(actual)) => expected.code == actual.code,
        // Jobs that are late or have no free slot were perhaps not looked at yet, and may count as left.
        (Reply::Leased(leased), Reply::Leased(real)) if held_back => {
            leased.jobs == real.jobs
                && (real.more || !leased.more)
                && (matches!(command, Command::Lease(Lease { sticky: Some(_), .. }))
                    || leased.next_at.is_none()
                    || leased.next_at == real.next_at)
        }
        // A tick also counts windows and kept answers whose time is over.
        (Reply::Swept { done, more }, Reply::Swept { done: did, more: has_more }) if *command == Command::Tick => {
            did >= done && more == has_more
        }
        _ => expected == actual,
    };
    if same {
        return Ok(());
    }
    complain(kind(command), format!("\n   expected {expected:?}\n   actual   {actual:?}"))
}

fn kind(command: &Command) -> &'static str {
    match command {
        Command::Enqueue(_) => "reply to enqueue",
        Command::Lease(_) => "reply to lease",
        Command::Ack(_) => "reply to ack",
        Command::Nack(_) => "reply to nack",
        Command::Extend(_) => "reply to extend",
        Command::Cancel(_) => "reply to cancel",
        Command::Retry(_) => "reply to retry",
        Command::SetQueue(_) => "reply to set_queue",
        Command::ForgetQueue { .. } => "reply to forget_queue",
        Command::Purge(_) => "reply to purge",
        Command::Redrive(_) => "reply to redrive",
        Command::Tick => "reply to tick",
        _ => "reply",
    }
}

/// Everything that can be seen of the state.
pub(crate) fn states(reference: &Reference, machine: &impl Machine) -> Verdict {
    if machine.now() != reference.now {
        return complain("now", format!("expected {}, actual {}", reference.now, machine.now()));
    }
    jobs(reference, machine)?;
    queues(reference, machine)?;
    reasons(reference, machine)?;
    due(reference, machine)
}

fn jobs(reference: &Reference, machine: &impl Machine) -> Verdict {
    let last = reference.jobs.keys().next_back().copied().unwrap_or(0);
    for seq in 0..last + 3 {
        let expected = reference.jobs.get(&seq).map(Shown::from);
        let actual = machine.job(seq);
        if expected != actual {
            return complain("job", difference(seq, expected, actual));
        }
    }
    // One state an entry: all come round.
    {
        let state = JobState::ALL[reference.now as usize % JobState::ALL.len()];
        let filter = ListFilter { state: Some(state), ..ListFilter::default() };
        let mut actual = machine.list(&filter);
        actual.sort_unstable();
        let expected: Vec<u64> = reference.jobs.values().filter(|job| job.state == state).map(|job| job.seq).collect();
        if expected != actual {
            return complain("list", format!("{state:?}: expected {expected:?}, actual {actual:?}"));
        }
    }
    Ok(())
}

/// The fields that differ.
fn difference(seq: u64, expected: Option<Shown>, actual: Option<Shown>) -> String {
    let (expected, actual) = (format!("{expected:?}"), format!("{actual:?}"));
    let fields = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
    let (expected, actual) = (fields(&expected), fields(&actual));
    if expected.len() != actual.len() {
        return format!("job {seq}\n   expected {}\n   actual   {}", expected.join(", "), actual.join(", "));
    }
    let differ = expected.iter().zip(&actual).filter(|(expected, actual)| expected != actual);
    let lines = differ.map(|(expected, actual)| format!("\n   expected {expected}, actual {actual}"));
    format!("job {seq}{}", lines.collect::<String>())
}

fn queues(reference: &Reference, machine: &impl Machine) -> Verdict {
    for queue in QUEUES {
        let queue = name(queue);
        let (expected, actual) = (reference.counts(&queue), machine.counts(&queue));
        if expected != actual {
            return complain("counts", format!("queue {queue}: expected {expected:?}, actual {actual:?}"));
        }
        let (expected, actual) = (!reference.is_idle(&queue), machine.deliverable(&queue));
        // Jobs that are late or have no free slot may count until a lease has met them.
        if expected != actual && !(actual && reference.has_held_back(&queue)) {
            return complain("deliverable", format!("queue {queue}: expected {expected}, actual {actual}"));
        }
    }
    Ok(())
}

/// Exactly one reason, and one that holds.
fn reasons(reference: &Reference, machine: &impl Machine) -> Verdict {
    // A third of the jobs an entry, since the reference looks at all jobs for each.
    for &seq in reference.jobs.keys().filter(|&&seq| (seq + reference.now).is_multiple_of(3)) {
        let holds = reference.reasons(seq);
        let Some(named) = machine.why(seq) else {
            return complain("why", format!("job {seq}: no reason; {holds:?} hold"));
        };
        let in_flight = named == Reason::ConcurrencyLimited && holds.contains(&Reason::InFlightLimited);
        let held_back = named == Reason::Behind
            && holds.contains(&Reason::Front)
            && reference.has_held_back(&reference.jobs[&seq].queue);
        if !in_flight && !held_back && !holds.contains(&named) {
            return complain("why", format!("job {seq}: {named:?} named, {holds:?} hold"));
        }
    }
    Ok(())
}

/// A leader that sleeps until `next_due` misses nothing.
fn due(reference: &Reference, machine: &impl Machine) -> Verdict {
    let (Some(expected), actual) = (reference.next_due(), machine.next_due()) else { return Ok(()) };
    if actual.is_none_or(|actual| actual > expected) {
        return complain("next_due", format!("something is due at {expected}, the machine sleeps until {actual:?}"));
    }
    Ok(())
}

/// All was forgotten: a handful of rows (clock, counters) may be left.
pub(crate) fn emptied(machine: &impl Machine) -> Verdict {
    if machine.rows() > 8 {
        return complain("leak", format!("{} rows are left of nothing", machine.rows()));
    }
    Ok(())
}
