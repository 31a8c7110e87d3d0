//! The real model against a plain reference, over random histories.
//!
//! `BRAVO_SEED` sets the first seed, `BRAVO_HISTORIES` how many follow, `BRAVO_WITHOUT` (any value)
//! leaves concurrency keys out. A failure prints its seed
//! and the shortest history that shows it.

mod cases;
mod fairness;
mod history;
mod hostile;
mod judge;
mod reference;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_judge_agrees_with_itself() {
    judge::run_histories(setting("BRAVO_SEED", 1), setting("BRAVO_HISTORIES", 1_000), &judge::Mirror::new);
}

#[test]
fn the_judge_notices_each_damage_to_the_mirror() {
    notices_all(judge::Mirror::new);
}

/// Each damage is noticed, in a history to which the undamaged machine gives no cause for complaint.
fn notices_all<M: judge::Machine>(new: impl Fn() -> M) {
    for seed in 0..200 {
        let control = judge::judge_seed(seed, &|| judge::Mutant::new(new(), judge::Damage::None));
        let undamaged = judge::judge_seed(seed, &new);
        assert_eq!(control.is_err(), undamaged.is_err(), "seed {seed}: the wrapper itself is noticed");
    }
    let mut unnoticed = Vec::new();
    for damage in judge::Damage::ALL {
        let noticed = (0..2_000).find_map(|seed| {
            let (history, complaint) = judge::judge_seed(seed, &|| judge::Mutant::new(new(), damage)).err()?;
            judge::judge_history(&history, &new).is_ok().then_some((seed, complaint))
        });
        match noticed {
            Some((seed, complaint)) => println!("{damage:?}: noticed by seed {seed} as {}", complaint.kind),
            None => unnoticed.push(damage),
        }
    }
    assert!(unnoticed.is_empty(), "the judge noticed nothing of {unnoticed:?}");
}

#[test]
fn the_model_agrees_with_the_reference() {
    judge::run_histories(setting("BRAVO_SEED", 1), setting("BRAVO_HISTORIES", 10_000), &judge::Real::new);
}

#[test]
fn the_judge_notices_each_damage_to_the_model() {
    notices_all(judge::Real::new);
}

#[test]
fn shares_of_work_follow_weights() {
    for seed in 0..200 {
        fairness::shares_follow_weights(seed, judge::Real::new());
    }
}

#[test]
fn damaged_commands_are_refused() {
    for seed in 0..1_000 {
        hostile::damaged_commands_are_refused(seed, judge::Real::new());
    }
}

#[test]
fn extreme_numbers_are_bounded() {
    for seed in 0..1_000 {
        hostile::extreme_numbers_are_bounded(seed, judge::Real::new());
    }
}

#[test]
fn sweeps_yield() {
    hostile::sweeps_yield(judge::Real::new());
}

#[test]
fn a_freed_slot_goes_to_the_highest_priority() {
    let verdict = judge::judge_history(&cases::a_freed_slot_goes_to_the_highest_priority(), &judge::Real::new);
    assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
}
