//! How fast this processor encrypts and hashes, on one thread: neither can a fetch be faster.

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hive_api::{Check, Level};
use hive_protocol::limits::GROUP_LEN;

use super::graded;

/// How long each is measured.
const MEASURED: Duration = Duration::from_millis(200);
/// Bytes of a record of TLS at most.
const RECORD: usize = 16 << 10;
/// A usual wired link, where the system does not tell.
const USUAL: f64 = 125e6;

/// Both ceilings against the link. Blocks for as long as it measures.
pub(super) fn checks(link: Option<(String, f64)>) -> Vec<Check> {
    let (name, link) = match link {
        Some((name, rate)) => (format!("`{name}`"), rate),
        None => ("a link of 1 Gbit/s".to_owned(), USUAL),
    };
    let encrypted = cipher().map(|rate| against("cipher", "AES-128-GCM", rate, &name, link));
    let encrypted = encrypted
        .unwrap_or_else(|| Check::ok("cipher", "AES-128-GCM cannot be measured on this machine"));
    vec![encrypted, against("hash", "BLAKE3", hash(), &name, link)]
}

fn against(name: &str, what: &str, rate: f64, link_name: &str, link: f64) -> Check {
    let found = format!(
        "{what} runs at {:.0} MB/s a thread, {link_name} at {:.0} MB/s",
        rate / 1e6,
        link / 1e6
    );
    let level = if rate < link { Level::Warn } else { Level::Ok };
    let remedy = "this processor and not the link bounds a fetch from one peer; several peers at once share its cores";
    graded(name, found, level, remedy)
}

/// Bytes a second of what `work` does to so many bytes each time.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut times = 0u32;
    while begun.elapsed() < MEASURED {
        work();
        times += 1;
    }
    f64::from(times) * bytes as f64 / begun.elapsed().as_secs_f64()
}

/// Seals records as connections do. The key protects nothing.
fn cipher() -> Option<f64> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).ok()?);
    let mut record = vec![0; RECORD];
    let mut works = true;
    let rate = rate(RECORD, || {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        works &= key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut record).is_ok();
    });
    works.then_some(rate)
}

fn hash() -> f64 {
    let group = vec![1; GROUP_LEN as usize];
    rate(group.len(), || {
        std::hint::black_box(blake3::hash(&group));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_measured_and_compared_with_the_link() {
        let level = |link| {
            let found = checks(Some(("eth0".to_owned(), link)));
            found.into_iter().map(|check| check.level).collect::<Vec<_>>()
        };
        assert_eq!(level(1.0), [Level::Ok; 2]);
        assert_eq!(level(f64::INFINITY), [Level::Warn; 2]);
    }
}
