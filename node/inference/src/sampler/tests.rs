use super::*;

fn sampler(temperature: f32, top_k: Option<u32>, top_p: Option<f32>, seed: u64) -> Sampler {
    with(Sampling { temperature, top_k, top_p, seed, ..Sampling::default() }, &[])
}

fn with(sampling: Sampling, prompt: &[u32]) -> Sampler {
    Sampler::new(sampling, prompt)
}

/// A draw that leaves the logits as they are.
fn draw(sampler: &mut Sampler, logits: &[f32]) -> Result<u32, EngineError> {
    sampler.draw(&mut logits.to_vec())
}

/// How often each token is drawn in 2,000 draws.
fn counts(mut sampler: Sampler, logits: &[f32]) -> Vec<usize> {
    let mut counts = vec![0; logits.len()];
    for _ in 0..2_000 {
        counts[draw(&mut sampler, logits).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn temperature_zero_takes_the_first_of_the_most_likely() {
    assert_eq!(draw(&mut sampler(0.0, None, None, 1), &[1.0, 3.0, 3.0, 2.0]).unwrap(), 1);
    assert_eq!(draw(&mut sampler(f32::NAN, None, None, 1), &[1.0, 3.0]).unwrap(), 1);
}

#[test]
fn draws_follow_the_probabilities() {
    let logits = [0.7_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()];
    let counts = counts(sampler(1.0, None, None, 5), &logits);
    for (count, expected) in counts.iter().zip([1_400_usize, 400, 200]) {
        assert!(count.abs_diff(expected) < 90, "{counts:?}");
    }
}

#[test]
fn only_the_likeliest_k_are_drawn() {
    let counts = counts(sampler(5.0, Some(2), None, 5), &[0.0, 2.0, 1.0, 3.0]);
    assert_eq!((counts[0], counts[2]), (0, 0));
    assert!(0 < counts[1] && 0 < counts[3]);
}

#[test]
fn only_the_smallest_set_that_reaches_p_is_drawn() {
    let logits = [0.1_f32.ln(), 0.5_f32.ln(), 0.25_f32.ln(), 0.15_f32.ln()];
    let counts = counts(sampler(1.0, None, Some(0.7), 5), &logits);
    assert_eq!((counts[0], counts[3]), (0, 0));
    assert!(0 < counts[1] && 0 < counts[2]);
    assert_eq!(draw(&mut sampler(1.0, None, Some(0.0), 5), &logits).unwrap(), 1);
}

#[test]
fn the_set_is_right_when_it_takes_more_than_one_sort() {
    let logits = vec![0.0_f32; 1_000];
    let counts = counts(sampler(1.0, None, Some(0.5), 5), &logits);
    assert_eq!(counts.iter().skip(501).sum::<usize>(), 0);
    assert!(300 < counts.iter().filter(|&&count| 0 < count).count());
}

#[test]
fn a_seed_is_a_text() {
    let logits: Vec<f32> = (0..50).map(|x| (x % 7) as f32).collect();
    let text = |seed| {
        let mut sampler = sampler(1.0, None, None, seed);
        (0..20).map(|_| draw(&mut sampler, &logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn what_is_not_a_number_is_never_drawn() {
    let logits = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN];
    assert_eq!(counts(sampler(1.0, None, Some(0.9), 3), &logits), [0, 2_000, 0, 0]);
    assert!(sampler(0.0, None, None, 0).draw(&mut [f32::NAN; 3]).is_err());
    assert!(draw(&mut sampler(1.0, None, None, 0), &[]).is_err());
}

fn plain() -> Sampling {
    Sampling { temperature: 1.0, top_k: None, top_p: None, ..Sampling::default() }
}

#[test]
fn only_tokens_near_the_likeliest_are_drawn_with_min_p() {
    let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.15_f32.ln(), 0.05_f32.ln()];
    let counts = counts(with(Sampling { min_p: Some(0.4), ..plain() }, &[]), &logits);
    assert!(0 < counts[0] && 0 < counts[1]);
    assert_eq!((counts[2], counts[3]), (0, 0));
}

/// `top_p` and `min_p` look at the model's probabilities, not at those that the temperature makes.
#[test]
fn the_temperature_comes_last() {
    let logits = [0.8_f32.ln(), 0.1_f32.ln(), 0.1_f32.ln()];
    for sampling in [
        Sampling { top_p: Some(0.7), temperature: 50.0, ..plain() },
        Sampling { min_p: Some(0.2), temperature: 50.0, ..plain() },
    ] {
        assert_eq!(counts(with(sampling, &[]), &logits), [2_000, 0, 0]);
    }
}

#[test]
fn what_occurred_is_made_less_likely_by_a_repetition_penalty() {
    let sampling =
        Sampling { temperature: 0.0, repetition_penalty: Some(2.0), ..Sampling::default() };
    // A positive logit is divided, a negative one multiplied.
    assert_eq!(draw(&mut with(sampling.clone(), &[0]), &[3.0, 2.0, 1.0]).unwrap(), 1);
    assert_eq!(draw(&mut with(sampling.clone(), &[0]), &[-1.0, -1.5, -9.0]).unwrap(), 1);
    let mut sampler = with(sampling, &[]);
    assert_eq!(draw(&mut sampler, &[3.0, 2.0]).unwrap(), 0);
    sampler.accept(0);
    assert_eq!(draw(&mut sampler, &[3.0, 2.0]).unwrap(), 1);
}

#[test]
fn only_what_was_generated_is_penalised_for_presence_and_frequency() {
    let greedy = || Sampling { temperature: 0.0, ..Sampling::default() };
    let mut present = with(Sampling { presence_penalty: 1.0, ..greedy() }, &[0, 0, 0]);
    assert_eq!(draw(&mut present, &[3.0, 2.5]).unwrap(), 0);
    present.accept(0);
    present.accept(0);
    assert_eq!(draw(&mut present, &[3.0, 2.5]).unwrap(), 1);
    // Once, however often.
    assert_eq!(draw(&mut present, &[3.0, 1.9]).unwrap(), 0);
    let mut frequent = with(Sampling { frequency_penalty: 0.5, ..greedy() }, &[0, 0, 0]);
    frequent.accept(0);
    assert_eq!(draw(&mut frequent, &[3.0, 2.1]).unwrap(), 0);
    frequent.accept(0);
    assert_eq!(draw(&mut frequent, &[3.0, 2.1]).unwrap(), 1);
}

#[test]
fn a_bias_is_added_and_its_ends_are_absolute() {
    let biased = |bias: &[(u32, f32)]| {
        let logit_bias = bias.iter().copied().collect();
        with(Sampling { temperature: 0.0, logit_bias, ..Sampling::default() }, &[])
    };
    assert_eq!(draw(&mut biased(&[(1, 5.0)]), &[3.0, -1.0, 0.0]).unwrap(), 1);
    assert_eq!(draw(&mut biased(&[(0, -100.0)]), &[1e9, -1.0, 0.0]).unwrap(), 2);
    assert_eq!(draw(&mut biased(&[(1, 100.0)]), &[1e9, -1e9, 0.0]).unwrap(), 1);
    assert!(draw(&mut biased(&[(0, -100.0), (1, -100.0)]), &[1.0, 1.0]).is_err());
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let check = |sampling: Sampling| Sampler::check(&sampling, 10);
    assert!(check(Sampling::default()).is_ok());
    for (name, sampling) in [
        ("temperature", Sampling { temperature: f32::NAN, ..plain() }),
        ("temperature", Sampling { temperature: -1.0, ..plain() }),
        ("top_p", Sampling { top_p: Some(1.1), ..plain() }),
        ("min_p", Sampling { min_p: Some(f32::INFINITY), ..plain() }),
        ("repetition_penalty", Sampling { repetition_penalty: Some(0.0), ..plain() }),
        ("presence_penalty", Sampling { presence_penalty: 3.0, ..plain() }),
        ("frequency_penalty", Sampling { frequency_penalty: -3.0, ..plain() }),
        ("logit_bias", Sampling { logit_bias: [(10, 0.0)].into(), ..plain() }),
        ("logit_bias", Sampling { logit_bias: [(0, 101.0)].into(), ..plain() }),
        ("logit_bias", Sampling { logit_bias: [(0, f32::NAN)].into(), ..plain() }),
    ] {
        let error = check(sampling).expect_err(name);
        assert!(matches!(&error, EngineError::Request { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

proptest::proptest! {
    /// The maxima of blocks lose none of the likeliest.
    #[test]
    fn the_best_are_what_sorting_all_gives(
        logits in proptest::collection::vec(
            proptest::prop_oneof![
                6 => -5_i32..5,
                1 => proptest::strategy::Just(i32::MIN),
                1 => proptest::strategy::Just(i32::MAX),
            ],
            0..700,
        ),
        k in 0_usize..200,
    ) {
        let logits: Vec<f32> = logits
            .into_iter()
            .map(|x| match x {
                i32::MIN => f32::NEG_INFINITY,
                i32::MAX => f32::NAN,
                x => x as f32,
            })
            .collect();
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        ids.retain(|&id| logits[id as usize].is_finite());
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        ids.truncate(k);
        proptest::prop_assert_eq!(best(&logits, k), ids);
    }
}
