//! Half of the providers die while a model is fetched.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hive_api::FetchRequest;
use hive_testnet::{Fetch, Liar, Lie, Mesh, Sample, TestNode};

use super::naive;
use super::{MIB, rounds_of};
use crate::dice::Dice;
use crate::scenario::Context;

const PROVIDERS: usize = 16;
const LEN: u64 = 256 * MIB;
/// Parts of the model after which they die, in percent: which one follows from the seed.
const POINTS: [u64; 3] = [25, 50, 75];
/// Bytes that may come twice, in percent.
const TWICE: u64 = 10;
/// What a fetch of less than a second may take over twice its time: to notice that somebody died, and
/// the other work of the machine.
const NOTICE: Duration = Duration::from_secs(1);

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    let all = rounds_of(context, |seed| round(context, seed))?;
    let twice = all.iter().map(|seen| seen.twice).max().unwrap_or(0);
    let slower = all.iter().map(|seen| seen.took.as_secs_f64() / seen.clean.as_secs_f64());
    Ok(format!(
        "{:.1} % of bytes came twice at most; {:.2} times as long as undisturbed at most",
        percent(twice),
        slower.fold(0.0, f64::max)
    ))
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    rounds_of(&context.few(1), |seed| naive_round(context, seed))?;
    Ok("a reader that knows one provider for each group has them all".to_owned())
}

fn percent(bytes: u64) -> f64 {
    bytes as f64 / LEN as f64 * 100.0
}

fn point(seed: u64) -> u64 {
    POINTS[(seed % POINTS.len() as u64) as usize]
}

/// Sixteen honest providers of one model, in an order that the dice give.
struct Scene {
    mesh: Mesh,
    sample: Sample,
    providers: Vec<Liar>,
}

impl Scene {
    async fn start(seed: u64) -> anyhow::Result<Self> {
        let mut dice = Dice::new(seed);
        let mesh = Mesh::empty().await?;
        let sample = Sample::random(dice.next(), (LEN - dice.below(5_000) - 1) as usize);
        let mut providers = Vec::new();
        for _ in 0..PROVIDERS {
            providers.push(mesh.liar(Lie::None, &sample).await?);
        }
        for at in (1..providers.len()).rev() {
            providers.swap(at, dice.below(at as u64 + 1) as usize);
        }
        Ok(Self { mesh, sample, providers })
    }

    /// Has a reader begin to fetch from all of them.
    async fn fetch(&self, reader: &TestNode) -> anyhow::Result<Fetch> {
        let model = self.sample.id().to_string();
        let from = self.providers.iter().map(|one| one.address().to_owned()).collect();
        let request = FetchRequest { model, from, ..FetchRequest::default() };
        reader.fetch_with(request).await
    }

    /// Bytes that all of them have sent.
    fn sent(&self) -> u64 {
        self.providers.iter().map(|one| one.counters().sent()).sum()
    }
}

async fn naive_round(context: &Context, seed: u64) -> anyhow::Result<()> {
    let mut scene = Scene::start(seed).await?;
    let addresses: Vec<_> = scene
        .providers
        .iter()
        .map(|one| (one.peer().to_owned(), one.address().to_owned()))
        .collect();
    let half = scene.providers.split_off(PROVIDERS / 2);
    let reading = naive::read(scene.mesh.network(), &scene.sample, &addresses);
    let dying = async {
        let sent = || half.iter().map(|one| one.counters().sent()).sum::<u64>();
        while sent() * 2 < scene.sample.len() * point(seed) / 100 {
            tokio::task::yield_now().await;
        }
        context.inject(half.len() as u64);
        drop(half);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        bytes = reading => ensure!(bytes? == *scene.sample.bytes(), "the model's bytes are wrong"),
        () = dying => {}
    }
    Ok(())
}

/// What one model cost.
struct Seen {
    /// Bytes that were sent and that nobody needed.
    twice: u64,
    clean: Duration,
    took: Duration,
}

async fn round(context: &Context, seed: u64) -> anyhow::Result<Seen> {
    let mut scene = Scene::start(seed).await?;
    // First undisturbed.
    let reader = scene.mesh.stranger().await?;
    let began = Instant::now();
    scene.fetch(&reader).await?.finish().await?;
    let clean = began.elapsed();
    drop(reader);
    let before = scene.sent();

    let reader = scene.mesh.stranger().await?;
    let began = Instant::now();
    let fetch = scene.fetch(&reader).await?;
    // By what was sent: a fast machine ends the fetch between two reports of its progress.
    while scene.sent() - before < scene.sample.len() * point(seed) / 100 {
        tokio::task::yield_now().await;
    }
    ensure!(scene.sent() - before < scene.sample.len(), "all was sent before anybody could die");
    let survivors = scene.providers.split_off(PROVIDERS / 2);
    let (mut sent, mut peers) = (0, Vec::new());
    for dying in std::mem::replace(&mut scene.providers, survivors) {
        peers.push(dying.peer().to_owned());
        let counters = dying.shared_counters();
        drop(dying);
        context.inject(1);
        sent += counters.sent();
    }
    let fetched = fetch.finish().await?;
    let took = began.elapsed();
    ensure!(std::fs::read(&fetched.path)? == *scene.sample.bytes(), "the model's bytes are wrong");
    ensure!(fetched.struck().is_empty(), "dying is no lie: {:?}", fetched.struck());
    sent += scene.sent();
    let twice = (sent - before).saturating_sub(scene.sample.len());
    ensure!(twice * 100 <= LEN * TWICE, "{:.1} % of the bytes came twice", percent(twice));
    let used = peers.iter().filter(|peer| fetched.bytes_from(peer) > 0).count() as u64;
    ensure!(used > 0, "none of the dead had given anything");
    ensure!(took <= 2 * clean + NOTICE, "it took {took:?}, undisturbed {clean:?}");
    Ok(Seen { twice, clean, took })
}
