//! Workflows: tasks that wait for each other, on top of jobs.
//!
//! ```text
//!   NewWorkflow ──check──► StartWorkflow ──► rows (see `row`)
//!                                              │ a task that waits for nothing begins
//!                                              ▼
//!       a job of the task's queue, a sub-workflow, a timer, or the wait for a signal
//!                                              │ ends (by ack, by time, by a signal)
//!                                              ▼
//!       its result is kept, those that waited for it begin: in the same command
//! ```
//!
//! A workflow lives whole in one partition, with the jobs of its tasks and its sub-workflows. So
//! whatever follows from the end of a task is part of the command that ended it.
//!
//! [`definition`] is what is asked for, [`check`] tells what is wrong with it, [`expression`] builds
//! inputs, [`cost`] tells how many jobs come of it, and [`row`] is what is kept. What commands do is in `apply::workflow`.

pub mod check;
pub mod cost;
pub mod definition;
pub mod expression;
pub(crate) mod packed;
pub mod row;

pub use definition::{Action, Compensate, NewTask, NewWorkflow, Plan, TemplateRef};
pub use row::{Event, EventKind, Items, Phase, Status, Task, TaskRef, TaskState, Workflow, WorkflowId};
