use super::*;

fn told(server: &RelayServer) -> relay::Config {
    server.config(&Relay::new(server, Instant::now()).desk)
}

/// Zero would end every circuit at once, and a time over `u32::MAX` seconds would panic.
#[test]
fn no_duration_is_a_trap() {
    for (duration, expected) in [
        (Duration::ZERO, Duration::from_secs(1)),
        (Duration::from_mins(10), Duration::from_mins(10)),
        (Duration::MAX, Duration::from_hours(24)),
    ] {
        let server = RelayServer { circuit_duration: duration, ..RelayServer::default() };
        assert_eq!(told(&server).max_circuit_duration, expected);
    }
}

/// Clients take a circuit for one of bulk by its bytes, and libp2p takes zero bytes for no bound.
#[test]
fn the_bytes_of_a_circuit_say_whether_bulk_is_allowed() {
    for bytes in [0, 1, SIGNALLING_BYTES, u64::MAX] {
        let signalling = RelayServer { circuit_bytes: bytes, ..RelayServer::default() };
        assert!((1..=SIGNALLING_BYTES).contains(&told(&signalling).max_circuit_bytes));
        let bulk = RelayServer { bulk_circuit_bytes: bytes, ..RelayServer::bulk() };
        assert!(told(&bulk).max_circuit_bytes > SIGNALLING_BYTES);
    }
}

#[test]
fn a_relay_has_connections_for_what_it_promises() {
    for max_reservations in [0, 1_024, usize::MAX] {
        let limits = RelayServer { max_reservations, ..RelayServer::default() }.connection_limits();
        assert!(limits.total >= limits.inbound && limits.inbound >= 1_024);
    }
}
