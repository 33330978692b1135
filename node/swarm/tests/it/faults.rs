//! Links that are cut and slow, in the way that tests and testnets have them.

use std::time::{Duration, Instant};

use hive_protocol::message::{Request, Response};
use hive_swarm::{Config, FaultCounts, Faults};
use tokio::task::JoinHandle;

use crate::support::{Node, config, soon, start};

fn hello() -> Request {
    Request::Hello { features: Vec::new() }
}

fn answer(n: usize) -> Response {
    Response::Block(vec![7; n].into())
}

/// Two nodes, the second answering, and the faults of each.
fn pair(listen: &str) -> ([Node; 2], [Faults; 2]) {
    let faults = [Faults::new(), Faults::new()];
    let node = |faults: &Faults| {
        let listen = vec![listen.to_owned()];
        start(Config { listen, faults: Some(faults.clone()), ..config() })
    };
    (faults.each_ref().map(node), faults)
}

async fn connect([one, two]: &[Node; 2]) {
    let address = two.client.listen_addrs().await.remove(0);
    assert_eq!(one.client.dial(&address).await, Ok(two.peer()));
}

fn cut([one, two]: &[Node; 2], [of_one, of_two]: &[Faults; 2]) {
    of_one.cut(two.peer());
    of_two.cut(one.peer());
}

/// Asks in the background.
fn ask([one, two]: &[Node; 2]) -> JoinHandle<Response> {
    let (client, peer) = (one.client.clone(), two.peer());
    tokio::spawn(async move { client.request(peer, hello()).await.expect("an answer") })
}

async fn until(faults: &Faults, fine: impl Fn(&FaultCounts) -> bool) {
    let mut counts = faults.counts();
    soon("the fault", counts.wait_for(fine)).await.expect("the faults are there");
}

async fn a_question_waits_for_the_healing(listen: &str) {
    let (mut nodes, faults) = pair(listen);
    nodes[1].answers(answer(1000));
    connect(&nodes).await;
    let asked = ask(&nodes);
    assert_eq!(soon("the answer", asked).await.expect("no panic"), answer(1000));
    cut(&nodes, &faults);
    let asked = ask(&nodes);
    until(&faults[0], |counts| counts.withheld > 0).await;
    assert!(!asked.is_finished());
    assert_eq!(nodes[0].client.connected().await, [nodes[1].peer()], "nobody is told");
    faults.iter().for_each(Faults::heal);
    assert_eq!(soon("the answer", asked).await.expect("no panic"), answer(1000));
}

#[tokio::test]
async fn what_is_sent_over_a_cut_link_arrives_after_the_healing() {
    a_question_waits_for_the_healing("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn quic_is_cut_like_tcp() {
    a_question_waits_for_the_healing("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test]
async fn a_dial_over_a_cut_link_hangs_until_it_is_healed() {
    let (nodes, faults) = pair("/ip4/127.0.0.1/tcp/0");
    cut(&nodes, &faults);
    let address = nodes[1].client.listen_addrs().await.remove(0);
    let client = nodes[0].client.clone();
    let dialed = tokio::spawn(async move { client.dial(&address).await });
    until(&faults[0], |counts| counts.hung > 0).await;
    assert!(!dialed.is_finished());
    assert!(nodes[1].client.connected().await.is_empty());
    faults.iter().for_each(Faults::heal);
    assert_eq!(soon("the connection", dialed).await.expect("no panic"), Ok(nodes[1].peer()));
}

/// Who says no name of the other dials into the same darkness.
#[tokio::test]
async fn a_dial_by_address_alone_hangs_too() {
    let (nodes, faults) = pair("/ip4/127.0.0.1/tcp/0");
    cut(&nodes, &faults);
    let address = nodes[1].client.listen_addrs().await.remove(0);
    let address = address.split("/p2p/").next().expect("an address").to_owned();
    let client = nodes[0].client.clone();
    let dialed = tokio::spawn(async move { client.dial(&address).await });
    until(&faults[0], |counts| counts.hung > 0).await;
    until(&faults[1], |counts| counts.hung > 0).await;
    assert!(nodes[1].client.connected().await.is_empty());
    faults.iter().for_each(Faults::heal);
    assert_eq!(soon("the connection", dialed).await.expect("no panic"), Ok(nodes[1].peer()));
}

#[tokio::test]
async fn a_slow_link_has_its_rate_and_its_delay() {
    let (mut nodes, faults) = pair("/ip4/127.0.0.1/tcp/0");
    nodes[1].answers(answer(100_000));
    connect(&nodes).await;
    let asked = Instant::now();
    soon("the answer", ask(&nodes)).await.expect("no panic");
    let quick = asked.elapsed();
    faults[0].slow(200_000, Duration::from_millis(150));
    let asked = Instant::now();
    assert_eq!(soon("the answer", ask(&nodes)).await.expect("no panic"), answer(100_000));
    let slow = asked.elapsed();
    // Half a second for the bytes, and once the delay at the least.
    assert!(slow >= Duration::from_millis(650), "{slow:?}, {quick:?} before");
    assert!(faults[0].counts().borrow().late >= 100_000);
    // It is whole again for what comes after.
    faults[0].heal();
    assert_eq!(soon("the answer", ask(&nodes)).await.expect("no panic"), answer(100_000));
}
