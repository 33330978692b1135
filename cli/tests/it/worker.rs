//! Models in processes of their own: what becomes of requests, models and processes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{Ended, User, signal};

/// The children of a process, by what the kernel says of each process.
fn children(parent: u32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name stands in brackets and may hold anything; state and parent follow.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

fn kill(pid: i32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Starts `hive run`, and waits until its model is loaded and has a place for it.
fn begin(user: &User, model: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let args = ["--json", "run", model, "Once upon a time", "--max-tokens", "8"];
    let mut command = user.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["event"], "loaded");
    (child, stdout)
}

fn end(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

fn run(user: &User, model: &str) -> Ended {
    user.run(&["run", model, "Once upon a time", "--max-tokens", "8", "--temperature", "0"])
}

/// The process is stopped before the request comes, so that the kill is in the middle of it.
fn kill_at_work(user: &User, node: u32, model: &str) {
    assert!(!run(user, model).ok().is_empty());
    let [worker] = children(node)[..] else { panic!("one model, one process") };
    kill(worker, Signal::STOP);
    let (child, _stdout) = begin(user, model);
    kill(worker, Signal::KILL);
    let ended = end(child);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("signal 9"), "{ended:?}");
    assert_eq!(children(node), Vec::<i32>::new(), "a process that ended is not left lying");
}

#[test]
fn a_model_that_is_killed_fails_its_request_and_the_next_starts_it_anew() {
    let user = User::new();
    let added = user.json(&["--json", "add", &user.model(), "--name", "tiny"]);
    let node = user.join(&[]);
    let pid = node.child.id();
    kill_at_work(&user, pid, "tiny");

    // A second time, and it is not tried any more, not even by a node that is started again.
    kill_at_work(&user, pid, "tiny");
    let refused = run(&user, "tiny");
    let told = refused.failed(7);
    assert!(told.contains("crashed 2 times") && told.contains("hive verify tiny"), "{told}");
    assert_eq!(node.terminate().code, Some(0));
    run(&user, added["cid"].as_str().unwrap()).failed(7);

    // Its bytes are sound, which is the way out.
    user.run(&["verify", "tiny"]).ok();
    assert!(!run(&user, "tiny").ok().is_empty());
}

#[test]
fn a_node_that_ends_leaves_no_process_behind() {
    let user = User::new();
    user.json(&["--json", "add", &user.model(), "--name", "tiny"]);
    let node = user.join(&[]);
    run(&user, "tiny").ok();
    let workers = children(node.child.id());
    assert_eq!(workers.len(), 1);
    assert_eq!(node.terminate().code, Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{}", workers[0])).exists());
}

/// The kernel ends what the node can no longer end itself.
#[test]
fn a_node_that_is_killed_takes_its_models_along() {
    let user = User::new();
    user.json(&["--json", "add", &user.model(), "--name", "tiny"]);
    let mut node = user.join(&[]);
    run(&user, "tiny").ok();
    let workers = children(node.child.id());
    // It cannot even notice the end of its pipe.
    kill(workers[0], Signal::STOP);
    signal(&node.child, Signal::KILL);
    node.child.wait().unwrap();
    let is_gone = || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", workers[0])).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("Z", |(_, rest)| rest);
        rest.starts_with(['Z', 'X'])
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !is_gone() {
        assert!(std::time::Instant::now() < deadline, "it lives on");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_asked_of_no_node_runs_in_a_process_too_and_says_so_to_none() {
    let user = User::new();
    let ended = run(&user, &user.model());
    assert!(!ended.ok().is_empty());
    assert_eq!(ended.stderr, "");
}

/// A person who finds the word in a list of processes.
#[test]
fn infer_without_a_parent_ends_at_once() {
    let ended = User::new().run(&["infer"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
}
