//! Waiting for a model, and following a fetch with others.

use std::time::{Duration, Instant};

use hive_api::{ErrorKind, FetchEvent, FetchRequest, Visibility};
use hive_testnet::{Mesh, Sample, sample};

use crate::{MIB, TestResult, mib};

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_share_one_fetch() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(31, mib(24));
    let provider = mesh.node_with(|config| config.upload_limit = Some(12_000_000)).await?;
    let id = provider.add("followed.bin", &bytes, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let mut first = reader.fetch(&id).await?;
    first.until_bytes(4 * MIB).await?;
    let second = reader.fetch(&id).await?;
    let (first, second) = tokio::try_join!(first.finish(), second.finish())?;
    assert_eq!(first.path, second.path);
    assert!(std::fs::read(&first.path)? == bytes);
    let uploaded = provider.uploaded().await?;
    assert!(uploaded <= bytes.len() as u64 + 4 * MIB, "{uploaded} bytes for two followers");
    Ok(())
}

/// Who follows decides for itself: one that leaves does not stop the fetch of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_leaves_does_not_stop_the_other() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(32, mib(24));
    let provider = mesh.node_with(|config| config.upload_limit = Some(12_000_000)).await?;
    let id = provider.add("left.bin", &bytes, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let mut first = reader.fetch(&id).await?;
    first.until_bytes(2 * MIB).await?;
    let second = reader.fetch(&id).await?;
    drop(first);
    let fetched = second.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_waits_ends_when_somebody_has_it() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(33, mib(5));
    let provider = mesh.node().await?;
    let reader =
        mesh.node_with(|config| config.provider_timeout = Duration::from_millis(500)).await?;
    let request =
        FetchRequest { model: sample.id().to_string(), wait: true, ..FetchRequest::default() };
    let mut fetch = reader.fetch_with(request).await?;
    fetch.until(|event| matches!(event, FetchEvent::Searching { .. })).await?;
    // Without `wait` the same fetch gives up, so this one is waiting.
    let other = Sample::random(34, mib(5)).id().to_string();
    let error = reader.fetch(&other).await?.failure().await?;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");

    provider.add("awaited.bin", sample.bytes(), Visibility::Public).await?;
    let fetched = fetch.finish().await?;
    assert!(std::fs::read(&fetched.path)? == *sample.bytes());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_nobody_has_is_not_found_in_the_time_given() -> TestResult {
    let mesh = Mesh::empty().await?;
    let reader = mesh.node_with(|config| config.provider_timeout = Duration::from_secs(2)).await?;
    let id = Sample::random(35, 1000).id().to_string();
    let start = Instant::now();
    let error = reader.fetch(&id).await?.failure().await?;
    let took = start.elapsed();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(error.to_string().contains(&id), "{error}");
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
    Ok(())
}

/// Without a single connection the answer is another one: the network is what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_bootstrap_is_gone_says_that_nobody_can_be_reached() -> TestResult {
    let mut mesh = Mesh::empty().await?;
    let bootstrap = mesh.bootstrap.address();
    mesh.bootstrap.shutdown().await?;
    let reader = mesh.stranger_with(|config| config.bootstrap = vec![bootstrap]).await?;
    let id = Sample::random(36, 1000).id().to_string();
    let error = reader.fetch(&id).await?.failure().await?;
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    assert!(error.hint.is_some(), "what to do next?");
    Ok(())
}

/// Nobody is known at all: what is missing is an address to join through.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_knows_nobody_says_how_to_join() -> TestResult {
    let mesh = Mesh::empty().await?;
    let reader = mesh.stranger_with(|_| {}).await?;
    let id = Sample::random(38, 1000).id().to_string();
    let error = reader.fetch(&id).await?.failure().await?;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("join")), "what to do next?");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_here_is_fetched_from_nobody() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(37, mib(4));
    let provider = mesh.node().await?;
    let id = provider.add("twice.bin", &bytes, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    reader.fetch(&id).await?.finish().await?;
    let uploaded = provider.uploaded().await?;
    let again = reader.fetch(&id).await?.finish().await?;
    assert_eq!(again.bytes_from_peers(), 0);
    assert_eq!(provider.uploaded().await?, uploaded);
    Ok(())
}
