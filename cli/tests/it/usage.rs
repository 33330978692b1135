//! What is refused before anything happens.

use expect_test::expect_file;

use crate::User;

#[test]
fn help_is_what_it_was() {
    let user = User::new();
    let ended = user.run(&["--help"]);
    expect_file!["help.txt"].assert_eq(ended.ok());
}

#[test]
fn every_command_of_the_design_is_there_and_explains_itself() {
    let user = User::new();
    for command in [
        "add",
        "fetch",
        "run",
        "ls",
        "show",
        "search",
        "share",
        "rm",
        "pin",
        "cancel",
        "gc",
        "verify",
        "join",
        "relay",
        "doctor",
        "peers",
        "status",
        "id",
        "config",
        "demo",
        "embed",
        "ps",
        "quantize",
        "service",
        "update-check",
        "completions",
        "man",
    ] {
        let ended = user.run(&[command, "--help"]);
        assert!(ended.ok().contains("--home"), "{command}");
    }
    assert!(user.run(&["--version"]).ok().starts_with("hive "));
}

#[test]
fn wrong_flags_exit_2() {
    let user = User::new();
    for args in [
        &["frobnicate"][..],
        &["ls", "--no-such-flag"],
        &["add"],
        &["run", "x", "y", "--temperature", "hot"],
        &["run", "x", "y", "--top-p", "1.5"],
        &["run", "x", "y", "--max-tokens", "0"],
        &["run", "x", "y", "--min-p", "2"],
        &["run", "x", "y", "--presence-penalty", "-3"],
        &["run", "x", "y", "--logit-bias", "7"],
        &["run", "x", "y", "--logprobs", "2"],
        &["run", "x", "y", "--raw", "--system", "z"],
        &["run", "x", "y", "--format", "no-such-schema.json"],
        &["run", "x", "y", "--keep-alive", "soon"],
        &["search", "--kind", "bee"],
        &["search", "--max-size", "lots"],
        &["quantize", "x", "q3"],
        &["service", "install", "--for", "systemd"],
        &["man"],
        &["run", "x", "y", "--device", "abacus"],
        &["share", "x", "everyone"],
        &["ls", "-q", "-v"],
        &["fetch", "x", "--relay-bulk", "lots"],
        &["join", "--relay", "/ip4/192.0.2.1/tcp/1/p2p/x", "--no-relays"],
        &["join", "--metrics", "9464"],
        &["relay"],
        &["relay", "--external-addr", "192.0.2.1:4483"],
        &["relay", "--external-addr", "192.0.2.1", "--wss", "0"],
        &["relay", "--external-addr", "192.0.2.1", "--wss-cert", "x.pem"],
        &["relay", "--external-addr", "192.0.2.1", "--allow", "kitchen"],
    ] {
        let ended = user.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    assert!(!user.home().exists(), "nothing was begun");
}

#[test]
fn what_is_neither_id_nor_name_exits_2_and_says_why() {
    let user = User::new();
    let chunk = "bafkr4ihwa7cfatlbrzvnxjq7kxc7kk2gfrv2c2hhfz3y7hbjlqjzdf7kee";
    for (model, why) in [
        ("", "1 to 200 bytes"),
        ("../etc/passwd", "cannot stand there"),
        ("two words", "cannot stand there"),
        ("a;b", "cannot stand there"),
        (chunk, "id of a chunk"),
        ("bafyr4iabcdefghijklmnopqrstuvwxyz0189abcdefghijklmnopqrstuv", "looks like an id"),
    ] {
        for command in ["fetch", "show", "rm", "pin", "share", "cancel", "verify"] {
            let ended = user.run(&[command, model]);
            assert_eq!(ended.code, Some(2), "{command} {model:?}: {ended:?}");
            assert!(ended.stderr.contains(why), "{command} {model:?}: {ended:?}");
        }
    }
    let ended = user.run(&["run", "a;b", "prompt"]);
    assert!(ended.failed(2).contains("neither an id nor a name"), "{ended:?}");
    assert!(!user.home().exists(), "nothing was begun");
}

#[test]
fn json_errors_are_one_object_on_stderr() {
    let user = User::new();
    let ended = user.run(&["--json", "config", "get", "nothing"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let error: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "usage");
    assert!(error["error"]["messages"][0].as_str().unwrap().contains("`nothing`"));
    assert!(error["error"]["hint"].as_str().unwrap().contains("bootstrap"));
}

#[test]
fn completions_know_the_commands_of_every_shell() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = user.run(&["completions", shell]);
        assert!(ended.ok().contains("fetch"), "{shell}");
    }
}

/// `hive completions bash | head -1` is no failure.
#[test]
fn reader_that_goes_away_is_success() {
    let user = User::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = user.command(&["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}
