//! What holds in every swarm, and how good it is in some.

use proptest::prelude::*;

use super::sim::{Nature, Outcome, Profile, Sim};
use super::*;

const MB: f64 = 1e6;
const MIB: u64 = 1 << 20;

fn fetch(chunks: &[u32], seed: u64, profiles: Vec<Profile>) -> Outcome {
    sim(chunks, seed, profiles).run()
}

fn sim(chunks: &[u32], seed: u64, profiles: Vec<Profile>) -> Sim {
    let geometry = model(chunks);
    let have = Bitfield::empty(geometry.n_groups());
    Sim::new(Planner::new(geometry, have, Config::default(), seed), profiles)
}

fn ideal_secs(chunks: &[u32], rates: &[f64]) -> f64 {
    let bytes: u64 = chunks.iter().map(|&n| u64::from(n) * MIB).sum();
    bytes as f64 / rates.iter().sum::<f64>()
}

fn n_wasted_percent(chunks: &[u32], outcome: &Outcome) -> f64 {
    let bytes: u64 = chunks.iter().map(|&n| u64::from(n) * MIB).sum();
    outcome.wasted as f64 * 100.0 / bytes as f64
}

#[test]
fn one_peer_of_eight_at_a_hundredth_of_the_rate_costs_under_a_tenth() {
    let chunks = [64; 16];
    for seed in 0..10 {
        let mut rates = [10.0 * MB; 8];
        rates[3] = 0.1 * MB;
        let outcome = fetch(&chunks, seed, rates.map(Profile::honest).to_vec());
        let ratio = outcome.took.as_secs_f64() / ideal_secs(&chunks, &rates);
        assert!(ratio <= 1.10, "seed {seed}: {ratio:.3} of the ideal");
        assert!(n_wasted_percent(&chunks, &outcome) <= 1.0, "{outcome:?}");
    }
}

#[test]
fn peers_of_very_different_rates_are_all_used_to_the_end() {
    let chunks = [64; 16];
    for seed in 0..10 {
        let rates = [1.0, 2.0, 5.0, 10.0, 20.0, 40.0].map(|rate| rate * MB);
        let outcome = fetch(&chunks, seed, rates.map(Profile::honest).to_vec());
        let ratio = outcome.took.as_secs_f64() / ideal_secs(&chunks, &rates);
        assert!(ratio <= 1.10, "seed {seed}: {ratio:.3} of the ideal");
        assert!(n_wasted_percent(&chunks, &outcome) <= 1.0, "{outcome:?}");
    }
}

#[test]
fn four_equal_peers_each_give_a_fifth_at_least() {
    for seed in 0..10 {
        let outcome = fetch(&[64; 8], seed, vec![Profile::honest(25.0 * MB); 4]);
        for bytes in outcome.verified_by {
            assert!(bytes >= 512 * MIB / 5, "seed {seed}: {} MiB of 512", bytes / MIB);
        }
    }
}

#[test]
fn twelve_equal_peers_share_the_window() {
    let chunks = [64; 16];
    let rates = [5.0 * MB; 12];
    let outcome = fetch(&chunks, 1, rates.map(Profile::honest).to_vec());
    let ratio = outcome.took.as_secs_f64() / ideal_secs(&chunks, &rates);
    assert!(ratio <= 1.10, "{ratio:.3} of the ideal");
}

#[test]
fn a_far_peer_is_kept_busy() {
    for (rate, latency) in [(12.5, 40u32), (12.5, 150), (60.0, 40)] {
        let mut far = Profile::honest(rate * MB);
        far.latency = Duration::from_millis(u64::from(latency));
        let outcome = fetch(&[64; 4], 1, vec![far]);
        let round_trip = f64::from(latency) * 2e-3;
        // One group alone, a round trip for what was asked before it was known to be fast.
        let bound = ideal_secs(&[64; 4], &[rate * MB]) * 1.02 + 4.0 * round_trip;
        assert!(outcome.took.as_secs_f64() <= bound, "{rate} MB/s, {latency} ms: {outcome:?}");
    }
}

#[test]
fn a_liar_from_the_start_costs_two_mebibytes() {
    for seed in 0..20 {
        let mut profiles = vec![Profile::honest(10.0 * MB); 3];
        profiles[1].nature = Nature::Liar { after: 0 };
        let outcome = fetch(&[64; 4], seed, profiles);
        assert!(outcome.banned[1] && !outcome.banned[0] && !outcome.banned[2]);
        assert!(outcome.wasted_by[1] <= 2 * MIB, "seed {seed}: {outcome:?}");
        assert_eq!(outcome.verified_by[1], 0);
    }
}

#[test]
fn a_peer_that_turns_liar_costs_its_window_at_most() {
    for seed in 0..20 {
        let mut profiles = vec![Profile::honest(50.0 * MB); 3];
        profiles[1].nature = Nature::Liar { after: 40 };
        profiles[1].latency = Duration::from_millis(200);
        let outcome = fetch(&[64; 8], seed, profiles);
        assert!(outcome.banned[1]);
        assert!(outcome.wasted_by[1] <= 16 * MIB, "seed {seed}: {outcome:?}");
    }
}

#[test]
fn nine_liars_of_ten_are_banned_and_the_model_comes_from_the_tenth() {
    let mut profiles = vec![Profile::honest(10.0 * MB); 10];
    for profile in &mut profiles[..9] {
        profile.nature = Nature::Liar { after: 0 };
    }
    let outcome = fetch(&[64; 4], 5, profiles);
    assert_eq!(outcome.banned, [true, true, true, true, true, true, true, true, true, false]);
    assert!(outcome.wasted <= 9 * 2 * MIB, "{outcome:?}");
}

#[test]
fn ten_stallers_of_eleven_cost_under_a_minute() {
    let mut profiles = vec![Profile::honest(10.0 * MB); 11];
    for (after, profile) in profiles[..10].iter_mut().enumerate() {
        profile.nature = Nature::Staller { after: after as u32 };
    }
    let outcome = fetch(&[64; 4], 5, profiles);
    let alone = ideal_secs(&[64; 4], &[10.0 * MB]);
    assert!(outcome.took.as_secs_f64() <= alone * 1.1 + 15.0, "{outcome:?}");
}

#[test]
fn a_peer_that_drips_does_not_hold_the_end_up() {
    let mut profiles = vec![Profile::honest(10.0 * MB); 2];
    profiles[0].rate = 100.0;
    let outcome = fetch(&[1], 5, profiles.clone());
    assert!(outcome.took < Duration::from_secs(10), "{outcome:?}");
    let outcome = fetch(&[64], 5, profiles);
    assert!(outcome.took < Duration::from_secs(12), "{outcome:?}");
}

#[test]
fn partial_holders_complete_each_other() {
    let mut profiles = vec![Profile::honest(10.0 * MB); 4];
    for (at, profile) in profiles.iter_mut().enumerate() {
        profile.has = Some((0..256).filter(|group| group % 4 == at as u32).collect());
    }
    let outcome = fetch(&[64; 4], 5, profiles);
    let ideal = ideal_secs(&[64; 4], &[10.0 * MB; 4]);
    assert!(outcome.took.as_secs_f64() <= ideal * 1.15 + 1.0, "{outcome:?}");
}

#[test]
fn a_peer_of_ten_seconds_a_group_is_patiently_used_when_it_is_alone() {
    for reports in [true, false] {
        let sim = sim(&[5], 5, vec![Profile::honest(0.05 * MB)]);
        let outcome = if reports { sim.run() } else { sim.silent().run() };
        assert!(outcome.took < Duration::from_secs(150), "{outcome:?}");
        assert_eq!(outcome.wasted, 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_steps() {
    let run = |seed| {
        let mut profiles = vec![Profile::honest(10.0 * MB); 5];
        profiles[0].nature = Nature::Busy { every: 3 };
        profiles[1].nature = Nature::Fails { every: 4 };
        profiles[2].leaves = Some(Duration::from_secs(2));
        fetch(&[64, 3, 17, 64, 1, 30], seed, profiles)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).trace, run(8).trace);
}

/// 64 GiB in 65,536 groups of 1,024 chunks, with peers that hold all and peers whose bitmaps are
/// made to hurt: a planner that walked all groups in every call would take minutes.
#[test]
fn a_step_does_not_walk_all_groups() {
    let geometry = model(&[64; 4096]);
    let n_groups = geometry.n_groups();
    let mut planner =
        Planner::new(Arc::clone(&geometry), Bitfield::empty(n_groups), Config::default(), 1);
    let mut sparse = Bitfield::empty(n_groups);
    (0..n_groups).step_by(2).for_each(|group| {
        sparse.insert(group);
    });
    for peer in 0..20 {
        planner.peer_joined(PeerIx(peer), Quality::default(), Duration::ZERO);
        let has = if peer % 2 == 0 { Has::All } else { Has::Bitfield(sparse.clone()) };
        planner.peer_has(PeerIx(peer), has);
    }
    let mut now = Duration::ZERO;
    let mut n_steps = 0;
    let mut asked = VecDeque::new();
    while n_steps < 20_000 {
        now += Duration::from_millis(1);
        n_steps += 1;
        match planner.next(now) {
            Step::Request { id, ranges, .. } => {
                let first =
                    |range: &Asked| geometry.chunks()[range.chunk].first_group + range.first;
                asked.extend(
                    ranges
                        .iter()
                        .flat_map(|range| first(range)..first(range) + range.n)
                        .map(|group| (id, group)),
                );
            }
            Step::Wait { .. } => {
                let (id, group) = asked.pop_front().expect("something is asked");
                planner.group_verified(id, group, now);
            }
            _ => {}
        }
    }
    assert!(planner.progress().count() > 8_000);
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        3 => Just(Nature::Honest),
        1 => (0u32..40).prop_map(|after| Nature::Liar { after }),
        1 => (0u32..40).prop_map(|after| Nature::Staller { after }),
        1 => (2u32..5).prop_map(|every| Nature::Busy { every }),
        1 => (2u32..5).prop_map(|every| Nature::Fails { every }),
        1 => Just(Nature::Braggart),
    ]
}

fn profile(n_groups: u32) -> impl Strategy<Value = Profile> {
    let has = prop::option::of(prop::collection::btree_set(0..n_groups, 0..n_groups as usize));
    let leaves = prop::option::weighted(0.3, 0u64..60);
    (10.0f64..20_000.0, 0u64..300, nature(), has, 0u64..20, leaves, any::<bool>()).prop_map(
        |(kilobytes, latency, nature, has, joins, leaves, grows)| Profile {
            rate: kilobytes * 1e3,
            latency: Duration::from_millis(latency),
            nature,
            has,
            joins: Duration::from_secs(joins),
            leaves: leaves.map(|after| Duration::from_secs(joins + after)),
            grows,
        },
    )
}

fn swarms() -> impl Strategy<Value = (Vec<u32>, Vec<Profile>)> {
    prop::collection::vec(1u32..=64, 1..6).prop_flat_map(|chunks| {
        let n_groups = chunks.iter().sum();
        let profiles = prop::collection::vec(profile(n_groups), 0..8);
        (Just(chunks), profiles)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the others are: where every group has one honest holder that stays, the fetch ends,
    /// nobody honest is banned, and every promise that `Sim` asserts on the way holds.
    #[test]
    fn with_one_honest_holder_for_each_group_a_fetch_ends(
        (chunks, mut profiles) in swarms(), seed in any::<u64>(), split in 0u32..300, reports in any::<bool>(),
    ) {
        let n_groups: u32 = chunks.iter().sum();
        let split = split.min(n_groups);
        for part in [0..split, split..n_groups] {
            let mut honest = Profile::honest(2e6);
            honest.has = Some(part.collect());
            profiles.push(honest);
        }
        let lies: Vec<bool> =
            profiles.iter().map(|profile| matches!(profile.nature, Nature::Liar { .. })).collect();
        let sim = sim(&chunks, seed, profiles);
        let outcome = if reports { sim.run() } else { sim.silent().run() };
        for (banned, lies) in outcome.banned.iter().zip(lies) {
            prop_assert!(lies || !banned);
        }
        prop_assert_eq!(outcome.verified_by.iter().sum::<u64>(), u64::from(n_groups) * MIB);
    }

    /// Among honest peers that stay, what is sent twice is next to nothing.
    #[test]
    fn honest_swarms_waste_next_to_nothing(
        rates in prop::collection::vec(200.0f64..20_000.0, 1..9), seed in any::<u64>(),
    ) {
        let chunks = [64; 8];
        let profiles = rates.iter().map(|rate| Profile::honest(rate * 1e3)).collect();
        let outcome = fetch(&chunks, seed, profiles);
        prop_assert!(n_wasted_percent(&chunks, &outcome) <= 2.0, "{:?}", outcome);
        let rates: Vec<f64> = rates.iter().map(|rate| rate * 1e3).collect();
        let (took, ideal) = (outcome.took.as_secs_f64(), ideal_secs(&chunks, &rates));
        prop_assert!(took <= 1.25 * ideal || took <= ideal + 2.0, "{} of the ideal", took / ideal);
    }
}
