//! Private networks as a person has them: make one, invite, come in, be put out.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hive_protocol::membership::InviteCode;
use serde_json::Value;

use crate::{Ended, Running, User, files, keys};

/// A command of a user whose environment names no network.
fn command(user: &User, args: &[&str]) -> Command {
    let mut command = user.command(args);
    command.env_remove("HIVE_NETWORK");
    command
}

fn run(user: &User, args: &[&str]) -> Ended {
    command(user, args).output().unwrap().into()
}

fn json(user: &User, args: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend_from_slice(args);
    let ended = run(user, &all);
    serde_json::from_str(ended.ok()).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Starts a node and waits until it is ready. What it says goes to a file, however much it is.
fn join_by(user: &User, mut command: Command, stdin: Option<&str>) -> Running {
    let log = File::create(user.dir.path().join("log")).unwrap();
    command.stdout(Stdio::piped()).stderr(log);
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).unwrap();
    }
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready = serde_json::from_str(&line);
    Running { child, ready: ready.unwrap_or_else(|error| panic!("{error}: {}", log_of(user))) }
}

fn join(user: &User, args: &[&str]) -> Running {
    let mut all = vec!["join", "--json"];
    all.extend_from_slice(args);
    join_by(user, command(user, &all), None)
}

fn log_of(user: &User) -> String {
    std::fs::read_to_string(user.dir.path().join("log")).unwrap()
}

/// A home with a network called `home`, and its node.
fn admin() -> (User, Running) {
    let user = User::new();
    run(&user, &["network", "create", "home"]).ok();
    let node = join(&user, &[]);
    (user, node)
}

fn code(user: &User, args: &[&str]) -> String {
    let mut all = vec!["invite"];
    all.extend_from_slice(args);
    let ended = run(user, &all);
    let code = ended.ok().trim().to_owned();
    assert_eq!(ended.stdout, format!("{code}\n"), "the code and nothing else");
    assert!(code.starts_with("hive1"), "{code}");
    assert!(!ended.stderr.contains(&code[..24]), "{}", ended.stderr);
    code
}

#[test]
fn a_network_is_made_others_come_in_and_a_code_is_good_once() {
    let (owner, node) = admin();
    let (first, second) = (User::new(), User::new());
    let code_1 = code(&owner, &[]);
    let code_2 = code(&owner, &["--network", "home", "--expires", "2h", "--role", "relay"]);
    let node_1 = join(&first, &[&code_1]);
    let node_2 = join(&second, &[&code_2]);

    let members = json(&owner, &["network", "members"]);
    let role_of = |node: &Running| {
        let mut found = members.as_array().unwrap().iter();
        found.find(|member| member["peer"] == node.ready["peer"]).map(|m| m["role"].clone())
    };
    let roles = [&node, &node_1, &node_2].map(|node| role_of(node).unwrap());
    assert_eq!(roles, ["admin", "member", "relay"]);

    let status = json(&first, &["status"]);
    let own = &status["membership"];
    assert_eq!(keys(own), ["expires", "id", "name", "role", "serial"]);
    assert_eq!((&own["name"], &own["id"]), (&"home".into(), &status["network"]));
    let told = run(&first, &["status"]);
    assert!(told.ok().contains("home (private, ") && told.stdout.contains("until "), "{told:?}");
    // A model goes from one to the other.
    let model = second.model();
    let cid = json(&second, &["add", "--share", &model])["cid"].as_str().unwrap().to_owned();
    run(&first, &["fetch", &cid]).ok();

    // The second use of the first code.
    let third = User::new();
    let ended = run(&third, &["join", &code_1]);
    let told = ended.failed(7);
    assert!(
        told.contains("used up") && told.contains("hint: ") && !told.contains(&code_1),
        "{told}"
    );
    assert_eq!(json(&third, &["network", "ls"]), serde_json::json!([]));
    let config = run(&third, &["config", "get", "network"]);
    assert_eq!(config.ok(), "main\n", "it is where it was");

    // After a restart the home is in the network without a word.
    drop(node_1);
    let again = join(&first, &[]);
    assert_eq!(json(&first, &["status"])["network"], status["network"]);
    drop((again, node_2, node));
}

#[test]
fn codes_that_are_none_end_with_2_and_are_not_repeated() {
    let (owner, _node) = admin();
    let user = User::new();
    let good = code(&owner, &[]);
    let mut damaged = good.clone();
    damaged.replace_range(40..41, if &good[40..41] == "a" { "b" } else { "a" });
    let mut old = InviteCode::decode(&good).unwrap();
    old.expires = 1_000_000_000;
    let old = old.encode().unwrap();
    for (wrong, reason) in [
        (damaged.as_str(), "damaged"),
        (&good[..good.len() - 5], "damaged"),
        (&good.replace("hive1", "hive2"), "newer"),
        (&good[5..], "not an invite code"),
        (&old, "expired on 2001-09-09"),
    ] {
        for stdin in [false, true] {
            let mut command = command(&user, &["join", if stdin { "-" } else { wrong }]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // It may have ended without reading, where the code is an argument.
            let _ = child.stdin.take().unwrap().write_all(wrong.as_bytes());
            let ended = Ended::from(child.wait_with_output().unwrap());
            let told = ended.failed(2);
            assert!(told.contains(reason) && told.contains("hint: "), "{told}");
            assert!(!told.contains(&wrong[6..30]), "{told}");
        }
    }
    let ended = run(&user, &["join", &good, "--network", "x"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(files(&user.home()).iter().all(|file| !file.to_string_lossy().contains("networks")));
}

#[test]
fn a_code_that_leads_to_nobody_ends_with_6_and_can_be_tried_again() {
    let (owner, node) = admin();
    let user = User::new();
    let code = code(&owner, &[]);
    drop(node);
    let mut command = command(&user, &["join", &code]);
    let ended = Ended::from(command.env("HIVE_PROVIDER_TIMEOUT", "2s").output().unwrap());
    let told = ended.failed(6);
    assert!(told.contains("`home`") && told.contains("hint: ") && !told.contains(&code), "{told}");
    // The owner is back, elsewhere.
    let node = join(&owner, &[]);
    let _joined = join(&user, &[&code, "--bootstrap", node.address()]);
    assert_eq!(json(&user, &["status"])["membership"]["role"], "member");
}

/// What is secret is neither among a process's arguments, which everybody can list, nor in its log.
#[cfg(target_os = "linux")]
#[test]
fn a_code_from_stdin_is_in_no_log_and_no_list_of_processes() {
    let owner = User::new();
    run(&owner, &["network", "create", "home"]).ok();
    let traced = |user: &User, args: &[&str], stdin: Option<&str>| {
        let mut command = command(user, args);
        command.env("HIVE_LOG", "trace");
        join_by(user, command, stdin)
    };
    let node = traced(&owner, &["join", "--json"], None);
    let made = {
        let mut command = command(&owner, &["--json", "invite"]);
        let ended = Ended::from(command.env("HIVE_LOG", "trace").output().unwrap());
        let made: Value = serde_json::from_str(ended.ok()).unwrap();
        let code = made["code"].as_str().unwrap();
        assert!(!ended.stderr.contains(&code[5..]), "the command's own log has the code");
        made
    };
    let text = made["code"].as_str().unwrap().to_owned();
    let user = User::new();
    // As a mail program would break it.
    let (a, b) = text.split_at(60);
    let joined = traced(&user, &["join", "--json", "-"], Some(&format!("{a}\n{b}\n")));
    let arguments = std::fs::read(format!("/proc/{}/cmdline", joined.child.id())).unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", joined.child.id())).unwrap();
    for listed in [arguments, environment] {
        assert!(!String::from_utf8_lossy(&listed).contains(&text[5..30]));
    }
    assert_eq!(json(&user, &["status"])["membership"]["role"], "member");
    run(&owner, &["network", "members"]).ok();
    drop((node, joined));

    let code = InviteCode::decode(&text).unwrap();
    let network = owner.home().join("networks").join(made["network"].as_str().unwrap());
    let secret = std::fs::read(network.join("secret.key")).unwrap();
    assert_eq!(secret.len(), 32);
    let (key, invite) = (code.network.to_bytes(), code.secret.0);
    for (whose, log) in [("the owner's", log_of(&owner)), ("the guest's", log_of(&user))] {
        assert!(
            log.contains("TRACE") || log.contains("\"trace\""),
            "{whose} log is at its loudest"
        );
        assert!(!log.contains(&text[5..]) && !log.contains(&text[8..40]), "{whose}: the code");
        for (what, bytes) in
            [("network's secret", &secret[..]), ("network's key", &key), ("invite", &invite)]
        {
            let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            let listed = format!("{:?}", &bytes[..8]);
            let listed = listed.trim_matches(['[', ']']);
            let lower = log.to_lowercase();
            assert!(!lower.contains(&hex), "{whose} log has the {what} in hexadecimal digits");
            assert!(!log.contains(listed), "{whose} log has the {what} as a list");
        }
    }
    // Nor is the invite's secret on anybody's disk, now that it is redeemed.
    for file in files(&owner.home()).into_iter().chain(files(&user.home())) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(16).any(|window| window == invite);
        assert!(!found, "{} has the invite's secret", file.display());
    }
}

/// The picture is read back, module by module.
#[test]
fn the_qr_code_is_what_a_camera_would_read() {
    use qrcode::{Color, EcLevel, QrCode};
    let (owner, _node) = admin();
    let ended = run(&owner, &["invite", "--qr"]);
    let code = ended.ok().trim().to_ascii_uppercase();
    let is_drawn = |line: &&str| {
        line.chars().count() > 21 && line.chars().all(|c| matches!(c, '█' | '▀' | '▄' | ' '))
    };
    let lines: Vec<&str> = ended.stderr.lines().filter(is_drawn).collect();
    // No terminal, so light modules are drawn.
    let dark = |x: usize, y: usize| {
        let c = lines[y / 2].chars().nth(x).unwrap();
        !(c == '█' || c == if y.is_multiple_of(2) { '▀' } else { '▄' })
    };
    let qr = QrCode::with_error_correction_level(&code, EcLevel::L).unwrap();
    let (width, modules) = (qr.width(), qr.to_colors());
    assert_eq!(lines.len(), (width + 8).div_ceil(2), "{}", ended.stderr);
    for (at, module) in modules.iter().enumerate() {
        let (x, y) = (at % width + 4, at / width + 4);
        assert_eq!(dark(x, y), *module == Color::Dark, "{x}, {y}");
    }
    // What it says means the same as the code.
    assert!(InviteCode::decode(&code).is_ok());
}

#[test]
fn somebody_is_put_out_and_an_invite_is_taken_back() {
    let (owner, _node) = admin();
    let user = User::new();
    let text = code(&owner, &["--uses", "3"]);
    let guest = join(&user, &[&text]);
    let peer = guest.ready["peer"].as_str().unwrap();
    let revoked = json(&owner, &["network", "revoke", peer]);
    assert_eq!(revoked["serials"].as_array().unwrap().len(), 1);
    let listed = run(&owner, &["invite", "ls"]);
    assert!(
        listed.ok().contains("taken back") && listed.stdout.contains("(revoked)"),
        "{listed:?}"
    );
    let members = run(&owner, &["network", "members"]);
    assert!(members.ok().contains("revoked"), "{members:?}");
    // It tries to come back, learns why it cannot, and says so.
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let status = json(&user, &["status"]);
        if status["membership"]["problem"].as_str().is_some_and(|why| why.contains("revoked")) {
            break;
        }
        assert!(Instant::now() < end, "{status}");
    }
    let told = run(&user, &["status"]);
    assert!(told.stderr.contains("new invite"), "{told:?}");
    drop(guest);
    // The code that it knows is of no use.
    let again = Ended::from(command(&user, &["join", &text]).output().unwrap());
    assert!(again.failed(7).contains("revoked"), "{again:?}");

    let other = code(&owner, &[]);
    let invite = json(&owner, &["invite", "ls"])[0]["invite"].as_str().unwrap().to_owned();
    run(&owner, &["invite", "revoke", &invite[..8]]).ok();
    let ended = run(&User::new(), &["join", &other]);
    assert!(ended.failed(7).contains("withdrawn"), "{ended:?}");
    for (args, code) in [
        (["network", "revoke", "nobody"], 2),
        (["network", "revoke", "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"], 3),
        (["invite", "revoke", "ffffffffffff"], 2),
        (["network", "leave", "home"], 7),
    ] {
        run(&owner, &args).failed(code);
    }
}

#[test]
fn a_home_goes_from_one_network_to_another_and_leaves() {
    let user = User::new();
    let ended = run(&user, &["network", "create", "home", "--address", "/ip4/192.0.2.1/tcp/4483"]);
    assert!(ended.failed(2).contains("/p2p/"), "{ended:?}");
    let first = run(&user, &["network", "create", "home"]).ok().trim().to_owned();
    assert_eq!(run(&user, &["config", "get", "network"]).ok().trim(), first);
    let second = json(&user, &["network", "create", "work"])["id"].as_str().unwrap().to_owned();
    assert_eq!(run(&user, &["config", "get", "network"]).ok().trim(), first, "the first stays");
    run(&user, &["network", "create", "work"]).failed(2);
    run(&user, &["network", "use", "work"]).ok();
    assert_eq!(run(&user, &["config", "get", "network"]).ok().trim(), second);
    let shown = run(&user, &["network", "show"]);
    assert!(
        shown.ok().contains(&second) && shown.stdout.contains("this home can invite"),
        "{shown:?}"
    );
    let listed = run(&user, &["network", "ls"]);
    assert_eq!(listed.ok().lines().filter(|line| line.contains("in use")).count(), 1);
    // By name, as a public network is named.
    let node = join(&user, &["--network", "home"]);
    assert_eq!(json(&user, &["status"])["network"], first.as_str());
    drop(node);
    // An invite of a network that is not in use has no address of this node.
    let invited = run(&user, &["invite", "--network", "home"]);
    invited.ok();
    assert!(invited.stderr.contains("the code has no address"), "{invited:?}");
    run(&user, &["network", "leave", "work"]).failed(7);
    run(&user, &["network", "leave", "work", "--with-key"]).ok();
    assert_eq!(run(&user, &["config", "get", "network"]).ok().trim(), "main");
    run(&user, &["network", "use", "nowhere"]).failed(2);
    run(&user, &["network", "use", "--public", "nowhere"]).ok();
    assert_eq!(run(&user, &["config", "get", "network"]).ok().trim(), "nowhere");
    // A private network that is not here is not joined as if it were a public one.
    run(&user, &["config", "set", "network", &second]).ok();
    assert!(run(&user, &["join"]).failed(2).contains("private network"));
    run(&user, &["ls"]).ok();
}

/// A relay is let in as one, and its doctor finds it a member.
#[test]
fn a_relay_comes_in_with_a_code_of_its_own() {
    let (owner, node) = admin();
    let code = code(&owner, &["--role", "relay"]);
    let user = User::new();
    let args =
        ["relay", &code, "--json", "--external-addr", "/ip4/127.0.0.1/tcp/1", "--allow-private"];
    let relay = join_by(&user, command(&user, &args), None);
    let members = json(&owner, &["network", "members"]);
    let mut members = members.as_array().unwrap().iter();
    let found = members.find(|member| member["peer"] == relay.ready["peer"]).unwrap();
    assert_eq!((&found["role"], &found["connected"]), (&"relay".into(), &true.into()));
    let doctor = json(&user, &["doctor"]);
    let mut checks = doctor["checks"].as_array().unwrap().iter();
    let certificate = checks.find(|check| check["name"] == "certificate").unwrap();
    assert_eq!(certificate["level"], "ok", "{certificate}");
    drop((relay, node));
}
