use proptest::prelude::*;

use super::*;
use crate::identity::Peer;

const MINUTE: Duration = Duration::from_mins(1);

fn server() -> RelayServer {
    RelayServer {
        per_peer: Budget { bytes: 1_000, time: 10 * MINUTE },
        per_network: Budget { bytes: 3_000, time: 60 * MINUTE },
        ..RelayServer::default()
    }
}

fn at(host: &str) -> Multiaddr {
    format!("/ip4/{host}/tcp/1").parse().expect("an address")
}

fn moved(peer: PeerId, host: &str, hop: u64) -> Moved {
    Moved { peer, remote: at(host), hop, stop: 0 }
}

fn only(desk: &Desk, now: Instant) -> Refusal {
    let refused = desk.serving(now).refused;
    assert_eq!(refused.values().sum::<u64>(), 1, "{refused:?}");
    *refused.keys().next().expect("one")
}

#[test]
fn a_peer_over_its_bytes_loses_what_it_has_until_the_hour_is_over() {
    let start = Instant::now();
    let (desk, peer, other) = (Desk::new(&server(), start), PeerId::random(), PeerId::random());
    assert!(desk.grants(Asked::Circuit, peer, &at("8.8.8.8"), start));
    desk.opened(peer, other, start);
    assert!(desk.charge(&[moved(peer, "8.8.8.8", 999)], start).is_empty());
    assert_eq!(desk.charge(&[moved(peer, "8.8.8.8", 1)], start), [peer]);

    assert!(!desk.grants(Asked::Reservation, peer, &at("8.8.8.8"), start + MINUTE));
    assert_eq!(only(&desk, start), Refusal::PeerBytes);
    assert_eq!(desk.serving(start).peers_over_budget, 1);
    // Its neighbours are not to blame.
    assert!(desk.grants(Asked::Reservation, other, &at("8.8.8.8"), start));
    assert!(desk.grants(Asked::Circuit, peer, &at("8.8.8.8"), start + BUDGET_WINDOW));
}

#[test]
fn whoever_asked_for_a_circuit_pays_for_its_time_and_nobody_else() {
    let start = Instant::now();
    let (desk, from, to) = (Desk::new(&server(), start), PeerId::random(), PeerId::random());
    // Two at once, so five minutes are ten.
    desk.opened(from, to, start);
    desk.opened(from, to, start);
    assert!(desk.charge(&[], start + 4 * MINUTE).is_empty());
    // Who is called has no say in it, or anybody could use up what is his.
    assert_eq!(desk.charge(&[], start + 5 * MINUTE), [from]);
    desk.closed(from, to, start + 5 * MINUTE);
    desk.closed(from, to, start + 5 * MINUTE);
    assert_eq!(desk.serving(start).circuits, 0);
    assert!(!desk.grants(Asked::Circuit, from, &at("8.8.8.8"), start + 6 * MINUTE));
    assert_eq!(only(&desk, start), Refusal::PeerTime);
}

#[test]
fn a_network_has_a_budget_that_many_peers_use_up_together() {
    let start = Instant::now();
    let desk = Desk::new(&server(), start);
    let peers: Vec<_> = (0..4).map(|_| PeerId::random()).collect();
    for peer in &peers {
        assert!(desk.grants(Asked::Reservation, *peer, &at("8.8.8.8"), start));
        desk.reserved(*peer, false, start);
    }
    let used: Vec<_> = peers.iter().map(|peer| moved(*peer, "8.8.8.9", 800)).collect();
    assert_eq!(desk.charge(&used, start).len(), 4, "all of them are disconnected");
    let stranger = PeerId::random();
    assert!(!desk.grants(Asked::Reservation, stranger, &at("8.8.8.10"), start));
    assert_eq!(only(&desk, start), Refusal::NetworkBytes);
    assert!(desk.grants(Asked::Reservation, stranger, &at("8.8.9.10"), start));
}

#[test]
fn a_list_of_peers_is_for_nobody_else() {
    let (now, friend) = (Instant::now(), PeerId::random());
    let desk = Desk::new(&RelayServer { allow: vec![Peer(friend)], ..server() }, now);
    assert!(desk.grants(Asked::Circuit, friend, &at("8.8.8.8"), now));
    assert!(!desk.grants(Asked::Circuit, PeerId::random(), &at("8.8.8.8"), now));
    assert_eq!(only(&desk, now), Refusal::NotAllowed);
}

#[test]
fn asking_too_often_is_named() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let desk = Desk::new(&server(), now);
    let granted = (0..100).filter(|_| desk.grants(Asked::Circuit, peer, &at("8.8.8.8"), now));
    assert_eq!(granted.count(), PEER_ASK_BURST as usize);
    assert_eq!(desk.serving(now).refused, [(Refusal::PeerRate, 36)].into());
    let others =
        (0..3_000).filter(|_| desk.grants(Asked::Circuit, PeerId::random(), &at("8.8.8.9"), now));
    assert_eq!(others.count(), NETWORK_ASK_BURST as usize - PEER_ASK_BURST as usize);
    assert!(desk.serving(now).refused[&Refusal::NetworkRate] > 1_000);
}

/// libp2p tells of every refusal, also of those that it was told to make.
#[test]
fn a_refusal_counts_once_whoever_made_it() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let desk = Desk::new(&RelayServer { allow: vec![Peer(PeerId::random())], ..server() }, now);
    let full = StatusCode::ResourceLimitExceeded;
    assert!(!desk.grants(Asked::Circuit, peer, &at("8.8.8.8"), now));
    desk.denied(Asked::Circuit, peer, &full, now);
    assert_eq!(only(&desk, now), Refusal::NotAllowed);
    // This one was libp2p's own.
    desk.denied(Asked::Circuit, peer, &full, now);
    desk.denied(Asked::Reservation, peer, &full, now);
    desk.denied(Asked::Circuit, peer, &StatusCode::NoReservation, now);
    desk.denied(Asked::Circuit, peer, &StatusCode::ConnectionFailed, now);
    let expected = [
        (Refusal::NotAllowed, 1),
        (Refusal::PeerCircuits, 1),
        (Refusal::Reservations, 1),
        (Refusal::NoReservation, 1),
        (Refusal::NotAnswered, 1),
    ];
    assert_eq!(desk.serving(now).refused, expected.into());
}

#[test]
fn reservations_are_those_of_connections_that_are_left() {
    let (now, peer) = (Instant::now(), PeerId::random());
    let desk = Desk::new(&server(), now);
    desk.reserved(peer, false, now);
    desk.reserved(peer, false, now);
    desk.reserved(peer, true, now + MINUTE);
    assert_eq!(desk.serving(now).reservations, 2);
    // It had three connections, and closes the one that had reserved nothing.
    desk.unreserved(&peer, 2);
    assert_eq!(desk.serving(now).reservations, 2);
    desk.unreserved(&peer, 1);
    assert_eq!(desk.serving(now).reservations, 1);
    // What libp2p forgets to tell ends by itself: the one that was renewed a minute later.
    desk.sweep(now + RESERVATION_TIME);
    assert_eq!(desk.serving(now).reservations, 1);
    desk.sweep(now + RESERVATION_TIME + MINUTE);
    assert_eq!(desk.serving(now).reservations, 0);
    // Somebody who never reserved anything.
    desk.unreserved(&PeerId::random(), 0);
}

/// libp2p would turn away everybody's renewal in turn.
#[test]
fn a_full_relay_keeps_its_guests_and_takes_no_new_ones() {
    let (now, guest) = (Instant::now(), PeerId::random());
    let desk = Desk::new(&RelayServer { max_reservations: 1, ..server() }, now);
    assert!(desk.grants(Asked::Reservation, guest, &at("8.8.8.8"), now));
    desk.reserved(guest, false, now);
    assert!(desk.grants(Asked::Reservation, guest, &at("8.8.8.8"), now));
    let stranger = PeerId::random();
    assert!(!desk.grants(Asked::Reservation, stranger, &at("8.8.8.8"), now));
    assert_eq!(only(&desk, now), Refusal::Reservations);
    assert!(desk.grants(Asked::Circuit, stranger, &at("8.8.8.8"), now));
}

#[test]
fn the_bound_that_is_named_is_the_one_that_is_near() {
    let now = Instant::now();
    let desk =
        Desk::new(&RelayServer { max_circuits: 10, max_circuits_per_peer: 4, ..server() }, now);
    let (busy, idle) = (PeerId::random(), PeerId::random());
    for _ in 0..3 {
        desk.opened(busy, PeerId::random(), now);
    }
    desk.denied(Asked::Circuit, busy, &StatusCode::ResourceLimitExceeded, now);
    desk.denied(Asked::Circuit, idle, &StatusCode::ResourceLimitExceeded, now);
    let expected = [(Refusal::PeerCircuits, 1), (Refusal::Circuits, 1)];
    assert_eq!(desk.serving(now).refused, expected.into());
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8, bool),
    Reserved(u8),
    Left(u8),
    Open(u8, u8),
    Close(u8, u8),
    Move(u8, u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0..6_u8;
    prop_oneof![
        (peer.clone(), any::<bool>()).prop_map(|(peer, circuit)| Step::Ask(peer, circuit)),
        peer.clone().prop_map(Step::Reserved),
        peer.clone().prop_map(Step::Left),
        (peer.clone(), peer.clone()).prop_map(|(from, to)| Step::Open(from, to)),
        (peer.clone(), peer.clone()).prop_map(|(from, to)| Step::Close(from, to)),
        (peer, 0..500_u64).prop_map(|(peer, n)| Step::Move(peer, n)),
        (0..600_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens in whatever order: who is over is told to be closed as long as it has
    /// anything, and is granted nothing.
    #[test]
    fn nobody_over_a_budget_keeps_or_gets_anything(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut now = Instant::now();
        let desk = Desk::new(&server(), now);
        let peers: Vec<_> = (0..6).map(|_| PeerId::random()).collect();
        let host = |peer: u8| at(&format!("8.8.{}.8", peer % 3));
        for step in steps {
            match step {
                Step::Ask(peer, circuit) => {
                    let asked = if circuit { Asked::Circuit } else { Asked::Reservation };
                    let id = peers[usize::from(peer)];
                    let over = desk.books().peers.over(&id, now).is_some();
                    let granted = desk.grants(asked, id, &host(peer), now);
                    prop_assert!(!(over && granted));
                }
                Step::Reserved(peer) => desk.reserved(peers[usize::from(peer)], false, now),
                Step::Left(peer) => desk.unreserved(&peers[usize::from(peer)], 0),
                Step::Open(from, to) => {
                    desk.opened(peers[usize::from(from)], peers[usize::from(to)], now);
                }
                Step::Close(from, to) => {
                    desk.closed(peers[usize::from(from)], peers[usize::from(to)], now);
                }
                Step::Move(peer, n) => {
                    let id = peers[usize::from(peer)];
                    let used = Moved { peer: id, remote: host(peer), hop: n, stop: n / 2 };
                    desk.charge(&[used], now);
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            let closing = desk.charge(&[], now);
            let books = desk.books();
            for (from, to) in books.circuits.keys() {
                for peer in [from, to] {
                    prop_assert!(books.peers.over(peer, now).is_none() || closing.contains(peer));
                }
            }
            prop_assert!(books.circuits.values().all(|n| *n > 0));
        }
    }
}
