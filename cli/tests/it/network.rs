//! Models that come from elsewhere, or do not.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::{Ended, User, keys};

/// An id that nobody ever gave to anything.
fn unknown() -> String {
    hive_protocol::BlockId::of(b"nobody has this").to_string()
}

#[test]
fn fetch_of_what_nobody_has_exits_3() {
    let (user, other) = (User::new(), User::new());
    let id = unknown();
    let node = other.join(&[]);
    let fetch = ["fetch", &id, "--provider-timeout", "1s", "--bootstrap", node.address()];
    let ended = user.run(&fetch);
    assert!(ended.failed(3).contains(&id), "{ended:?}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn fetch_without_anybody_to_ask_ends_and_says_so() {
    let user = User::new();
    let ended = user.run(&["fetch", &unknown(), "--provider-timeout", "500ms"]);
    assert!(ended.failed(3).contains("hint: "), "{ended:?}");
}

#[test]
fn model_is_fetched_run_and_told_of_in_json() {
    let (provider, reader) = (User::new(), User::new());
    let node = provider.join(&[]);
    let model = provider.model();
    let added = provider.json(&["--json", "add", "--share", &model]);
    let cid = added["cid"].as_str().unwrap();

    let fetched = reader.run(&["--json", "fetch", cid, "--bootstrap", node.address()]);
    let events: Vec<Value> =
        fetched.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["event"].is_string()), "{events:?}");
    let done = events.last().unwrap();
    assert_eq!(keys(done), ["bytes", "cid", "event", "path", "peers", "seconds"]);
    assert_eq!((&done["event"], &done["cid"]), (&"done".into(), &cid.into()));
    assert_eq!(done["bytes"], added["size"]);
    let peer = &done["peers"][0];
    assert_eq!(peer["peer"], node.ready["peer"]);
    assert_eq!((&peer["bytes"], &peer["struck"]), (&added["size"], &false.into()));
    let copy = std::fs::read(done["path"].as_str().unwrap()).unwrap();
    assert_eq!(copy, hive_node::TINY_MODEL);

    let args = ["run", cid, "Once upon a time", "--temperature", "0", "--max-tokens", "4"];
    let here = reader.run(&args);
    assert!(!here.ok().is_empty());
    // Another reader fetches and runs with one command.
    let third = User::new();
    let mut all = args.to_vec();
    all.extend(["--bootstrap", node.address()]);
    let ran = third.run(&all);
    assert_eq!(ran.ok(), here.ok());
    assert!(ran.stderr.contains("fetching"), "{ran:?}");
    // In JSON the fetch's events are inside of the run's, and the last one is the answer's.
    all.insert(0, "--json");
    let fourth = User::new().run(&all);
    let events: Vec<Value> =
        fourth.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "fetching");
    assert_eq!(events[0]["progress"]["cid"], *cid);
    let texts = events.iter().filter(|event| event["event"] == "text");
    let text: String = texts.map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(text.trim_end(), here.ok().trim_end());
    assert_eq!(events.last().unwrap()["event"], "done");
    // Again there is nothing to fetch, and no need of anybody.
    drop(node);
    assert_eq!(reader.run(&["fetch", cid]).code, Some(0));
}

/// Quota and reserve are looked at before a byte is fetched.
#[test]
fn fetch_over_the_quota_exits_5_and_costs_no_byte() {
    let (provider, reader) = (User::new(), User::new());
    let node = provider.join(&[]);
    let model = provider.model();
    let added = provider.json(&["--json", "add", "--share", &model]);
    let fetch = ["fetch", added["cid"].as_str().unwrap(), "--bootstrap", node.address()];
    let output = reader.command(&fetch).env("HIVE_QUOTA", "1000").output().unwrap();
    let ended = Ended::from(output);
    assert!(ended.failed(5).contains("quota"), "{ended:?}");
    assert_eq!(provider.json(&["--json", "status"])["uploaded"], 0);
    // With room for it, the same command goes through.
    assert_eq!(reader.run(&fetch).code, Some(0));
}

/// A fetch that is cancelled from elsewhere ends; it does not begin again by itself.
#[test]
fn cancelled_fetch_ends_where_it_is_followed() {
    let user = User::new();
    let _node = user.join(&[]);
    let id = unknown();
    let mut child = user
        .command(&["fetch", &id, "--wait"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("looking for") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // A part of the id will do, as it does elsewhere.
    user.run(&["cancel", &id[id.len() - 8..]]).ok();
    let rest: Vec<_> = stderr.lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
}

/// A fetch that goes through the node of another command does not end with that command.
#[cfg(unix)]
#[test]
fn fetch_outlives_the_command_whose_node_it_used() {
    let (provider, reader) = (User::new(), User::new());
    let node = provider.join(&[]);
    let model = provider.model();
    let cid = provider.json(&["--json", "add", &model])["cid"].as_str().unwrap().to_owned();
    let waiting = |awaited: &str| {
        let mut child = reader
            .command(&["-v", "fetch", &cid, "--wait", "--bootstrap", node.address()])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(awaited) {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        }
        (child, stderr)
    };
    // The model is local to its provider, so both wait.
    let (mut first, _told) = waiting("looking for");
    let (mut second, told) = waiting("asking the node that runs");
    crate::signal(&first, rustix::process::Signal::INT);
    assert_eq!(first.wait().unwrap().code(), Some(130));
    provider.run(&["share", &cid]).ok();
    let told: Vec<_> = told.lines().map(Result::unwrap).collect();
    assert_eq!(second.wait().unwrap().code(), Some(0), "{told:?}");
    assert!(told.iter().any(|line| line.contains("going on with one of our own")), "{told:?}");
}

#[cfg(unix)]
#[test]
fn interrupt_ends_a_fetch_with_130_and_says_how_to_go_on() {
    let user = User::new();
    let id = unknown();
    let mut child = user
        .command(&["fetch", &id, "--wait"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("looking for") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
    }
    crate::signal(&child, rustix::process::Signal::INT);
    let rest: Vec<_> = stderr.lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "stopped; run the same command again to resume");
}
