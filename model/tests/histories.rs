//! The real model against a plain reference, over random histories.
//!
//! `BRAVO_SEED` sets the first seed, `BRAVO_HISTORIES` how many follow. A failure prints its seed
//! and the shortest history that shows it.

mod history;
mod judge;
mod reference;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_judge_agrees_with_itself() {
    judge::run_histories(setting("BRAVO_SEED", 1), setting("BRAVO_HISTORIES", 300), &judge::Mirror::new);
}
