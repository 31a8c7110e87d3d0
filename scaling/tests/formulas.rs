//! The queueing formulas beside values that are known.

use bravo_scaling::erlang::{Variability, late_chance, mean_wait_s, smallest_pool, waiting_chance};

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * b.abs().max(1.0)
}

/// Erlang C by its definition: sums of powers over factorials.
fn by_definition(load: f64, agents: u32) -> f64 {
    let term = |n: u32| (1..=n).fold(1.0, |product, k| product * load / f64::from(k));
    let full = term(agents) * f64::from(agents) / (f64::from(agents) - load);
    full / ((0..agents).map(term).sum::<f64>() + full)
}

#[test]
fn erlang_c_gives_the_known_values() {
    assert!(near(waiting_chance(0.5, 1), 0.5), "one server: the chance to wait is its use");
    assert!(near(waiting_chance(1.0, 2), 1.0 / 3.0));
    assert!(near(waiting_chance(2.0, 3), 4.0 / 9.0));
    for (load, agents) in [(0.1, 1), (3.3, 5), (10.0, 14), (14.0, 20), (150.0, 160)] {
        assert!(near(waiting_chance(load, agents), by_definition(load, agents)), "{load} on {agents}");
    }
}

#[test]
fn erlang_c_is_certain_where_load_is_no_less_than_agents() {
    assert_eq!(waiting_chance(5.0, 5), 1.0);
    assert_eq!(waiting_chance(7.0, 5), 1.0);
    assert_eq!(waiting_chance(0.0, 5), 0.0);
    assert_eq!(mean_wait_s(5.0, 5, 20.0, Variability::MARKOV), f64::INFINITY);
}

#[test]
fn allen_and_cunneen_halve_the_wait_when_service_never_varies() {
    let markov = mean_wait_s(0.8, 1, 10.0, Variability::MARKOV);
    assert!(near(markov, 0.8 * 10.0 / 0.2), "M/M/1");
    let constant = Variability { arrivals: 1.0, service: 0.0 };
    assert!(near(mean_wait_s(0.8, 1, 10.0, constant), markov / 2.0), "M/D/1, by Pollaczek and Khinchine");
    let wild = Variability { arrivals: 1.0, service: 3.0 };
    assert!(near(mean_wait_s(0.8, 1, 10.0, wild), markov * 2.0), "M/G/1");
}

#[test]
fn the_tail_of_the_wait_has_the_mean_that_it_should() {
    let of = Variability { arrivals: 1.0, service: 2.0 };
    let sum: f64 = (0..200_000).map(|i| late_chance(8.0, 10, 20.0, of, f64::from(i) * 0.01) * 0.01).sum();
    assert!((sum / mean_wait_s(8.0, 10, 20.0, of) - 1.0).abs() < 0.01, "{sum}");
}

#[test]
fn the_smallest_pool_keeps_the_objective_and_one_agent_less_does_not() {
    for tenths in 1..190 {
        let load = f64::from(tenths) / 10.0;
        let pool = smallest_pool(load, 20.0, Variability::MARKOV, 30.0, 0.05, 1, 40);
        assert!(late_chance(load, pool, 20.0, Variability::MARKOV, 30.0) <= 0.05);
        assert!(pool == 1 || late_chance(load, pool - 1, 20.0, Variability::MARKOV, 30.0) > 0.05);
    }
    assert_eq!(smallest_pool(50.0, 20.0, Variability::MARKOV, 30.0, 0.05, 2, 20), 20, "the bound holds");
}
