//! What the simulation claims, at a size that a test can afford, and what breaks its claims.

use std::time::Duration;

use hive_sim::{Broken, Config, Report, run};

const HOUR: Duration = Duration::from_hours(1);

/// Three hundred nodes for an hour, each of which wishes for something every half an hour.
fn config(seed: u64) -> Config {
    Config { wish: Duration::from_mins(30), floods: 1, ..Config::new(seed, 300, HOUR) }
}

fn broken(broken: Broken) -> Report {
    run(&Config { broken, ..config(1) })
}

#[test]
fn fetches_complete_while_homes_come_and_go_and_a_tenth_lies() {
    let report = run(&config(1));
    // The faults happened: homes came besides those that were there, readers left, liars lied.
    assert!(report.sessions as f64 > 1.2 * report.online, "{report:?}");
    assert!(report.left > 0 && report.liars > 10 && report.forged > 0, "{report:?}");
    assert!(report.bans > 100 && report.bans_of_honest == 0, "{report:?}");
    // And what is promised holds all the same.
    assert!(report.completed > 150, "{report:?}");
    assert!(report.completion() >= 0.99, "{report:?}");
    let ended = report.completed + report.failed + report.nobody + report.unreachable + report.left;
    assert_eq!(ended + report.running, report.fetches, "{report:?}");
    assert!(report.lookup_success() >= 0.99, "{report:?}");
    assert!(report.floods > 50 && report.reach >= 0.99, "{report:?}");
    assert!(report.duplicates() <= 0.02, "{report:?}");
}

#[test]
fn a_seed_replays_and_another_seed_is_another_day() {
    let small = |seed| Config { wish: Duration::from_mins(20), ..Config::new(seed, 60, HOUR / 3) };
    let mut traces = Vec::new();
    for seed in 1..=6 {
        let (one, same) = (run(&small(seed)), run(&small(seed)));
        assert!(one.events > 1_000, "{one:?}");
        assert_eq!(one, same, "seed {seed}");
        traces.push(one.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 6);
}

/// The twin that takes forged groups for good ones: its fetches end, and with the wrong bytes.
#[test]
fn readers_that_trust_liars_do_not_get_what_they_asked_for() {
    let report = broken(Broken::TrustsLiars);
    assert!(report.forged > 0, "{report:?}");
    assert!(report.completion() < 0.9, "{report:?}");
}

/// A fetch that stands still is not forgotten because its user goes home.
#[test]
fn readers_that_stall_until_their_user_leaves_have_failed() {
    let report = broken(Broken::Stalls);
    assert!(report.stalled > 10 && report.stalled <= report.failed, "{report:?}");
    assert!(report.completion() < 0.9, "{report:?}");
}

/// The twin that asks the first it hears of: that one has gone home, or lies, or is shut in.
#[test]
fn readers_that_ask_once_are_left_without() {
    let report = broken(Broken::AsksOnce);
    assert!(report.completion() < 0.9, "{report:?}");
}
