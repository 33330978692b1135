//! Many providers, and readers that are providers themselves.

use hive_api::{FetchEvent, Visibility};
use hive_testnet::{Fetched, Lie, Mesh, Sample, TestNode, sample};

use crate::{MIB, TestResult, mib};

/// The main promise, with bytes that are no model: three nodes that call the same bytes by three
/// names, each limited; a fourth that knows one address gets them from all three.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_shared_under_three_names_comes_from_all_three() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(1, mib(96));
    let mut providers = Vec::new();
    let mut ids = Vec::new();
    for name in ["a.bin", "b.weights", "c"] {
        let provider = mesh.node_with(|config| config.upload_limit = Some(40_000_000)).await?;
        ids.push(provider.add(name, &bytes, Visibility::Public).await?.cid);
        providers.push(provider);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one file, several ids: {ids:?}");

    let reader = mesh.node().await?;
    let fetched = reader.fetch(&ids[0]).await?.finish().await?;

    assert!(std::fs::read(&fetched.path)? == bytes, "the bytes differ");
    for provider in &providers {
        let part = fetched.bytes_from(provider.peer());
        assert!(part * 10 >= bytes.len() as u64, "{part} bytes: {:?}", fetched.peers);
        assert!(provider.uploaded().await? >= part);
    }
    assert!(fetched.struck().is_empty());
    Ok(())
}

/// Two readers of one slow seed give each other what they have before they have all of it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_exchange_what_they_have_while_they_fetch() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(2, mib(96));
    let seed = slow_seed(&mesh).await?;
    let readers = [mesh.node().await?, mesh.node().await?];
    let id = seed.add("seed.bin", &bytes, Visibility::Public).await?.cid;
    let [first, second] = exchange(&seed, &readers, &id, bytes.len() as u64).await?;
    assert!(std::fs::read(&first.path)? == bytes);
    assert!(std::fs::read(&second.path)? == bytes);
    Ok(())
}

/// The same with a model of many chunks, where two readers seldom want the same one next.
#[tokio::test(flavor = "multi_thread")]
async fn readers_exchange_chunks_of_a_directory_while_they_fetch() -> TestResult {
    let mesh = Mesh::empty().await?;
    let seed = slow_seed(&mesh).await?;
    let readers = [mesh.node().await?, mesh.node().await?];
    let dir = seed.write("unused", b"")?.with_file_name("tree");
    std::fs::create_dir(&dir)?;
    let mut size = 0;
    for number in 0..24 {
        let bytes = sample::bytes(100 + number, mib(4));
        size += bytes.len() as u64;
        std::fs::write(dir.join(number.to_string()), bytes)?;
    }
    let id = seed.add_path(&dir, Visibility::Public).await?.cid;
    exchange(&seed, &readers, &id, size).await.map(drop)
}

async fn slow_seed(mesh: &Mesh) -> anyhow::Result<TestNode> {
    mesh.node_with(|config| config.upload_limit = Some(12_000_000)).await
}

/// Two readers that begin together.
async fn exchange(
    seed: &TestNode,
    [one, two]: &[TestNode; 2],
    id: &str,
    size: u64,
) -> anyhow::Result<[Fetched; 2]> {
    let (first, second) = (one.fetch(id).await?, two.fetch(id).await?);
    let (first, second) = tokio::try_join!(first.finish(), second.finish())?;
    let exchanged = first.bytes_from(two.peer()) + second.bytes_from(one.peer());
    println!(
        "{exchanged} of {} bytes came from the other reader, in {:.1} and {:.1} s",
        2 * size,
        first.seconds,
        second.seconds
    );
    assert!(exchanged > 0, "{:?} and {:?}", first.peers, second.peers);
    // What they gave each other, the seed did not have to give.
    assert!(seed.uploaded().await? < 2 * size);
    Ok([first, second])
}

/// Whoever gets the model during a fetch becomes a provider of that fetch.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_appears_during_the_fetch_joins_it() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(3, mib(40));
    let slow = mesh.node_with(|config| config.upload_limit = Some(2_000_000)).await?;
    let id = slow.add("slow.bin", &bytes, Visibility::Public).await?.cid;
    let reader = mesh.node().await?;
    let mut fetch = reader.fetch(&id).await?;
    fetch.until_bytes(4 * MIB).await?;

    let late = mesh.node().await?;
    late.add("late.bin", &bytes, Visibility::Public).await?;
    let peer = late.peer().to_owned();
    fetch
        .until(|event| matches!(event, FetchEvent::Peer { peer: joined, .. } if *joined == peer))
        .await?;
    let fetched = fetch.finish().await?;

    assert!(std::fs::read(&fetched.path)? == bytes);
    assert!(
        fetched.bytes_from(late.peer()) > fetched.bytes_from(slow.peer()),
        "{:?}",
        fetched.peers
    );
    Ok(())
}

/// A peer made of stock libp2p, found in the DHT alone, is as good a provider as a hive.
#[tokio::test(flavor = "multi_thread")]
async fn another_implementation_of_the_wire_provides_a_model() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(4, mib(70));
    let stranger = mesh.liar(Lie::None, &sample).await?;
    let reader = mesh.stranger().await?;

    let id = sample.id().to_string();
    let fetched = reader.fetch_from(&id, stranger.address()).await?.finish().await?;

    assert!(std::fs::read(&fetched.path)? == *sample.bytes());
    assert_eq!(fetched.bytes_from(stranger.peer()), sample.len());
    assert_eq!(stranger.counters().lies(), 0);
    Ok(())
}

/// A tree comes with its paths, its empty file, and a file that it has twice only once.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_comes_whole_and_what_it_has_twice_comes_once() -> TestResult {
    let mesh = Mesh::empty().await?;
    let provider = mesh.node().await?;
    let dir = provider.write("unused", b"")?.with_file_name("tree");
    let (large, small) = (sample::bytes(5, mib(9)), sample::bytes(6, 1000));
    std::fs::create_dir_all(dir.join("deep/er"))?;
    std::fs::write(dir.join("model.bin"), &large)?;
    std::fs::write(dir.join("deep/er/copy.bin"), &large)?;
    std::fs::write(dir.join("deep/config.json"), &small)?;
    std::fs::write(dir.join("empty"), b"")?;
    let id = provider.add_path(&dir, Visibility::Public).await?.cid;

    let reader = mesh.node().await?;
    let fetched = reader.fetch(&id).await?.finish().await?;

    let read = |path: &str| std::fs::read(fetched.path.join(path));
    assert!(read("model.bin")? == large && read("deep/er/copy.bin")? == large);
    assert!(read("deep/config.json")? == small && read("empty")?.is_empty());
    assert_eq!(fetched.bytes_from_peers(), (large.len() + small.len()) as u64);
    Ok(())
}
