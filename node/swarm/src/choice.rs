//! Which of a peer's transports carries groups: the one that brings more bytes in a second.
//!
//! Before anything is measured that is the first of those that are there, which are given in the order
//! of what they cost. Now and then one group at a time goes over the next one, so that both are
//! measured on the same path in the same seconds; a line that is full is shared and loses nothing by
//! that. The rival takes over when it brought clearly more, and is given up as soon as it brings
//! clearly less. What still runs on the one that lost is withdrawn if that one is hopeless: it must not
//! keep what the end of a fetch waits for, but what it has of a group is lost and asked for again. Pure:
//! it is told the time and what each has carried.

use std::time::Duration;

use crate::exchange::{Carried, TransportKind};

/// A transport has been busy for so long before another is tried: the first second is slow start.
pub(crate) const WARM: Duration = Duration::from_secs(2);
/// A trial ends when the rival has brought so much in at least [`TRIAL`], …
const ENOUGH: u64 = 4 << 20;
const TRIAL: Duration = Duration::from_secs(2);
/// … or when it has been busy for [`WARM`] and brings less than this share of the other, …
const WORSE: f64 = 0.5;
/// … or has not answered while the other brought so much, which is more than was asked of that before, …
const SURPASSED: u64 = 32 << 20;
/// … or after this time, whatever it brought.
const TRIAL_MAX: Duration = Duration::from_secs(15);
/// How much more a rival has to bring: less is chance, and a change costs a slow start.
const BETTER: f64 = 1.25;
/// What brings less than this share of the other does not end what it has.
const HOPELESS: f64 = 0.1;
/// Time to the next trial, which doubles with every rival that is not better.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_mins(16);

/// See the module.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What has won a trial.
    preferred: Option<TransportKind>,
    trial: Option<Trial>,
    next_trial: Duration,
    pause: Duration,
}

#[derive(Debug)]
struct Trial {
    main: TransportKind,
    rival: TransportKind,
    since: Duration,
    /// What both had carried before: of the one that is measured against, and of the rival.
    before: [Carried; 2],
}

/// What carries the next request, and what shall not go on with what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) kind: TransportKind,
    /// It is tried: no more than a group should be asked.
    pub(crate) is_trial: bool,
    pub(crate) withdrawn: Option<TransportKind>,
}

/// Bytes a second, if there was time to say.
fn rate(before: Carried, now: Carried) -> Option<f64> {
    let busy = now.busy.saturating_sub(before.busy).as_secs_f64();
    let bytes = now.bytes.saturating_sub(before.bytes);
    (busy > 0.0).then(|| bytes as f64 / busy)
}

impl Choice {
    pub(crate) fn new() -> Self {
        Self { preferred: None, trial: None, next_trial: Duration::ZERO, pause: PAUSE }
    }

    /// What carries the next request, of what is there; none if nothing is.
    pub(crate) fn pick(
        &mut self,
        there: &[(TransportKind, Carried)],
        now: Duration,
    ) -> Option<Pick> {
        let pick = |kind, is_trial| Some(Pick { kind, is_trial, withdrawn: None });
        let carried = |kind| there.iter().find(|(there, _)| *there == kind).map(|(_, sum)| *sum);
        let preferred = self.preferred.filter(|kind| carried(*kind).is_some());
        let main = preferred.or(there.first().map(|(kind, _)| *kind))?;
        let sum = carried(main)?;
        // What was measured against has closed, and perhaps the rival carries all there is: that says
        // nothing of either.
        self.trial.take_if(|trial| trial.main != main);
        if let Some(trial) = &self.trial {
            return match carried(trial.rival) {
                Some(rival) if !trial.is_over(sum, rival, now) => {
                    let is_free = rival.running == 0;
                    pick(if is_free { trial.rival } else { main }, is_free)
                }
                rival => {
                    let gain = rival.map_or(0.0, |rival| trial.gain(sum, rival));
                    let both = [main, trial.rival];
                    Some(self.end_trial(both, gain, now))
                }
            };
        }
        let rival = there.iter().find(|(kind, _)| *kind != main);
        if let Some((rival, rival_sum)) = rival
            && sum.busy >= WARM
            && now >= self.next_trial
        {
            let (rival, before) = (*rival, [sum, *rival_sum]);
            self.trial = Some(Trial { main, rival, since: now, before });
            return pick(rival, true);
        }
        pick(main, false)
    }

    /// Whether a trial goes on: it may have to end when nothing is asked any more.
    pub(crate) fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Looks at a trial when nothing is to be asked. At the end of a fetch all that is awaited may be
    /// on the slower one; says what is withdrawn.
    pub(crate) fn look(
        &mut self,
        there: &[(TransportKind, Carried)],
        now: Duration,
    ) -> Option<TransportKind> {
        let trial = self.trial.as_ref()?;
        let carried = |kind| there.iter().find(|(there, _)| *there == kind).map(|(_, sum)| *sum);
        let (main, rival) = (carried(trial.main)?, carried(trial.rival)?);
        let both = [trial.main, trial.rival];
        if !trial.is_over(main, rival, now) {
            return None;
        }
        let gain = trial.gain(main, rival);
        let ended = self.end_trial(both, gain, now);
        // Nothing else is left, and the other is free.
        let is_last = main.running == 0 && gain < WORSE;
        ended.withdrawn.or(is_last.then_some(both[1]))
    }

    /// Says what carries from now on, of two of which the second brings `gain` times as much.
    fn end_trial(&mut self, [main, rival]: [TransportKind; 2], gain: f64, now: Duration) -> Pick {
        let better = gain > BETTER;
        self.trial = None;
        self.pause = if better { PAUSE } else { (self.pause * 2).min(PAUSE_MAX) };
        self.next_trial = now + self.pause;
        let (kind, loser) = if better { (rival, main) } else { (main, rival) };
        self.preferred = Some(kind);
        let is_hopeless = !(HOPELESS..=1.0 / HOPELESS).contains(&gain);
        Pick { kind, is_trial: false, withdrawn: is_hopeless.then_some(loser) }
    }
}

impl Trial {
    fn is_over(&self, main: Carried, rival: Carried, now: Duration) -> bool {
        let bytes = rival.bytes.saturating_sub(self.before[1].bytes);
        let elapsed = now.saturating_sub(self.since);
        let busy = rival.busy.saturating_sub(self.before[1].busy);
        let lost = busy >= WARM && self.gain(main, rival) < WORSE;
        let brought = main.bytes.saturating_sub(self.before[0].bytes);
        let silent = busy.is_zero() && brought >= SURPASSED;
        lost || silent || (bytes >= ENOUGH && elapsed >= TRIAL) || elapsed >= TRIAL_MAX
    }

    /// How many times as much the rival brings in a second; nothing if it does not answer, and 1 while
    /// that cannot be said.
    fn gain(&self, main: Carried, rival: Carried) -> f64 {
        match (rate(self.before[0], main), rate(self.before[1], rival)) {
            (Some(main), Some(rival)) => rival / main.max(1.0),
            (Some(_), None) if rival.running > 0 => 0.0,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransportKind::{Quic, Tcp};

    /// Asks ten times a second. A request takes a second, in which its transport brings its rate
    /// however many requests it has; what is withdrawn ends.
    struct Line {
        choice: Choice,
        now: Duration,
        sums: Vec<(TransportKind, Carried)>,
        picks: Vec<TransportKind>,
        running: Vec<(TransportKind, Duration)>,
    }

    impl Line {
        fn new(kinds: &[TransportKind]) -> Self {
            let sums = kinds.iter().map(|kind| (*kind, Carried::default())).collect();
            let (picks, running) = (Vec::new(), Vec::new());
            Self { choice: Choice::new(), now: Duration::ZERO, sums, picks, running }
        }

        fn run(&mut self, secs: u64, rate: impl Fn(TransportKind) -> u64) -> &[TransportKind] {
            let first = self.picks.len();
            for _ in 0..secs * 10 {
                let step = Duration::from_millis(100);
                self.now += step;
                let pick = self.choice.pick(&self.sums, self.now).expect("something is there");
                self.picks.push(pick.kind);
                self.running.retain(|(kind, since)| {
                    Some(*kind) != pick.withdrawn && self.now < *since + Duration::from_secs(1)
                });
                self.running.push((pick.kind, self.now));
                for (kind, sum) in &mut self.sums {
                    let mine = self.running.iter().filter(|(running, _)| running == kind);
                    sum.running = mine.count() as u32;
                    if sum.running > 0 {
                        sum.busy += step;
                        sum.bytes += rate(*kind) / 10;
                    }
                }
            }
            &self.picks[first..]
        }
    }

    fn share(picks: &[TransportKind], kind: TransportKind) -> f64 {
        picks.iter().filter(|pick| **pick == kind).count() as f64 / picks.len() as f64
    }

    fn all(picks: &[TransportKind], kind: TransportKind) -> bool {
        picks.iter().all(|pick| *pick == kind)
    }

    #[test]
    fn the_first_carries_until_the_other_is_clearly_faster() {
        for (quic, wins) in [(5_000_000, false), (11_000_000, false), (20_000_000, true)] {
            let mut line = Line::new(&[Tcp, Quic]);
            let rate = |kind| if kind == Tcp { 10_000_000 } else { quic };
            assert!(all(line.run(1, rate), Tcp), "nothing is tried in slow start");
            line.run(20, rate);
            let later = line.run(5, rate);
            assert!(all(later, if wins { Quic } else { Tcp }), "QUIC at {quic}: {later:?}");
        }
    }

    #[test]
    fn a_trial_takes_one_request_at_a_time_for_some_seconds_and_is_ever_rarer() {
        let mut line = Line::new(&[Tcp, Quic]);
        let picks = line.run(3_600, |_| 10_000_000);
        // 2 s, then after 60, 120, 240, 480, 960, 960 …
        assert!(share(picks, Quic) < 0.01, "{}", share(picks, Quic));
        assert!(picks[..100].contains(&Quic));
    }

    #[test]
    fn a_line_that_turns_bad_is_left_and_found_again() {
        let mut line = Line::new(&[Tcp, Quic]);
        line.run(10, |_| 10_000_000);
        let rate = |kind| if kind == Tcp { 100_000 } else { 8_000_000 };
        line.run(120, rate);
        assert!(all(line.run(10, rate), Quic));
        let back = |kind| if kind == Tcp { 30_000_000 } else { 8_000_000 };
        line.run(120, back);
        assert!(all(line.run(10, back), Tcp));
    }

    #[test]
    fn what_is_not_there_any_more_is_not_picked() {
        let mut line = Line::new(&[Tcp, Quic]);
        let rate = |kind| if kind == Tcp { 1_000_000 } else { 8_000_000 };
        line.run(30, rate);
        line.sums.pop();
        assert!(all(line.run(30, rate), Tcp));
        assert_eq!(Choice::new().pick(&[], Duration::ZERO), None);
    }

    /// Its requests are all there is: to withdraw them would cost a new start each, for nothing.
    #[test]
    fn what_closes_in_a_trial_leaves_the_rival_alone() {
        let mut line = Line::new(&[Tcp, Quic]);
        while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
        assert!(line.choice.trial.is_some());
        line.sums.remove(0);
        for _ in 0..100 {
            line.now += Duration::from_millis(100);
            let pick = line.choice.pick(&line.sums, line.now);
            assert_eq!(pick, Some(Pick { kind: Quic, is_trial: false, withdrawn: None }));
        }
        // When it is back both are compared again.
        line.sums.insert(0, (Tcp, Carried::default()));
        assert!(line.run(10, |_| 10_000_000).contains(&Tcp));
    }

    #[test]
    fn a_trial_ends_though_nothing_is_asked_any_more() {
        let mut line = Line::new(&[Tcp, Quic]);
        while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
        // What is left is with the rival, and it brings little.
        let mut looks = Vec::new();
        line.sums[0].1.running = 0;
        for _ in 0..30 {
            line.now += Duration::from_millis(100);
            line.sums[1].1.busy += Duration::from_millis(100);
            line.sums[1].1.running = 1;
            looks.extend(line.choice.look(&line.sums, line.now));
        }
        assert_eq!(looks, [Quic]);
        assert!(!line.choice.is_trying());
        assert_eq!(line.choice.look(&line.sums, line.now), None);
    }

    #[test]
    fn what_is_as_good_ends_what_it_has_and_what_is_gone_is_not_judged() {
        let mut line = Line::new(&[Tcp, Quic]);
        while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
        assert_eq!(line.choice.look(&line.sums[1..], line.now), None);
        assert!(line.choice.is_trying(), "it is as it was when both are there again");
        for (_, sum) in &mut line.sums {
            sum.busy += Duration::from_secs(3);
            sum.bytes += 30_000_000;
        }
        line.now += Duration::from_secs(3);
        assert_eq!(line.choice.look(&line.sums, line.now), None);
        assert!(!line.choice.is_trying());
    }

    #[test]
    fn a_trial_is_for_a_group_and_one_at_a_time() {
        let mut line = Line::new(&[Tcp, Quic]);
        while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
        line.sums[1].1.running = 0;
        let pick = line.choice.pick(&line.sums, line.now).unwrap();
        assert_eq!((pick.kind, pick.is_trial), (Quic, true));
        line.sums[1].1.running = 1;
        let pick = line.choice.pick(&line.sums, line.now).unwrap();
        assert_eq!((pick.kind, pick.is_trial), (Tcp, false));
    }

    /// What it has of a group would be lost, and it is about as soon there as it would be elsewhere.
    #[test]
    fn who_loses_may_end_what_it_has_unless_it_is_hopeless_or_all_that_is_awaited() {
        for (share, main_is_idle, withdrawn) in
            [(0.3, false, None), (0.05, false, Some(Quic)), (0.3, true, Some(Quic))]
        {
            let mut line = Line::new(&[Tcp, Quic]);
            while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
            let before = line.choice.trial.as_ref().unwrap().before;
            for ((kind, sum), before) in line.sums.iter_mut().zip(before) {
                let rate = if *kind == Quic { 1e7 * share } else { 1e7 };
                sum.busy = before.busy + Duration::from_secs(3);
                sum.bytes = before.bytes + (3.0 * rate) as u64;
                sum.running = u32::from(*kind == Quic || !main_is_idle);
            }
            line.now += Duration::from_secs(3);
            assert_eq!(line.choice.look(&line.sums, line.now), withdrawn, "{share} {main_is_idle}");
        }
    }

    /// It may be in a queue at the peer, so that time alone says nothing.
    #[test]
    fn who_does_not_answer_is_given_up_once_the_other_brought_what_was_asked_later() {
        let mut line = Line::new(&[Tcp, Quic]);
        while line.run(1, |_| 10_000_000).iter().all(|pick| *pick == Tcp) {}
        let before = line.choice.trial.as_ref().unwrap().before[1];
        line.sums[1].1 = Carried { running: 1, ..before };
        line.now += Duration::from_secs(10);
        assert_eq!(line.choice.look(&line.sums, line.now), None);
        line.sums[0].1.bytes += SURPASSED;
        line.sums[0].1.busy += Duration::from_secs(10);
        assert_eq!(line.choice.look(&line.sums, line.now), Some(Quic));
    }

    #[test]
    fn a_rival_that_brings_nothing_is_given_up() {
        let mut line = Line::new(&[Tcp, Quic]);
        let rate = |kind| if kind == Tcp { 1_000_000 } else { 0 };
        let picks = line.run(20, rate);
        assert!(picks.contains(&Quic) && share(picks, Quic) < 0.05, "{}", share(picks, Quic));
        assert!(all(line.run(20, rate), Tcp));
        assert!(line.running.iter().all(|(kind, _)| *kind == Tcp), "what it had is withdrawn");
    }
}
