//! `kill -9` in the middle of a fetch, thirty times.

#![expect(clippy::print_stdout, reason = "the seed, to run it again, and what the kills cost")]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::User;

const MIB: u64 = 1 << 20;
/// Bytes in the file: odd, so that the last group is a short one.
const SIZE: u64 = 96 * MIB - 77;
/// What the provider sends in a second.
const RATE: u64 = 40 * MIB;
/// What is written is durable a second later, or 64 MiB later; and the second has to end.
const TAIL: u64 = RATE + RATE / 2;
const KILLS: u64 = 30;

/// SplitMix64: the points follow from the seed, which is printed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// How far one life of the reader came.
#[derive(Debug, Default)]
struct Life {
    /// What it found on its disk.
    present: Option<u64>,
    /// What it said was verified when it died.
    told: u64,
    /// Bytes it had read from files by the time it knew what it had.
    read: u64,
    done: Option<Value>,
}

/// Runs a fetch until it says that so much is verified, and kills it; `None` lets it end.
fn live(reader: &User, id: &str, from: &str, until: Option<u64>) -> Life {
    let args = ["--json", "fetch", id, "--from", from];
    let mut child =
        reader.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut life = Life::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match event["event"].as_str() {
            Some("manifest") => {
                life.present = event["present"].as_u64();
                life.told = life.present.unwrap();
                life.read = read_from_files(child.id());
            }
            Some("progress") => {
                let bytes = event["bytes"].as_u64().unwrap();
                assert!(bytes >= life.told, "progress went from {} to {bytes}", life.told);
                life.told = bytes;
            }
            Some("done") => life.done = Some(event.clone()),
            _ => {}
        }
        if until.is_some_and(|until| life.told >= until) {
            child.kill().unwrap();
            break;
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.success(), until.is_none(), "{status}: {life:?}");
    life
}

/// Bytes that a process has read by `read`: files, not what is mapped and not sockets.
#[cfg(target_os = "linux")]
fn read_from_files(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    rchar.map_or(0, |bytes| bytes.parse().unwrap())
}

#[cfg(not(target_os = "linux"))]
fn read_from_files(_pid: u32) -> u64 {
    0
}

/// A reader that is killed at thirty random points, some of them before it knows what it fetches,
/// ends with the identical file. Nothing that was durable is asked for again or hashed again: what
/// is lost is the tail that was not synced yet.
#[test]
fn a_reader_killed_thirty_times_fetches_nothing_twice_but_the_tail() {
    let seed = std::env::var("HIVE_TEST_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(),
        |seed| seed.parse().unwrap(),
    );
    println!("HIVE_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let mut bytes: Vec<u8> = Vec::with_capacity(SIZE as usize + 8);
    while (bytes.len() as u64) < SIZE {
        bytes.extend_from_slice(&dice.next().to_le_bytes());
    }
    bytes.truncate(SIZE as usize);

    let (provider, reader) = (User::new(), User::new());
    let file = provider.file("killed.bin", &bytes);
    let added = provider.json(&["--json", "add", &file, "--share"]);
    let id = added["cid"].as_str().unwrap();
    let running = provider.join(&["--upload-limit", &RATE.to_string()]);
    let from = running.address();

    let mut points: Vec<u64> = (0..KILLS).map(|_| dice.next() % (SIZE * 9 / 10)).collect();
    points.sort_unstable();
    // Some die before they have done anything, as early as they say something.
    points[..3].fill(0);
    let (mut lost, mut most_lost, mut told) = (0, 0, 0);
    for &point in &points {
        let life = live(&reader, id, from, Some(point));
        if let Some(present) = life.present {
            assert!(present + TAIL >= told, "{present} bytes left of {told}");
            assert!(present <= told + TAIL, "{present} bytes appeared, {told} were told");
            assert!(life.read < 16 * MIB, "{} bytes read to find {present}", life.read);
            let gone = told.saturating_sub(present);
            (lost, most_lost) = (lost + gone, most_lost.max(gone));
            told = life.told;
        }
    }
    let life = live(&reader, id, from, None);
    let done = life.done.unwrap();
    assert!(life.present.unwrap() + TAIL >= told);
    lost += told.saturating_sub(life.present.unwrap());
    let path = done["path"].as_str().unwrap();
    assert!(std::fs::read(path).unwrap() == bytes, "the bytes differ");

    let uploaded = provider.json(&["--json", "status"])["uploaded"].as_u64().unwrap();
    println!(
        "{KILLS} kills: {uploaded} bytes sent for {SIZE}; {lost} of them again since they were not \
         durable, at most {most_lost} for one kill",
    );
    // What was on its way when the reader died is lost too: a window for each kill.
    assert!(uploaded >= SIZE && uploaded <= SIZE + lost + KILLS * 16 * MIB);
    let again = live(&reader, id, from, None).done.unwrap();
    assert_eq!(again["peers"], serde_json::json!([]), "all of it is here");
}
