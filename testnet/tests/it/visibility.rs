//! Who may have what: public, unlisted, local.

use std::time::Duration;

use hive_api::{ErrorKind, Visibility};
use hive_protocol::chunk_message::{ChunkRequest, Range, Status};
use hive_protocol::message::{Request, Response};
use hive_testnet::{Liar, Lie, Mesh, Sample, TestNode};

use crate::{TestResult, mib, offered};

/// All that a stranger who knows every name in a model can ask for it, and what it gets.
async fn ask_for_everything(
    stranger: &Liar,
    node: &TestNode,
    sample: &Sample,
) -> anyhow::Result<(Vec<Response>, Status, Vec<u8>)> {
    let chunks: Vec<_> = sample.geometry().chunks().iter().map(|chunk| chunk.id).collect();
    let id = sample.id();
    let mut answers = Vec::new();
    for request in [
        Request::Block(id),
        Request::Have { id, since: 0 },
        Request::GroupHashes(chunks.clone()),
        Request::HaveChunks(chunks),
    ] {
        answers.push(stranger.ask(node.peer(), &request).await?);
    }
    let chunk = sample.geometry().chunks()[0];
    let range = Range { chunk: chunk.id, size: chunk.size, first: 0, n: 1 };
    let (header, bytes) =
        stranger.ask_chunks(node.peer(), &ChunkRequest::new(id, vec![range])).await?;
    Ok((answers, header.status, bytes))
}

fn is_refused(answers: &[Response]) -> bool {
    matches!(answers, [Response::NotHeld, Response::NotHeld, Response::GroupHashes(hashes), Response::HaveChunks(bits)]
        if hashes.iter().all(|list| list.is_empty()) && bits.iter().all(|bits| *bits == 0))
}

/// A local model is as if it were not there, for hives and for strangers, whatever they know.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_model_is_announced_to_nobody_and_served_to_nobody() -> TestResult {
    let mesh = Mesh::empty().await?;
    let (secret, public) = (Sample::random(51, mib(3)), Sample::random(52, mib(3)));
    let owner = mesh.node().await?;
    owner.add("secret.bin", secret.bytes(), Visibility::Local).await?;
    owner.add("public.bin", public.bytes(), Visibility::Public).await?;
    let reader = mesh.node_with(|config| config.provider_timeout = Duration::from_secs(3)).await?;
    // What is public has come through by every way before it is said that the other has not.
    offered(&reader, "public").await?;
    let stranger = mesh.liar(Lie::None, &Sample::random(53, 10)).await?;
    stranger.dial(&mesh.bootstrap.address()).await?;
    stranger.dial(&owner.address()).await?;
    let provided = stranger.providers(public.id(), 1).await?;
    assert_eq!(provided, [owner.peer()]);

    assert!(reader.hive().search(crate::find("secret")).await?.is_empty());
    assert!(stranger.providers(secret.id(), 0).await?.is_empty());
    let id = secret.id().to_string();
    let error = reader.fetch_from(&id, &owner.address()).await?.failure().await?;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");

    let (answers, status, bytes) = ask_for_everything(&stranger, &owner, &secret).await?;
    assert!(is_refused(&answers), "{answers:?}");
    assert_eq!((status, bytes.len()), (Status::NotHeld, 0));
    assert_eq!(owner.uploaded().await?, 0);

    // The same questions are answered for what is public: it was not the questions.
    let (answers, status, bytes) = ask_for_everything(&stranger, &owner, &public).await?;
    assert!(matches!(answers[0], Response::Block(_)) && matches!(answers[1], Response::Have(_)));
    assert_eq!(status, Status::Ok);
    assert!(bytes == public.bytes()[..1 << 20]);
    Ok(())
}

/// An unlisted model is for whoever has its id from somebody.
#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_model_is_served_and_announced_to_nobody() -> TestResult {
    let mesh = Mesh::empty().await?;
    let (unlisted, public) = (Sample::random(54, mib(3)), Sample::random(55, mib(3)));
    let owner = mesh.node().await?;
    owner.add("unlisted.bin", unlisted.bytes(), Visibility::Unlisted).await?;
    owner.add("public.bin", public.bytes(), Visibility::Public).await?;
    let reader = mesh.node().await?;
    offered(&reader, "public").await?;
    let stranger = mesh.liar(Lie::None, &Sample::random(56, 10)).await?;
    stranger.dial(&mesh.bootstrap.address()).await?;
    stranger.dial(&owner.address()).await?;
    assert_eq!(stranger.providers(public.id(), 1).await?, [owner.peer()]);

    assert!(reader.hive().search(crate::find("unlisted")).await?.is_empty());
    assert!(stranger.providers(unlisted.id(), 0).await?.is_empty());
    let id = unlisted.id().to_string();
    let fetched = reader.fetch_from(&id, &owner.address()).await?.finish().await?;
    assert!(std::fs::read(&fetched.path)? == *unlisted.bytes());
    Ok(())
}

/// `share` takes a model back: from then on it is as if it had never been there.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_made_local_is_served_no_more() -> TestResult {
    let mesh = Mesh::empty().await?;
    let sample = Sample::random(57, mib(3));
    let owner = mesh.node().await?;
    let id = owner.add("changing.bin", sample.bytes(), Visibility::Public).await?.cid;
    let stranger = mesh.liar(Lie::None, &Sample::random(58, 10)).await?;
    stranger.dial(&owner.address()).await?;
    let (_, status, _) = ask_for_everything(&stranger, &owner, &sample).await?;
    assert_eq!(status, Status::Ok);

    owner.hive().share(&id, Visibility::Local).await?;
    let (answers, status, bytes) = ask_for_everything(&stranger, &owner, &sample).await?;
    assert!(is_refused(&answers), "{answers:?}");
    assert_eq!((status, bytes.len()), (Status::NotHeld, 0));
    Ok(())
}
