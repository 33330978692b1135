//! `cargo xtask train-tiny`: makes the small real model that the demo and the tests run.
//!
//! A decoder of the llama architecture over bytes, trained from nothing on what this repository
//! says about itself (its Markdown and its doc comments), so that everybody may have it. The file
//! is GGUF that any llama.cpp reads too, and beside it goes a card that says what it is. The same
//! seed, corpus and machine give the same file.

mod corpus;
mod file;
mod model;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use corpus::Corpus;
use model::Model;

/// Steps over which the rate of learning rises before it falls.
const WARM_UP: usize = 50;
/// The highest rate of learning.
const RATE: f64 = 3e-3;
/// Windows of text in a step.
const BATCH: usize = 4;

/// What `train-tiny` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Steps of training; 20 show that it works, the committed model had 900
    #[arg(long, default_value_t = 900)]
    steps: usize,

    /// Seed of the weights and of the order of the text
    #[arg(long, default_value_t = 20_260)]
    seed: u64,

    /// File to write; the card goes beside it
    #[arg(long, default_value = "node/inference/assets/tiny-hive.gguf")]
    out: PathBuf,
}

/// Trains and writes the model.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = Corpus::read(&root).context("cannot read the corpus")?;
    ensure!(model::CONTEXT < corpus.train().len(), "there is nothing to learn from");
    let mut dice = Dice(args.seed);
    let model = Model::new(&mut dice)?;
    let mut optimizer = AdamW::new(
        model.variables(),
        ParamsAdamW { lr: RATE, weight_decay: 0.05, beta2: 0.98, ..ParamsAdamW::default() },
    )?;

    let started = Instant::now();
    let mut loss = f32::NAN;
    for step in 0..args.steps {
        optimizer.set_learning_rate(rate(step, args.steps));
        let batch = corpus.batch(BATCH, &mut dice);
        let graph = model.loss(&batch)?;
        optimizer.backward_step(&graph)?;
        if step.is_multiple_of(50) || step + 1 == args.steps {
            loss = graph.to_scalar()?;
            let seconds = started.elapsed().as_secs();
            say(&format!("step {step}: loss {loss:.3} nats a byte, {seconds} s"));
        }
    }
    let held_out = model.held_out(&corpus)?;
    let out = root.join(&args.out);
    let card = file::Card { steps: args.steps, seed: args.seed, corpus: &corpus, loss, held_out };
    let n_bytes = file::write(&model, &card, &out)?;
    say(&format!("{}: {n_bytes} bytes, held-out loss {held_out:.3}", out.display()));
    Ok(())
}

/// Rises, then falls along a cosine to a twentieth.
fn rate(step: usize, steps: usize) -> f64 {
    let rise = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
    let done = step as f64 / steps.max(1) as f64;
    RATE * rise * (0.525 + 0.475 * (std::f64::consts::PI * done).cos())
}

/// Training takes minutes, and its user is at a terminal.
#[expect(clippy::print_stderr, reason = "a development command talks to its user")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Random numbers of our own (SplitMix64): candle's cannot be seeded on a CPU.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// About normal, with deviation 1: twelve numbers from 0 to 1 have that.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.next() >> 11) as f64 / (1_u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }
}
