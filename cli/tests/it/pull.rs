//! Models from a hub, an address or another program, as a user brings them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hive_hub::testing::{Fault, TestHub};
use serde_json::Value;

use crate::{User, files};

const REPO: &str = "bees/tiny";

fn hub() -> TestHub {
    let hub = TestHub::start().unwrap();
    hub.put(REPO, "tiny-Q8_0.gguf", hive_node::TINY_MODEL);
    hub.license(REPO, "apache-2.0");
    hub
}

/// A command of a user who asks this hub.
fn asking(user: &User, hub: &TestHub, args: &[&str]) -> Command {
    let mut command = user.command(args);
    command.env("HF_ENDPOINT", hub.url());
    command
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the README promises: from a fresh home to the first token.
#[test]
fn a_model_of_a_hub_runs_after_one_command() {
    let (user, hub) = (User::new(), hub());
    let added = asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap();
    let added = crate::Ended::from(added);
    let cid = added.ok().trim().to_owned();
    assert!(cid.starts_with("bafyr4i"), "{added:?}");
    let told = format!("adding `hf:{REPO}@{}`", hub.commit(REPO));
    assert!(added.stderr.contains(&told), "{added:?}");

    let run = user.run(&["run", "tiny-Q8_0", "Once upon a time", "--max-tokens", "4"]);
    assert!(!run.ok().trim().is_empty());

    let shown = user.json(&["--json", "show", &cid]);
    assert_eq!(shown["license"], "apache-2.0");
    // The same bytes as a file have the same id, and nothing is left of the download.
    assert_eq!(user.run(&["add", &user.model()]).ok().trim(), cid);
    assert_eq!(files(&user.home().join("models/.downloads")), Vec::<std::path::PathBuf>::new());
    assert!(user.json(&["--json", "status"])["disk_used"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_here_under_a_name_keeps_it() {
    let (user, hub) = (User::new(), hub());
    user.run(&["add", &user.model(), "--name", "mine"]).ok();
    let ended: crate::Ended =
        asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap().into();
    assert!(ended.stderr.contains("mine"), "{ended:?}");
    assert_eq!(user.json(&["--json", "ls"])[0]["name"], "mine");
    let named = asking(&user, &hub, &["add", "hf:bees/tiny", "--name", "other"]).output().unwrap();
    crate::Ended::from(named).ok();
    assert_eq!(user.json(&["--json", "ls"])[0]["name"], "other");
}

#[test]
fn several_models_are_an_error_with_the_command_that_does_it() {
    let (user, hub) = (User::new(), hub());
    hub.put(REPO, "tiny-Q4_0.gguf", b"no model, and not asked for");
    let ended: crate::Ended =
        asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap().into();
    let told = ended.failed(2);
    assert!(told.contains("tiny-Q8_0.gguf") && told.contains("tiny-Q4_0.gguf"), "{told}");
    assert!(
        told.contains("`hive add hf:bees/tiny:tiny-Q8_0.gguf`")
            || told.contains("`hive add hf:bees/tiny:tiny-Q4_0.gguf`"),
        "{told}"
    );

    let named = asking(&user, &hub, &["--json", "add", "hf:bees/tiny:q8_0", "--name", "mine"]);
    let ended: crate::Ended = { named }.output().unwrap().into();
    let events = events(ended.ok());
    assert_eq!(events[0]["event"], "found");
    let done = events.last().unwrap();
    assert_eq!((&done["event"], &done["name"]), (&"done".into(), &"mine".into()));
}

/// A broken line in the middle, and a command that is killed there: the next one goes on.
#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let (user, hub) = (User::new(), hub());
    let half = hive_node::TINY_MODEL.len() / 2;
    hub.fault("tiny-Q8_0.gguf", Fault::Truncate(half));
    hub.fault("tiny-Q8_0.gguf", Fault::Stall(0));
    let mut pulling = asking(&user, &hub, &["--json", "add", "hf:bees/tiny"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(pulling.stdout.take().unwrap()).lines();
    // After the pause the stalled request is on its way, and half of the file is on the disk.
    let retried = lines.by_ref().any(|line| line.unwrap().contains("\"retry\""));
    assert!(retried);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    drop(lines);
    // The request that stalls may not have come; what happened so far did.
    assert_eq!(hub.happened()[0], Fault::Truncate(half));

    let removed = user.run(&["gc", "--dry-run"]);
    assert!(!removed.ok().contains("hf:"), "a download of today is not abandoned: {removed:?}");
    let ended: crate::Ended =
        asking(&user, &hub, &["--json", "add", "hf:bees/tiny"]).output().unwrap().into();
    let events = events(ended.ok());
    assert_eq!(events[0]["present"], half);
    let asked = hub.asked();
    let last = asked.iter().rfind(|asked| asked.path.contains("/resolve/")).unwrap();
    assert_eq!(last.headers["range"], format!("bytes={half}-"));
}

/// The node was started without a word of any hub; the command brings what it needs. Two commands
/// for one source do not write to one file, and one that leaves makes room for the next.
#[test]
fn a_running_node_pulls_one_source_once_at_a_time() {
    let (user, hub) = (User::new(), hub());
    let node = user.join(&[]);
    hub.gate(REPO, "hf_token");
    hub.fault("tiny-Q8_0.gguf", Fault::Stall(1000));
    let add = |json: bool| {
        let args: &[&str] =
            if json { &["--json", "add", "hf:bees/tiny"] } else { &["add", "hf:bees/tiny"] };
        let mut command = asking(&user, &hub, args);
        command.env("HF_TOKEN", "hf_token");
        command
    };
    let mut first = add(true).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("\"progress\"")));

    let second: crate::Ended = add(false).output().unwrap().into();
    assert!(second.failed(1).contains("is being added already"), "{second:?}");

    first.kill().unwrap();
    first.wait().unwrap();
    // The node hears of that when it does.
    let third = (0..100)
        .map(|_| crate::Ended::from(add(false).output().unwrap()))
        .find(|ended| !ended.stderr.contains("is being added already"))
        .unwrap();
    third.ok();
    assert_eq!(hub.happened(), [Fault::Stall(1000)]);
    drop(node);
}

#[test]
fn a_leftover_is_removed_by_the_name_of_its_source() {
    let (user, hub) = (User::new(), hub());
    hub.fault("tiny-Q8_0.gguf", Fault::Truncate(1000));
    for _ in 0..4 {
        hub.fault("tiny-Q8_0.gguf", Fault::Status(404, None));
    }
    let ended: crate::Ended =
        asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap().into();
    ended.failed(3);
    assert_eq!(user.run(&["rm", "hf:bees/tiny"]).code, Some(0));
    assert_eq!(files(&user.home().join("models/.downloads")), Vec::<std::path::PathBuf>::new());
    user.run(&["rm", "hf:bees/tiny"]).failed(3);
}

#[test]
fn what_has_no_room_is_refused_before_its_first_byte() {
    let (user, hub) = (User::new(), hub());
    let mut command = asking(&user, &hub, &["add", "hf:bees/tiny"]);
    let ended: crate::Ended = command.env("HIVE_QUOTA", "1000").output().unwrap().into();
    assert!(ended.failed(5).contains("no room"), "{ended:?}");
    assert!(hub.asked().iter().all(|asked| !asked.path.contains("/resolve/")));
}

#[test]
fn wrong_bytes_are_not_added() {
    let (user, hub) = (User::new(), hub());
    hub.fault("tiny-Q8_0.gguf", Fault::OtherBytes);
    let ended: crate::Ended =
        asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap().into();
    ended.failed(4);
    assert_eq!(hub.happened(), [Fault::OtherBytes]);
    assert_eq!(user.json(&["--json", "ls"]), serde_json::json!([]));
}

#[test]
fn a_gated_repository_says_what_to_do_and_takes_the_token_of_the_environment() {
    let (user, hub) = (User::new(), hub());
    hub.gate(REPO, "hf_token");
    let ended: crate::Ended =
        asking(&user, &hub, &["add", "hf:bees/tiny"]).output().unwrap().into();
    assert!(ended.failed(7).contains("HF_TOKEN"), "{ended:?}");
    let mut command = asking(&user, &hub, &["-vvv", "add", "hf:bees/tiny"]);
    let ended: crate::Ended = command.env("HF_TOKEN", "hf_token").output().unwrap().into();
    ended.ok();
    assert!(!ended.stderr.contains("hf_token"), "a token is in no log");
}

#[test]
fn an_address_needs_the_digest_of_its_file() {
    let (user, hub) = (User::new(), hub());
    hub.put_file("tiny.gguf", hive_node::TINY_MODEL);
    let address = format!("{}/files/tiny.gguf", hub.url());
    assert!(user.run(&["add", &address]).failed(2).contains("--sha256"));
    let wrong = "0".repeat(64);
    user.run(&["add", &address, "--sha256", &wrong]).failed(4);
    // The store knows the digest of the same bytes.
    let cid = user.run(&["add", &user.model()]).ok().trim().to_owned();
    let shown = user.json(&["--json", "show", &cid]);
    let right = shown["files"][0]["sha256"].as_str().unwrap().to_owned();
    let other = User::new();
    assert_eq!(other.run(&["add", &address, "--sha256", &right]).ok().trim(), cid);
}

/// The weights of Ollama get a second name and no second copy.
#[test]
fn a_model_of_ollama_is_found_and_added_in_place() {
    let user = User::new();
    let cid = user.run(&["add", &user.model(), "--name", "reference"]).ok().trim().to_owned();
    let sha256 = user.json(&["--json", "show", &cid])["files"][0]["sha256"].clone();
    let sha256 = sha256.as_str().unwrap();
    let dir = user.dir.path().join(".ollama/models");
    std::fs::create_dir_all(dir.join("blobs")).unwrap();
    let weights = dir.join("blobs").join(format!("sha256-{sha256}"));
    std::fs::write(&weights, hive_node::TINY_MODEL).unwrap();
    let manifest = serde_json::json!({ "schemaVersion": 2, "layers": [{
        "mediaType": "application/vnd.ollama.image.model",
        "digest": format!("sha256:{sha256}"),
        "size": hive_node::TINY_MODEL.len(),
    }]});
    let tag = dir.join("manifests/registry.test/library/bees/latest");
    std::fs::create_dir_all(tag.parent().unwrap()).unwrap();
    std::fs::write(&tag, manifest.to_string()).unwrap();

    let found = user.json(&["--json", "add", "--found"]);
    assert_eq!(found[0]["source"], "ollama:bees:latest");
    assert!(user.run(&["add", "--found"]).ok().contains("ollama:bees:latest"));

    let other = User::new();
    let added = {
        let mut command = other.command(&["add", "ollama:bees"]);
        crate::Ended::from(command.env("OLLAMA_MODELS", &dir).output().unwrap())
    };
    assert_eq!(added.ok().trim(), cid);
    assert!(added.stderr.contains("taken in place"), "{added:?}");
    assert_eq!(other.json(&["--json", "status"])["disk_used"], 0, "no second copy");

    // Damage is noticed while it is hashed: the name of a blob is a promise.
    std::fs::write(&weights, vec![7; hive_node::TINY_MODEL.len()]).unwrap();
    let third = User::new();
    let mut command = third.command(&["add", "ollama:bees"]);
    let ended = crate::Ended::from(command.env("OLLAMA_MODELS", &dir).output().unwrap());
    ended.failed(4);
}
