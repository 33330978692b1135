//! The whole of it in one command.

use crate::User;

#[test]
fn demo_fetches_from_several_verifies_and_runs() {
    let user = User::new();
    let temp = user.dir.path().join("tmp");
    std::fs::create_dir(&temp).unwrap();
    let output = user.command(&["--json", "demo"]).env("TMPDIR", &temp).output().unwrap();
    let ended: crate::Ended = output.into();
    let demo: serde_json::Value = serde_json::from_str(ended.ok()).unwrap();
    assert_eq!(demo["identical"], true);
    assert_eq!(demo["bytes"], hive_node::TINY_MODEL.len());
    let peers = demo["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 3);
    let bytes: u64 = peers.iter().map(|peer| peer["bytes"].as_u64().unwrap()).sum();
    assert_eq!(bytes, hive_node::TINY_MODEL.len() as u64, "{demo}");
    assert!(!demo["text"].as_str().unwrap().is_empty());
    assert!(crate::files(&temp).is_empty(), "nothing is left behind: {:?}", crate::files(&temp));
    assert!(!user.home().exists(), "the user's own home was not touched");
}
