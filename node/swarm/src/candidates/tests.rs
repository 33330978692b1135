use super::*;

fn address(text: &str) -> Multiaddr {
    text.parse().expect("an address")
}

fn observer(n: u8) -> IpAddr {
    IpAddr::from([9, 9, 9, n])
}

/// The candidates that a behaviour has ready.
fn candidates<B: NetworkBehaviour>(behaviour: &mut B) -> Vec<Multiaddr> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut found = Vec::new();
    while let Poll::Ready(polled) = behaviour.poll(&mut cx) {
        if let ToSwarm::NewExternalAddrCandidate(address) = polled {
            found.push(address);
        }
    }
    found
}

fn established(behaviour: &mut Behaviour, id: usize, to: &str, port_use: PortUse) -> ConnectionId {
    let connection = ConnectionId::new_unchecked(id);
    let handler = behaviour.handle_established_outbound_connection(
        connection,
        PeerId::random(),
        &address(to),
        Endpoint::Dialer,
        port_use,
    );
    assert!(handler.is_ok());
    connection
}

#[test]
fn only_connections_that_left_from_a_listening_port_tell_where_this_node_is() {
    let mut behaviour = Behaviour::default();
    let reusing = established(&mut behaviour, 1, "/ip4/9.9.9.9/tcp/1", PortUse::Reuse);
    let fresh = established(&mut behaviour, 2, "/ip4/9.9.9.9/tcp/1", PortUse::New);
    let relay = PeerId::random();
    let through = format!("/ip4/9.9.9.9/tcp/1/p2p/{relay}/p2p-circuit");
    let relayed = established(&mut behaviour, 3, &through, PortUse::Reuse);
    assert_eq!(behaviour.take_reusing(reusing), Some(address("/ip4/9.9.9.9/tcp/1")));
    assert_eq!(behaviour.take_reusing(reusing), None, "one word for each connection");
    assert_eq!((behaviour.take_reusing(fresh), behaviour.take_reusing(relayed)), (None, None));
}

#[test]
fn an_observed_port_is_proposed_as_it_is_and_not_without_end() {
    let mut behaviour = Behaviour::default();
    behaviour.propose(observer(0), address("/ip4/5.0.0.1/tcp/20156"));
    assert_eq!(candidates(&mut behaviour), [address("/ip4/5.0.0.1/tcp/20156")]);

    for port in 1..1_000 {
        behaviour.propose(observer(1), address(&format!("/ip4/5.0.0.1/tcp/{port}")));
        candidates(&mut behaviour);
    }
    assert_eq!(behaviour.proposed.len(), 1 + CANDIDATES_PER_OBSERVER, "one host has so many");
    for port in 1..1_000 {
        let of = observer(u8::try_from(port % 200).expect("a byte"));
        behaviour.propose(of, address(&format!("/ip4/5.0.0.2/tcp/{port}")));
        candidates(&mut behaviour);
    }
    assert_eq!(behaviour.proposed.len(), CANDIDATES);
    behaviour.forget();
    behaviour.propose(observer(1), address("/ip4/5.0.0.1/tcp/1000"));
    assert_eq!(candidates(&mut behaviour).len(), 1);
}

/// A behaviour that says of one address that it is a candidate, and that it is confirmed.
struct Says(VecDeque<ToSwarm<Infallible, Infallible>>);

impl NetworkBehaviour for Says {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        self.0.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[test]
fn a_routers_word_has_to_be_checked_and_identifys_guess_is_dropped() {
    let says = || {
        Says(VecDeque::from([
            ToSwarm::NewExternalAddrCandidate(address("/ip4/5.0.0.1/tcp/1")),
            ToSwarm::ExternalAddrConfirmed(address("/ip4/5.0.0.1/tcp/2")),
        ]))
    };
    let mut router = Unbelieved::new(says(), Word::Candidate);
    assert_eq!(
        candidates(&mut router),
        [address("/ip4/5.0.0.1/tcp/1"), address("/ip4/5.0.0.1/tcp/2")]
    );
    let mut identify = Unbelieved::new(says(), Word::Dropped);
    assert_eq!(candidates(&mut identify), [] as [Multiaddr; 0]);
}
