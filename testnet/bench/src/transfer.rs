//! `transfer`: one reader, some providers, all the bytes verified and on disk.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::TransferArgs;
use crate::machine::Others;
use crate::report::{Row, Run, Table};
use crate::worker::{Read, Ready};

/// Bytes written and compared at a time.
const PIECE: usize = 8 << 20;

/// A provider that runs. Dropping it ends it.
struct Provider {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    ready: Ready,
    _home: TempDir,
}

impl Provider {
    fn start(dir: &Path, file: &Path) -> anyhow::Result<Self> {
        let home = tempfile::tempdir_in(dir)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("provide")
            .args([home.path(), file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let ready = serde_json::from_str(&line).context("the provider did not start")?;
        Ok(Self { child, stdin, stdout, ready, _home: home })
    }

    fn cpu_seconds(&mut self) -> anyhow::Result<f64> {
        self.stdin.as_mut().context("the provider has ended")?.write_all(b"cpu\n")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It ends with its stdin; what does not is killed.
        drop(self.stdin.take());
        let mut rest = Vec::new();
        let _ = self.stdout.read_to_end(&mut rest);
        let _ = self.child.wait();
    }
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &TransferArgs) -> anyhow::Result<()> {
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::tempdir_in(&dir)?;
    let file = work.path().join("bench.bin");
    eprintln!("writing {} random bytes", args.size);
    write_random(&file, args.size)?;
    let mut table = Table { size: args.size, rows: Vec::new(), copies: Vec::new() };
    for &n_providers in &args.providers {
        eprintln!("{n_providers} providers: adding the file");
        let mut providers = Vec::new();
        for _ in 0..n_providers {
            providers.push(Provider::start(work.path(), &file)?);
        }
        let mut runs = Vec::new();
        for number in 0..args.runs {
            let run = measure(work.path(), &file, args.size, &mut providers)?;
            eprintln!("  run {}: {run}", number + 1);
            runs.push(run);
            table.copies.push(copy_seconds(work.path(), &file)?);
        }
        let add_seconds = providers.iter().map(|provider| provider.ready.add_seconds).collect();
        table.rows.push(Row { n_providers, add_seconds, runs });
    }
    println!("{table}");
    if !args.no_doc {
        table.write(&args.doc)?;
        eprintln!("written into {}", args.doc.display());
    }
    Ok(())
}

fn measure(dir: &Path, file: &Path, size: u64, providers: &mut [Provider]) -> anyhow::Result<Run> {
    let home = tempfile::tempdir_in(dir)?;
    let mut before = 0.0;
    for provider in &mut *providers {
        before += provider.cpu_seconds()?;
    }
    let others = Others::start();
    let output = Command::new(std::env::current_exe()?)
        .arg("read")
        .arg(home.path())
        .arg(&providers[0].ready.id)
        .args(providers.iter().map(|provider| &provider.ready.address))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the reader failed");
    let read: Read = serde_json::from_slice(&output.stdout)?;
    let mut after = 0.0;
    for provider in &mut *providers {
        after += provider.cpu_seconds()?;
    }
    let sent_cpu = after - before;
    let others = others.share(sent_cpu + read.cpu);
    ensure!(same(file, &read.path)?, "the bytes differ");
    let gigabytes = size as f64 / 1e9;
    Ok(Run {
        rate: size as f64 / 1e6 / read.seconds,
        reader_cpu: read.cpu / gigabytes,
        provider_cpu: sent_cpu / gigabytes,
        first_ms: read.first_ms,
        memory: read.memory,
        others,
        n_peers: read.peers.len(),
    })
}

/// Seconds that a plain copy takes: what the disk and the memory give to a program that does not
/// send, decrypt or verify.
fn copy_seconds(dir: &Path, file: &Path) -> anyhow::Result<f64> {
    let path = dir.join("copy.bin");
    let (mut from, mut to) = (File::open(file)?, File::create(&path)?);
    let mut piece = vec![0; 1 << 20];
    let start = Instant::now();
    loop {
        match from.read(&mut piece)? {
            0 => break,
            n => to.write_all(&piece[..n])?,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(seconds)
}

fn write_random(path: &PathBuf, size: u64) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut left = size;
    for seed in 0.. {
        let piece = hive_testnet::sample::bytes(seed << 32, left.min(PIECE as u64) as usize);
        file.write_all(&piece)?;
        left -= piece.len() as u64;
        if left == 0 {
            break;
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let n = one.read(&mut a)?;
        if n == 0 {
            return Ok(other.read(&mut b)? == 0);
        }
        if other.read_exact(&mut b[..n]).is_err() || a[..n] != b[..n] {
            return Ok(false);
        }
    }
}
