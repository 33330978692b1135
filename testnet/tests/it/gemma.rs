//! The main job with a real model. Skipped, and said so, where the model is not.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::StreamExt;
use hive_api::{RunEvent, RunRequest, Sampling, Visibility};
use hive_testnet::wait::within;
use hive_testnet::{Mesh, TestNode};

use crate::TestResult;

const PROMPT: &str = "The capital of France is";
const CONTINUATION: &str = " the capital of the country of France. It is the largest";

/// The model's file, or why there is none.
fn gemma() -> Option<PathBuf> {
    let file = "gemma-3-270m-q4_k_m.gguf";
    let cache = std::env::var_os("HIVE_TEST_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/hive-test")));
    let path = std::env::var_os("HIVE_GEMMA").map(PathBuf::from);
    let path = path.or_else(|| cache.map(|cache| cache.join(file)))?;
    if path.is_file() {
        return Some(path);
    }
    println!("SKIPPED: `{}` is not there; give the model's path in HIVE_GEMMA", path.display());
    None
}

/// Three nodes hold the model under three file names, each limited to 40 MB/s; a fourth that knows
/// one address gets it byte for byte from all three, and runs it.
#[tokio::test(flavor = "multi_thread")]
async fn gemma_comes_from_three_peers_and_runs() -> TestResult {
    let Some(path) = gemma() else { return Ok(()) };
    let mesh = Mesh::empty().await?;
    let mut providers = Vec::new();
    let mut ids = Vec::new();
    for name in ["gemma.gguf", "gemma-3-270m.gguf", "my favourite model.gguf"] {
        let provider = mesh.node_with(|config| config.upload_limit = Some(40_000_000)).await?;
        let link = provider.write("unused", b"")?.with_file_name(name);
        std::fs::hard_link(&path, &link).or_else(|_| std::fs::copy(&path, &link).map(drop))?;
        ids.push(provider.add_path(&link, Visibility::Public).await?.cid);
        providers.push(provider);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one file, several ids: {ids:?}");

    let reader = mesh.node().await?;
    let fetched = reader.fetch(&ids[0]).await?.finish().await?;

    let bytes = std::fs::read(&path)?;
    assert!(std::fs::read(&fetched.path)? == bytes, "the bytes differ");
    for provider in &providers {
        let part = fetched.bytes_from(provider.peer());
        println!("{part} bytes of {} from {}", bytes.len(), provider.peer());
        assert!(part * 10 >= bytes.len() as u64, "{:?}", fetched.peers);
    }
    let rate = bytes.len() as f64 / 1e6 / fetched.seconds;
    println!(
        "{:.1} s, {rate:.0} MB/s; the providers are limited to 120 MB/s together",
        fetched.seconds
    );

    let text = continue_text(&reader, &ids[0]).await?;
    println!("{PROMPT}{text}");
    assert!(text.starts_with(CONTINUATION), "`{text}`");
    Ok(())
}

async fn continue_text(node: &TestNode, model: &str) -> anyhow::Result<String> {
    let request = RunRequest {
        max_tokens: Some(12),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..RunRequest::new(model, PROMPT)
    };
    let running = async {
        let mut events = node.hive().run(request).await?;
        let mut text = String::new();
        while let Some(event) = events.next().await {
            match event? {
                RunEvent::Text { text: piece, .. } => text.push_str(&piece),
                RunEvent::Done(_) => return Ok(text),
                _ => {}
            }
        }
        Err(anyhow::anyhow!("a run without an end"))
    };
    within("twelve tokens", running).await?.context("running the model")
}
