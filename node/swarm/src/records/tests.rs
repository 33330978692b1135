use std::time::Duration;

use super::*;
use crate::limits::{ADDRESS_LEN, ROUTING_ADDRESSES};

fn key(n: usize) -> RecordKey {
    let mut bytes = vec![0x1e, 0x20];
    bytes.extend_from_slice(blake3_like(n).as_slice());
    RecordKey::from(bytes)
}

fn blake3_like(n: usize) -> [u8; 32] {
    hive_protocol::Digest::of(&n.to_le_bytes()).0
}

fn record(key: RecordKey, provider: PeerId) -> ProviderRecord {
    let address = "/ip4/8.8.8.8/tcp/1".parse().expect("an address");
    ProviderRecord::new(key, provider, vec![address])
}

fn records(quotas: Quotas) -> Records {
    Records::new(PeerId::random(), quotas)
}

#[track_caller]
fn check_invariant(records: &Records) {
    let in_keys: usize = records.keys.values().map(Vec::len).sum();
    let in_sources: usize = records.sources.values().map(BTreeMap::len).sum();
    let counted: usize = records.by_count.iter().map(|(count, _)| count).sum();
    assert_eq!([in_keys, in_sources, counted], [records.total; 3]);
    assert_eq!(records.by_count.len(), records.sources.len());
}

#[test]
fn a_flood_from_one_source_ends_at_its_quota_and_evicts_nobody() {
    let mut records = records(Quotas { total: 3_000, ..Quotas::default() });
    let honest: Vec<_> = (0..500).map(|_| PeerId::random()).collect();
    for (n, peer) in honest.iter().enumerate() {
        records.add_provider(record(key(n), *peer)).expect("room");
    }
    let flooder = PeerId::random();
    let stored = (0..10_000)
        .filter(|n| records.add_provider(record(key(1_000 + n), flooder)).is_ok())
        .count();

    assert_eq!(stored, RECORDS_PER_SOURCE);
    for (n, peer) in honest.iter().enumerate() {
        assert!(records.providers(&key(n)).iter().any(|found| found.provider == *peer));
    }
    check_invariant(&records);
}

/// A map of providers for each key had room for four of them, a kilobyte for each key of a flood.
#[test]
fn a_key_with_one_provider_takes_room_for_one() {
    let mut records = records(Quotas::default());
    let flooder = PeerId::random();
    for n in 0..1_000 {
        records.add_provider(record(key(n), flooder)).expect("room");
    }
    assert!(records.keys.values().all(|providers| providers.capacity() == 1));
    check_invariant(&records);
}

#[test]
fn when_all_is_full_the_greediest_source_makes_room() {
    let mut records = records(Quotas { total: 100, per_source: 90, per_key: 10 });
    let (greedy, modest, late) = (PeerId::random(), PeerId::random(), PeerId::random());
    for n in 0..90 {
        records.add_provider(record(key(n), greedy)).expect("room");
    }
    for n in 100..110 {
        records.add_provider(record(key(n), modest)).expect("room");
    }
    // The greedy one has said key 0 again, so key 1 is what it has not refreshed for longest.
    records.add_provider(record(key(0), greedy)).expect("a refresh");

    records.add_provider(record(key(200), late)).expect("the greedy one makes room");
    assert!(records.providers(&key(1)).is_empty());
    assert_eq!(records.providers(&key(0)).len(), 1);
    assert_eq!(records.count(&modest), 10);
    assert_eq!(records.len(), 100);
    check_invariant(&records);
}

#[test]
fn a_newcomer_never_pushes_out_its_equals() {
    let mut records = records(Quotas { total: 10, per_source: 10, per_key: 10 });
    for n in 0..10 {
        records.add_provider(record(key(n), PeerId::random())).expect("room");
    }
    for n in 10..1_000 {
        assert!(records.add_provider(record(key(n), PeerId::random())).is_err());
    }
    assert!((0..10).all(|n| records.providers(&key(n)).len() == 1));
    check_invariant(&records);
}

#[test]
fn a_full_key_keeps_who_came_first_until_one_has_died() {
    let mut records = records(Quotas { total: 100, per_source: 10, per_key: 5 });
    let mut dying = record(key(0), PeerId::random());
    dying.expires = Some(Instant::now() + Duration::from_hours(1));
    let dying_provider = dying.provider;
    records.add_provider(dying.clone()).expect("room");
    for _ in 1..5 {
        records.add_provider(record(key(0), PeerId::random())).expect("room");
    }
    assert!(records.add_provider(record(key(0), PeerId::random())).is_err());

    dying.expires = Some(Instant::now());
    records.add_provider(dying).expect("a refresh");
    let late = PeerId::random();
    records.add_provider(record(key(0), late)).expect("a dead one makes room");
    let found: Vec<_> = records.providers(&key(0)).iter().map(|found| found.provider).collect();
    assert!(found.contains(&late) && !found.contains(&dying_provider));
    check_invariant(&records);
}

#[test]
fn the_dead_are_not_named_and_are_swept() {
    let mut records = records(Quotas::default());
    let now = Instant::now();
    for n in 0..10_u64 {
        let mut mortal = record(key(0), PeerId::random());
        mortal.expires = Some(now + Duration::from_hours(n % 2));
        records.add_provider(mortal).expect("room");
    }
    assert_eq!(records.providers(&key(0)).len(), 5);
    records.sweep(now);
    assert_eq!(records.len(), 5);
    records.sweep(now + Duration::from_hours(1));
    assert_eq!(records.len(), 0);
    check_invariant(&records);
}

#[test]
fn an_answer_fits_a_packet_whatever_the_records() {
    let mut records = records(Quotas::default());
    let name = "a".repeat(ADDRESS_LEN - 8);
    for port in 1..=200 {
        let mut long = record(key(0), PeerId::random());
        let address: Multiaddr = format!("/dns4/{name}/tcp/{port}").parse().expect("an address");
        long.addresses = vec![address; 64];
        records.add_provider(long).expect("room");
    }
    let answer = records.providers(&key(0));
    assert!(!answer.is_empty());
    assert!(answer.iter().all(|provider| provider.addresses.len() <= RECORD_ADDRESSES));
    let providers: usize = answer.iter().map(wire_len).sum();
    // 20 peers nearer to the key with their ids come along.
    let nearer = 20 * (38 + 8 + ROUTING_ADDRESSES * (ADDRESS_LEN + 38 + 6));
    assert!(providers + nearer < 16 << 10, "{providers} + {nearer}");
    let common_nearer = 20 * (38 + 8 + ROUTING_ADDRESSES * 64);
    assert!(providers + common_nearer < 14 << 10);
}

#[test]
fn answers_differ_so_that_no_provider_is_asked_alone() {
    let mut records = records(Quotas::default());
    for _ in 0..200 {
        records.add_provider(record(key(0), PeerId::random())).expect("room");
    }
    let mut named = HashSet::new();
    for _ in 0..200 {
        let answer = records.providers(&key(0));
        assert_eq!(answer.len(), PROVIDERS_PER_ANSWER);
        named.extend(answer.into_iter().map(|provider| provider.provider));
    }
    assert!(named.len() > 150, "only {} of 200 were ever named", named.len());
}

#[test]
fn what_this_node_has_is_in_no_quota_and_comes_first() {
    let mut records = records(Quotas { total: 0, per_source: 0, per_key: 0 });
    let own = ProviderRecord::new(key(0), records.local, Vec::new());
    records.add_provider(own).expect("always room");
    records.set_own_addresses(vec!["/ip4/8.8.8.8/tcp/1".parse().expect("an address")]);
    let answer = records.providers(&key(0));
    assert_eq!(answer[0].provider, records.local);
    assert_eq!(answer[0].addresses.len(), 1);
    assert_eq!(records.provided().count(), 1);
    let local = records.local;
    records.remove_provider(&key(0), &local);
    assert_eq!(records.provided().count(), 0);
}

#[test]
fn a_source_that_is_forgotten_leaves_nothing() {
    let mut records = records(Quotas::default());
    let (peer, other) = (PeerId::random(), PeerId::random());
    for n in 0..100 {
        records.add_provider(record(key(n), peer)).expect("room");
    }
    records.add_provider(record(key(0), other)).expect("room");
    records.forget(&peer);
    assert_eq!(records.len(), 1);
    check_invariant(&records);
}

#[test]
fn only_names_of_hive_are_keys() {
    assert!(is_hive_key(&key(0)));
    let with = |bytes: &[u8]| is_hive_key(&RecordKey::from(bytes.to_vec()));
    let mut sha256 = key(0).to_vec();
    sha256[0] = 0x12;
    assert!(!with(&sha256));
    assert!(!with(&key(0).as_ref()[..33]));
    assert!(!with(&[]));
    let mut long = key(0).to_vec();
    long.push(0);
    assert!(!with(&long));
}
