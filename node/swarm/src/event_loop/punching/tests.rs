use std::time::Duration;

use super::*;

fn failed(punching: &mut Punching, peer: PeerId, at: Instant) {
    let attempt = punching.attempts.get_mut(&peer).expect("expected");
    attempt.state = Punch::Failed { reason: "symmetric".to_owned() };
    attempt.failed_at = Some(at);
}

#[test]
fn nobody_waits_again_for_what_failed_a_moment_ago() {
    let (mut punching, peer, now) = (Punching::default(), PeerId::random(), Instant::now());
    punching.expect(peer, now);
    assert!(punching.runs(&peer));
    failed(&mut punching, peer, now);
    punching.expect(peer, now + Duration::from_mins(1));
    assert!(!punching.runs(&peer));
    punching.expect(peer, now + PUNCH_MEMORY);
    assert!(punching.runs(&peer), "routers are replaced, too");
}

#[test]
fn punches_are_not_remembered_without_end() {
    let (mut punching, now) = (Punching::default(), Instant::now());
    for _ in 0..PUNCHES + 10 {
        let peer = PeerId::random();
        punching.expect(peer, now);
        if punching.attempts.contains_key(&peer) {
            failed(&mut punching, peer, now);
        }
    }
    assert_eq!(punching.attempts.len(), PUNCHES);
    punching.expect(PeerId::random(), now + PUNCH_MEMORY);
    assert_eq!(punching.attempts.len(), 1, "what is long past makes room");
}
