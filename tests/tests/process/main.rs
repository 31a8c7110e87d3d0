//! Real `bravod` processes, broken on purpose. docs/faults.md tells what each case is for.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod abuse;
mod artifacts;
mod cancels;
mod certificates;
mod clocks;
mod damage;
mod damaged_state;
mod demo;
mod failed_sync;
mod fairness;
mod full_disk;
mod kills;
mod members;
mod pauses;
mod power;
mod repeats;
mod scaling;
mod secrets;
mod shards;
mod timers;
mod webhooks;
mod workflows;
