//! How jobs ended: none lost, one ack, one story.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::process::history::{Call, End, Finals, Op, Said};

/// An acknowledged job is there, and after the drain it is final.
pub(super) fn nothing_lost(ops: &[Op], finals: &Finals, found: &mut Found) {
    for op in ops {
        let (Call::Enqueue { tag, .. }, End::Ok(Said::Enqueued { id, .. })) = (&op.call, &op.end) else { continue };
        match finals.get(id) {
            None => found.add("lost", format!("{id} ({tag}) was acknowledged and is gone")),
            Some(job) if !["succeeded", "cancelled", "dead"].contains(&job.state.as_str()) => {
                found.add("never", format!("{id} ({tag}) is still {} after the drain", job.state));
            }
            Some(_) => {}
        }
    }
}

/// At most one ack of a job is accepted, and it is the one that the job shows.
pub(super) fn one_ack_and_it_counts(ops: &[Op], finals: &Finals, found: &mut Found) {
    let mut accepted: BTreeMap<&str, BTreeSet<(u64, &str)>> = BTreeMap::new();
    let mut possible: BTreeSet<(&str, &str)> = BTreeSet::new();
    for op in ops {
        let Call::Ack { id, token, result } = &op.call else { continue };
        if op.end == End::Ok(Said::Done) {
            accepted.entry(id).or_default().insert((*token, result));
        }
        if !matches!(op.end, End::Failed(_)) {
            possible.insert((id, result));
        }
    }
    for (id, acks) in &accepted {
        if acks.len() > 1 {
            found.add("two acks", format!("{id}: {acks:?}"));
        }
        let Some(job) = finals.get(*id) else {
            found.add("lost", format!("{id} was worked off and is gone"));
            continue;
        };
        let is_shown = acks.iter().any(|(_, result)| job.result.as_deref() == Some(result));
        if job.state != "succeeded" || !is_shown {
            found.add("ack undone", format!("{id}: accepted {acks:?}, shows {job:?}"));
        }
    }
    for (id, job) in finals.iter().filter(|(_, job)| job.state == "succeeded") {
        let result = job.result.as_deref().unwrap_or_default();
        if !possible.contains(&(id.as_str(), result)) {
            found
                .add("from nowhere", format!("{id} succeeded with {result:?}, which nobody said or which was refused"));
        }
    }
}

/// A job whose cancel was answered `cancelled` is cancelled and no ack of it is accepted.
pub(super) fn cancel_and_ack_tell_one_story(ops: &[Op], finals: &Finals, found: &mut Found) {
    for op in ops {
        let (Call::Cancel { id }, End::Ok(Said::State(state))) = (&op.call, &op.end) else { continue };
        let job = finals.get(id).map_or("gone", |job| job.state.as_str());
        let is_kept = match state.as_str() {
            "cancelled" => job == "cancelled",
            // A leased one: the ack may come first, the end of the lease may come first.
            "leased" => ["cancelled", "succeeded", "dead"].contains(&job),
            other => job == other,
        };
        if !is_kept {
            found.add("two stories", format!("{id}: the cancel was answered {state}, the job is {job}"));
        }
    }
}

/// A job whose every enqueue was refused does not exist.
pub(super) fn refused_means_unchanged(ops: &[Op], finals: &Finals, found: &mut Found) {
    let mut tags: BTreeMap<&str, bool> = BTreeMap::new();
    for op in ops {
        let Call::Enqueue { tag, .. } = &op.call else { continue };
        let refused = matches!(op.end, End::Failed(_));
        *tags.entry(tag).or_insert(true) &= refused;
    }
    for (id, job) in finals {
        match tags.get(job.tag.as_str()) {
            Some(true) => found.add("refused but done", format!("{id} ({}) was refused and exists", job.tag)),
            None => found.add("from nowhere", format!("{id} ({}) was never enqueued", job.tag)),
            Some(false) => {}
        }
    }
}
