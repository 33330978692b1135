//! What a hub, or somebody between, could try against the one who asks.

use hive_api::ErrorKind;
use hive_hub::testing::{Fault, TestHub};

use crate::{REPO, Scene, Script, Silent, only_loopback_is_public, sample};

const SECRET: &str = "hf_top_secret";

/// The CDN gives the bytes, and never learns who asked.
#[tokio::test]
async fn a_token_never_follows_a_redirect_to_another_host() {
    let mut scene = Scene::new(100_000);
    let cdn = TestHub::start().unwrap();
    cdn.put("any/repo", "the-same.gguf", &sample(100_000));
    scene.hub.send_to_cdn(&cdn.url());
    scene.token(SECRET);
    assert!(scene.pull().await.unwrap()[0].1 == sample(100_000));

    let told = |hub: &TestHub| {
        hub.asked().iter().filter(|asked| asked.headers.contains_key("authorization")).count()
    };
    assert_eq!(cdn.asked().len(), 1, "the redirect happened");
    assert_eq!(told(&cdn), 0);
    assert_eq!(told(&scene.hub), scene.hub.asked().len(), "the endpoint is told who asks");
    assert!(!cdn.asked().iter().any(|asked| format!("{asked:?}").contains(SECRET)));
}

#[tokio::test]
async fn a_token_is_in_no_error_and_no_debug_output() {
    let mut scene = Scene::new(10);
    scene.token(SECRET);
    scene.hub.gate(REPO, "another");
    let error = scene.plan().await.unwrap_err();
    assert!(!format!("{error:?} {:?} {:?}", scene.request, scene.options).contains(SECRET));
    scene.token("broken\ntoken");
    let error = scene.plan().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(!format!("{error:?}").contains("broken"), "{error:?}");
}

/// A public hub cannot send us to an address of a private network, by number or by name.
#[tokio::test]
async fn a_public_hub_cannot_lead_into_a_private_network() {
    for to in [
        "http://10.0.0.1/admin",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:1/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706434/",
        "http://inside.test/",
    ] {
        let mut scene = Scene::new(10);
        scene.options.is_public = only_loopback_is_public;
        scene.options.plain = true;
        scene.options.lookup = Script::new(["10.1.2.3"]);
        scene.hub.fault("/resolve/", Fault::Redirect(to.into()));
        let error = scene.pull().await.unwrap_err();
        assert_eq!(scene.hub.happened().len(), 1);
        assert_eq!(error.kind, ErrorKind::Refused, "{to}: {error}");
        assert!(error.to_string().contains("private network"), "{to}: {error}");
    }
}

/// The address that was checked is the one that is dialled: a second answer is checked as well.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_not_followed() {
    let mut scene = Scene::new(10);
    scene.options.is_public = only_loopback_is_public;
    scene.options.plain = true;
    scene.options.lookup = Script::new(["127.0.0.1", "127.0.0.1", "192.168.1.1"]);
    scene.request.endpoint = Some(format!("http://hub.test:{}", scene.hub.port()));
    let error = scene.plan().await.unwrap_err();
    assert_eq!(scene.hub.asked().len(), 1, "the first request went through");
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.to_string().contains("private network"), "{error}");
}

#[tokio::test]
async fn a_hub_of_ones_own_may_be_private() {
    let mut scene = Scene::new(10);
    scene.options.lookup = Script::new(["127.0.0.1"]);
    scene.request.endpoint = Some(format!("http://hub.lan:{}", scene.hub.port()));
    scene.pull().await.unwrap();
}

#[tokio::test]
async fn a_public_hub_without_tls_is_refused() {
    let mut scene = Scene::new(10);
    scene.options.lookup = Script::new(["8.8.8.8"]);
    scene.request.endpoint = Some("http://hub.test".into());
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::Refused);
}

#[tokio::test]
async fn a_name_server_that_says_nothing_is_given_up() {
    let mut scene = Scene::new(10);
    scene.options.lookup = std::sync::Arc::new(Silent);
    scene.request.endpoint = Some("https://hub.test".into());
    let error = scene.plan().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.to_string().contains("hub.test"), "{error}");
}

#[tokio::test]
async fn redirects_have_an_end() {
    let scene = Scene::new(10);
    for _ in 0..9 {
        let here = format!("{}/round/resolve/", scene.hub.url());
        scene.hub.fault("/resolve/", Fault::Redirect(here));
    }
    let error = scene.pull().await.unwrap_err();
    assert!(error.to_string().contains("redirects more than 5 times"), "{error}");
    assert_eq!(scene.hub.happened().len(), 6);
}

#[tokio::test]
async fn hostile_file_names_are_left_out() {
    let mut scene = Scene::new(10);
    let huge = "x".repeat(2_000) + ".gguf";
    for path in [
        "../../evil.gguf",
        "/etc/evil.gguf",
        "a\0b.gguf",
        "a\\b.gguf",
        "NUL.gguf",
        "a//b.gguf",
        &huge,
    ] {
        scene.hub.put(REPO, path, b"evil");
    }
    let pulled = scene.pull().await.unwrap();
    assert_eq!(pulled.len(), 1);
    assert_eq!(pulled[0].0, "tiny-Q8_0.gguf");
    scene.request.source = format!("hf:{REPO}:../../evil.gguf");
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::Usage);
}

#[tokio::test]
async fn hostile_json_is_an_error_and_no_more() {
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let lie = br#"[{"type":"file","oid":"../../x","size":1,"path":"a.gguf"}]"#.to_vec();
    let negative = br#"[{"type":"file","oid":"","size":-1,"path":"a.gguf"}]"#.to_vec();
    for (at, fault) in [
        ("/tree/", Fault::Body(deep.clone())),
        ("/revision/", Fault::Body(deep)),
        ("/revision/", Fault::Body(br#"{"sha":"../../../x"}"#.to_vec())),
        ("/tree/", Fault::Body(lie)),
        ("/tree/", Fault::Body(negative)),
        ("/tree/", Fault::Body(b"<html>".to_vec())),
        ("/tree/", Fault::Endless),
        ("/revision/", Fault::Body(format!("\"{}\"", "x".repeat(1 << 20)).into_bytes())),
    ] {
        let scene = Scene::new(10);
        scene.hub.fault(at, fault);
        let error = scene.plan().await.unwrap_err().to_string();
        assert!(error.len() < 1000, "{} bytes of text", error.len());
        assert_eq!(scene.hub.happened().len(), 1);
    }
}

#[tokio::test]
async fn a_listing_without_end_is_cut_off() {
    let scene = Scene::new(10);
    for _ in 0..100 {
        let again = format!("<{}/api/models/{REPO}/tree/main>; rel=\"next\"", scene.hub.url());
        scene.hub.fault("/tree/", Fault::Header("Link", again));
    }
    let error = scene.plan().await.unwrap_err();
    assert_eq!(scene.hub.happened().len(), 64);
    assert_eq!(error.kind, ErrorKind::Refused);
}

#[tokio::test]
async fn a_listing_that_goes_on_elsewhere_is_refused() {
    let scene = Scene::new(10);
    let other = TestHub::start().unwrap();
    let link = format!("<{}/api/models/{REPO}/tree/main>; rel=\"next\"", other.url());
    scene.hub.fault("/tree/", Fault::Header("Link", link));
    assert_eq!(scene.plan().await.unwrap_err().kind, ErrorKind::Refused);
    assert_eq!(scene.hub.happened().len(), 1);
    assert!(other.asked().is_empty());
}
