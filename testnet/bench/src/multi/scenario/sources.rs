//! Several providers: as fast as each other, very uneven, coming and going; and several readers.

use std::time::Duration;

use anyhow::ensure;

use crate::multi::member::{Answer, Order, Over};
use crate::multi::plain::Part;
use crate::multi::stage::{Line, Member, READER, Setting, Stage};
use crate::multi::table::{Bound, Outcome};

/// Rates in megabits a second.
const FOUR: f64 = 100.0;
const EIGHT: f64 = 50.0;
const SEED: f64 = 40.0;
const READERS: f64 = 100.0;
const N_READERS: u64 = 16;
/// How often a provider goes, and another that went comes back.
const TURN: Duration = Duration::from_secs(5);

fn hosts(rates: &[f64]) -> Vec<(String, Line)> {
    let hosts = rates.iter().enumerate();
    hosts.map(|(at, rate)| (format!("provider-{at}"), Line::Rate(*rate))).collect()
}

/// Parts of the file in proportion to the rates.
fn parts(size: u64, rates: &[f64]) -> Vec<Part> {
    let all: f64 = rates.iter().sum();
    let end = |upto: usize| (rates[..upto].iter().sum::<f64>() / all * size as f64) as u64;
    let part = |at: usize| {
        let from = end(at);
        let to = if at + 1 == rates.len() { size } else { end(at + 1) };
        Part { host: format!("provider-{at}"), from, len: to - from }
    };
    (0..rates.len()).map(part).collect()
}

/// Seconds that the file would take at the sum of the rates that plain copies have.
fn ideal(size: u64, parts: &[Part], seconds: &[f64]) -> f64 {
    let rates = parts.iter().zip(seconds).map(|(part, seconds)| part.len as f64 / seconds);
    size as f64 / rates.sum::<f64>()
}

fn providers(stage: &mut Stage, n: usize) -> anyhow::Result<Vec<Member>> {
    let file = stage.file.clone();
    (0..n)
        .map(|at| stage.member(&format!("provider-{at}"), &[Over::Tcp], Some(&file), &[]))
        .collect()
}

fn connected(stage: &mut Stage, providers: &[Member]) -> anyhow::Result<Member> {
    let mut reader = stage.member(READER, &[Over::Tcp], None, &[])?;
    for provider in providers {
        reader.connect(provider.ready.addresses.clone())?;
    }
    Ok(reader)
}

pub(super) fn four(setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
    let rates = [FOUR; 4];
    let mut stage = Stage::build(setting, &hosts(&rates))?;
    let seconds = stage.copy(&parts(setting.size, &rates))?;
    let plain = seconds.into_iter().fold(0.0, f64::max);
    let outcome = fetch(&mut stage, setting, rates.len())?;
    let what = format!("4 providers × {FOUR} Mbit/s, plain: 4 copies at once");
    Ok(vec![Outcome { what, plain, bound: Bound::RateAtLeast(0.95), ..outcome }])
}

pub(super) fn uneven(setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
    let mut rates = [EIGHT; 8];
    rates[3] /= 100.0;
    let mut stage = Stage::build(setting, &hosts(&rates))?;
    let parts = parts(setting.size, &rates);
    let seconds = stage.copy(&parts)?;
    let plain = ideal(setting.size, &parts, &seconds);
    let outcome = fetch(&mut stage, setting, rates.len())?;
    let what = format!("8 providers × {EIGHT} Mbit/s, one of them at 1 %, plain: the ideal time");
    Ok(vec![Outcome { what, plain, bound: Bound::TimeAtMost(1.1), ..outcome }])
}

/// What the reader's kernel counted, beside the file.
fn over(received: u64, size: u64) -> String {
    let share = received as f64 / size as f64 - 1.0;
    format!("{:.2} % more than the file came in, encryption and questions included", share * 100.0)
}

/// Fetches from all providers at once.
fn fetch(stage: &mut Stage, setting: &Setting, n: usize) -> anyhow::Result<Outcome> {
    let mut providers = providers(stage, n)?;
    let mut reader = connected(stage, &providers)?;
    let (watch, before) = (stage.watch(), stage.received()?);
    reader.order(&Order::Fetch(providers[0].id()?))?;
    let answer = reader.answer()?;
    let (others, received) = (watch.end(), stage.received()? - before);
    let fetched = stage.check(answer)?;
    Ok(Outcome {
        what: String::new(),
        hive: fetched.seconds,
        plain: 0.0,
        bound: Bound::None,
        duplicates: Some(stage.in_vain(&mut providers.iter_mut().collect::<Vec<_>>(), 1)?),
        others,
        bytes: setting.size,
        seed: setting.seed,
        note: Some(over(received.tcp_payload(), setting.size)),
    })
}

/// Four providers of which one is always away: each five seconds it comes back and the next goes.
pub(super) fn churn(setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
    let rates = [FOUR; 4];
    let mut stage = Stage::build(setting, &hosts(&rates))?;
    let parts = parts(setting.size, &rates);
    // Three are there at a time.
    let plain = ideal(setting.size, &parts, &stage.copy(&parts)?) * 4.0 / 3.0;
    let mut providers = providers(&mut stage, rates.len())?;
    let mut reader = connected(&mut stage, &providers)?;
    let (watch, before) = (stage.watch(), stage.received()?);
    reader.order(&Order::Fetch(providers[0].id()?))?;
    let mut away: Option<Member> = None;
    let mut n_turns = 0;
    let ended = loop {
        let mut goes = providers.remove(0);
        goes.kill()?;
        if let Some(back) = away.replace(goes) {
            providers.push(stage.again(&back)?);
        }
        n_turns += 1;
        if let Some(answer) = reader.answer_within(TURN)? {
            break answer;
        }
    };
    // What a provider sent before it was killed only the other end can tell.
    let (others, received) = (watch.end(), (stage.received()? - before).tcp_payload());
    ensure!(n_turns > 2, "it was over before a provider was back: take a larger --size");
    let fetched = stage.check(ended)?;
    ensure!(received >= setting.size, "{received} bytes came in where {} came", setting.size);
    let seconds = TURN.as_secs();
    Ok(vec![Outcome {
        what: format!(
            "4 providers × {FOUR} Mbit/s, each {seconds} s one is killed and another back, plain: \
             the ideal time of three"
        ),
        hive: fetched.seconds,
        plain,
        bound: Bound::None,
        duplicates: Some((received - setting.size) as f64 / setting.size as f64),
        others,
        bytes: setting.size,
        seed: setting.seed,
        note: Some(format!(
            "{n_turns} turns; sent in vain is all that came in beyond the file, encryption and \
             questions included"
        )),
    }])
}

/// Many readers of one provider, who begin together and end when the last has everything.
pub(super) fn readers(setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
    let mut lines = hosts(&[SEED]);
    lines.extend((0..N_READERS).map(|at| (format!("reader-{at}"), Line::Rate(READERS))));
    let mut stage = Stage::build(setting, &lines)?;
    let plain = stage.copy(&parts(setting.size, &[SEED]))?[0];
    let mut providers = providers(&mut stage, 1)?;
    let (id, bootstrap) = (providers[0].id()?, providers[0].ready.addresses.clone());
    let mut readers = Vec::new();
    for at in 0..N_READERS {
        readers.push(stage.member(&format!("reader-{at}"), &[Over::Tcp], None, &bootstrap)?);
    }
    for reader in &mut readers {
        reader.connect(bootstrap.clone())?;
    }
    let watch = stage.watch();
    for reader in &mut readers {
        reader.order(&Order::Fetch(id.clone()))?;
    }
    let answers: Vec<Answer> = readers.iter_mut().map(Member::answer).collect::<Result<_, _>>()?;
    let others = watch.end();
    let mut hive: f64 = 0.0;
    for answer in answers {
        hive = hive.max(stage.check(answer)?.seconds);
    }
    let from_seed = providers[0].sent()? as f64 / setting.size as f64;
    let all = providers.iter_mut().chain(&mut readers);
    Ok(vec![Outcome {
        what: format!(
            "{N_READERS} readers at {READERS} Mbit/s of one provider at {SEED}, plain: one copy alone"
        ),
        hive,
        plain,
        bound: Bound::TimeAtMost(1.5),
        duplicates: Some(stage.in_vain(&mut all.collect::<Vec<_>>(), N_READERS)?),
        others,
        bytes: setting.size,
        seed: setting.seed,
        note: Some(format!("the provider sent {from_seed:.2} × the file")),
    }])
}
