//! Settings and where they come from.

use crate::User;

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let user = User::new();
    let network = |variable: &str| {
        let mut command = user.command(&["--json", "config", "get", "name"]);
        let output = command.env("HIVE_NAME", variable).output().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (value["value"].as_str().unwrap().to_owned(), value["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(network(""), (String::new(), "default".into()));
    user.run(&["config", "set", "name", "of-file"]).ok();
    assert_eq!(network(""), ("of-file".into(), "config.toml".into()));
    assert_eq!(network("of-env"), ("of-env".into(), "environment (HIVE_NAME)".into()));
    user.run(&["config", "unset", "name"]).ok();
    assert_eq!(network(""), (String::new(), "default".into()));
}

#[test]
fn all_settings_are_shown_with_their_sources() {
    let user = User::new();
    user.run(&["config", "set", "bootstrap", "/ip4/192.0.2.1/tcp/4483/p2p/a,/dns/x/tcp/1/p2p/b"])
        .ok();
    let all = user.json(&["--json", "config"]);
    let bootstrap = ["/ip4/192.0.2.1/tcp/4483/p2p/a", "/dns/x/tcp/1/p2p/b"];
    assert_eq!(all["bootstrap"]["value"], serde_json::json!(bootstrap));
    assert_eq!(all["bootstrap"]["source"], "config.toml");
    assert_eq!(all["mdns"]["value"], "off");
    assert_eq!(all["mdns"]["source"], "environment (HIVE_MDNS)");
    assert_eq!(all["quota"]["source"], "default");
    assert_eq!(all["home"]["value"], user.home().to_str().unwrap());
    let table = user.run(&["config"]);
    assert!(table.ok().lines().count() > 10, "{table:?}");
}

#[test]
fn wrong_setting_is_not_written() {
    let user = User::new();
    for (key, value) in [("mdns", "maybe"), ("api", "0.0.0.0:1"), ("no-such", "x")] {
        let ended = user.run(&["config", "set", key, value]);
        assert!(ended.failed(2).contains(&format!("`{key}`")), "{ended:?}");
    }
    assert!(!user.home().join("config.toml").exists());
}

#[test]
fn wrong_file_is_told_and_can_be_mended() {
    let user = User::new();
    std::fs::create_dir_all(user.home()).unwrap();
    std::fs::write(user.home().join("config.toml"), "mdns = \"maybe\"\n").unwrap();
    let ended = user.command(&["ls"]).env_remove("HIVE_MDNS").output().unwrap().into();
    let ended: crate::Ended = ended;
    assert!(ended.failed(2).contains("`mdns` (config.toml)"), "{ended:?}");
    user.run(&["config", "set", "mdns", "on"]).ok();
    assert_eq!(user.run(&["config", "get", "share"]).ok(), "local\n");
}
