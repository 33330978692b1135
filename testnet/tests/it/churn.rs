//! Providers that go away, and fetches that are stopped.

use std::time::{Duration, Instant};

use hive_api::{ErrorKind, Visibility};
use hive_testnet::{Mesh, TestNode, sample};

use crate::{MIB, TestResult, mib};

/// Three slow providers of the same bytes.
async fn three(mesh: &Mesh, bytes: &[u8]) -> anyhow::Result<(String, Vec<TestNode>)> {
    let (mut id, mut providers) = (String::new(), Vec::new());
    for _ in 0..3 {
        let provider = mesh.node_with(|config| config.upload_limit = Some(5_000_000)).await?;
        id = provider.add("three.bin", bytes, Visibility::Public).await?.cid;
        providers.push(provider);
    }
    Ok((id, providers))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_providers_dies_at_half_time_and_the_fetch_completes() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(21, mib(48));
    let (id, mut providers) = three(&mesh, &bytes).await?;
    let reader = mesh.node().await?;
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(24 * MIB).await?;
    providers[0].kill();
    let fetched = fetch.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(fetched.bytes_from(providers[0].peer()) > 0, "it died before it gave anything");
    assert!(fetched.struck().is_empty(), "dying is no lie: {:?}", fetched.peers);
    Ok(())
}

/// All die: the fetch says so soon, keeps what it has, and goes on from there when one is back.
#[tokio::test(flavor = "multi_thread")]
async fn all_providers_die_and_the_fetch_resumes_when_one_is_back() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(22, mib(48));
    let (id, mut providers) = three(&mesh, &bytes).await?;
    // The default patience: what is measured is what a user sees.
    let reader = mesh.node().await?;
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(24 * MIB).await?;
    providers.iter_mut().for_each(TestNode::kill);
    let killed = Instant::now();
    let error = fetch.failure().await?;
    let took = killed.elapsed();
    println!("after {:.1} s: {error}", took.as_secs_f64());
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unreachable), "{error:?}");
    assert!(error.hint.is_some(), "what to do next?");
    let had = fetch.bytes();

    providers[1].restart().await?;
    let fetched = reader.fetch_from(&id, &providers[1].address()).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(fetched.present() >= had, "{} of {had} bytes were kept", fetched.present());
    let missing = bytes.len() as u64 - fetched.present();
    let uploaded = providers[1].uploaded().await?;
    println!(
        "{had} bytes before, {missing} missing, {uploaded} sent by the provider that came back"
    );
    assert_eq!(fetched.bytes_from_peers(), missing);
    // Groups that were asked of two connections at the tail are the planner's right.
    assert!(uploaded <= missing + 4 * MIB, "{uploaded} bytes for {missing}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_fetch_goes_on_from_where_it_was() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(23, mib(32));
    let provider = mesh.node_with(|config| config.upload_limit = Some(8_000_000)).await?;
    let id = provider.add("cancelled.bin", &bytes, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(8 * MIB).await?;
    reader.hive().cancel(&id).await?;
    let error = fetch.failure().await?;
    assert_eq!(error.kind, ErrorKind::Interrupted, "{error:?}");
    let had = fetch.bytes();

    let fetched = reader.fetch(&id).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(fetched.present() >= had, "{} of {had} bytes were kept", fetched.present());
    assert_eq!(fetched.bytes_from_peers(), bytes.len() as u64 - fetched.present());
    Ok(())
}

/// A reader that is stopped and started again knows what it has without hashing it or asking for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_resumes_after_a_restart() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(24, mib(32));
    let provider = mesh.node_with(|config| config.upload_limit = Some(8_000_000)).await?;
    let id = provider.add("restart.bin", &bytes, Visibility::Public).await?.cid;
    let mut reader = mesh.node().await?;
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(12 * MIB).await?;
    let had = fetch.bytes();
    drop(fetch);
    reader.shutdown().await?;
    reader.restart().await?;
    let fetched = reader.fetch(&id).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(fetched.present() >= had, "{} of {had} bytes were kept", fetched.present());
    Ok(())
}
