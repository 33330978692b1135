//! Providers of one model, most of which misbehave, and a reader of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hive_api::{FetchEvent, FetchRequest, Visibility};
use hive_testnet::{Liar, Lie, Mesh, Sample, TestNode};

use super::naive;
use crate::dice::Dice;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A hive node.
    Hive,
    /// One that believes everything.
    Naive,
}

/// Providers of a model: liars, and one honest node that is slow enough for all others to be tried.
pub(super) struct Providers {
    pub(super) mesh: Mesh,
    pub(super) sample: Sample,
    pub(super) liars: Vec<Liar>,
    pub(super) honest: TestNode,
}

/// How far a fetch had come, and when.
pub(super) type Step = (Instant, u64);

/// A fetch that came to its end.
pub(super) struct ReadBack {
    /// How far it had come when; the last step is its end.
    pub(super) steps: Vec<Step>,
    /// Who was banned.
    pub(super) banned: Vec<String>,
    /// How long it took.
    pub(super) took: Duration,
    /// Bytes that hive took of the honest node; nothing of a naive reader.
    pub(super) honest_bytes: u64,
}

impl Providers {
    /// Starts one liar for each lie. The honest node gives so many bytes a second.
    pub(super) async fn start(
        dice: &mut Dice,
        len: u64,
        lies: Vec<Lie>,
        honest_rate: u64,
    ) -> anyhow::Result<Self> {
        let mesh = Mesh::empty().await?;
        // An odd length, so that the last group is a short one.
        let sample = Sample::random(dice.next(), (len - dice.below(5_000) - 1) as usize);
        let mut liars = Vec::new();
        for lie in lies {
            liars.push(mesh.liar(lie, &sample).await?);
        }
        let honest = mesh.node_with(|config| config.upload_limit = Some(honest_rate)).await?;
        let added = honest.add("model.bin", sample.bytes(), Visibility::Public).await?;
        ensure!(added.cid == sample.id().to_string(), "the node names the model otherwise");
        Ok(Self { mesh, sample, liars, honest })
    }

    /// All providers, peer and address, in an order that the dice give.
    fn order(&self, dice: &mut Dice) -> Vec<(String, String)> {
        let mut all: Vec<_> = self
            .liars
            .iter()
            .map(|liar| (liar.peer().to_owned(), liar.address().to_owned()))
            .chain([(self.honest.peer().to_owned(), self.honest.address())])
            .collect();
        for at in (1..all.len()).rev() {
            all.swap(at, dice.below(at as u64 + 1) as usize);
        }
        all
    }

    /// Reads the model from all of them. It has to be the model, and the honest node must not be
    /// blamed.
    pub(super) async fn read(&self, dice: &mut Dice, reader: Reader) -> anyhow::Result<ReadBack> {
        let providers = self.order(dice);
        let began = Instant::now();
        if reader == Reader::Naive {
            let bytes = naive::read(self.mesh.network(), &self.sample, &providers).await?;
            ensure!(bytes == *self.sample.bytes(), "the model's bytes are wrong");
            let (banned, steps, took) = (Vec::new(), Vec::new(), began.elapsed());
            return Ok(ReadBack { steps, banned, took, honest_bytes: 0 });
        }
        let reader = self.mesh.stranger().await?;
        let model = self.sample.id().to_string();
        let from = providers.iter().map(|(_, address)| address.clone()).collect();
        let request = FetchRequest { model, from, ..FetchRequest::default() };
        let mut fetch = reader.fetch_with(request).await?;
        let mut steps = vec![(began, 0)];
        loop {
            let event = fetch.until(|_| true).await.context("the fetch")?;
            steps.push((Instant::now(), fetch.bytes()));
            if matches!(event, FetchEvent::Done { .. }) {
                break;
            }
        }
        let took = began.elapsed();
        let fetched = fetch.finish().await.context("the fetch")?;
        ensure!(
            std::fs::read(&fetched.path)? == *self.sample.bytes(),
            "the model's bytes are wrong"
        );
        let mut banned = Vec::new();
        for (peer, _) in providers {
            if reader.has_banned(&peer).await? {
                banned.push(peer);
            }
        }
        let honest = self.honest.peer();
        ensure!(!banned.iter().any(|peer| peer == honest), "the honest node was banned");
        ensure!(!fetched.struck().contains(&honest), "the honest node was blamed");
        Ok(ReadBack { steps, banned, took, honest_bytes: fetched.bytes_from(honest) })
    }
}
