use super::*;

fn sampler(temperature: f32, top_k: Option<u32>, top_p: Option<f32>, seed: u64) -> Sampler {
    Sampler::new(Sampling { temperature, top_k, top_p, seed })
}

/// How often each token is drawn in 2,000 draws.
fn counts(mut sampler: Sampler, logits: &[f32]) -> Vec<usize> {
    let mut counts = vec![0; logits.len()];
    for _ in 0..2_000 {
        counts[sampler.draw(logits).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn temperature_zero_takes_the_first_of_the_most_likely() {
    assert_eq!(sampler(0.0, None, None, 1).draw(&[1.0, 3.0, 3.0, 2.0]).unwrap(), 1);
    assert_eq!(sampler(f32::NAN, None, None, 1).draw(&[1.0, 3.0]).unwrap(), 1);
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
    assert_eq!(sampler(1.0, None, Some(0.0), 5).draw(&logits).unwrap(), 1);
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
        (0..20).map(|_| sampler.draw(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn what_is_not_a_number_is_never_drawn() {
    let logits = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::NAN];
    assert_eq!(counts(sampler(1.0, None, Some(0.9), 3), &logits), [0, 2_000, 0, 0]);
    assert!(sampler(0.0, None, None, 0).draw(&[f32::NAN; 3]).is_err());
    assert!(sampler(1.0, None, None, 0).draw(&[]).is_err());
}
