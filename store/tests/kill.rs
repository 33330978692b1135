//! A process that fetches is killed at 30 moments: what it synced is there, and is not fetched again.
//!
//! The test starts itself as the victim. It finds out how far the victim is from what that prints,
//! so no moment depends on a clock.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hive_protocol::group::ChunkHasher;
use hive_protocol::limits::GROUP_LEN;
use hive_protocol::{FileBlock, Manifest};
use hive_store::{Fetching, Options, Store, Visibility};

const HOME: &str = "HIVE_STORE_TEST_VICTIM_HOME";
const N_GROUPS: usize = 48;

fn bytes() -> Vec<u8> {
    let mut bytes = vec![0; N_GROUPS * GROUP_LEN as usize];
    blake3::Hasher::new().update(b"kill").finalize_xof().fill(&mut bytes);
    bytes
}

fn open(home: &Path) -> Store {
    Store::open(home, Options { quota: None, reserve: Some(0) }).unwrap()
}

/// Fetches and prints a line after each checkpoint. Returns how many groups it had to fetch.
fn fetch(home: &Path, bytes: &[u8], say: &mut dyn FnMut(u32)) -> (u32, std::path::PathBuf) {
    let mut hasher = ChunkHasher::new();
    hasher.update(bytes);
    let proof = hasher.finish();
    let block = FileBlock::new(vec![(proof.chunk(), bytes.len() as u64)]).unwrap();
    let manifest = Manifest::File(block.clone());
    let fetching = Fetching {
        id: manifest.id(),
        manifest,
        files: vec![("m.bin".parse().unwrap(), block)],
        name: "m".parse().unwrap(),
        visibility: Visibility::Public,
        pinned: true,
    };
    let store = open(home);
    let partial = store.begin(&fetching).unwrap();
    partial.put_proof(proof);
    let missing: Vec<u32> = partial.have().missing().collect();
    for &group in &missing {
        let start = group as usize * GROUP_LEN as usize;
        partial.write(group, &bytes[start..start + GROUP_LEN as usize]).unwrap();
        if group % 4 == 3 {
            partial.checkpoint().unwrap();
            say(group);
        }
    }
    (missing.len() as u32, partial.finish().unwrap())
}

#[test]
fn victim() {
    // Only when started by the test below.
    let Ok(home) = std::env::var(HOME) else { return };
    let mut out = std::io::stdout();
    fetch(Path::new(&home), &bytes(), &mut |group| {
        writeln!(out, "synced {group}").unwrap();
        out.flush().unwrap();
    });
}

#[test]
fn a_reader_that_is_killed_loses_nothing_that_it_synced() {
    let bytes = bytes();
    let mut n_killed_midway = 0;
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--nocapture", "--test-threads=1"])
            .env(HOME, &home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = round % (N_GROUPS / 4) + 1;
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let synced =
            lines.map_while(Result::ok).filter(|line| line.contains("synced")).take(wanted).count();
        // Some rounds let it get a little further, into whatever it does next.
        for _ in 0..round * 997 {
            std::hint::spin_loop();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();

        let store = open(&home);
        let models = store.list().unwrap();
        let report =
            store.verify(&models[0].id, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert!(report.damaged.is_empty());
        assert!(models[0].present >= synced as u64 * 4 * GROUP_LEN);
        drop(store);
        if models[0].state == hive_store::State::Whole {
            continue;
        }
        n_killed_midway += 1;
        let (n_fetched, path) = fetch(&home, &bytes, &mut |_| {});
        assert_eq!(u64::from(n_fetched) * GROUP_LEN, models[0].size - models[0].present);
        assert!(std::fs::read(path).unwrap() == bytes);
    }
    assert!(n_killed_midway >= 20, "only {n_killed_midway} of 30 were killed midway");
}
