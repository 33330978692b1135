//! What the network tells of its models: search, names, and names that mean two things.

use hive_api::{ErrorKind, Visibility};
use hive_node::Faults;
use hive_testnet::wait::eventually;
use hive_testnet::{Mesh, sample};

use crate::{TestResult, mib, offered};

#[tokio::test(flavor = "multi_thread")]
async fn search_lists_name_size_and_peers() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(41, mib(2));
    let (one, two, reader) = (mesh.node().await?, mesh.node().await?, mesh.node().await?);
    let id = one.add("findable.bin", &bytes, Visibility::Public).await?.cid;
    two.add("findable.bin", &bytes, Visibility::Public).await?;

    let offer = eventually("both peers in one offer", reader.changes(), async || {
        let offers = reader.hive().search(crate::find("FINDABLE")).await.ok()?;
        offers.into_iter().find(|offer| offer.peers.len() == 2)
    })
    .await?;
    assert_eq!((offer.cid.as_str(), offer.size), (id.as_str(), bytes.len() as u64));
    assert!(offer.name.contains("findable"), "{offer:?}");
    let mut peers = [one.peer(), two.peer()];
    peers.sort_unstable();
    let named: Vec<&str> = offer.peers.iter().map(|peer| peer.peer.as_str()).collect();
    assert_eq!(named, peers);
    assert!(!offer.here);
    assert!(reader.hive().search(crate::find("nothing is called that")).await?.is_empty());
    Ok(())
}

/// The author could not answer thousands, so who hears of a list asks who told it. Here the author
/// and the reader cannot even meet; what a reader's dial did suffer is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_from_whoever_passed_its_head_on() -> TestResult {
    let mesh = Mesh::empty().await?;
    let author = mesh.node().await?;
    let reader = mesh
        .node_with(|config| {
            let faults = Faults::new();
            faults.cut(author.id());
            config.faults = Some(faults);
        })
        .await?;
    mesh.cut(&author, &reader);
    author.add("passed-on.bin", &sample::bytes(46, mib(1)), Visibility::Public).await?;
    let offer = offered(&reader, "passed-on").await?;
    assert_eq!(offer.peers.len(), 1);
    assert_eq!(offer.peers[0].peer, author.peer());
    // They never met: whatever they tried with each other hung.
    let knows = reader.knows(author.peer()).await?;
    assert!(knows.is_none_or(|peer| !peer.connected));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_one_model_fetches_it() -> TestResult {
    let mesh = Mesh::empty().await?;
    let bytes = sample::bytes(42, mib(3));
    let (provider, reader) = (mesh.node().await?, mesh.node().await?);
    let added = provider.add("by-name.bin", &bytes, Visibility::Public).await?;
    offered(&reader, &added.name).await?;

    let fetched = reader.fetch(&added.name).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == bytes);
    let here = reader.hive().list().await?;
    assert_eq!(
        (here[0].cid.as_str(), here[0].name.as_str()),
        (added.cid.as_str(), added.name.as_str())
    );
    assert!(offered(&reader, &added.name).await?.here);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_two_models_is_refused_with_both_ids() -> TestResult {
    let mesh = Mesh::empty().await?;
    let (one, two, reader) = (mesh.node().await?, mesh.node().await?, mesh.node().await?);
    let first = one.add("twin.bin", &sample::bytes(43, mib(1)), Visibility::Public).await?;
    let second = two.add("twin.bin", &sample::bytes(44, mib(1)), Visibility::Public).await?;
    assert_eq!(first.name, second.name);
    eventually("both models in the catalog", reader.changes(), async || {
        (reader.hive().search(crate::find(&first.name)).await.ok()?.len() == 2).then_some(())
    })
    .await?;

    let error = match reader.fetch(&first.name).await {
        Ok(mut fetch) => fetch.failure().await?,
        Err(error) => error.downcast()?,
    };
    assert_eq!(error.kind, ErrorKind::Usage, "{error:?}");
    let text = format!("{error} {}", error.hint.clone().unwrap_or_default());
    assert!(text.contains(&first.cid) && text.contains(&second.cid), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_announces_is_not_found() -> TestResult {
    let mesh = Mesh::empty().await?;
    let reader = mesh.node().await?;
    let error = match reader.fetch("no-such-model").await {
        Ok(mut fetch) => fetch.failure().await?,
        Err(error) => error.downcast()?,
    };
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    Ok(())
}
