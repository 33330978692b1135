//! Repositories: listings, choices, licences, revisions, and the files of one commit.

use hive_api::ErrorKind;
use hive_hub::Hub;

use crate::{REPO, Scene, sample};

#[tokio::test]
async fn a_repository_with_one_model_needs_no_choice() {
    let scene = Scene::new(3_000_000);
    let plan = scene.plan().await.unwrap();
    assert_eq!(plan.source, format!("hf:{REPO}@{}", scene.hub.commit(REPO)));
    assert_eq!(plan.license.as_deref(), Some("apache-2.0"));
    assert_eq!((plan.name.as_str(), plan.is_file), ("tiny-Q8_0", true));
    assert_eq!((plan.size(), plan.to_download()), (3_000_000, 3_000_000));
    let pulled = scene.pull().await.unwrap();
    assert_eq!(pulled, [("tiny-Q8_0.gguf".to_owned(), sample(3_000_000))]);
    let asked = scene.hub.asked();
    assert!(
        asked.iter().all(|asked| asked.headers["user-agent"].starts_with("hive/")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn several_models_are_listed_and_one_is_asked_for() {
    let mut scene = Scene::new(10);
    scene.hub.put(REPO, "tiny-Q4_K_M.gguf", b"smaller");
    let listing =
        Hub::new(scene.options.clone()).look(&scene.request, &scene.tell()).await.unwrap();
    let listed: Vec<_> = listing.choices.iter().map(|one| (one.label.as_str(), one.size)).collect();
    assert_eq!(listed, [("Q4_K_M", 7), ("Q8_0", 10)]);

    let error = scene.plan().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert_eq!(error.hint.as_deref(), Some("`hive add hf:bees/tiny:tiny-Q4_K_M.gguf`"));

    let commit = scene.hub.commit(REPO);
    scene.request.source = format!("hf:{REPO}@{commit}");
    let hint = scene.plan().await.unwrap_err().hint.unwrap();
    assert!(hint.contains(&format!("hf:{REPO}@{commit}:tiny")), "of that revision: {hint}");

    scene.request.source = format!("hf:{REPO}:q8_0");
    assert_eq!(scene.pull().await.unwrap()[0].0, "tiny-Q8_0.gguf");
    scene.request.source = format!("hf:{REPO}:Q2_K");
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::NotFound);
}

/// Small files are checked by their git blob, large ones by SHA-256; both kinds arrive.
#[tokio::test]
async fn safetensors_are_pulled_with_their_tokenizer() {
    // Two of the files have the same bytes, and are on their way at once.
    let mut scene = Scene::new(10);
    for (path, bytes) in [
        ("config.json", b"{}".as_slice()),
        ("tokenizer.json", b"{\"model\":1}"),
        ("model-00001-of-00002.safetensors", b"first"),
        ("model-00002-of-00002.safetensors", b"second"),
        ("model.safetensors.index.json", b"{\"weight_map\":{}}"),
        ("pytorch_model.bin", b"pickle"),
        ("empty.txt", b""),
        ("vocab.json", b"{\"model\":1}"),
    ] {
        scene.hub.put(REPO, path, bytes);
    }
    scene.request.source = format!("hf:{REPO}:safetensors");
    let plan = scene.plan().await.unwrap();
    assert_eq!((plan.name.as_str(), plan.is_file), ("tiny", false));
    let pulled = scene.pull().await.unwrap();
    let paths: Vec<_> = pulled.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "config.json",
            "empty.txt",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
            "vocab.json"
        ]
    );
}

#[tokio::test]
async fn all_pages_of_a_listing_are_read() {
    let mut scene = Scene::new(10);
    for part in 1..=7 {
        let bytes = [part];
        scene.hub.put(REPO, &format!("big-{part:05}-of-00007.gguf"), &bytes);
    }
    scene.hub.pages_of(2);
    scene.request.source = format!("hf:{REPO}:big-00001-of-00007.gguf");
    assert_eq!(scene.pull().await.unwrap().len(), 7);
    let pages = scene.hub.asked().iter().filter(|asked| asked.path.contains("/tree/")).count();
    assert!(pages >= 4, "{pages} pages");
}

/// Everything is asked for at the commit that the revision had at first.
#[tokio::test]
async fn a_branch_is_resolved_once() {
    let scene = Scene::new(10);
    let commit = scene.hub.commit(REPO);
    scene.pull().await.unwrap();
    let asked = scene.hub.asked();
    assert!(asked[0].path.ends_with("/revision/main"));
    assert!(asked[1..].iter().all(|asked| asked.path.contains(&commit)), "{asked:?}");
}

#[tokio::test]
async fn revisions_and_repositories_that_are_not_there_say_so() {
    let mut scene = Scene::new(10);
    for (source, told) in [
        (format!("hf:{REPO}@v9"), "has no such revision"),
        ("hf:bees/none".to_owned(), "no repository"),
    ] {
        scene.request.source = source;
        let error = scene.plan().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.hint.is_some());
    }
    scene.request.source = format!("hf:{REPO}@{}", scene.hub.commit(REPO));
    scene.plan().await.unwrap();
}

#[tokio::test]
async fn a_gated_repository_says_how_to_get_in() {
    let mut scene = Scene::new(10);
    scene.hub.gate(REPO, "hf_right");
    let error = scene.plan().await.unwrap_err();
    let hint = error.hint.unwrap();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(hint.contains("accept its licence at") && hint.contains("HF_TOKEN"), "{hint}");

    scene.token("hf_wrong");
    let hint = scene.plan().await.unwrap_err().hint.unwrap();
    assert!(hint.contains("accept its licence at"), "{hint}");

    scene.token("hf_right");
    scene.pull().await.unwrap();
}

#[tokio::test]
async fn weights_that_are_programs_are_refused_by_name() {
    let mut scene = Scene::new(10);
    scene.hub.put("bees/pickle", "pytorch_model.bin", b"\x80");
    scene.request.source = "hf:bees/pickle".into();
    let error = scene.plan().await.unwrap_err();
    assert!(error.to_string().contains("`pytorch_model.bin`"), "{error}");
}
