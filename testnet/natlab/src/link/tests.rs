use super::*;

const MS: Duration = Duration::from_millis(1);

fn shape(text: &str) -> Shape {
    text.parse().unwrap()
}

/// Offers `n` frames of 1,250 bytes, one each `gap`, and returns when each arrived.
fn drive(line: &mut Line, n: u32, gap: Duration) -> Vec<(u32, Duration)> {
    let mut arrived = Vec::new();
    let mut take = |line: &mut Line, until: Duration| {
        while let Some(due) = line.due().filter(|due| *due <= until) {
            let early = due.checked_sub(Duration::from_nanos(1));
            assert!(early.is_none_or(|early| line.take(early).is_none()), "before its time");
            let frame = line.take(due).unwrap();
            arrived.push((u32::from_le_bytes(frame[..4].try_into().unwrap()), due));
        }
    };
    for number in 0..n {
        take(line, gap * number);
        let mut frame = number.to_le_bytes().to_vec();
        frame.resize(1250, 0);
        line.offer(gap * number, frame);
    }
    take(line, Duration::MAX);
    arrived
}

#[test]
fn a_line_without_a_shape_delivers_at_once() {
    let mut line = Line::new(Shape::default(), 1);
    assert_eq!(drive(&mut line, 3, MS), [(0, Duration::ZERO), (1, MS), (2, MS * 2)]);
}

#[test]
fn delay_is_what_was_asked_for() {
    let mut line = Line::new(shape("delay_ms=20"), 1);
    assert!(drive(&mut line, 100, MS).iter().all(|(n, at)| *at == MS * (n + 20)));
}

#[test]
fn jitter_spreads_around_the_delay_and_keeps_the_order() {
    let mut line = Line::new(shape("delay_ms=50,jitter_ms=10"), 7);
    // So far apart that no frame waits for the one before it.
    let arrived = drive(&mut line, 1000, MS * 30);
    let late: Vec<f64> =
        arrived.iter().map(|(n, at)| at.as_secs_f64() * 1e3 - f64::from(*n) * 30.0).collect();
    assert!(late.iter().all(|ms| (40.0..=60.0).contains(ms)));
    let mean = late.iter().sum::<f64>() / late.len() as f64;
    assert!((mean - 50.0).abs() < 1.0, "{mean}");
    assert!(late.iter().any(|ms| *ms < 42.0) && late.iter().any(|ms| *ms > 58.0));
    // And so close that they would overtake.
    let arrived = drive(&mut Line::new(shape("delay_ms=50,jitter_ms=10"), 7), 1000, MS / 10);
    assert!(arrived.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    assert_eq!(arrived.len(), 1000);
}

#[test]
fn loss_is_its_share_within_a_twentieth() {
    let mut line = Line::new(shape("loss=0.2"), 3);
    let n = drive(&mut line, 50_000, MS).len() as f64;
    assert!((n / 50_000.0 - 0.8).abs() < 0.01, "{n}");
    let counts = line.counts();
    assert_eq!(counts.came, counts.delivered + counts.lost);
    assert_eq!(drive(&mut Line::new(shape("loss=1"), 3), 100, MS).len(), 0);
}

#[test]
fn rate_is_kept_within_a_twentieth_and_the_rest_is_refused() {
    // 10 Mbit/s are a frame of 1,250 bytes each millisecond; twice that comes.
    let mut line = Line::new(shape("rate_mbit=10"), 3);
    let arrived = drive(&mut line, 20_000, MS / 2);
    let seconds = arrived.last().unwrap().1.as_secs_f64();
    let rate = arrived.len() as f64 * 1250.0 * 8.0 / seconds;
    assert!((rate / 10e6 - 1.0).abs() < 0.05, "{rate}");
    let counts = line.counts();
    assert_eq!(counts.came, counts.delivered + counts.refused);
    // Who comes when the queue is full waits as long as the queue is, and no longer.
    let waited = arrived.iter().map(|(n, at)| at.saturating_sub(MS / 2 * *n)).max().unwrap();
    assert!(waited <= QUEUE_TIME + MS * 2, "{waited:?}");
    assert!(waited + MS * 2 >= QUEUE_TIME, "{waited:?}");
}

#[test]
fn a_lost_frame_takes_its_time_on_the_wire() {
    let mut line = Line::new(shape("rate_mbit=10,loss=0.5"), 3);
    let arrived = drive(&mut line, 2000, MS);
    assert!(arrived.iter().all(|(n, at)| *at == MS * (n + 1)), "{arrived:?}");
}

#[test]
fn a_cut_swallows_what_is_under_way_and_says_nothing() {
    let mut line = Line::new(shape("delay_ms=20"), 1);
    line.offer(MS, vec![1; 100]);
    line.set_cut(true);
    line.offer(MS * 2, vec![2; 100]);
    assert_eq!(line.due(), None);
    line.set_cut(false);
    line.offer(MS * 3, vec![3; 100]);
    assert_eq!(line.take(MS * 23), Some(vec![3; 100]));
    assert_eq!((line.counts().cut, line.counts().delivered), (2, 1));
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut line = Line::new(shape("delay_ms=60000"), 1);
    let frames = (UNDER_WAY / 1000) as u32 + 50;
    for _ in 0..frames {
        line.offer(Duration::ZERO, vec![0; 1000]);
    }
    assert!(line.under_way_bytes <= UNDER_WAY);
    assert!(line.counts().refused >= 50);
}

#[test]
fn the_same_seed_loses_the_same_frames() {
    let run = |seed| drive(&mut Line::new(shape("loss=0.3,jitter_ms=3,delay_ms=9"), seed), 500, MS);
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_shape_reads_what_it_writes() {
    let text = "delay_ms=8,jitter_ms=2.5,loss=0.001,rate_mbit=100";
    assert_eq!(shape(text).to_string(), text);
    assert_eq!(shape(&shape(text).to_string()), shape(text));
    let error = |text: &str| text.parse::<Shape>().unwrap_err().to_string();
    assert!(error("loss=2").contains("0 to 1"));
    assert!(error("speed=2").contains("rate_mbit"));
    assert!(error("delay_ms=fast").contains("`fast` of delay_ms"));
}
