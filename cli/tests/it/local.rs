//! Commands that need no network: the store and the engine.

use serde_json::Value;

use crate::{User, files, keys};

#[test]
fn model_comes_and_goes() {
    let user = User::new();
    let file = user.file("bees.bin", &vec![7; 3_000_000]);

    let added = user.json(&["--json", "add", &file]);
    assert_eq!(keys(&added), ["chunks", "cid", "name", "size", "storage"]);
    assert_eq!(added["name"], "bees.bin");
    assert_eq!(added["size"], 3_000_000);
    assert_eq!(added["chunks"], 1);
    let cid = added["cid"].as_str().unwrap();
    assert!(cid.starts_with("bafyr4i"), "{cid}");

    let listed = user.json(&["--json", "ls"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["cid"], cid);
    assert_eq!(listed[0]["visibility"], "local");
    assert!(user.run(&["ls"]).ok().contains(cid));

    let shown = user.json(&["--json", "show", "bees.bin"]);
    assert_eq!(shown["cid"], cid);
    assert_eq!(shown["files"][0]["size"], 3_000_000);
    assert!(user.run(&["show", cid]).ok().contains("bees.bin"));

    user.run(&["verify"]).ok();
    assert_eq!(user.json(&["--json", "share", cid])["visibility"], "public");
    assert_eq!(user.json(&["--json", "pin", cid, "--off"])["pinned"], false);
    assert_eq!(user.json(&["--json", "gc", "--dry-run"])["models"], serde_json::json!([cid]));
    assert_eq!(user.json(&["--json", "pin", cid])["pinned"], true);
    let removed = user.json(&["--json", "rm", cid]);
    assert_eq!(keys(&removed), ["freed", "model"]);
    assert_eq!(user.json(&["--json", "ls"]), serde_json::json!([]));
    assert!(std::fs::exists(&file).unwrap(), "the original stays");
}

#[test]
fn id_alone_goes_to_stdout_and_is_the_same_under_every_name() {
    let user = User::new();
    let (one, two) = (user.file("one", b"the same bytes"), user.file("two", b"the same bytes"));
    let first = user.run(&["add", &one, "--name", "uno"]);
    let again = user.run(&["add", &two]);
    assert_eq!(first.ok(), again.ok());
    assert_eq!(first.ok().lines().count(), 1);
    let quiet = user.run(&["-q", "add", &one]);
    assert_eq!((quiet.ok(), quiet.stderr.as_str()), (first.ok(), ""));
}

#[test]
fn raw_manifest_hashes_to_its_id() {
    let user = User::new();
    let file = user.file("x", b"some bytes");
    let added = user.run(&["add", &file]);
    let cid = added.ok().trim();
    let raw = user.command(&["show", cid, "--raw"]).output().unwrap();
    assert_eq!(hive_protocol::BlockId::of(&raw.stdout).to_string(), cid);
}

#[test]
fn model_runs_from_the_store_and_from_a_file() {
    let user = User::new();
    let model = user.model();
    user.run(&["add", &model, "--name", "tiny"]).ok();
    let args = ["Once upon a time", "--temperature", "0", "--max-tokens", "8", "--seed", "1"];
    let run = |model: &str| {
        let mut all = vec!["run", model];
        all.extend(args);
        user.run(&all).ok().to_owned()
    };
    let text = run("tiny");
    assert!(!text.trim().is_empty());
    assert_eq!(run(&model), text);
    assert_eq!(run("tiny.gguf"), text, "a file of that name is there, a model is not");

    let mut all = vec!["--json", "run", "tiny"];
    all.extend(args);
    let ended = user.run(&all);
    let events: Vec<Value> =
        ended.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "loaded");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "done");
    assert_eq!(last["generated_tokens"], 8);
    let texts = events.iter().filter_map(|event| event["text"].as_str());
    assert_eq!(texts.collect::<String>().trim_end(), text.trim_end());
}

#[test]
fn identity_and_status_need_no_node() {
    let user = User::new();
    let id = user.json(&["--json", "id"]);
    assert_eq!(keys(&id), ["addresses", "peer"]);
    assert_eq!(id["addresses"], serde_json::json!([]));
    let status = user.json(&["--json", "status"]);
    assert_eq!(status["peer"], id["peer"]);
    for key in ["addresses", "connected", "models", "fetches"] {
        assert!(status.get(key).is_some(), "{status}");
    }
    assert_eq!(user.run(&["id"]).ok().trim(), id["peer"].as_str().unwrap());
    assert_eq!(user.json(&["--json", "peers"]), serde_json::json!([]));
}

#[test]
fn failures_end_with_one_message_and_their_code() {
    let user = User::new();
    let not_gguf = user.file("notes.txt", b"not a model");
    let missing = user.dir.path().join("missing.gguf").into_os_string().into_string().unwrap();
    for (args, code, told) in [
        (vec!["add", &missing], None, "missing.gguf"),
        (vec!["run", &not_gguf, "hi"], None, "notes.txt"),
        (vec!["run", &missing, "hi"], None, "missing.gguf"),
        (vec!["show", "nothing-of-that-name"], Some(3), "nothing-of-that-name"),
        (vec!["rm", "nothing-of-that-name"], Some(3), "nothing-of-that-name"),
        (vec!["cancel", "nothing-of-that-name"], Some(3), "nothing-of-that-name"),
        (vec!["add", &not_gguf, &not_gguf, "--name", "x"], Some(2), "--name"),
        (vec!["demo", "--model", &missing], Some(2), "missing.gguf"),
    ] {
        let ended = user.run(&args);
        let code = code.unwrap_or_else(|| ended.code.unwrap_or(0));
        assert!([1, 2, 3].contains(&code), "{args:?}: {ended:?}");
        assert!(ended.failed(code).contains(told), "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

/// What is damaged on disk is found, set aside, told, and never run.
#[test]
fn corrupt_model_fails_verification_with_4() {
    let user = User::new();
    let model = user.model();
    user.run(&["add", &model, "--name", "tiny"]).ok();
    let shown = user.json(&["--json", "show", "tiny"]);
    let path = std::path::PathBuf::from(shown["path"].as_str().unwrap());
    let kept = if path.is_dir() { files(&path).remove(0) } else { path };
    let mut bytes = std::fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // The stored file may be read-only, and may be the original under a second name.
    std::fs::remove_file(&kept).unwrap();
    std::fs::write(&kept, bytes).unwrap();

    let ended = user.run(&["verify", "tiny"]);
    assert!(ended.failed(4).contains("damaged"), "{ended:?}");
    // It stays damaged, whoever asks and however often.
    let again = user.run(&["verify"]);
    assert!(again.failed(4).contains("damaged"), "{again:?}");
    let run = user.run(&["run", "tiny", "hi", "--max-tokens", "1", "--provider-timeout", "300ms"]);
    assert_ne!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout, "");
}

#[test]
fn lost_key_is_told_and_can_be_replaced() {
    let user = User::new();
    let before = user.json(&["--json", "id"])["peer"].clone();
    std::fs::remove_file(user.home().join("identity.key")).unwrap();
    let ended = user.run(&["id"]);
    assert!(ended.failed(1).contains("hive id --reset"), "{ended:?}");
    let after = user.json(&["--json", "id", "--reset"])["peer"].clone();
    assert_ne!(after, before);
    assert_eq!(user.json(&["--json", "id"])["peer"], after);
}
