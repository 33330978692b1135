//! Providers that lie. Each test first shows that the liar lied.

use hive_api::{ErrorKind, FetchEvent, Visibility};
use hive_testnet::liar::Wrong;
use hive_testnet::wait::eventually;
use hive_testnet::{Fetched, Liar, Lie, Mesh, Sample, TestNode};

use crate::{MIB, TestResult, mib};

/// What a liar that lies from its first byte may cost.
const FROM_THE_START: u64 = 2 * MIB;
/// What one that turns later may cost: all that is asked of one peer at a time.
const WINDOW: u64 = 16 * MIB;
/// What a stream's window and the sockets hold that nobody asked for, of a liar that never stops.
const BUFFERS: u64 = 2 * MIB;

/// A fetch that knows the liar alone until it was lied to, and two honest nodes from then on, which
/// are slow enough for the liar to be given its second chance.
async fn meets(lie: Lie) -> anyhow::Result<(Liar, TestNode, Fetched)> {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(11, mib(32));
    let has_manifest = lie != Lie::Manifest;
    let liar = mesh.liar(lie, &sample).await?;
    let slow = |config: &mut hive_node::Config| config.upload_limit = Some(6_000_000);
    let honest = [mesh.node_with(slow).await?, mesh.node_with(slow).await?];
    for node in &honest {
        let added = node.add("honest.bin", sample.bytes(), Visibility::Public).await?;
        assert_eq!(added.cid, sample.id().to_string());
    }
    let reader = mesh.stranger().await?;
    let id = sample.id().to_string();
    let mut fetch = reader.fetch_from(&id, liar.address()).await?;
    if has_manifest {
        fetch.until(|event| matches!(event, FetchEvent::Peer { .. })).await?;
    }
    let lied = async || (liar.counters().lies() > 0).then_some(());
    eventually("a lie", liar.counters().lying(), lied).await?;
    for node in &honest {
        reader.connect(&node.address()).await?;
    }
    let fetched = fetch.finish().await?;
    assert!(std::fs::read(&fetched.path)? == *sample.bytes(), "the bytes differ");
    for node in &honest {
        assert!(!fetched.struck().contains(&node.peer()), "an honest node was blamed");
        assert!(!reader.has_banned(node.peer()).await?, "an honest node was banned");
    }
    let counters = liar.counters();
    println!(
        "{} lies in {} requests, {} bytes sent, {} of them from the first lie on",
        counters.lies(),
        counters.requests(),
        counters.sent(),
        counters.wasted()
    );
    Ok((liar, reader, fetched))
}

/// An hour, less what the test takes.
const AN_HOUR: u64 = 3_000;
/// Who is silent may be ill rather than bad, and is banned for some minutes.
const MINUTES: u64 = 300;

/// The liar is in the report by name, was told of as it happened, and is banned.
async fn is_named(liar: &Liar, reader: &TestNode, fetched: &Fetched, at_least: u64) -> TestResult {
    assert_eq!(fetched.struck(), [liar.peer()], "{:?}", fetched.peers);
    let told = |event: &FetchEvent| matches!(event, FetchEvent::Struck { peer, .. } if *peer == liar.peer());
    assert!(fetched.events.iter().any(told), "{:?}", fetched.events);
    let banned = reader.knows(liar.peer()).await?.and_then(|known| known.banned_secs);
    assert!(banned.is_some_and(|seconds| seconds > at_least), "banned for {banned:?}");
    Ok(())
}

async fn costs_two_groups(lie: Lie) -> TestResult {
    // A stream that ends early may be anybody's fault, if it does so twice: minutes, no hour.
    let at_least = if lie == Lie::Short { MINUTES } else { AN_HOUR };
    let (liar, reader, fetched) = meets(lie).await?;
    is_named(&liar, &reader, &fetched, at_least).await?;
    let sent = liar.counters().sent();
    assert!(sent <= FROM_THE_START, "the liar sent {sent} bytes");
    assert_eq!(fetched.bytes_from(liar.peer()), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_first_byte_is_named_and_costs_two_groups() -> TestResult {
    costs_two_groups(Lie::Bytes(Wrong::FirstByte)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_last_byte_is_named_and_costs_two_groups() -> TestResult {
    costs_two_groups(Lie::Bytes(Wrong::LastByte)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_are_named_and_cost_two_groups() -> TestResult {
    costs_two_groups(Lie::Bytes(Wrong::Random)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_named_and_cost_two_groups() -> TestResult {
    costs_two_groups(Lie::Bytes(Wrong::Zeros)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_bytes_are_named_and_cost_less_than_two_groups() -> TestResult {
    costs_two_groups(Lie::Short).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_cut_where_it_should_have_ended() -> TestResult {
    let (liar, reader, fetched) = meets(Lie::Endless).await?;
    is_named(&liar, &reader, &fetched, AN_HOUR).await?;
    let sent = liar.counters().sent();
    assert!(sent <= FROM_THE_START + BUFFERS, "the liar sent {sent} bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_over_every_limit_is_named_and_costs_nothing() -> TestResult {
    costs_two_groups(Lie::Header).await
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_nobody_asked_for_are_named() -> TestResult {
    costs_two_groups(Lie::Unasked).await
}

/// The groups' hashes are proven before any group is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn group_hashes_that_do_not_fold_are_named_and_cost_no_group() -> TestResult {
    let (liar, _, fetched) = meets(Lie::Hashes).await?;
    assert_eq!(fetched.struck(), [liar.peer()], "{:?}", fetched.peers);
    assert_eq!(liar.counters().wasted(), liar.counters().sent());
    Ok(())
}

/// Good groups earn a peer a window; what it sends after it turned is within that window.
#[tokio::test(flavor = "multi_thread")]
async fn a_liar_that_turns_later_costs_its_window() -> TestResult {
    let (liar, reader, fetched) = meets(Lie::After { groups: 6 }).await?;
    is_named(&liar, &reader, &fetched, AN_HOUR).await?;
    let wasted = liar.counters().wasted();
    assert!(wasted > 0 && wasted <= WINDOW, "the liar sent {wasted} bytes after it turned");
    Ok(())
}

/// Somebody who says that it has all and then has nothing is no liar worth a ban, but no obstacle.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_nothing_of_what_it_says_is_passed_by() -> TestResult {
    let (liar, _, fetched) = meets(Lie::Empty).await?;
    assert_eq!(fetched.bytes_from(liar.peer()), 0);
    assert_eq!(liar.counters().sent(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_manifest_is_had_from_the_next_peer_and_the_liar_banned() -> TestResult {
    let (liar, reader, fetched) = meets(Lie::Manifest).await?;
    assert!(reader.has_banned(liar.peer()).await?);
    assert_eq!(fetched.bytes_from(liar.peer()), 0);
    assert_eq!(liar.counters().sent(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_manifest_and_nobody_else_is_a_failed_verification() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(12, mib(3));
    let liar = mesh.liar(Lie::Manifest, &sample).await?;
    let reader = mesh.stranger_with(|_| {}).await?;
    let id = sample.id().to_string();
    let error = reader.fetch_from(&id, liar.address()).await?.failure().await?;
    assert!(liar.counters().lies() > 0);
    assert_eq!(error.kind, ErrorKind::Verification, "{error}");
    assert!(error.to_string().contains(liar.peer()), "the liar is not named: {error}");
    Ok(())
}

/// Wrong bytes and nobody else: the fetch says who lied, and keeps nothing.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_and_nobody_else_is_a_failed_verification() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(13, mib(8));
    let liar = mesh.liar(Lie::Bytes(Wrong::Random), &sample).await?;
    let reader = mesh.stranger_with(|_| {}).await?;
    let id = sample.id().to_string();
    let error = reader.fetch_from(&id, liar.address()).await?.failure().await?;
    assert!(liar.counters().lies() > 0);
    assert_eq!(error.kind, ErrorKind::Verification, "{error}");
    assert!(error.to_string().contains(liar.peer()), "the liar is not named: {error}");
    assert!(liar.counters().sent() <= FROM_THE_START);
    Ok(())
}

/// A peer that takes a request and says nothing, while the others are so slow that the fetch lasts
/// longer than anybody's patience.
async fn starves(lie: Lie) -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(14, mib(48));
    let liar = mesh.liar(lie, &sample).await?;
    let slow = |config: &mut hive_node::Config| config.upload_limit = Some(600_000);
    let honest = [mesh.node_with(slow).await?, mesh.node_with(slow).await?];
    for node in &honest {
        node.add("honest.bin", sample.bytes(), Visibility::Public).await?;
    }
    let reader = mesh.node().await?;
    let id = sample.id().to_string();
    let fetched = reader.fetch_from(&id, liar.address()).await?.finish().await?;

    assert!(liar.counters().lies() > 0, "nobody was left waiting");
    println!(
        "{} requests were left waiting, {:.1} s in all",
        liar.counters().requests(),
        fetched.seconds
    );
    assert!(std::fs::read(&fetched.path)? == *sample.bytes(), "the bytes differ");
    assert!(fetched.seconds > 15.0, "too quick to show anything: {:.1} s", fetched.seconds);
    is_named(&liar, &reader, &fetched, MINUTES).await?;
    assert!(liar.counters().sent() <= FROM_THE_START);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_answers_is_named_and_banned() -> TestResult {
    starves(Lie::Silent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_after_a_byte_is_named_and_banned() -> TestResult {
    starves(Lie::OneByte).await
}
