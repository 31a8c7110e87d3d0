//! Which rows of a group's state move to disk when memory is short, the first ones first: history, then what
//! workflows were made of, then the end of a backlog.

use bravo_model::table::{self, tag};
use bravo_model::{JobState, Key, Value, view};
use bravo_storage::state::{Place, SpillTable, StateStore};

/// The tables in the order in which they are called upon.
pub(crate) fn tables() -> Vec<SpillTable> {
    vec![
        SpillTable::oldest(tag::PACKED),
        SpillTable::oldest(tag::EVENT),
        SpillTable::last(tag::ARTIFACT_VERSION),
        SpillTable::last(tag::CODED),
        SpillTable::oldest(tag::RESULT),
        SpillTable::oldest(tag::JOB).only(is_job_over),
        SpillTable::oldest(tag::PAYLOAD).only(is_payload_of_job_over),
        SpillTable::oldest(tag::STATE).only(is_state_final),
        // The farthest in the future: when history is to go.
        SpillTable::last(tag::DUE),
        SpillTable::oldest(tag::WORKFLOW).only(is_workflow_over),
        // Newest first in the key.
        SpillTable::last(tag::BY_STATUS),
        SpillTable::last(tag::BY_PROJECT),
        SpillTable::last(tag::BY_TEMPLATE),
        SpillTable::last(tag::PAYLOAD),
        SpillTable::oldest(tag::SPEC),
        SpillTable::oldest(tag::INPUT),
        SpillTable::oldest(tag::OUTPUT),
        SpillTable::oldest(tag::EDGE),
        SpillTable::oldest(tag::TASK_BY_ID),
    ]
}

fn is_job_over(_: &StateStore, _: &Key, row: &Value) -> bool {
    view::is_job_over(row)
}

/// The job's record went first, or is over too.
fn is_payload_of_job_over(rows: &StateStore, key: &Key, _: &Value) -> bool {
    match rows.place(&table::by_seq(tag::JOB, table::last_u64(key))) {
        Place::Memory(row) => view::is_job_over(&row),
        Place::Engine(_) => true,
        Place::Nowhere => false,
    }
}

/// STATE has the queue's number, then the state.
fn is_state_final(_: &StateStore, key: &Key, _: &Value) -> bool {
    key.as_slice().get(5).is_some_and(|state| *state >= JobState::Succeeded as u8)
}

fn is_workflow_over(_: &StateStore, _: &Key, row: &Value) -> bool {
    view::is_workflow_over(row)
}
