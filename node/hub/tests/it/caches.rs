//! Models that other programs keep on this disk.

use std::fs;
use std::path::{Path, PathBuf};

use hive_api::ErrorKind;
use hive_hub::{Hub, Places};

use crate::{REPO, Scene, sample, sha256};

const LEN: usize = 300_000;

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A cache as `hf download` leaves it.
fn hub_cache(scene: &mut Scene, bytes: &[u8], commit: &str) -> PathBuf {
    let cache = scene.dir.path().join("hf/hub");
    let repo = cache.join("models--bees--tiny");
    let blob = repo.join("blobs").join(sha256(bytes));
    write(&blob, bytes);
    write(&repo.join("refs/main"), commit.as_bytes());
    let snapshot = repo.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    link(&blob, &snapshot.join("tiny-Q8_0.gguf"));
    scene.options.places = Places { hugging_face: vec![cache.clone()], ..Places::default() };
    cache
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

/// Where links need a privilege, the libraries put the file itself there.
#[cfg(not(unix))]
fn link(to: &Path, at: &Path) {
    fs::copy(to, at).unwrap();
}

#[tokio::test]
async fn what_the_cache_has_is_not_downloaded() {
    let mut scene = Scene::new(LEN);
    let commit = scene.hub.commit(REPO);
    hub_cache(&mut scene, &sample(LEN), &commit);
    let plan = scene.plan().await.unwrap();
    assert_eq!((plan.size(), plan.to_download()), (LEN as u64, 0));
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
    assert!(scene.hub.asked().iter().all(|asked| !asked.path.contains("/resolve/")));
}

#[tokio::test]
async fn the_cache_does_without_a_hub() {
    let mut scene = Scene::new(LEN);
    let commit = "c".repeat(40);
    hub_cache(&mut scene, &sample(LEN), &commit);
    scene.request.offline = true;
    assert_eq!(scene.plan().await.unwrap().source, format!("hf:{REPO}@{commit}"));
    assert!(scene.hub.asked().is_empty());

    scene.request.offline = false;
    scene.request.endpoint = Some("http://127.0.0.1:1".into());
    let plan = scene.plan().await.unwrap();
    assert_eq!(plan.to_download(), 0);
    assert!(plan.notes[0].contains("cannot be asked"), "{:?}", plan.notes);

    scene.request.offline = true;
    scene.request.source = "hf:bees/other".into();
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::NotFound);
}

/// A cache of another state of the repository gives nothing but the hub's word counts.
#[tokio::test]
async fn a_cache_with_other_bytes_is_not_taken_for_the_hubs_file() {
    let mut scene = Scene::new(LEN);
    let commit = scene.hub.commit(REPO);
    hub_cache(&mut scene, &sample(LEN - 1), &commit);
    assert_eq!(scene.plan().await.unwrap().to_download(), LEN as u64);
}

/// The same length at another commit: requantized, or with another template in its header.
#[tokio::test]
async fn a_cached_file_of_another_commit_is_not_taken_for_its_length() {
    let mut scene = Scene::new(LEN);
    let mut older = sample(LEN);
    older[7] ^= 1;
    hub_cache(&mut scene, &older, &"c".repeat(40));
    assert_eq!(scene.plan().await.unwrap().to_download(), LEN as u64);
    assert!(scene.pull().await.unwrap()[0].1 == sample(LEN));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_out_of_the_cache_is_not_followed() {
    let mut scene = Scene::new(LEN);
    let commit = scene.hub.commit(REPO);
    let cache = hub_cache(&mut scene, &sample(LEN), &commit);
    let secret = scene.dir.path().join("secret.gguf");
    fs::write(&secret, sample(LEN)).unwrap();
    let at = cache.join("models--bees--tiny/snapshots").join(&commit).join("tiny-Q8_0.gguf");
    fs::remove_file(&at).unwrap();
    link(&secret, &at);
    scene.request.offline = true;
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::NotFound);
}

/// A directory as Ollama leaves it; returns the weights' place.
fn ollama(scene: &mut Scene, digest: &str, layers: &str) -> PathBuf {
    let dir = scene.dir.path().join("ollama");
    let weights = dir.join("blobs").join(format!("sha256-{}", sha256(&sample(LEN))));
    write(&weights, &sample(LEN));
    let license = b"\n  COMMUNITY LICENSE AGREEMENT\nMore of it\n";
    write(&dir.join("blobs").join(format!("sha256-{}", sha256(license))), license);
    let kind = "application/vnd.ollama.image.";
    let manifest = format!(
        r#"{{"schemaVersion":2,"layers":[
            {{"mediaType":"{kind}model","digest":"{digest}","size":{LEN}}},
            {{"mediaType":"{kind}license","digest":"sha256:{}","size":{}}}{layers}]}}"#,
        sha256(license),
        license.len()
    );
    write(&dir.join("manifests/registry.test/library/llama3.2/1b"), manifest.as_bytes());
    scene.options.places = Places { ollama: vec![dir], ..Places::default() };
    scene.request.source = "ollama:llama3.2:1b".into();
    weights
}

#[tokio::test]
async fn a_model_of_ollama_is_taken_in_place() {
    let mut scene = Scene::new(1);
    let template =
        r#",{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:00","size":1}"#;
    let weights = ollama(&mut scene, &format!("sha256:{}", sha256(&sample(LEN))), template);
    let plan = scene.plan().await.unwrap();
    assert_eq!((plan.name.as_str(), plan.source.as_str()), ("llama3.2:1b", "ollama:llama3.2:1b"));
    assert_eq!(plan.license.as_deref(), Some("COMMUNITY LICENSE AGREEMENT"));
    assert!(plan.notes.contains(&"left with Ollama: template".to_owned()), "{:?}", plan.notes);
    let ready = plan.ready(Path::new("unused"));
    assert_eq!(ready[0].at, weights.canonicalize().unwrap());
    assert_eq!(ready[0].sha256.map(hex::encode), Some(sha256(&sample(LEN))));
    assert_eq!(ready[0].path.as_str(), "llama3.2-1b.gguf");

    let found = Hub::new(scene.options.clone()).discover().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].source.as_str(), found[0].size), ("ollama:llama3.2:1b", LEN as u64));
}

/// The digest of a manifest once was a way out of the directory of blobs, twice.
#[tokio::test]
async fn a_manifest_cannot_name_a_file_elsewhere() {
    let right = sha256(&sample(LEN));
    for digest in [
        "sha256:../../../secret".to_owned(),
        format!("sha256:{}/../x", &right[..58]),
        format!("sha256:{}", &right[1..]),
        format!("sha256:{right}0"),
        format!("sha256-{right}"),
        right.clone(),
        String::new(),
        format!("sha256:{}", "0".repeat(64)),
        "sha256:".to_owned() + &"a".repeat(100_000),
    ] {
        let mut scene = Scene::new(1);
        ollama(&mut scene, &digest, "");
        let error = scene.plan().await.unwrap_err();
        assert!(error.to_string().contains("cannot be added"), "{digest:.80}: {error}");
    }
    let mut scene = Scene::new(1);
    ollama(&mut scene, &format!("sha256:{right}"), &",0".repeat(10));
    scene.plan().await.unwrap_err();
    scene.request.source = "ollama:none".into();
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn everything_on_the_disk_is_found() {
    let mut scene = Scene::new(LEN);
    hub_cache(&mut scene, &sample(LEN), &"c".repeat(40));
    let cache = scene.options.places.hugging_face.clone();
    let studio = scene.dir.path().join("studio");
    write(&studio.join("bees/big-GGUF/big-Q6_K.gguf"), b"weights");
    write(&studio.join("bees/big-GGUF/README.md"), b"not weights");
    scene.options.places =
        Places { hugging_face: cache, lm_studio: vec![studio.clone()], ..Places::default() };
    let found = Hub::new(scene.options.clone()).discover().await.unwrap();
    let sources: Vec<_> = found.iter().map(|one| one.source.clone()).collect();
    let file = studio.canonicalize().unwrap().join("bees/big-GGUF/big-Q6_K.gguf");
    assert_eq!(sources, [file.display().to_string(), "hf:bees/tiny:tiny-Q8_0.gguf".into()]);
}
