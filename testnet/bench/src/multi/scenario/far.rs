//! One provider, 80 ms away, on a line of 100 Mbit/s, without and with loss.

use std::time::Duration;

use anyhow::ensure;
use hive_natlab::Shape;

use crate::multi::allowed::Allowed;
use crate::multi::member::{Order, Over};
use crate::multi::plain::Part;
use crate::multi::stage::{Line, READER, Setting, Stage};
use crate::multi::table::{Bound, Outcome};

const PROVIDER: &str = "provider";
/// Half of a round trip.
const DELAY: Duration = Duration::from_millis(40);
/// Bits a second.
const RATE: u64 = 100_000_000;
const LOSS: f64 = 0.01;
/// With loss CUBIC, which is QUIC's too, has some 2 Mbit/s left: this share of the bytes takes a minute,
/// of which its slow start, which ends with the first frame that is lost, is less than a second.
const SLOW_SHARE: u64 = 8;

const ALGORITHMS: [&str; 2] = ["cubic", "bbr"];

/// What a node may use.
struct Way {
    name: &'static str,
    over: &'static [Over],
    bound: Bound,
}

const BOUND: Bound = Bound::RateAtLeast(0.9);
const WAYS: [Way; 3] = [
    Way { name: "TCP alone", over: &[Over::Tcp], bound: Bound::None },
    Way { name: "QUIC alone", over: &[Over::Quic], bound: Bound::None },
    Way { name: "both, chosen by goodput", over: &[Over::Tcp, Over::Quic], bound: BOUND },
];

/// Of what comes over one transport alone, the other may have so little: what nodes that know of
/// nothing better try.
const STRAY: f64 = 0.1;

pub(super) fn run(setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
    let _allowed = Allowed::these(&ALGORITHMS)?;
    let mut outcomes = Vec::new();
    for loss in [0.0, LOSS] {
        for algorithm in ALGORITHMS {
            let slow = loss > 0.0 && algorithm == "cubic";
            let size = if slow { setting.size / SLOW_SHARE } else { setting.size };
            outcomes.extend(line(&Setting { size, ..*setting }, loss, algorithm)?);
        }
    }
    Ok(outcomes)
}

fn line(setting: &Setting, loss: f64, algorithm: &str) -> anyhow::Result<Vec<Outcome>> {
    let shape = Shape { delay: DELAY, jitter: Duration::ZERO, loss, rate: Some(RATE) };
    let mut stage = Stage::build(setting, &[(PROVIDER.to_owned(), Line::Shape(shape))])?;
    stage.congestion(&[READER, PROVIDER], algorithm)?;
    let whole = Part { host: PROVIDER.to_owned(), from: 0, len: setting.size };
    let plain = stage.copy(&[whole])?[0];
    let mut outcomes = Vec::new();
    // QUIC's algorithm is its own, whatever TCP has: on a line with loss, which takes it minutes, once.
    let is_known = loss > 0.0 && algorithm != ALGORITHMS[0];
    for way in WAYS.iter().filter(|way| !is_known || way.over != [Over::Quic]) {
        let what = format!("80 ms, {} % loss, {algorithm}: {}", loss * 100.0, way.name);
        outcomes.push(Outcome { what, plain, ..fetch(&mut stage, setting, way)? });
    }
    let told = stage.lab.cable(PROVIDER)?.count()?;
    ensure!(
        (told.down.lost + told.up.lost > 0) == (loss > 0.0),
        "the line lost {} frames with a loss of {loss}",
        told.down.lost + told.up.lost
    );
    Ok(outcomes)
}

/// Fetches over what a node may use, and sees over what it came.
fn fetch(stage: &mut Stage, setting: &Setting, way: &Way) -> anyhow::Result<Outcome> {
    let file = stage.file.clone();
    let mut provider = stage.member(PROVIDER, way.over, Some(&file), &[])?;
    let mut reader = stage.member(READER, way.over, None, &[])?;
    reader.connect(provider.ready.addresses.clone())?;
    let (watch, before) = (stage.watch(), stage.received()?);
    reader.order(&Order::Fetch(provider.id()?))?;
    let answer = reader.answer()?;
    let quic = (stage.received()? - before).quic();
    let others = watch.end();
    let fetched = stage.check(answer)?;
    match way.over {
        [Over::Tcp] => ensure!(quic < STRAY, "TCP alone, and {quic:.2} of it came over QUIC"),
        [Over::Quic] => ensure!(quic > 1.0 - STRAY, "QUIC alone, and only {quic:.2} of it is"),
        _ => {}
    }
    Ok(Outcome {
        what: String::new(),
        hive: fetched.seconds,
        plain: 0.0,
        bound: way.bound,
        duplicates: Some(stage.in_vain(&mut [&mut provider], 1)?),
        others,
        bytes: setting.size,
        seed: setting.seed,
        note: Some(format!("{:.0} % over QUIC", quic * 100.0)),
    })
}
