//! Model files whose headers lie.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hive_protocol::gguf::{self, Parse};

use super::cost::{Cost, Most, SLACK};
use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::figures::{Figures, forget_peak};
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

/// Reads a file's header: whether it takes it. It must not panic.
type Reader = fn(&[u8], u64) -> bool;

/// Files of each round that have bytes changed by the dice.
const CHANGED: usize = 2_000;
/// Of these, files that a real node is given.
const ADDED: usize = 20;
/// Processor time of adding one, with the syncs of an index.
const ADDING: Duration = Duration::from_millis(500);

fn hive(prefix: &[u8], len: u64) -> bool {
    match gguf::parse(prefix, len) {
        Ok(Parse::Done(_)) => true,
        // The reader would read on, and find that there is no more.
        Ok(Parse::NeedMore { at_least }) => {
            assert!(at_least <= len, "it wants {at_least} of {len} bytes");
            false
        }
        Err(_) => false,
    }
}

/// A reader that believes what a header says: counts, lengths, alignments.
fn naive(prefix: &[u8], len: u64) -> bool {
    let word = |at: usize| -> u64 {
        let bytes = prefix.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    if prefix.len() < 24 {
        return false;
    }
    let (n_tensors, n_values) = (word(8), word(16));
    let mut at = 24;
    let mut alignment = 32;
    for _ in 0..n_values.min(1_000) {
        let key = word(at) as usize;
        let name = &prefix[at + 8..at + 8 + key];
        at += 8 + key + 4;
        if name == b"general.alignment" {
            alignment = word(at) & 0xffff_ffff;
        }
        at += 4;
    }
    for _ in 0..n_tensors.min(1_000) {
        let dims = word(at + 8 + word(at) as usize);
        let elements =
            (0..dims & 0xffff_ffff).map(|n| word(at + 20 + 8 * n as usize)).product::<u64>();
        if elements > len {
            return false;
        }
        at += 1;
    }
    (at as u64).div_ceil(alignment) > 0
}

/// Writes headers, honest or not.
#[derive(Clone, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn new(n_tensors: u64, n_values: u64) -> Self {
        Self(gguf::MAGIC.to_vec()).u32(3).u64(n_tensors).u64(n_values)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, n: u32) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    fn u64(self, n: u64) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    fn tensor(self, dims: &[u64], offset: u64) -> Self {
        let named = self.text("t").u32(dims.len() as u32);
        dims.iter().fold(named, |writer, dim| writer.u64(*dim)).u32(0).u64(offset)
    }

    /// With a page of weights.
    fn end(self) -> Vec<u8> {
        self.bytes(&[0; 4096]).0
    }
}

fn cases() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    for alignment in [0, 1, 3, 7, 1 << 31, u32::MAX] {
        let file = Writer::new(1, 1).text("general.alignment").u32(4).u32(alignment);
        cases.push((format!("alignment {alignment}"), file.tensor(&[4], 0).end()));
    }
    for dims in [
        &[1 << 32, 1 << 32][..],
        &[u64::MAX],
        &[u64::MAX, u64::MAX, u64::MAX, u64::MAX],
        &[0],
        &[1 << 63, 2],
        &[2; 5],
        &[1; 64],
    ] {
        cases.push((format!("shape {dims:?}"), Writer::new(1, 0).tensor(dims, 0).end()));
    }
    for offset in [1 << 40, u64::MAX, u64::MAX - 31] {
        cases.push((format!("offset {offset}"), Writer::new(1, 0).tensor(&[4], offset).end()));
    }
    let twice = Writer::new(2, 0).tensor(&[4], 0).tensor(&[4], 32);
    cases.push(("a name twice".into(), twice.end()));
    for n in [1 << 17, 1 << 32, 1 << 60, u64::MAX] {
        cases.push((format!("{n} tensors"), Writer::new(n, 0).end()));
        cases.push((format!("{n} values"), Writer::new(0, n).end()));
        let key = Writer::new(0, 1).u64(n);
        cases.push((format!("a key of {n} bytes"), key.end()));
        let text = Writer::new(0, 1).text("k").u32(8).u64(n);
        cases.push((format!("a text of {n} bytes"), text.end()));
        let array = Writer::new(0, 1).text("k").u32(9).u32(8).u64(n);
        cases.push((format!("an array of {n} texts"), array.end()));
    }
    let mut nested = Writer::new(0, 1).text("k");
    for _ in 0..10_000 {
        nested = nested.u32(9).u32(9).u64(1);
    }
    cases.push(("arrays in arrays, ten thousand deep".into(), nested.end()));
    cases.push(("a value of no kind".into(), Writer::new(0, 1).text("k").u32(0xffff).end()));
    cases
}

pub(super) fn run(context: &Context) -> anyhow::Result<String> {
    let all = rounds(context, |dice| round(context, dice))?;
    let most = all.iter().copied().max().unwrap_or(0);
    Ok(format!("all refused; {:.1} MiB grown at most", most as f64 / MIB as f64))
}

pub(super) fn twin(context: &Context) -> anyhow::Result<String> {
    // It is to fall over, and nobody needs to read how.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = read(context, naive, &mut Dice::new(context.seed));
    std::panic::set_hook(report);
    read.map(|files| format!("{files} files were read"))
}

/// Has a reader look at every file, and says how many they were.
fn read(context: &Context, reader: Reader, dice: &mut Dice) -> anyhow::Result<u64> {
    let looks = |name: &str, prefix: &[u8], len: u64| -> anyhow::Result<bool> {
        context.inject(1);
        let looked = catch_unwind(AssertUnwindSafe(|| reader(prefix, len)));
        looked.map_err(|_| anyhow::anyhow!("`{name}` made the reader panic"))
    };
    let mut files = 0;
    for (name, file) in cases() {
        ensure!(!looks(&name, &file, file.len() as u64)?, "`{name}` was taken");
        files += 1;
    }
    let tiny = hive_node::TINY_MODEL;
    ensure!(looks("the honest model", tiny, tiny.len() as u64)?, "an honest model was refused");
    let header = match gguf::parse(tiny, tiny.len() as u64) {
        Ok(Parse::Done(header)) => header.data_offset as usize,
        other => bail!("the honest model is {other:?}"),
    };
    // Cut off as a file that ends there, and as the beginning of the whole one.
    for len in 0..header {
        let prefix = tiny.get(..len).context("a header within its file")?;
        let (name, whole) = (format!("{len} of {header} bytes"), tiny.len() as u64);
        ensure!(!looks(&name, prefix, len as u64)?, "a file of {name} was taken");
        looks(&name, prefix, whole)?;
        files += 2;
    }
    for _ in 0..CHANGED {
        let mut changed = tiny.get(..header + 64).context("weights after the header")?.to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(header as u64) as usize;
            if let Some(byte) = changed.get_mut(at) {
                *byte = dice.next() as u8;
            }
        }
        // It may still be a model, though another one.
        looks("changed bytes", &changed, tiny.len() as u64)?;
        files += 1;
    }
    Ok(files)
}

async fn round(context: &Context, mut dice: Dice) -> anyhow::Result<u64> {
    let myself = std::process::id();
    let before = Figures::of(myself)?;
    forget_peak(myself)?;
    read(context, hive, &mut dice)?;
    let grown = Figures::of(myself)?.peak.saturating_sub(before.memory);
    ensure!(grown <= SLACK, "reading took {grown} bytes");

    // The same files at a real node's door: it keeps them as files like any other.
    let mut victim = Victim::start(context, Kind::Node).await?;
    let mut cost = Cost::begin(&victim)?;
    let mut added = 0;
    let cases = cases();
    let step = (cases.len() / ADDED).max(1);
    for (n, (_, file)) in cases.into_iter().step_by(step).enumerate() {
        let path = victim.dir().join(format!("{n}.gguf"));
        std::fs::write(Path::new(&path), file)?;
        victim.add(&path).await?;
        context.inject(1);
        added += 1;
    }
    cost.look(&victim)?;
    let most = Most { memory: 0, connections: 1, cpu: ADDING * added };
    cost.require("adding them", &most)?;
    lets_in(&mut victim, dice.next()).await?;
    Ok(grown.max(cost.memory))
}
